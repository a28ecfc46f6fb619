//! The loop around a trainer: what is kept, when it stops, what a restart resumes from, and what is no number.

mod support;

use burn_autodiff::Autodiff;
use resect_checkpoint::NamedTensor;
use resect_checkpoint::{Checkpoint, TensorFile, write_safetensors};
use resect_checkpoint_records::{Epoch, SelectedBy, Step, Summary, TUNED_FILE};
use resect_embeddings as embeddings;
use resect_geometry::{Mask, Size, View};
use resect_layers::{Cpu, Reference};
use resect_numeric::Dtype;
use resect_params::Runtime;
use resect_stage::Reporter;
use resect_tables::table;
use resect_target_records::{Split, Target};
use resect_targets as targets;
use resect_train::{Inputs, ModelTrainer, Outcome, Sample, Setup, Stepped, TrainError, Trainer, run_with};
use resect_train_params::{Keep, TrainParams};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The trainer of the CPU.
type Kernels = ModelTrainer<Autodiff<Cpu>>;
/// The layers, the loss and AdamW in tensors.
type Tensors = ModelTrainer<Reference>;

const TRAIN: usize = 7;
const VALIDATION: usize = 3;

/// What the stage reads, and where it writes.
struct Project {
    dir: tempfile::TempDir,
    base: PathBuf,
}

/// What a run leaves: all its files, and some of them as what they are.
struct Trained {
    files: BTreeMap<String, Vec<u8>>,
    summary: Summary,
    steps: Vec<Step>,
    epochs: Vec<Epoch>,
    weights: Vec<NamedTensor>,
}

impl Project {
    /// Seven samples to learn from and so many to score on. The embedding of one may be spoilt.
    fn new(validation: usize, spoilt: Option<usize>) -> Self {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/sam-tiny");
        let project = Self { dir: tempfile::tempdir().unwrap(), base };
        let config = Checkpoint::open(&project.base).unwrap().config().clone();
        let side = config.low_res() as u32;
        let count = TRAIN + validation;
        std::fs::create_dir(project.path("targets")).unwrap();
        let mut writer = targets::Writer::create(&project.path("targets"), side).unwrap();
        for i in 0..count {
            let split = if i < TRAIN { Split::Train } else { Split::Validation };
            let (target, mask) = target(i as u32, side, split);
            writer.push(target, &mask).unwrap();
        }
        writer.finish(&serde_json::json!({}), &[]).unwrap();
        project.embed(validation, spoilt);
        project
    }

    fn embed(&self, validation: usize, spoilt: Option<usize>) {
        let config = Checkpoint::open(&self.base).unwrap().config().clone();
        let dir = self.path("embeddings");
        std::fs::create_dir_all(&dir).unwrap();
        let shape = [config.embedding_channels(), config.grid(), config.grid()];
        let places: usize = shape.iter().product();
        // Noise, and in the mask something to be learnt.
        let grid = config.grid();
        let number = |sample: usize, i: usize| {
            let (channel, y, x) = (i / (grid * grid), i / grid % grid, i % grid);
            let noise = ((i * (i + sample) % 1009) as f32 / 504.5) - 1.0;
            let sign = if channel % 2 == 0 { 0.5 } else { -0.5 };
            let inside = rectangle(sample as u32, 4 * grid as u32)(4 * x as u32, 4 * y as u32);
            match spoilt {
                Some(spoilt) if spoilt == sample => f32::MAX,
                _ if inside => noise + sign,
                _ => noise,
            }
        };
        let count = TRAIN + validation;
        let rows: Vec<f32> =
            (0..count).flat_map(|s| (0..places).map(move |i| (s, i))).map(|(s, i)| number(s, i)).collect();
        let writer = embeddings::Writer::new(&dir, shape, Dtype::F32);
        writer.write_shard(0, &rows).unwrap();
        let names: Vec<String> = (0..count).map(name).collect();
        writer.finish(&names.iter().map(|name| (name.as_str(), View::Identity)).collect::<Vec<_>>()).unwrap();
    }

    fn path(&self, part: &str) -> PathBuf {
        self.dir.path().join(part)
    }

    /// Runs the stage, with what is left in the folder `state`.
    fn train<T: Trainer>(
        &self,
        params: &TrainParams,
        runtime: &Runtime,
        state: &str,
    ) -> Result<Trained, Box<TrainError>> {
        let (embeddings, targets) = (self.path("embeddings"), self.path("targets"));
        let inputs = Inputs {
            embeddings: Some(&embeddings),
            images: None,
            targets: &targets,
            base: &self.base,
            adapter: None,
        };
        let state = self.path(state);
        std::fs::create_dir_all(&state).unwrap();
        let out = tempfile::tempdir().unwrap();
        let out = out.path();
        run_with::<T>(&Default::default(), &inputs, params, runtime, out, &state, &Reporter::silent())?;
        let entries = std::fs::read_dir(out).unwrap().map(|entry| entry.unwrap());
        Ok(Trained {
            files: entries
                .map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap()))
                .collect(),
            summary: Summary::read(out).unwrap(),
            steps: table::read(&out.join("history.parquet")).unwrap(),
            epochs: table::read(&out.join("epochs.parquet")).unwrap(),
            weights: TensorFile::open(&out.join(TUNED_FILE)).unwrap().read_all().unwrap(),
        })
    }

    /// The names of what is saved in a state folder.
    fn saved(&self, state: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(state)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("epoch-")).collect()
    }
}

fn name(sample: usize) -> String {
    format!("sample-{sample}")
}

/// Left, top, right and bottom of a sample's mask, each somewhere else.
fn bounds(i: u32, side: u32) -> [u32; 4] {
    let (x0, y0) = (3 * i % (side / 2), 5 * i % (side / 2));
    [x0, y0, x0 + side / 4 + i, y0 + side / 3]
}

/// Whether a pixel lies in a sample's mask.
fn rectangle(i: u32, side: u32) -> impl Fn(u32, u32) -> bool {
    let [x0, y0, x1, y1] = bounds(i, side);
    move |x, y| (x0..=x1).contains(&x) && (y0..=y1).contains(&y)
}

fn target(i: u32, side: u32, split: Split) -> (Target, Mask) {
    let inside = rectangle(i, side);
    let pixels = (0..side * side).map(|p| inside(p % side, p / side)).collect();
    let mask = Mask::new(Size::new(side, side), pixels);
    let resized = Size::square(4 * side);
    (support::target(&name(i as usize), split, resized, &mask, bounds(i, side)), mask)
}

/// Four steps an epoch: two batches each, the last one of one batch.
fn params() -> TrainParams {
    TrainParams {
        epochs: 3,
        batch_size: 1,
        accumulation: 2,
        learning_rate: 1e-3,
        min_learning_rate: 1e-5,
        jitter: 3,
        ..Default::default()
    }
}

fn every_step() -> Runtime {
    Runtime { save_steps: 1, ..Default::default() }
}

thread_local! {
    /// Saves that succeed before one does not.
    static SAVES: Cell<u32> = const { Cell::new(u32::MAX) };
    /// The weights after each step.
    static WEIGHTS: RefCell<Vec<Vec<NamedTensor>>> = const { RefCell::new(Vec::new()) };
    /// The step whose gradient is no number.
    static BAD_STEP: Cell<usize> = const { Cell::new(usize::MAX) };
    /// The name that a save is to have, and cannot: a file has it.
    static TAKEN: Cell<&'static str> = const { Cell::new("") };
}

/// A trainer that is watched, and disturbed: by a save that breaks off half-way, by a gradient that overflows.
struct Watched<T>(T);

impl<T: Trainer> Trainer for Watched<T> {
    type Device = T::Device;

    /// Otherwise the comparison with the CPU would be watched, too.
    const IS_REFERENCE: bool = true;

    const STEPS_AT_ONCE: usize = T::STEPS_AT_ONCE;

    fn new(setup: &Setup<'_>, tensors: Vec<NamedTensor>, device: &T::Device) -> Result<Self, TrainError> {
        Ok(Self(T::new(setup, tensors, device)?))
    }

    fn step(&mut self, group: &[Sample<'_>], learning_rate: f64) -> Result<(), TrainError> {
        self.0.step(group, learning_rate)?;
        WEIGHTS.with_borrow_mut(|all| all.push(self.0.tensors()));
        Ok(())
    }

    fn outcomes(&mut self) -> Result<Vec<Outcome>, TrainError> {
        let mut outcomes = self.0.outcomes()?;
        let before = WEIGHTS.with_borrow(Vec::len) - outcomes.len();
        if let Some(bad) = BAD_STEP.get().checked_sub(before + 1)
            && let Some(outcome) = outcomes.get_mut(bad)
        {
            outcome.stepped = Stepped::Taken { gradient_norm: f64::INFINITY };
        }
        Ok(outcomes)
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
        if !TAKEN.get().is_empty() {
            std::fs::write(dir.parent().unwrap().join(TAKEN.get()), "").unwrap();
        }
        match SAVES.get() {
            0 => Err(TrainError::NothingToTrain),
            left => {
                SAVES.set(left - 1);
                self.0.save(dir)
            }
        }
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

/// Each start ends in its second save, until one comes to the end: every saved state is resumed from once.
fn resumes_from_every_step<T: Trainer>(params: &TrainParams) {
    let project = Project::new(VALIDATION, None);
    let at_once = project.train::<T>(params, &Runtime::default(), "at-once").unwrap();
    let mut starts = Vec::new();
    let trained = loop {
        SAVES.set(1);
        let trained = project.train::<Watched<T>>(params, &every_step(), "interrupted");
        let saved = project.saved("interrupted");
        assert_eq!(saved.len(), 1, "older states go");
        starts.extend(saved);
        if let Ok(trained) = trained {
            break trained;
        }
    };
    SAVES.set(u32::MAX);
    let position = |epoch: u32, step: u32| match step % 4 {
        0 => format!("epoch-{epoch:05}"),
        _ => format!("epoch-{epoch:05}-step-{step:08}"),
    };
    let expected: Vec<String> =
        (1..=4 * at_once.summary.epochs).map(|step| position(step / 4, step)).collect();
    assert_eq!(starts, expected);
    for (file, content) in &at_once.files {
        assert!(trained.files[file] == *content, "{file} differs");
    }
}

#[test]
fn interrupted_in_any_step_training_gives_the_same_bytes() {
    let plain = params();
    let averaged = TrainParams { ema: 0.8, keep: Keep::Last, ..params() };
    resumes_from_every_step::<Kernels>(&plain);
    resumes_from_every_step::<Kernels>(&averaged);
    resumes_from_every_step::<Tensors>(&averaged);
}

#[test]
fn a_damaged_state_is_set_aside_and_training_starts_over() {
    let project = Project::new(VALIDATION, None);
    let at_once = project.train::<Kernels>(&params(), &Runtime::default(), "at-once").unwrap();
    let files =
        ["tuned.safetensors", "moments.safetensors", "history.parquet", "epochs.parquet", "progress.json"];
    for (number, file) in files.into_iter().enumerate() {
        let name = format!("damaged-{number}");
        SAVES.set(1);
        assert!(project.train::<Watched<Kernels>>(&params(), &every_step(), &name).is_err());
        SAVES.set(u32::MAX);
        let [saved] = project.saved(&name).try_into().unwrap();
        let path = project.path(&name).join(&saved).join(file);
        let content = std::fs::read(&path).unwrap();
        std::fs::write(&path, &content[..content.len() / 2]).unwrap();
        let trained = project.train::<Kernels>(&params(), &Runtime::default(), &name).unwrap();
        assert!(project.path(&name).join(format!("unreadable-{saved}")).exists(), "{file}");
        for (other, content) in &at_once.files {
            assert!(trained.files[other] == *content, "{file} was damaged: {other} differs");
        }
    }
}

#[test]
fn what_is_saved_when_changes_no_byte() {
    what_is_saved_changes_no_byte::<Kernels>();
    what_is_saved_changes_no_byte::<Tensors>();
}

fn what_is_saved_changes_no_byte<T: Trainer>() {
    let project = Project::new(VALIDATION, None);
    let usual = project.train::<T>(&params(), &Runtime::default(), "usual").unwrap();
    let seldom = Runtime { save_epochs: 2, save_steps: 5, ..Default::default() };
    let other = project.train::<T>(&params(), &seldom, "seldom").unwrap();
    assert!(other.files == usual.files);
    // Step 10 is the last multiple of five, in the third epoch; the second was saved as a whole, the third was not.
    assert_eq!(project.saved("seldom"), ["epoch-00002-step-00000010"]);
    assert_eq!(project.saved("usual"), ["epoch-00003"]);
    // A step that ends an epoch counts as well.
    let by_steps = Runtime { save_epochs: 9, save_steps: 8, ..Default::default() };
    let other = project.train::<T>(&params(), &by_steps, "by-steps").unwrap();
    assert!(other.files == usual.files);
    assert_eq!(project.saved("by-steps"), ["epoch-00002"]);
}

/// Settings with which validation Dice rises and falls.
fn restless() -> TrainParams {
    TrainParams { epochs: 12, learning_rate: 2e-3, min_learning_rate: 2e-3, ..params() }
}

#[test]
fn the_best_epoch_is_kept_or_the_last() {
    let project = Project::new(VALIDATION, None);
    let best = project.train::<Kernels>(&restless(), &Runtime::default(), "best").unwrap();
    let dice = |row: &Epoch| row.validation_dice.unwrap();
    let expected =
        best.epochs[1..].iter().fold(&best.epochs[1], |a, b| if dice(b) > dice(a) { b } else { a });
    assert!((2..12).contains(&expected.epoch), "otherwise nothing is chosen: {:?}", best.epochs);
    assert_eq!((best.summary.epoch, best.summary.epochs), (expected.epoch, 12));
    assert_eq!(best.summary.selected_by, SelectedBy::ValidationDice);

    let params = TrainParams { keep: Keep::Last, ..restless() };
    let last = project.train::<Watched<Kernels>>(&params, &Runtime::default(), "last").unwrap();
    assert_eq!((last.summary.epoch, last.summary.selected_by), (12, SelectedBy::LastEpoch));
    assert_eq!(last.summary.validation_dice, last.epochs[12].validation_dice);
    assert!(!last.summary.stopped_early);
    assert!(last.steps == best.steps && last.epochs == best.epochs, "what is kept changes no step");
    let weights = WEIGHTS.take();
    let kept = expected.epoch as usize;
    assert!(sorted(last.weights) == sorted(weights[4 * 12 - 1].clone()));
    assert!(sorted(best.weights) == sorted(weights[4 * kept - 1].clone()));
}

fn sorted(mut tensors: Vec<NamedTensor>) -> Vec<NamedTensor> {
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    tensors
}

#[test]
fn patience_ends_training_and_a_restart_ends_it_at_the_same_epoch() {
    let project = Project::new(VALIDATION, None);
    let whole = project.train::<Kernels>(&restless(), &Runtime::default(), "whole").unwrap();
    for patience in [1, 2] {
        let params = TrainParams { patience, ..restless() };
        let stopped = project.train::<Kernels>(&params, &Runtime::default(), "stopped").unwrap();
        let epochs = stopped.summary.epochs;
        // The first epoch since whose best so many have passed.
        let (mut best, mut best_epoch, mut expected) = (f64::MIN, 0, 12);
        for row in &whole.epochs[1..] {
            if row.validation_dice.unwrap() > best {
                (best, best_epoch) = (row.validation_dice.unwrap(), row.epoch);
            } else if row.epoch - best_epoch == patience {
                expected = row.epoch;
                break;
            }
        }
        assert_eq!(epochs, expected, "patience {patience}");
        assert!(epochs < 12, "otherwise nothing is shown: {:?}", whole.epochs);
        assert!(stopped.summary.stopped_early);
        assert_eq!(stopped.summary.epoch, epochs - patience);
        assert!(stopped.epochs[..] == whole.epochs[..=epochs as usize]);
        assert!(stopped.steps[..] == whole.steps[..4 * epochs as usize]);
        // Started again after its last epoch, it trains no further one.
        let again = project.train::<Kernels>(&params, &Runtime::default(), "stopped").unwrap();
        assert!(again.files == stopped.files);
        std::fs::remove_dir_all(project.path("stopped")).unwrap();
        resumes_from_every_step::<Kernels>(&params);
    }
}

#[test]
fn patience_without_a_validation_part_is_refused() {
    let project = Project::new(0, None);
    let params = TrainParams { patience: 3, ..params() };
    let error = project.train::<Kernels>(&params, &Runtime::default(), "state").err().unwrap();
    assert_eq!(
        error.to_string(),
        "train.patience is 3, but there is no validation part whose Dice could get better; raise \
         split.validation_share or set train.patience = 0"
    );
    let params = TrainParams { patience: 0, ..params };
    let trained = project.train::<Kernels>(&params, &Runtime::default(), "state").unwrap();
    assert_eq!((trained.summary.epoch, trained.summary.selected_by), (3, SelectedBy::LastEpoch));
}

/// The averaged weights are what is kept and what is scored; training goes on with the others.
fn averages<T: Trainer>() {
    const DECAY: f64 = 0.7;
    let mut project = Project::new(VALIDATION, None);
    WEIGHTS.take();
    let raw = project.train::<Watched<T>>(&params(), &Runtime::default(), "raw").unwrap();
    let weights = WEIGHTS.take();
    let params = TrainParams { ema: DECAY, keep: Keep::Last, ..params() };
    let averaged = project.train::<T>(&params, &Runtime::default(), "averaged").unwrap();
    assert!(averaged.steps == raw.steps, "the average changes no step");
    assert!(averaged.weights != raw.weights);

    let came = Checkpoint::open(&project.base).unwrap();
    for tensor in &averaged.weights {
        let of_step = |weights: &Vec<NamedTensor>| {
            weights
                .iter()
                .find(|t| t.name == tensor.name)
                .unwrap()
                .data
                .iter()
                .map(|x| f64::from(*x))
                .collect()
        };
        let mut expected: Vec<f64> = of_step(&weights[0]);
        for weights in &weights[1..] {
            let now: Vec<f64> = of_step(weights);
            expected.iter_mut().zip(now).for_each(|(a, w)| *a = DECAY * *a + (1.0 - DECAY) * w);
        }
        let off =
            tensor.data.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        assert!(off < 1e-6, "{} is off by {off}", tensor.name);
        if tensor.name.contains("iou_prediction_head") {
            assert!(*tensor == came.tensor(&tensor.name).unwrap(), "{} is as it came", tensor.name);
        }
    }

    // A checkpoint of these very weights, untuned, has the score that the average got.
    let base = project.path("base");
    std::fs::create_dir(&base).unwrap();
    std::fs::copy(project.base.join("config.json"), base.join("config.json")).unwrap();
    let mut tensors = came.file().read_all().unwrap();
    for tensor in &mut tensors {
        if let Some(average) = averaged.weights.iter().find(|t| t.name == tensor.name) {
            *tensor = average.clone();
        }
    }
    write_safetensors(&base.join("model.safetensors"), tensors, None).unwrap();
    project.base = base;
    let params = TrainParams { epochs: 1, ..params };
    let scored = project.train::<T>(&params, &Runtime::default(), "scored").unwrap();
    let score = |row: &Epoch| (row.validation_loss, row.validation_dice);
    assert_eq!(score(&scored.epochs[0]), score(&averaged.epochs[3]));
    assert_ne!(score(&raw.epochs[3]), score(&averaged.epochs[3]));
}

#[test]
fn averages_are_kept() {
    averages::<Kernels>();
}

#[test]
fn tensors_are_averaged() {
    averages::<Tensors>();
}

#[test]
fn a_loss_that_is_no_number_stops_training_and_leaves_the_state_before_it() {
    let params = TrainParams { shuffle: false, ..params() };
    let project = Project::new(VALIDATION, Some(5));
    let error = project.train::<Kernels>(&params, &every_step(), "state").err().unwrap().to_string();
    println!("{error}");
    let state = project.path("state").join("epoch-00000-step-00000002");
    assert!(error.starts_with(
        "the loss is NaN in epoch 1, step 3 (learning rate 1e-3; samples sample-4, sample-5); "
    ));
    assert!(error.contains(&format!("the last good state is kept in {}. Lower train.", state.display())));

    // From there, with the sample repaired, training is what it would have been.
    project.embed(VALIDATION, None);
    let resumed = project.train::<Kernels>(&params, &Runtime::default(), "state").unwrap();
    let undisturbed = project.train::<Kernels>(&params, &Runtime::default(), "other").unwrap();
    assert!(resumed.files == undisturbed.files);
}

#[test]
fn a_loss_that_is_no_number_is_told_with_its_step_when_others_were_under_way() {
    let params = TrainParams { shuffle: false, ..params() };
    let project = Project::new(VALIDATION, Some(5));
    let error = project.train::<Tensors>(&params, &Runtime::default(), "state").err().unwrap().to_string();
    assert!(error.starts_with(
        "the loss is NaN in epoch 1, step 3 (learning rate 1e-3; samples sample-4, sample-5); "
    ));
    assert!(error.contains("no state had been saved"), "{error}");
}

#[test]
fn weights_that_a_last_step_ruins_are_not_kept() {
    let project = Project::new(VALIDATION, None);
    // One step in all: no further loss would show what it did.
    let params = TrainParams { epochs: 1, batch_size: 8, learning_rate: 1e30, ..params() };
    let error = project.train::<Kernels>(&params, &every_step(), "state").err().unwrap().to_string();
    println!("{error}");
    assert!(error.contains(" in epoch 1, step 1 (learning rate 1e30; samples "), "{error}");
    assert!(error.contains("no state had been saved. Lower train.learning_rate"), "{error}");
    let params = TrainParams { learning_rate: 1e-3, ..params };
    project.train::<Kernels>(&params, &every_step(), "state").unwrap();
}

#[test]
fn a_gradient_that_is_no_number_stops_training() {
    let project = Project::new(VALIDATION, None);
    WEIGHTS.take();
    BAD_STEP.set(6);
    let error = project.train::<Watched<Kernels>>(&params(), &Runtime::default(), "state");
    BAD_STEP.set(usize::MAX);
    let error = error.err().unwrap().to_string();
    assert!(error.starts_with("the gradient's norm is inf in epoch 2, step 6 (learning rate "), "{error}");
    assert!(error.contains("epoch-00001. Lower"), "{error}");
}

#[test]
fn a_state_that_cannot_be_published_in_the_background_is_an_error_before_the_next() {
    let project = Project::new(VALIDATION, None);
    for (taken, epochs) in [("epoch-00001", 3), ("epoch-00003", 3)] {
        TAKEN.set(taken);
        let params = TrainParams { epochs, ..params() };
        let result = project.train::<Watched<Kernels>>(&params, &Runtime::default(), taken);
        let Err(error) = result.map_err(|error| *error) else { panic!("it cannot have saved {taken}") };
        let TrainError::State { action: "write", path, .. } = &error else { panic!("{error}") };
        assert!(path.ends_with(taken), "{error}");
    }
}
