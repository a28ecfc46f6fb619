//! Tuning of the image encoder against PyTorch: LoRA of peft, and all parameters; every tensor's gradient, every step's loss and the
//! weights at the end.
//!
//! `tests/reference/tuning_reference.py` made the fixture with `transformers`, peft, MONAI and PyTorch's own optimiser. Its adapters do
//! not start from zero.

mod support;

use burn::tensor::Tensor;
use burn_autodiff::Autodiff;
use resect_checkpoint::{Checkpoint, NamedTensor};
use resect_checkpoint_records::{Epoch, Step, TUNED_FILE};
use resect_embeddings::{self as embeddings, Embedding};
use resect_encoder::ImageEncoder;
use resect_geometry::{Size, View};
use resect_images as images;
use resect_layers::{Cpu, Reference};
use resect_numeric::{Dtype, Place};
use resect_params::Runtime;
use resect_prompt::ModelPrompt;
use resect_sam::PromptEncoder;
use resect_stage::Reporter;
use resect_tables::table;
use resect_targets as targets;
use resect_train::{Inputs, ModelTrainer, Roles, Sample, Setup, TrainError, Trainer, run_with};
use resect_train_params::TrainParams;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use support::{Row, fixtures};

/// The trainer of the CPU.
type Kernels = ModelTrainer<Autodiff<Cpu>>;
/// The layers in tensors.
type Tensors = ModelTrainer<Reference>;

/// Largest difference of a step's loss, relative.
const LOSS_TOLERANCE: f64 = 1e-4;
/// Largest difference of a weight at the end, absolute.
const WEIGHT_TOLERANCE: f32 = 1e-4;
/// The same for tensors whose gradients are rounding noise, of which AdamW makes steps: attention does not depend on the bias of keys.
const NOISE_TOLERANCE: f32 = 5e-3;
/// Largest difference of a tensor's gradient, of its norm.
const GRADIENT_TOLERANCE: f32 = 1e-3;

#[derive(Deserialize)]
struct Samples {
    samples: Vec<Row>,
}

#[derive(Deserialize)]
struct Variant {
    name: String,
    settings: TrainParams,
    samples: Vec<usize>,
    steps: Curve,
}

#[derive(Deserialize)]
struct Curve {
    loss: Vec<f64>,
    dice_loss: Vec<f64>,
    ce_loss: Vec<f64>,
    gradient_norm: Vec<f64>,
}

fn tensors(path: &Path) -> BTreeMap<String, NamedTensor> {
    support::tensors(path).into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect()
}

fn variants() -> Vec<Variant> {
    serde_json::from_slice(&std::fs::read(fixtures().join("tuning/tuning.json")).unwrap()).unwrap()
}

fn variant(name: &str) -> Variant {
    variants().into_iter().find(|variant| variant.name == name).unwrap()
}

/// What the stage reads.
struct Artifacts {
    dir: tempfile::TempDir,
}

/// What a run leaves.
#[derive(Debug, PartialEq)]
struct Trained {
    steps: Vec<Step>,
    epochs: Vec<Epoch>,
    weights: Vec<u8>,
}

impl Trained {
    fn tensors(&self) -> BTreeMap<String, NamedTensor> {
        let file = tempfile::NamedTempFile::with_suffix(".safetensors").unwrap();
        std::fs::write(file.path(), &self.weights).unwrap();
        tensors(file.path())
    }
}

impl Artifacts {
    /// Writes images and targets as `ingest` does.
    fn write(chosen: &[usize]) -> Self {
        let all: Samples =
            serde_json::from_slice(&std::fs::read(fixtures().join("curve/curve.json")).unwrap()).unwrap();
        let pixels = &tensors(&fixtures().join("tuning/pixels.safetensors"))["pixels"];
        let artifacts = Self { dir: tempfile::tempdir().unwrap() };
        let config = artifacts.base().config().clone();
        let (side, low_res) = (config.image_size(), config.low_res() as u32);
        for part in ["targets", "images"] {
            std::fs::create_dir(artifacts.path(part)).unwrap();
        }
        let mut to_targets = targets::Writer::create(&artifacts.path("targets"), low_res).unwrap();
        let mut to_images = images::Writer::new(&artifacts.path("images"), side as u32);
        for &i in chosen {
            let name = format!("sample-{i}");
            let (mut target, mask) = all.samples[i].target(&name);
            let resized = target.resized();
            let planes = pixels.data[i * 3 * side * side..].chunks(side * side).take(3);
            let rows = planes.flat_map(|plane| plane.chunks(side).take(resized.height as usize));
            let pixels: Vec<u8> =
                rows.flat_map(|row| row[..resized.width as usize].iter().map(|x| *x as u8)).collect();
            target.pixel_hash = images::pixel_hash(resized, &pixels);
            let pixel_hash = target.pixel_hash.clone();
            to_targets.push(target, &mask).unwrap();
            to_images
                .push(images::Image { id: name, pixel_hash, original: mask.size(), resized, pixels })
                .unwrap();
        }
        to_targets.finish(&serde_json::json!({}), &[]).unwrap();
        to_images.finish().unwrap();
        artifacts
    }

    fn path(&self, part: &str) -> PathBuf {
        self.dir.path().join(part)
    }

    fn base(&self) -> Checkpoint {
        Checkpoint::open(&fixtures().join("sam-tiny")).unwrap()
    }

    /// Runs the stage, with what is left in `state`.
    fn train<T: Trainer>(
        &self,
        variant: &Variant,
        params: &TrainParams,
        state: &str,
    ) -> Result<Trained, Box<TrainError>> {
        let [embeddings, targets, images, state] =
            ["embeddings", "targets", "images", state].map(|part| self.path(part));
        let (base, adapter) = (fixtures().join("sam-tiny"), fixtures().join("tuning").join(&variant.name));
        let inputs = Inputs {
            embeddings: embeddings.exists().then_some(&embeddings),
            images: Some(&images),
            targets: &targets,
            base: &base,
            adapter: adapter.exists().then_some(&adapter),
        };
        let out = tempfile::tempdir().unwrap();
        let out = out.path();
        std::fs::create_dir_all(&state).unwrap();
        let (device, runtime) = (T::Device::default(), Runtime::default());
        run_with::<T>(&device, &inputs, params, &runtime, out, &state, &Reporter::silent())?;
        Ok(Trained {
            steps: table::read(&out.join("history.parquet")).unwrap(),
            epochs: table::read(&out.join("epochs.parquet")).unwrap(),
            weights: std::fs::read(out.join(TUNED_FILE)).unwrap(),
        })
    }
}

/// The variant's settings, in the dataset's order and with tight boxes.
fn params(variant: &Variant) -> TrainParams {
    TrainParams { jitter: 0, shuffle: false, ..variant.settings.clone() }
}

fn norm(values: impl Iterator<Item = f32>) -> f32 {
    values.map(|x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt() as f32
}

/// Whether gradients of a tensor are rounding noise: attention does not depend on the bias of keys, which is a third of that of `qkv`.
fn is_noise(name: &str) -> bool {
    name.ends_with("k_proj.bias") || name.ends_with("qkv.bias")
}

fn normalised(image: &images::ImageRef<'_>, side: usize) -> Vec<f32> {
    let (height, width) = (image.resized.height as usize, image.resized.width as usize);
    resect_encoder::normalise(image.pixels, height, width, side).unwrap()
}

/// What late LoRA reads: the tokens that enter a block, in single precision.
fn write_tokens(artifacts: &Artifacts, block: usize) {
    let checkpoint = artifacts.base();
    let config = checkpoint.config();
    let encoder = ImageEncoder::<Cpu>::load(&checkpoint, &Default::default()).unwrap();
    let stored = images::Images::open(&artifacts.path("images")).unwrap();
    std::fs::create_dir(artifacts.path("embeddings")).unwrap();
    let shape = [config.grid(), config.grid(), config.vision.hidden_size];
    let writer =
        embeddings::Writer::new(&artifacts.path("embeddings"), shape, Dtype::F32).at(Place::Block(block));
    let (mut hashes, mut tokens) = (Vec::new(), Vec::<f32>::new());
    for image in stored.iter() {
        let side = config.image_size();
        let pixels = normalised(&image, side);
        let pixels = Tensor::<Cpu, 1>::from_data(pixels.as_slice(), &Default::default());
        let found = encoder.forward_to(Place::Block(block), pixels.reshape([1, 3, side, side]));
        hashes.push((image.pixel_hash.to_owned(), View::Identity));
        tokens.extend(found.into_data().to_vec::<f32>().unwrap());
    }
    writer.write_shard(0, &tokens).unwrap();
    let rows: Vec<_> = hashes.iter().map(|(hash, view)| (hash.as_str(), *view)).collect();
    writer.finish(&rows).unwrap();
}

fn artifacts(variant: &Variant) -> Artifacts {
    let artifacts = Artifacts::write(&variant.samples);
    let config = artifacts.base().config().clone();
    if let Place::Block(block) = variant.settings.tuning().place(&config).unwrap() {
        write_tokens(&artifacts, block);
    }
    artifacts
}

fn gradients_are_pytorchs<T: Trainer>() {
    for variant in variants() {
        let name = &variant.name;
        // One step over all batches, whose first moment is a tenth of the gradient.
        let params = TrainParams {
            epochs: 1,
            accumulation: 3,
            learning_rate: 1e-12,
            min_learning_rate: 0.0,
            ..params(&variant)
        };
        let artifacts = artifacts(&variant);
        artifacts.train::<T>(&variant, &params, "state").unwrap();
        let moments = tensors(&artifacts.path("state/epoch-00001/moments.safetensors"));
        let expected = tensors(&fixtures().join(format!("tuning/{name}-gradients.safetensors")));
        let all = norm(expected.values().flat_map(|tensor| tensor.data.iter().copied()));
        let mut worst = 0f32;
        for (tensor, expected) in &expected {
            let Some(found) = moments.get(&format!("first.{tensor}")) else {
                // Those of the masks that are not trained on are zero.
                assert_eq!(norm(expected.data.iter().copied()), 0.0, "{name}: {tensor}");
                continue;
            };
            assert_eq!(found.shape, expected.shape, "{name}: {tensor}");
            let apart = norm(found.data.iter().zip(&expected.data).map(|(a, b)| 10.0 * a - b));
            let size = norm(expected.data.iter().copied()).max(1e-3 * all);
            worst = worst.max(apart / size);
            assert!(apart <= GRADIENT_TOLERANCE * size, "{name}: {tensor} is off by {}", apart / size);
        }
        let learning = moments.keys().filter(|tensor| tensor.starts_with("first."));
        assert!(learning.clone().count() > 20);
        for tensor in learning {
            assert!(
                expected.contains_key(&tensor["first.".len()..]),
                "{name}: {tensor} has no gradient in PyTorch"
            );
        }
        println!("{name}: gradients off by {worst:.1e}");
    }
}

#[test]
fn gradients_of_the_kernels_are_pytorchs() {
    gradients_are_pytorchs::<Kernels>();
}

#[test]
fn gradients_of_the_layers_in_tensors_are_pytorchs() {
    gradients_are_pytorchs::<Tensors>();
}

fn lies_on_pytorchs_curve<T: Trainer>() {
    for variant in variants() {
        let name = &variant.name;
        let trained = artifacts(&variant).train::<T>(&variant, &params(&variant), "state").unwrap();
        let curve = &variant.steps;
        assert_eq!(trained.steps.len(), curve.loss.len());
        let off = |found: fn(&Step) -> f64, expected: &[f64]| {
            let steps = trained.steps.iter().map(found).zip(expected);
            steps.map(|(a, b)| ((a - b) / b).abs()).fold(0.0, f64::max)
        };
        let loss = off(|step| step.loss, &curve.loss)
            .max(off(|step| step.dice_loss, &curve.dice_loss))
            .max(off(|step| step.ce_loss, &curve.ce_loss));
        let norms = off(|step| step.gradient_norm, &curve.gradient_norm);
        println!("{name}: loss off by {loss:.1e}, gradient norm by {norms:.1e}");
        assert!(loss <= LOSS_TOLERANCE, "{name}: {loss}");
        assert!(norms <= 1e-3, "{name}: {norms}");

        let (found, expected) =
            (trained.tensors(), tensors(&fixtures().join(format!("tuning/{name}-weights.safetensors"))));
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        let mut worst = 0f32;
        for (tensor, expected) in &expected {
            let found = &found[tensor];
            assert_eq!(found.shape, expected.shape, "{tensor}");
            let off = found.data.iter().zip(&expected.data).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            let allowed = if is_noise(tensor) { NOISE_TOLERANCE } else { WEIGHT_TOLERANCE };
            assert!(off <= allowed, "{name}: {tensor} is off by {off}");
            worst = worst.max(if is_noise(tensor) { 0.0 } else { off });
        }
        println!("{name}: weights off by {worst:.1e}");
    }
}

#[test]
fn kernels_lie_on_pytorchs_curve() {
    lies_on_pytorchs_curve::<Kernels>();
}

#[test]
fn tensors_lie_on_pytorchs_curve() {
    lies_on_pytorchs_curve::<Tensors>();
}

/// The frozen blocks before the first tuned one are computed once, and the result is what it would be if they were computed each time.
#[test]
fn late_lora_from_stored_tokens_is_late_lora_from_pixels_to_the_bit() {
    let variant = variant("late-lora");
    let (artifacts, params) = (Artifacts::write(&variant.samples), params(&variant));
    let (checkpoint, device) = (artifacts.base(), Default::default());
    let config = checkpoint.config();
    let prompts = PromptEncoder::load(&checkpoint, &Default::default()).unwrap();
    let encoder = ImageEncoder::<Cpu>::load(&checkpoint, &Default::default()).unwrap();
    let (side, low_res) = (config.image_size(), config.low_res());
    let stored = images::Images::open(&artifacts.path("images")).unwrap();
    let pixels: Vec<Vec<f32>> = stored.iter().map(|image| normalised(&image, side)).collect();
    let tokens: Vec<f32> = prompts.forward(&[ModelPrompt::of_box([9.0, 12.0, 50.0, 40.0])]).unwrap().tokens();
    let mask: Vec<u8> = (0..low_res * low_res).map(|i| u8::from(i % low_res > i / low_res)).collect();
    let roles = Roles::new(config, &params.tuning()).unwrap();
    assert_eq!(roles.place(), Place::Block(1));
    let trained = |place: Place| {
        let roles = roles.clone().from_place(place);
        let features: Vec<Vec<f32>> = pixels
            .iter()
            .map(|pixels| {
                let pixels = Tensor::<Cpu, 1>::from_data(pixels.as_slice(), &Default::default());
                let found = encoder.forward_to(place, pixels.reshape([1, 3, side, side]));
                found.into_data().to_vec().unwrap()
            })
            .collect();
        let setup =
            Setup { config, roles: &roles, prompts: &prompts, params: &params, base: Some(&checkpoint) };
        let adapter = fixtures().join("tuning/late-lora");
        let tensors = roles.initial(&checkpoint, Some(&adapter), 0).unwrap();
        let mut trainer = Kernels::new(&setup, tensors.clone(), &device).unwrap();
        let samples: Vec<Sample<'_>> = features
            .iter()
            .enumerate()
            .map(|(row, features)| Sample {
                name: "",
                embedding: Embedding::F32(features),
                row,
                tokens: &tokens,
                mask: &mask,
                image: Size::square(low_res as u32),
            })
            .collect();
        let logits = trainer.logits(&samples);
        for group in samples.chunks(4).cycle().take(4) {
            trainer.step(group, 1e-3).unwrap();
        }
        let outcomes = trainer.outcomes().unwrap();
        assert_ne!(trainer.tensors(), tensors);
        (logits, outcomes, trainer.tensors(), trainer.moments())
    };
    let from_tokens = trained(Place::Block(1));
    assert!(from_tokens == trained(Place::Pixels));
    assert!(from_tokens == trained(Place::Block(0)));
}
