//! The table of parameters at the head of the training log: how many each part has, and which of them learn.

use crate::model::Roles;
use resect_checkpoint::{SamConfig, parameter_counts};

/// One line for each part and one for all, aligned: how many parameters a part has, how many are tuned, and as which share.
pub fn table(config: &SamConfig, roles: &Roles) -> Vec<String> {
    let counts = parameter_counts(config);
    let row = |part: &str, base: usize, prefix: &str| {
        let tuned = roles.stored().filter(|(name, _)| name.starts_with(prefix));
        let (mut added, mut tuned_count, mut taught) = (0, 0, 0);
        for (name, shape) in tuned {
            let count = shape.iter().product::<usize>();
            tuned_count += count;
            added += if name.contains(".lora_") { count } else { 0 };
            taught += if roles.learns(name) { count } else { 0 };
        }
        (part.to_owned(), base + added, tuned_count, tuned_count - taught)
    };
    let parts = [
        row("image encoder", counts.vision_encoder, "vision_encoder."),
        row("prompt encoder", counts.prompt_encoder, "prompt_encoder."),
        row("positions", counts.shared, "shared_image_embedding."),
        row("mask decoder", counts.mask_decoder, "mask_decoder."),
    ];
    let all = parts
        .iter()
        .fold((String::from("in all"), 0, 0, 0), |all, part| (all.0, all.1 + part.1, all.2 + part.2, 0));
    let line = |(part, number, tuned, untaught): (String, usize, usize, usize)| {
        let share = 100.0 * tuned as f64 / number as f64;
        let mut line = format!("{part:<15} {:>8} {:>12}", count(number), grouped(number));
        match tuned {
            0 => line.push_str("  frozen"),
            _ => {
                line.push_str(&format!("  tuned {:>8} {:>12}  {share:>5.1} %", count(tuned), grouped(tuned)))
            }
        }
        if untaught > 0 {
            line.push_str(&format!(
                "; {} of them (IoU head, hypernetworks 1 to {}) get no gradient from a single-mask loss",
                count(untaught),
                config.decoder.num_multimask_outputs
            ));
        }
        line
    };
    let head = String::from("parameters");
    [head].into_iter().chain(parts.into_iter().chain([all]).map(line)).collect()
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
