//! Runs a checkpoint and holds what comes out against a reference: `parity [--bf16 | --f16] CHECKPOINT [REFERENCE [OUT]]`. With
//! `--bf16` or `--f16` the image encoder is in that precision, as with `embed.precision`; the decoder never is.
//!
//! CHECKPOINT is anything that `Checkpoint::open` reads. REFERENCE is a safetensors file: `pixel_values` `[images, 3, S, S]` and, of
//! each case, `CASE.input_points`, `CASE.input_labels` or `CASE.input_boxes` in pixels of the model's input; beside them what is
//! expected: `image_embeddings`, `CASE.single.logits`, `CASE.single.iou`, and the same of `multi`. Scripts in `tests/reference` write
//! such files. Without one a made-up image is run with a box in it.
//!
//! Prints one JSON object: the error of each tensor as `max|a - b| / max|b|` where something is expected, whether all is finite,
//! seconds. OUT receives what was computed, as safetensors.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

use burn::tensor::{Tensor, TensorData};
use resect_checkpoint::{Checkpoint, NamedTensor, TensorFile, parameter_counts, write_safetensors};
use resect_encoder::{ImageEncoder, normalise};
use resect_layers::Cpu;
use resect_numeric::Precision;
use resect_prompt::{Label, ModelPoint, ModelPrompt};
use resect_sam::{MaskDecoder, PromptEncoder, repeat_per_prompt};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let precision = match arguments.first().map(String::as_str) {
        Some("--bf16") => Precision::Bf16,
        Some("--f16") => Precision::F16,
        _ => Precision::F32,
    };
    if precision != Precision::F32 {
        arguments.remove(0);
    }
    let usage = "usage: parity [--bf16 | --f16] CHECKPOINT [REFERENCE [OUT]]";
    let checkpoint = arguments.first().ok_or(usage)?;
    let checkpoint = Checkpoint::open(Path::new(checkpoint))?;
    let reference = arguments.get(1).map(|path| TensorFile::open(Path::new(path))).transpose()?;
    let reference: BTreeMap<String, NamedTensor> = match reference {
        Some(file) => file.read_all()?.into_iter().map(|t| (t.name.clone(), t)).collect(),
        None => made_up(checkpoint.config().image_size())?,
    };

    let started = Instant::now();
    let device = Default::default();
    let encoder = ImageEncoder::<Cpu>::load(&checkpoint, &device)?.with_precision(precision);
    let prompt_encoder = PromptEncoder::<Cpu>::load(&checkpoint, &device)?;
    let mask_decoder = MaskDecoder::<Cpu>::load(&checkpoint, &device)?;
    let loaded = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let pixels = reference.get("pixel_values").ok_or("the reference has no pixel_values")?;
    let pixels = TensorData::new(pixels.data.clone(), pixels.shape.clone());
    let embeddings = encoder.forward(Tensor::from_data(pixels, &device));
    let mut found = vec![named("image_embeddings", embeddings.clone())];
    let encoded = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let position = prompt_encoder.image_positional_encoding();
    for case in cases(&reference) {
        let prompts = prompts(&reference, &case)?;
        let repeated = repeat_per_prompt(embeddings.clone(), prompts.len() / embeddings.dims()[0]);
        let prompts = prompt_encoder.forward(&prompts)?;
        for (kind, multimask) in [("single", false), ("multi", true)] {
            let output = mask_decoder.forward(repeated.clone(), position.clone(), &prompts, multimask);
            found.push(named(&format!("{case}.{kind}.logits"), output.low_res_logits));
            found.push(named(&format!("{case}.{kind}.iou"), output.iou_scores));
        }
    }
    let decoded = started.elapsed().as_secs_f64();

    let finite = found.iter().all(|t| t.data.iter().all(|x| x.is_finite()));
    let compared = found.iter().filter_map(|t| Some((&t.name, error(t, reference.get(&t.name)?))));
    let errors: Vec<String> = compared.map(|(name, error)| format!("\"{name}\":{error:e}")).collect();
    println!(
        "{{\"parameters\":{},\"finite\":{finite},\"seconds\":{{\"load\":{loaded:.2},\"encode\":{encoded:.2},\"decode\":{decoded:.2}}},\
         \"errors\":{{{}}}}}",
        parameter_counts(checkpoint.config()).total(),
        errors.join(",")
    );
    if let Some(out) = arguments.get(2) {
        write_safetensors(Path::new(out), found, None)?;
    }
    Ok(())
}

/// An image of coloured rings, not square, and a box over a part of it.
fn made_up(side: usize) -> Result<BTreeMap<String, NamedTensor>, Box<dyn Error>> {
    let (height, width) = (side * 3 / 4, side);
    let value = |channel: usize, y: usize, x: usize| {
        let (dy, dx) = (y as f32 - height as f32 * 0.4, x as f32 - width as f32 * 0.6);
        let rings = (dy.hypot(dx) * (0.02 + 0.01 * channel as f32)).sin();
        (128.0 + 100.0 * rings) as u8
    };
    let cells = (0..3).flat_map(|c| (0..height).flat_map(move |y| (0..width).map(move |x| (c, y, x))));
    let bytes: Vec<u8> = cells.map(|(c, y, x)| value(c, y, x)).collect();
    let data = normalise(&bytes, height, width, side)?;
    let pixels = NamedTensor { name: "pixel_values".into(), shape: vec![1, 3, side, side], data };
    let corner = |share: f32| (side as f32 * share).floor();
    let data = vec![corner(0.3), corner(0.1), corner(0.8), corner(0.6)];
    let boxes = NamedTensor { name: "box.input_boxes".into(), shape: vec![1, 1, 4], data };
    Ok([pixels, boxes].into_iter().map(|t| (t.name.clone(), t)).collect())
}

/// The cases of a reference, by their prompts.
fn cases(reference: &BTreeMap<String, NamedTensor>) -> BTreeSet<String> {
    let inputs = reference.keys().filter_map(|name| name.split_once(".input_"));
    inputs.map(|(case, _)| case.to_owned()).collect()
}

fn prompts(
    reference: &BTreeMap<String, NamedTensor>,
    case: &str,
) -> Result<Vec<ModelPrompt>, Box<dyn Error>> {
    let get = |what: &str| reference.get(&format!("{case}.input_{what}"));
    let (points, boxes) = (get("points"), get("boxes"));
    let first = points.or(boxes).ok_or_else(|| format!("case {case} has neither points nor boxes"))?;
    let mut prompts = vec![ModelPrompt::default(); first.shape[0] * first.shape[1]];
    if let (Some(points), Some(labels)) = (points, get("labels")) {
        let pairs = points.data.chunks(2).zip(&labels.data);
        let all = pairs.map(|(xy, &label)| Ok(ModelPoint { x: xy[0], y: xy[1], label: self::label(label)? }));
        let all = all.collect::<Result<Vec<_>, String>>()?;
        let lists = all.chunks(points.shape[2]);
        if lists.len() != prompts.len() {
            return Err(format!(
                "case {case} has {} lists of points for {} prompts",
                lists.len(),
                prompts.len()
            )
            .into());
        }
        prompts.iter_mut().zip(lists).for_each(|(prompt, points)| prompt.points = points.to_vec());
    }
    if let Some(boxes) = boxes {
        let (boxes, _) = boxes.data.as_chunks();
        if boxes.len() != prompts.len() {
            return Err(format!("case {case} has {} boxes for {} prompts", boxes.len(), prompts.len()).into());
        }
        prompts.iter_mut().zip(boxes).for_each(|(prompt, bounds)| prompt.bounds = Some(*bounds));
    }
    Ok(prompts)
}

fn label(label: f32) -> Result<Label, String> {
    match label as i32 {
        1 => Ok(Label::Foreground),
        0 => Ok(Label::Background),
        -1 => Ok(Label::NotAPoint),
        -10 => Ok(Label::Padding),
        other => Err(format!("there is no point label {other}")),
    }
}

/// `max|a - b| / max|b|`; not a number where shapes differ.
fn error(found: &NamedTensor, expected: &NamedTensor) -> f32 {
    if found.data.len() != expected.data.len() {
        return f32::NAN;
    }
    let largest = expected.data.iter().fold(0f32, |m, x| m.max(x.abs()));
    let pairs = found.data.iter().zip(&expected.data);
    pairs.fold(0f32, |worst, (a, b)| worst.max((a - b).abs())) / largest
}

fn named<const D: usize>(name: &str, t: Tensor<Cpu, D>) -> NamedTensor {
    let shape = t.dims().to_vec();
    let data = t.into_data().iter::<f32>().collect();
    NamedTensor { name: name.into(), shape, data }
}
