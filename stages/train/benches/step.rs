//! How long a training step takes, and how much memory: forward, loss, backward and AdamW, on random samples.
//!
//! ```text
//! cargo bench --workspace --bench step -- [--tensors | --cuda] [--bf16 | --f16] [--steps N] tiny:4 vit-b:2    # model:batch
//! cargo bench --workspace --bench step -- --strategy lora vit-b:1                 # or late-lora, full; all samples on one image
//! RAYON_NUM_THREADS=1 cargo bench ...                                             # on one thread
//! ```
//!
//! `--tensors` measures the layers in tensors, `--cuda` those of the first GPU, for a program built with
//! `--features resect-train/cuda`; `benches/dry_cuda.sh` counts what it asks of the driver. `benches/decoder_step.py` is the same in
//! PyTorch, `benches/tuning_step.py` where the encoder is tuned; `benches/compare.py` runs both in turn.

use burn_autodiff::Autodiff;
use resect_checkpoint::{Checkpoint, SamConfig, write_random};
use resect_embeddings::Embedding;
use resect_encoder::feature_shape;
use resect_geometry::Size;
use resect_layers::{Cpu, Reference};
use resect_numeric::Precision;
use resect_prompt::ModelPrompt;
use resect_sam::PromptEncoder;
use resect_train::{ModelTrainer, Outcome, Roles, Sample, Setup, Trainer};
use resect_train_params::TrainParams;
use resect_tuning::EncoderTuning;
use std::error::Error;
use std::time::Instant;

/// The trainer of the CPU.
type Kernels = ModelTrainer<Autodiff<Cpu>>;
/// The layers, the loss and AdamW in tensors.
type Tensors = ModelTrainer<Reference>;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut on, mut precision, mut steps, mut cases) = (Backend::Kernels, Precision::F32, 20, Vec::new());
    let mut encoder = EncoderTuning::default();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--tensors" => on = Backend::Tensors,
            #[cfg(feature = "cuda")]
            "--cuda" => on = Backend::Cuda,
            "--strategy" => {
                let name = args.next().ok_or("--strategy needs a name")?;
                encoder = EncoderTuning::of_strategy(&name).ok_or("no strategy of this name")?;
            }
            "--bf16" => precision = Precision::Bf16,
            "--f16" => precision = Precision::F16,
            "--steps" => steps = args.next().ok_or("--steps wants a number")?.parse()?,
            // What cargo hands to every benchmark.
            "--bench" => {}
            case => cases.push(case.to_owned()),
        }
    }
    if cases.is_empty() {
        cases = ["tiny:4".into(), "vit-b:2".into()].into();
    }
    for case in cases {
        let (name, batch) = case.split_once(':').ok_or("a case is written model:batch")?;
        let batch = batch.parse()?;
        let times = match on {
            Backend::Kernels => times::<Kernels>(name, batch, precision, &encoder, steps)?,
            Backend::Tensors => times::<Tensors>(name, batch, precision, &encoder, steps)?,
            #[cfg(feature = "cuda")]
            Backend::Cuda => {
                resect_layers::open_cuda(0)?;
                times::<ModelTrainer<Autodiff<resect_layers::Cuda>>>(name, batch, precision, &encoder, steps)?
            }
        };
        let median = times[times.len() / 2];
        println!(
            "{case} median {median:.2} ms a step, {:.2} ms a sample, fastest {:.2} ms, peak memory {} MB",
            median / batch as f64,
            times[0],
            peak_memory()?
        );
    }
    Ok(())
}

/// What trains.
enum Backend {
    Kernels,
    Tensors,
    #[cfg(feature = "cuda")]
    Cuda,
}

/// The largest resident memory of the process so far, in megabytes.
fn peak_memory() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.split_whitespace().next().ok_or("no number")?.parse::<u64>()? / 1000)
}

/// Milliseconds of each step, sorted.
fn times<T: Trainer>(
    name: &str,
    batch: usize,
    precision: Precision,
    encoder: &EncoderTuning,
    steps: usize,
) -> Result<Vec<f64>, Box<dyn Error>> {
    let config = SamConfig::named(name).ok_or("no model of this name")?;
    let dir = tempfile::tempdir()?;
    write_random(dir.path(), &config, 0)?;
    let base = Checkpoint::open(dir.path())?;
    let prompts = PromptEncoder::random(&config, 0, &Default::default())?;
    let params = TrainParams {
        batch_size: batch as u32,
        accumulation: 1,
        precision,
        encoder: encoder.clone(),
        ..Default::default()
    };
    let roles = Roles::new(&config, &params.tuning())?;
    let setup =
        Setup { config: &config, roles: &roles, prompts: &prompts, params: &params, base: Some(&base) };
    let mut trainer = T::new(&setup, roles.initial(&base, None, 0)?, &Default::default())?;

    let side = config.image_size() as f32;
    let bounds = [0.2 * side, 0.3 * side, 0.7 * side, 0.8 * side];
    let tokens = prompts.forward(&[ModelPrompt::of_box(bounds)])?.tokens();
    let places = feature_shape(&config, roles.place()).iter().product::<usize>();
    let embedding: Vec<f32> = (0..places).map(|i| ((i * i % 1009) as f32 / 504.5) - 1.0).collect();
    let low_res = config.low_res();
    let mask: Vec<u8> = (0..low_res * low_res).map(|i| u8::from(i % low_res > i / low_res)).collect();
    let image = Size::square(low_res as u32);
    let embedding = Embedding::F32(&embedding);
    let sample = Sample { name: "", embedding, row: 0, tokens: &tokens, mask: &mask, image };
    let samples = vec![sample; batch];

    let mut times = Vec::new();
    for step in 0..steps + 2 {
        let start = Instant::now();
        trainer.step(&samples, 1e-4)?;
        let outcomes = trainer.outcomes()?;
        // The first steps find their memory.
        if step >= 2 {
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        if !outcomes.iter().all(Outcome::is_taken) {
            return Err("the loss is no number".into());
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}
