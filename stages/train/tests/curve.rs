//! Training against PyTorch: the same checkpoint, samples and order, no jitter; every step's loss and the weights at the end.
//!
//! `tests/reference/curve_reference.py` made the fixture with `transformers`, MONAI, torchvision and PyTorch's own optimiser and
//! schedulers. An incomplete batch, an incomplete group, an empty mask and a full one are in it; and points, with masks of so few
//! pixels that every draw is all of them, so that the samples of a batch have differing numbers of tokens.

mod support;

use burn_autodiff::Autodiff;
use resect_checkpoint::Checkpoint;
use resect_checkpoint::NamedTensor;
use resect_checkpoint_records::{Epoch, Step, TUNED_FILE};
use resect_embeddings as embeddings;
use resect_geometry::View;
use resect_layers::{Cpu, Reference};
use resect_numeric::Dtype;
use resect_params::Runtime;
use resect_sam::is_idle;
use resect_stage::Reporter;
use resect_tables::table;
use resect_targets as targets;
use resect_train::{Inputs, ModelTrainer, Outcome, Sample, Setup, TrainError, Trainer, run_with};
use resect_train_params::{JitterUnit, Loss, Padding, Prompts, TrainParams};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use support::{Row, fixtures, tensors};

/// The trainer of the CPU.
type Kernels = ModelTrainer<Autodiff<Cpu>>;
/// The layers, the loss and AdamW in tensors.
type Tensors = ModelTrainer<Reference>;

/// Largest difference of a step's loss, relative.
const LOSS_TOLERANCE: f64 = 1e-4;
/// Largest difference of a weight at the end, absolute.
const WEIGHT_TOLERANCE: f32 = 1e-4;
/// The same for `k_proj.bias`: attention does not depend on it, so its gradients are rounding noise, of which AdamW makes steps.
const NOISE_TOLERANCE: f32 = 1e-3;
/// Of mixed precision against the same arithmetic in PyTorch: the first step's loss and the others', relative, and the mean over
/// weights at the end. What lies next to a tie is rounded this way or that by the last bit of a sum, and later steps are as far from
/// PyTorch's as those are from themselves with sums in double precision; the first loss is far closer than single precision is.
const MIXED_TOLERANCE: [(&str, f64, f64, f32); 2] = [("bf16", 4e-6, 2e-3, 1e-4), ("f16", 2e-5, 3e-4, 2e-5)];
/// A step's loss against `torch.autocast`, relative: it also rounds results and biases.
const AUTOCAST_TOLERANCE: f64 = 2e-3;
/// The same for what only decays: no gradient blurs it.
const DECAY_TOLERANCE: f32 = 2e-7;

#[derive(Deserialize)]
struct Fixture {
    /// Their embeddings stand beside them in a file.
    samples: Vec<Row>,
    variants: Vec<Variant>,
}

#[derive(Deserialize)]
struct Variant {
    name: String,
    settings: TrainParams,
    /// Those it trains on.
    samples: Vec<usize>,
    steps: Curve,
    /// File of the decoder at the end, where it was kept.
    weights: Option<String>,
}

/// One number for each step.
#[derive(Deserialize)]
struct Curve {
    loss: Vec<f64>,
    dice_loss: Vec<f64>,
    ce_loss: Vec<f64>,
    learning_rate: Vec<f64>,
    gradient_norm: Vec<f64>,
}

impl Fixture {
    fn read() -> Self {
        serde_json::from_slice(&std::fs::read(fixtures().join("curve/curve.json")).unwrap()).unwrap()
    }

    /// The variants of `precision_reference.py`, on the same samples.
    fn narrower() -> Vec<Variant> {
        serde_json::from_slice(&std::fs::read(fixtures().join("precision/curve.json")).unwrap()).unwrap()
    }

    /// The variant's settings, in the dataset's order and with tight boxes.
    fn params(variant: &Variant) -> TrainParams {
        TrainParams { jitter: 0, shuffle: false, ..variant.settings.clone() }
    }

    /// Writes some of the samples as `ingest` and `embed` do.
    fn write(&self, samples: &[usize]) -> Artifacts {
        let artifacts = Artifacts { dir: tempfile::tempdir().unwrap() };
        let base = Checkpoint::open(&fixtures().join("sam-tiny")).unwrap();
        let config = base.config();
        for part in ["targets", "embeddings"] {
            std::fs::create_dir(artifacts.path(part)).unwrap();
        }
        let mut writer =
            targets::Writer::create(&artifacts.path("targets"), config.low_res() as u32).unwrap();
        let names: Vec<String> = samples.iter().map(|i| format!("sample-{i}")).collect();
        for (&i, name) in samples.iter().zip(&names) {
            let (target, mask) = self.samples[i].target(name);
            writer.push(target, &mask).unwrap();
        }
        writer.finish(&serde_json::json!({}), &[]).unwrap();
        let [embedded] =
            <[_; 1]>::try_from(tensors(&fixtures().join("curve/embeddings.safetensors"))).unwrap();
        let shape = [config.embedding_channels(), config.grid(), config.grid()];
        let writer = embeddings::Writer::new(&artifacts.path("embeddings"), shape, Dtype::F32);
        let embedded: Vec<_> = embedded.data.chunks(shape.iter().product()).collect();
        writer.write_shard(0, &samples.iter().map(|&i| embedded[i]).collect::<Vec<_>>().concat()).unwrap();
        writer.finish(&names.iter().map(|name| (name.as_str(), View::Identity)).collect::<Vec<_>>()).unwrap();
        artifacts
    }
}

/// What the stage reads, and where it writes.
struct Artifacts {
    dir: tempfile::TempDir,
}

/// What a run leaves.
#[derive(Debug, PartialEq)]
struct Trained {
    steps: Vec<Step>,
    epochs: Vec<Epoch>,
    weights: Vec<NamedTensor>,
}

impl Artifacts {
    fn path(&self, part: &str) -> PathBuf {
        self.dir.path().join(part)
    }

    /// Runs the stage, with what is left in `state`.
    fn train<T: Trainer>(&self, params: &TrainParams, state: &str) -> Result<Trained, Box<TrainError>> {
        let (embeddings, targets) = (self.path("embeddings"), self.path("targets"));
        let (base, state) = (fixtures().join("sam-tiny"), self.path(state));
        let inputs = Inputs {
            embeddings: Some(&embeddings),
            images: None,
            targets: &targets,
            base: &base,
            adapter: None,
        };
        let out = tempfile::tempdir().unwrap();
        let out = out.path();
        std::fs::create_dir_all(&state).unwrap();
        let (device, runtime) = (T::Device::default(), Runtime::default());
        run_with::<T>(&device, &inputs, params, &runtime, out, &state, &Reporter::silent())?;
        Ok(Trained {
            steps: table::read(&out.join("history.parquet")).unwrap(),
            epochs: table::read(&out.join("epochs.parquet")).unwrap(),
            weights: tensors(&out.join(TUNED_FILE)),
        })
    }
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs()))
}

/// Trains every variant and holds it against PyTorch's.
fn lies_on_pytorchs_curve<T: Trainer>() {
    let fixture = Fixture::read();
    let came: HashMap<String, NamedTensor> = tensors(&fixtures().join("sam-tiny/model.safetensors"))
        .into_iter()
        .map(|tensor| (tensor.name.clone(), tensor))
        .collect();
    for variant in &fixture.variants {
        let name = &variant.name;
        let trained = fixture.write(&variant.samples).train::<T>(&Fixture::params(variant), name).unwrap();

        let curve = &variant.steps;
        assert_eq!(trained.steps.len(), curve.loss.len());
        let off = |found: fn(&Step) -> f64, expected: &[f64]| {
            let steps = trained.steps.iter().map(found).zip(expected);
            steps.map(|(a, b)| ((a - b) / b).abs()).fold(0.0, f64::max)
        };
        let loss = off(|step| step.loss, &curve.loss)
            .max(off(|step| step.dice_loss, &curve.dice_loss))
            .max(off(|step| step.ce_loss, &curve.ce_loss));
        let norm = off(|step| step.gradient_norm, &curve.gradient_norm);
        println!("{name}: loss off by {loss:.1e}, gradient norm by {norm:.1e}");
        assert!(loss <= LOSS_TOLERANCE, "{name}: {loss}");
        assert!(norm <= 1e-3, "{name}: {norm}");
        let rate = off(|step| step.learning_rate, &curve.learning_rate);
        assert!(rate <= 1e-9, "{name}: {rate}");
        let last = trained.epochs.last().unwrap();
        assert_eq!(last.learning_rate, Some(trained.steps.last().unwrap().learning_rate));

        let Some(weights) = &variant.weights else { continue };
        let expected = tensors(&fixtures().join("curve").join(weights));
        let mut found: HashMap<&str, &NamedTensor> =
            trained.weights.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        // Of rounding noise and of the rest.
        let mut worst = [0f32; 2];
        for tensor in &expected {
            let found = found.remove(tensor.name.as_str()).expect(&tensor.name);
            assert_eq!(found.shape, tensor.shape, "{}", tensor.name);
            let off = difference(&found.data, &tensor.data);
            let moved = difference(&came[&tensor.name].data, &tensor.data);
            let noise = tensor.name.ends_with("k_proj.bias");
            let allowed = if noise {
                NOISE_TOLERANCE
            } else if tensor.name.contains("iou_prediction_head") {
                assert_eq!(moved, 0.0, "{name}: {}", tensor.name);
                0.0
            } else if is_idle(&tensor.name) {
                assert!(moved > 10.0 * DECAY_TOLERANCE, "{name}: {} moved by {moved}", tensor.name);
                DECAY_TOLERANCE
            } else {
                // Otherwise a weight that does not learn would pass.
                assert!(moved > 10.0 * WEIGHT_TOLERANCE, "{name}: {} moved by {moved}", tensor.name);
                WEIGHT_TOLERANCE
            };
            assert!(off <= allowed, "{name}: {} is off by {off}", tensor.name);
            let worst = &mut worst[usize::from(!noise)];
            *worst = worst.max(off);
        }
        assert!(found.is_empty(), "{name}: {found:?}");
        println!("{name}: k_proj.bias off by {:.1e}, other weights by {:.1e}", worst[0], worst[1]);
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

/// Trains a variant of mixed precision; by how much the loss of each step differs from PyTorch's, relative, and the weights.
fn trained_in_mixed_precision<T: Trainer>(name: &str) -> (Vec<f64>, Vec<NamedTensor>) {
    let variant = Fixture::narrower().into_iter().find(|variant| variant.name == name).unwrap();
    let params = Fixture::params(&variant);
    assert!(name.starts_with(&params.precision.to_string()));
    let trained = Fixture::read().write(&variant.samples).train::<T>(&params, "state").unwrap();
    assert_eq!(trained.steps.len(), variant.steps.loss.len());
    let steps = trained.steps.iter().zip(&variant.steps.loss);
    (steps.map(|(step, loss)| ((step.loss - loss) / loss).abs()).collect(), trained.weights)
}

#[test]
fn kernels_of_narrower_precisions_lie_on_pytorchs_curves() {
    for (name, first_tolerance, tolerance, weight_tolerance) in MIXED_TOLERANCE {
        let (losses, weights) = trained_in_mixed_precision::<Kernels>(name);
        let expected = tensors(&fixtures().join(format!("precision/{name}.safetensors")));
        let expected = expected.into_iter().filter(|t| !t.name.ends_with("k_proj.bias"));
        let pairs = expected.flat_map(|tensor| {
            let found = weights.iter().find(|t| t.name == tensor.name).expect(&tensor.name);
            found.data.clone().into_iter().zip(tensor.data)
        });
        let apart: Vec<f32> = pairs.map(|(a, b)| (a - b).abs()).collect();
        let mean = apart.iter().sum::<f32>() / apart.len() as f32;
        let (first, worst) = (losses[0], losses.iter().copied().fold(0.0, f64::max));
        println!("{name}: loss off by {first:.1e}, then {worst:.1e}, weights by {mean:.1e} in the mean");
        assert!(first <= first_tolerance, "{name}: {first:e}");
        assert!(worst <= tolerance && mean <= weight_tolerance, "{name}: {worst:e} {mean:e}");
    }
}

#[test]
fn narrower_precisions_follow_autocast_by_kernels_and_in_tensors() {
    for name in ["bf16-autocast", "f16-autocast"] {
        let (kernels, _) = trained_in_mixed_precision::<Kernels>(name);
        let (tensors, _) = trained_in_mixed_precision::<Tensors>(name);
        for (path, losses) in [("kernels", kernels), ("tensors", tensors)] {
            let worst = losses.into_iter().fold(0.0, f64::max);
            println!("{name}: {path} off by {worst:.1e}");
            assert!(worst <= AUTOCAST_TOLERANCE, "{name}: {path} {worst:e}");
        }
    }
}

/// A trainer that ends with an error when it is saved after its eighth step.
struct Interrupted<T>(T, u32);

impl<T: Trainer> Trainer for Interrupted<T> {
    type Device = T::Device;

    const IS_REFERENCE: bool = T::IS_REFERENCE;

    const STEPS_AT_ONCE: usize = T::STEPS_AT_ONCE;

    fn new(setup: &Setup<'_>, tensors: Vec<NamedTensor>, device: &T::Device) -> Result<Self, TrainError> {
        Ok(Self(T::new(setup, tensors, device)?, 0))
    }

    fn step(&mut self, group: &[Sample<'_>], learning_rate: f64) -> Result<(), TrainError> {
        self.1 += 1;
        self.0.step(group, learning_rate)
    }

    fn outcomes(&mut self) -> Result<Vec<Outcome>, TrainError> {
        self.0.outcomes()
    }

    fn logits(&mut self, batch: &[Sample<'_>]) -> Vec<Vec<f32>> {
        self.0.logits(batch)
    }

    fn tensors(&self) -> Vec<NamedTensor> {
        self.0.tensors()
    }

    fn average(&self) -> Option<Vec<NamedTensor>> {
        self.0.average()
    }

    fn moments(&self) -> Vec<NamedTensor> {
        self.0.moments()
    }

    fn save(&self, dir: &Path) -> Result<(), TrainError> {
        if self.1 == 8 { Err(TrainError::NothingToTrain) } else { self.0.save(dir) }
    }

    fn restore(
        &mut self,
        dir: &Path,
        steps: u32,
        average: Option<Vec<NamedTensor>>,
    ) -> Result<(), TrainError> {
        self.0.restore(dir, steps, average)
    }
}

/// Trains at once and with an interruption.
fn resumes_to_the_bit<T: Trainer>(artifacts: &Artifacts, params: &TrainParams) {
    let at_once = artifacts.train::<T>(params, "at-once").unwrap();
    artifacts.train::<Interrupted<T>>(params, "interrupted").expect_err("it is interrupted");
    assert!(artifacts.path("interrupted").join("epoch-00003").exists());
    assert!(artifacts.train::<T>(params, "interrupted").unwrap() == at_once, "{params:?}");
}

/// Every variant.
fn variants_resume_to_the_bit<T: Trainer>() {
    let fixture = Fixture::read();
    let narrower = Fixture::narrower();
    for variant in fixture.variants.iter().chain(narrower.iter().filter(|v| v.name == "f16")) {
        resumes_to_the_bit::<T>(&fixture.write(&variant.samples), &Fixture::params(variant));
    }
}

#[test]
fn interrupted_schedules_go_on_where_they_stopped() {
    variants_resume_to_the_bit::<Kernels>();
    variants_resume_to_the_bit::<Tensors>();
}

/// Boxes that jitter and points from masks of many pixels.
fn mixed() -> TrainParams {
    TrainParams {
        epochs: 8,
        jitter_unit: JitterUnit::Percent,
        loss: Loss::DiceFocal,
        padding: Padding::Ignored,
        prompts: Prompts::Mixed,
        points: 4,
        ..TrainParams::default()
    }
}

/// The samples whose masks are neither empty nor tiny.
const LARGE: [usize; 4] = [0, 1, 2, 4];

#[test]
fn interrupted_draws_go_on_where_they_stopped() {
    // Two batches of two, in which boxes of two tokens and points of five meet.
    let (fixture, params) = (Fixture::read(), TrainParams { accumulation: 1, ..mixed() });
    resumes_to_the_bit::<Kernels>(&fixture.write(&LARGE), &params);
    resumes_to_the_bit::<Tensors>(&fixture.write(&LARGE), &params);
}

#[test]
fn prompts_are_drawn_anew_each_epoch_and_from_the_seed() {
    let fixture = Fixture::read();
    // One batch an epoch and no learning to speak of: a loss differs where prompts do.
    let params = TrainParams {
        epochs: 3,
        batch_size: 4,
        accumulation: 1,
        learning_rate: 1e-12,
        min_learning_rate: 1e-12,
        weight_decay: 0.0,
        shuffle: false,
        ..mixed()
    };
    let losses = |params: &TrainParams| {
        let trained = fixture.write(&LARGE).train::<Kernels>(params, "state").unwrap();
        trained.steps.iter().map(|step| step.loss).collect::<Vec<_>>()
    };
    let first = losses(&params);
    assert!(first[0] != first[1] && first[1] != first[2], "{first:?}");
    assert_eq!(losses(&params), first);
    assert_ne!(losses(&TrainParams { seed: 1, ..params.clone() }), first);
    // Of nothing but boxes and of nothing but points, the mixture has the latter's or the former's draws.
    let share = |box_share| losses(&TrainParams { box_share, ..params.clone() });
    assert_eq!(share(1.0), losses(&TrainParams { prompts: Prompts::Box, points: 1, ..params.clone() }));
    assert_eq!(share(0.0), losses(&TrainParams { prompts: Prompts::Point, ..params.clone() }));
    assert!(share(1.0)[0] != first[0] || share(1.0)[1] != first[1]);
}

#[test]
fn a_mask_without_a_pixel_cannot_be_pointed_at() {
    let params = TrainParams { prompts: Prompts::Point, ..TrainParams::default() };
    let error = Fixture::read().write(&[0, 3]).train::<Kernels>(&params, "state").unwrap_err();
    assert!(matches!(&*error, TrainError::NoPoint(target) if target == "sample-3"), "{error}");
}

#[test]
fn a_warm_up_longer_than_training_is_refused_before_it_starts() {
    let fixture = Fixture::read();
    let steps = fixture.variants.iter().find(|variant| variant.name == "steps").unwrap();
    let params = TrainParams { warmup_steps: 16, ..Fixture::params(steps) };
    let error = fixture.write(&steps.samples).train::<Kernels>(&params, "state").unwrap_err();
    assert!(matches!(*error, TrainError::WarmUp { warmup: 16, steps: 16 }), "{error}");
}
