//! Training against PyTorch: the same checkpoint, samples and order, no jitter; every step's loss and the weights at the end.
//!
//! `tests/reference/curve_reference.py` made the fixture with `transformers`, MONAI and PyTorch's own optimiser and schedulers. An
//! incomplete batch, an incomplete group, an empty mask and a full one are in it.

use burn::backend::Autodiff;
use resect_checkpoint::{Checkpoint, SamConfig, TensorFile};
use resect_data::checkpoint::{DECODER_FILE, Epoch, Step};
use resect_data::targets::{self, Split, Target};
use resect_data::{embeddings, table};
use resect_geometry::{Mask, Size};
use resect_params::{Runtime, TrainParams};
use resect_sam::{Cpu, NamedTensor, PromptEncoder, is_idle};
use resect_stage::Reporter;
use resect_train::{Inputs, Sample, TapeTrainer, TensorTrainer, TrainError, Trainer, Values, run_with};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Largest difference of a step's loss, relative.
const LOSS_TOLERANCE: f64 = 1e-4;
/// Largest difference of a weight at the end, absolute.
const WEIGHT_TOLERANCE: f32 = 1e-4;
/// The same for `k_proj.bias`: attention does not depend on it, so its gradients are rounding noise, of which AdamW makes steps.
const NOISE_TOLERANCE: f32 = 1e-3;
/// The same for what only decays: no gradient blurs it.
const DECAY_TOLERANCE: f32 = 2e-7;

#[derive(Deserialize)]
struct Fixture {
    samples: Vec<Row>,
    variants: Vec<Variant>,
}

/// A sample; its embedding stands beside it in a file of its own.
#[derive(Deserialize)]
struct Row {
    /// Height and width of the original image.
    size: [u32; 2],
    /// Height and width within the model input.
    resized: [u32; 2],
    /// Left, top, right, bottom; inclusive.
    #[serde(rename = "box")]
    bounds: [u32; 4],
    /// Lengths of the runs of equal pixels, zeros first.
    mask: Vec<usize>,
}

#[derive(Deserialize)]
struct Variant {
    name: String,
    settings: TrainParams,
    steps: Curve,
}

/// One number for each step.
#[derive(Deserialize)]
struct Curve {
    loss: Vec<f64>,
    learning_rate: Vec<f64>,
    gradient_norm: Vec<f64>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

fn tensors(path: &Path) -> Vec<NamedTensor> {
    TensorFile::open(path).unwrap().read_all().unwrap()
}

impl Fixture {
    fn read() -> Self {
        serde_json::from_slice(&std::fs::read(fixtures().join("curve/curve.json")).unwrap()).unwrap()
    }

    /// The variant's settings, in the dataset's order and with tight boxes.
    fn params(variant: &Variant) -> TrainParams {
        TrainParams { jitter: 0, shuffle: false, ..variant.settings.clone() }
    }

    /// Writes the samples as `ingest` and `embed` do.
    fn write(&self) -> Artifacts {
        let artifacts = Artifacts { dir: tempfile::tempdir().unwrap() };
        let base = Checkpoint::open(&fixtures().join("sam-tiny")).unwrap();
        let config = base.config();
        for part in ["targets", "embeddings"] {
            std::fs::create_dir(artifacts.path(part)).unwrap();
        }
        let mut writer =
            targets::Writer::create(&artifacts.path("targets"), config.low_res() as u32).unwrap();
        let names: Vec<String> = (0..self.samples.len()).map(|i| format!("sample-{i}")).collect();
        for (row, name) in self.samples.iter().zip(&names) {
            let (target, mask) = row.target(name);
            writer.push(target, &mask).unwrap();
        }
        writer.finish(&serde_json::json!({}), &[]).unwrap();
        let [embedded] =
            <[_; 1]>::try_from(tensors(&fixtures().join("curve/embeddings.safetensors"))).unwrap();
        let shape = [config.embedding_channels(), config.grid(), config.grid()];
        let writer = embeddings::Writer::new(&artifacts.path("embeddings"), shape, embeddings::Dtype::F32);
        writer.write_shard(0, &embedded.data).unwrap();
        writer.finish(&names.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        artifacts
    }
}

impl Row {
    fn target(&self, name: &str) -> (Target, Mask) {
        let ([height, width], [resized_height, resized_width]) = (self.size, self.resized);
        let runs = self.mask.iter().enumerate();
        let pixels: Vec<bool> =
            runs.flat_map(|(i, &length)| std::iter::repeat_n(i % 2 == 1, length)).collect();
        let mask = Mask::new(Size::new(height, width), pixels);
        let [x0, y0, x1, y1] = self.bounds;
        if let Some(tight) = mask.bounding_box() {
            assert_eq!([tight.x0, tight.y0, tight.x1, tight.y1], self.bounds);
        }
        let target = Target {
            id: name.into(),
            sample: name.into(),
            pixel_hash: name.into(),
            split: Split::Train,
            given_split: String::new(),
            group: name.into(),
            height,
            width,
            resized_height,
            resized_width,
            x0,
            y0,
            x1,
            y1,
            area_fraction: mask.area() as f64 / f64::from(height * width),
            components: 1,
            specks_removed: 0,
            noisy_mask: false,
            touches_border: false,
            near_duplicate_of: String::new(),
        };
        (target, mask)
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
        let inputs = Inputs { embeddings: &embeddings, targets: &targets, base: &base };
        let out = tempfile::tempdir().unwrap();
        let out = out.path();
        std::fs::create_dir_all(&state).unwrap();
        let (device, runtime) = (T::Device::default(), Runtime::default());
        run_with::<T>(&device, &inputs, params, &runtime, out, &state, &Reporter::silent())?;
        Ok(Trained {
            steps: table::read(&out.join("history.parquet")).unwrap(),
            epochs: table::read(&out.join("epochs.parquet")).unwrap(),
            weights: tensors(&out.join(DECODER_FILE)),
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
    let artifacts = fixture.write();
    let came: HashMap<String, NamedTensor> = tensors(&fixtures().join("sam-tiny/model.safetensors"))
        .into_iter()
        .map(|tensor| (tensor.name.clone(), tensor))
        .collect();
    for variant in &fixture.variants {
        let name = &variant.name;
        let trained = artifacts.train::<T>(&Fixture::params(variant), name).unwrap();

        let curve = &variant.steps;
        assert_eq!(trained.steps.len(), curve.loss.len());
        let off = |found: fn(&Step) -> f64, expected: &[f64]| {
            let steps = trained.steps.iter().map(found).zip(expected);
            steps.map(|(a, b)| ((a - b) / b).abs()).fold(0.0, f64::max)
        };
        let loss = off(|step| step.loss, &curve.loss);
        let norm = off(|step| step.gradient_norm, &curve.gradient_norm);
        println!("{name}: loss off by {loss:.1e}, gradient norm by {norm:.1e}");
        assert!(loss <= LOSS_TOLERANCE, "{name}: {loss}");
        assert!(norm <= 1e-3, "{name}: {norm}");
        let rate = off(|step| step.learning_rate, &curve.learning_rate);
        assert!(rate <= 1e-9, "{name}: {rate}");
        let last = trained.epochs.last().unwrap();
        assert_eq!(last.learning_rate, Some(trained.steps.last().unwrap().learning_rate));

        let expected = tensors(&fixtures().join(format!("curve/{name}.safetensors")));
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
fn tapes_lie_on_pytorchs_curve() {
    lies_on_pytorchs_curve::<TapeTrainer>();
}

#[test]
fn tensors_lie_on_pytorchs_curve() {
    lies_on_pytorchs_curve::<TensorTrainer<Autodiff<Cpu>>>();
}

/// A trainer that ends with an error when it is saved after its eighth step.
struct Interrupted<T>(T, u32);

impl<T: Trainer> Trainer for Interrupted<T> {
    type Device = T::Device;

    const IS_REFERENCE: bool = T::IS_REFERENCE;

    fn new(
        config: &SamConfig,
        tensors: Vec<NamedTensor>,
        prompts: &PromptEncoder<Cpu>,
        params: &TrainParams,
        device: &T::Device,
    ) -> Result<Self, TrainError> {
        Ok(Self(T::new(config, tensors, prompts, params, device)?, 0))
    }

    fn learn(&mut self, batch: &[Sample<'_>]) -> Values {
        self.0.learn(batch)
    }

    fn step(&mut self, learning_rate: f64) -> f64 {
        self.1 += 1;
        self.0.step(learning_rate)
    }

    fn logits(&mut self, batch: &[Sample<'_>]) -> Vec<Vec<f32>> {
        self.0.logits(batch)
    }

    fn tensors(&self) -> Vec<NamedTensor> {
        self.0.tensors()
    }

    fn save(&self, dir: &Path) -> Result<(), TrainError> {
        if self.1 == 8 { Err(TrainError::NothingToTrain) } else { self.0.save(dir) }
    }

    fn restore(&mut self, dir: &Path, steps: u32) -> Result<(), TrainError> {
        self.0.restore(dir, steps)
    }
}

/// Trains every variant at once and with an interruption.
fn resumes_to_the_bit<T: Trainer>() {
    let fixture = Fixture::read();
    let artifacts = fixture.write();
    for variant in &fixture.variants {
        let params = Fixture::params(variant);
        let at_once = artifacts.train::<T>(&params, &format!("{}-at-once", variant.name)).unwrap();
        let state = format!("{}-interrupted", variant.name);
        artifacts.train::<Interrupted<T>>(&params, &state).expect_err("it is interrupted");
        assert!(artifacts.path(&state).join("epoch-00003").exists());
        assert!(artifacts.train::<T>(&params, &state).unwrap() == at_once, "{}", variant.name);
    }
}

#[test]
fn interrupted_schedules_go_on_where_they_stopped() {
    resumes_to_the_bit::<TapeTrainer>();
    resumes_to_the_bit::<TensorTrainer<Autodiff<Cpu>>>();
}

#[test]
fn a_warm_up_longer_than_training_is_refused_before_it_starts() {
    let fixture = Fixture::read();
    let steps = fixture.variants.iter().find(|variant| variant.name == "steps").unwrap();
    let params = TrainParams { warmup_steps: 16, ..Fixture::params(steps) };
    let error = fixture.write().train::<TapeTrainer>(&params, "state").unwrap_err();
    assert!(matches!(*error, TrainError::WarmUp { warmup: 16, steps: 16 }), "{error}");
}
