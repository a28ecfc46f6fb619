//! How long an epoch of training takes, and how much of it is outside the optimiser steps: reading embeddings, prompts, scoring,
//! saving.
//!
//! ```text
//! cargo bench --workspace --bench epoch -- [--epochs N] [--set 'JSON'] tiny:4:60:10 vit-b:2:20:4   # model:batch:train:validation
//! RAYON_NUM_THREADS=1 cargo bench ...                                                           # on one thread
//! ```
//!
//! `--set` gives settings of `[train]` as JSON, such as `{"ema": 0.99}`. Embeddings are noise in f16, weights random; the image
//! encoder, which `train` does not read, is a small one. Printed is the time of one epoch, in milliseconds, wall and processor.

#[path = "../tests/support/mod.rs"]
mod support;

use burn_autodiff::Autodiff;
use resect_checkpoint::{SamConfig, write_random};
use resect_embeddings::{self as embeddings, SHARD_ROWS};
use resect_geometry::{Mask, Size, View};
use resect_layers::Cpu;
use resect_numeric::Dtype;
use resect_params::Runtime;
use resect_stage::{Message, Reporter};
use resect_target_records::Split;
use resect_targets as targets;
use resect_train::{Inputs, ModelTrainer, OnDevice, run_with};
use resect_train_params::TrainParams;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The trainer of the CPU.
type Kernels = ModelTrainer<Autodiff<Cpu>>;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut epochs, mut params, mut cases) = (3, TrainParams::default(), Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--epochs" => epochs = args.next().ok_or("--epochs wants a number")?.parse()?,
            "--set" => params = serde_json::from_str(&args.next().ok_or("--set wants JSON")?)?,
            // What cargo hands to every benchmark.
            "--bench" => {}
            case => cases.push(case.to_owned()),
        }
    }
    if cases.is_empty() {
        cases = ["tiny:4:60:10".into(), "vit-b:2:20:4".into()].into();
    }
    for case in cases {
        let parts: Vec<&str> = case.split(':').collect();
        let [name, batch, train, validation] = parts[..] else {
            return Err("a case is written model:batch:train:validation".into());
        };
        let params = TrainParams { epochs, batch_size: batch.parse()?, accumulation: 1, ..params.clone() };
        epoch(&case, name, &params, train.parse()?, validation.parse()?)?;
    }
    Ok(())
}

/// Trains on samples of its own and prints where the time of an epoch went.
fn epoch(
    case: &str,
    name: &str,
    params: &TrainParams,
    train: usize,
    validation: usize,
) -> Result<(), Box<dyn Error>> {
    let mut config = SamConfig::named(name).ok_or("no model of this name")?;
    config.vision.num_hidden_layers = 1;
    config.vision.global_attn_indexes = vec![0];
    let dir = tempfile::tempdir()?;
    let [base, embeddings, targets, out, state] =
        ["base", "embeddings", "targets", "out", "state"].map(|part| dir.path().join(part));
    write_random(&base, &config, 0)?;
    for dir in [&embeddings, &targets, &out, &state] {
        std::fs::create_dir(dir)?;
    }
    write_embeddings(&embeddings, &config, train + validation)?;
    write_targets(&targets, &config, train, train + validation)?;
    let inputs =
        Inputs { embeddings: Some(&embeddings), images: None, targets: &targets, base: &base, adapter: None };
    let said = Said::default();
    let (runtime, report) = (Runtime::default(), Reporter::new(said.clone()));
    let before = processor_seconds();
    run_with::<Kernels>(&OnDevice::default(), &inputs, params, &runtime, &out, &state, &report)?;
    let processor = processor_seconds() - before;

    let timing = said.timing()?;
    let number = |name: &str| timing[name].as_f64().unwrap_or_default();
    let mut seconds: Vec<f64> =
        timing["epoch_seconds"].as_array().into_iter().flatten().filter_map(|s| s.as_f64()).collect();
    seconds.sort_by(f64::total_cmp);
    let epochs = seconds.len() as f64;
    let all = seconds.iter().sum::<f64>() / epochs;
    let learning = number("steps") / number("steps_per_second") / epochs;
    // The decoder as it came was scored, too.
    let validation = number("validation_seconds") / (epochs + 1.0);
    let saving = number("saving_seconds") / epochs;
    let [median, all, learning, validation, saving, processor] =
        [seconds[seconds.len() / 2], all, learning, validation, saving, processor / epochs]
            .map(|seconds| 1e3 * seconds);
    println!(
        "{case} median {median:.1} ms an epoch; mean {all:.1}: steps {learning:.1}, scoring {validation:.1}, saving {saving:.1}, \
         rest {:.1}; processor {processor:.1}",
        all - learning - validation - saving
    );
    Ok(())
}

/// Noise in half precision, a row for each sample.
fn write_embeddings(dir: &Path, config: &SamConfig, count: usize) -> Result<(), Box<dyn Error>> {
    let shape = [config.embedding_channels(), config.grid(), config.grid()];
    let length = shape.iter().product::<usize>();
    let writer = embeddings::Writer::new(dir, shape, Dtype::F16);
    let names: Vec<String> = (0..count).map(name).collect();
    for (shard, names) in names.chunks(SHARD_ROWS).enumerate() {
        let values = |row: usize| {
            (0..length).map(move |i| ((i * (i + shard * SHARD_ROWS + row) % 1009) as f32 / 504.5) - 1.0)
        };
        writer.write_shard(shard, &(0..names.len()).flat_map(values).collect::<Vec<f32>>())?;
    }
    let rows: Vec<_> = names.iter().map(|name| (name.as_str(), View::Identity)).collect();
    Ok(writer.finish(&rows)?)
}

/// A rectangle for each sample; the first ones are trained on, the others score.
fn write_targets(dir: &Path, config: &SamConfig, train: usize, count: usize) -> Result<(), Box<dyn Error>> {
    let side = config.low_res() as u32;
    let mut writer = targets::Writer::create(dir, side)?;
    for i in 0..count {
        let (x0, y0) = (3 * i as u32 % (side / 2), 5 * i as u32 % (side / 2));
        let (x1, y1) = (x0 + side / 4, y0 + side / 3);
        let mask = Mask::from_fn(Size::square(side), |x, y| (x0..=x1).contains(&x) && (y0..=y1).contains(&y));
        let split = if i < train { Split::Train } else { Split::Validation };
        let target = support::target(&name(i), split, Size::square(4 * side), &mask, [x0, y0, x1, y1]);
        writer.push(target, &mask)?;
    }
    Ok(writer.finish(&serde_json::json!({}), &[])?)
}

fn name(sample: usize) -> String {
    format!("sample-{sample}")
}

/// What the stage says, kept.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    /// Where the stage says that the time went.
    fn timing(&self) -> Result<serde_json::Value, Box<dyn Error>> {
        let said = self.0.lock().map_err(|_| "the stage broke off")?;
        let messages = said.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
        let mut timings = messages.filter_map(|message| match message {
            Message::Timing(timing) => Some(timing),
            _ => None,
        });
        timings.next_back().ok_or_else(|| "the stage told no times".into())
    }
}

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Ok(mut said) = self.0.lock() {
            said.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Seconds of all cores that this process has used, where Linux tells; its unit is a hundredth.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in parentheses, may hold blanks. User and system time are the 12th and 13th fields after it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}
