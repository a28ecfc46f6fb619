//! The table of parameters at the head of the training log: how many each part has, and which of them learn.

use resect_checkpoint::{Part, SamConfig, TensorSpec, parameter_counts, part_tensors};
use resect_sam::is_idle;

/// One line for each part and one for all, aligned.
pub fn table(config: &SamConfig) -> Vec<String> {
    let counts = parameter_counts(config);
    let untouched = untouched(config);
    let trainable = format!(
        "trainable; {} of them (IoU head, hypernetworks 1 to {}) get no gradient from a single-mask loss",
        count(untouched),
        config.decoder.num_multimask_outputs
    );
    let rows = [
        ("image encoder", counts.vision_encoder, "frozen"),
        ("prompt encoder", counts.prompt_encoder, "frozen"),
        ("positions", counts.shared, "frozen"),
        ("mask decoder", counts.mask_decoder, &trainable),
        ("in all", counts.total(), ""),
    ];
    let row = |(part, number, what): (&str, usize, &str)| {
        format!("{part:<15} {:>8} {:>12}  {what}", count(number), grouped(number)).trim_end().to_owned()
    };
    let head = format!("{:<15} {:>8}", "parameters", "");
    [head.trim_end().to_owned()].into_iter().chain(rows.map(row)).collect()
}

/// Parameters of the decoder that the loss on the single mask does not depend on. (The tokens of the other masks do count: the
/// single mask's token attends to them.)
fn untouched(config: &SamConfig) -> usize {
    let untouched = |spec: &&TensorSpec| {
        spec.name.starts_with("mask_decoder.iou_prediction_head.") || is_idle(&spec.name)
    };
    let specs = part_tensors(config, Part::MaskDecoder);
    specs.iter().filter(untouched).map(TensorSpec::elements).sum()
}

/// `4.06 M`, `6.2 K`, `93`.
fn count(n: usize) -> String {
    match n {
        n if n >= 10_000_000 => format!("{:.1} M", n as f64 / 1e6),
        n if n >= 1_000_000 => format!("{:.2} M", n as f64 / 1e6),
        n if n >= 1_000 => format!("{:.1} K", n as f64 / 1e3),
        n => n.to_string(),
    }
}

/// `4,058,340`
fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests;
