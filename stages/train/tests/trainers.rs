//! Training by kernels against training in tensors, and against itself with other numbers of threads.

use burn_autodiff::Autodiff;
use resect_checkpoint::NamedTensor;
use resect_checkpoint::{Part, SamConfig, part_tensors, random};
use resect_embeddings::Embedding;
use resect_geometry::Size;
use resect_layers::{Cpu, Reference};
use resect_numeric::Precision;
use resect_prompt::{Label, ModelPoint, ModelPrompt};
use resect_sam::PromptEncoder;
use resect_train::{ModelTrainer, OnDevice, Outcome, Roles, Sample, Setup, Stepped, Trainer};
use resect_train_params::{Loss, Padding, TrainParams};

/// The trainer of the CPU.
type Kernels = ModelTrainer<Autodiff<Cpu>>;
/// The layers, the loss and AdamW in tensors.
type Tensors = ModelTrainer<Reference>;

/// Losses of some batches and norms of some steps; then validation logits, and tensors by name.
struct Trained {
    losses: Vec<f64>,
    norms: Vec<f64>,
    logits: Vec<Vec<f32>>,
    tensors: Vec<NamedTensor>,
}

/// A decoder and three samples for it. The second sample and the third are prompted with points, and their images cover a part of
/// the grid.
struct Case {
    config: SamConfig,
    roles: Roles,
    decoder: Vec<NamedTensor>,
    prompts: PromptEncoder<Cpu>,
    tokens: [Vec<f32>; 3],
    embeddings: Vec<Vec<f32>>,
    masks: Vec<Vec<u8>>,
}

impl Case {
    fn new() -> Self {
        let config = SamConfig::named("tiny").unwrap();
        let names: Vec<_> =
            part_tensors(&config, Part::MaskDecoder).into_iter().map(|spec| spec.name).collect();
        let decoder = random(&config, 0).filter(|tensor| names.contains(&tensor.name)).collect();
        let device = Default::default();
        let prompts = PromptEncoder::random(&config, 0, &device).unwrap();
        let point = |x, y| ModelPoint { x, y, label: Label::Foreground };
        let tokens = [
            ModelPrompt::of_box([10.0, 20.0, 99.0, 120.0]),
            ModelPrompt::of_points([point(50.0, 24.0), point(41.5, 30.0), point(44.0, 12.0)]),
            ModelPrompt::of_points([point(100.0, 125.0)]),
        ];
        let tokens = tokens.map(|given| prompts.forward(&[given]).unwrap().sparse.unwrap());
        let tokens = tokens.map(|tokens| tokens.into_data().to_vec::<f32>().unwrap());
        let places = config.embedding_channels() * config.grid() * config.grid();
        let embedding = |s| (0..places).map(|i| ((i * (i + s) % 1009) as f32 / 504.5) - 1.0).collect();
        let embeddings = (0..3).map(embedding).collect();
        let side = config.low_res();
        let mask = |s| (0..side * side).map(|i| u8::from(i % side / 2 > i / side * s)).collect();
        let masks = (0..3).map(mask).collect();
        let roles = Roles::new(&config, &TrainParams::default().tuning()).unwrap();
        Self { config, roles, decoder, prompts, tokens, embeddings, masks }
    }

    fn samples(&self) -> Vec<Sample<'_>> {
        let side = self.config.low_res() as u32;
        let images = [(1, 1), (2, 3), (3, 2)].map(|(h, w)| Size::new(side / h, side / w));
        let tokens = self.tokens.iter();
        tokens
            .zip(self.embeddings.iter().zip(&self.masks))
            .zip(images)
            .enumerate()
            .map(|(row, ((tokens, (embedding, mask)), image))| Sample {
                name: "",
                embedding: Embedding::F32(embedding),
                row,
                tokens,
                mask,
                image,
            })
            .collect()
    }

    fn trainer<T: Trainer>(&self, params: &TrainParams) -> T {
        T::new(&self.setup(params), self.decoder.clone(), &Default::default()).unwrap()
    }

    fn setup<'a>(&'a self, params: &'a TrainParams) -> Setup<'a> {
        let Self { config, roles, prompts, .. } = self;
        Setup { config, roles, prompts, params, base: None }
    }
}

/// What came of a step.
fn step(trainer: &mut impl Trainer, group: &[Sample<'_>], learning_rate: f64) -> Outcome {
    trainer.step(group, learning_rate).unwrap();
    let [outcome] = <[_; 1]>::try_from(trainer.outcomes().unwrap()).unwrap();
    outcome
}

/// The gradient's norm, of a step that was taken.
fn norm(stepped: Stepped) -> f64 {
    match stepped {
        Stepped::Taken { gradient_norm } => gradient_norm,
        skipped => panic!("{skipped:?}"),
    }
}

/// Trains on three samples, in batches of two and one, for two steps.
fn train<T: Trainer>(params: &TrainParams) -> Trained {
    let case = Case::new();
    let mut trainer: T = case.trainer(params);
    let samples = case.samples();

    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let Outcome { losses: of_step, stepped } = step(&mut trainer, &samples, params.learning_rate);
        losses.extend(of_step.iter().map(|loss| loss.total()));
        norms.push(norm(stepped));
    }
    let mut tensors = trainer.tensors();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Trained { losses, norms, logits: trainer.logits(&samples), tensors }
}

fn published() -> TrainParams {
    TrainParams { accumulation: 2, learning_rate: 1e-3, weight_decay: 0.1, ..Default::default() }
}

/// Another loss, and padding that is ignored.
fn focal() -> TrainParams {
    TrainParams {
        loss: Loss::DiceFocal,
        loss_weights: vec![0.5, 3.0],
        padding: Padding::Ignored,
        ..published()
    }
}

#[test]
fn kernels_and_tensors_train_alike() {
    train_alike(&published());
    train_alike(&focal());
}

fn train_alike(params: &TrainParams) {
    let (kernels, tensors) = (train::<Kernels>(params), train::<Tensors>(params));
    let close = |a: f64, b: f64, tolerance: f64| {
        assert!((a - b).abs() <= tolerance * b.abs(), "{a} and {b}");
    };
    kernels.losses.iter().zip(&tensors.losses).for_each(|(a, b)| close(*a, *b, 1e-5));
    kernels.norms.iter().zip(&tensors.norms).for_each(|(a, b)| close(*a, *b, 1e-4));
    let largest = tensors.logits.iter().flatten().fold(0f32, |m, x| m.max(x.abs()));
    for (a, b) in kernels.logits.iter().flatten().zip(tensors.logits.iter().flatten()) {
        assert!((a - b).abs() <= 1e-3 * largest, "logits {a} and {b}");
    }
    assert_eq!(kernels.tensors.len(), tensors.tensors.len());
    for (a, b) in kernels.tensors.iter().zip(&tensors.tensors) {
        assert_eq!((&a.name, &a.shape), (&b.name, &b.shape));
        // Where a gradient is nothing but rounding, AdamW makes whole steps of it: those may differ by two.
        let mean = a.data.iter().zip(&b.data).map(|(a, b)| (a - b).abs()).sum::<f32>() / a.data.len() as f32;
        let allowed = if a.name.contains("k_proj.bias") { 4e-3 } else { 1e-5 };
        assert!(mean <= allowed, "{}: {mean}", a.name);
    }
}

#[test]
fn a_step_has_the_same_bits_with_any_number_of_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let outcome = pool.install(|| train::<Kernels>(&focal()));
        let bits: Vec<u64> = outcome.losses.iter().chain(&outcome.norms).map(|x| x.to_bits()).collect();
        let logits: Vec<u32> = outcome.logits.iter().flatten().map(|x| x.to_bits()).collect();
        (bits, logits, outcome.tensors)
    };
    let one = run(1);
    for threads in [2, 3] {
        assert!(run(threads) == one, "{threads} threads");
    }
}

/// Trains in f16 with activations so large that the first scales of the loss are too large.
fn overflows_are_skipped_until_the_scale_fits<T: Trainer>() {
    let mut case = Case::new();
    let name = "mask_decoder.upscale_conv2.weight";
    let weight = case.decoder.iter_mut().find(|tensor| tensor.name == name).unwrap();
    weight.data.iter_mut().for_each(|x| *x *= 200.0);
    let params = |precision| TrainParams { batch_size: 3, accumulation: 1, precision, ..Default::default() };
    let samples = case.samples();
    let mut trainer: T = case.trainer(&params(Precision::F16));
    let before = trainer.tensors();
    let mut skipped = 0;
    let gradient_norm = loop {
        let Outcome { losses, stepped } = step(&mut trainer, &samples, 1e-3);
        assert!(losses[0].total().is_finite());
        match stepped {
            Stepped::Taken { gradient_norm } => break gradient_norm,
            Stepped::Skipped { loss_scale } => {
                skipped += 1;
                assert_eq!(loss_scale, 65536.0 * 0.5f64.powi(skipped));
                assert!(trainer.tensors() == before, "a step that was skipped moved something");
            }
        }
    };
    println!("{skipped} steps were skipped, then the norm is {gradient_norm}");
    assert!((2..20).contains(&skipped), "{skipped} steps were skipped");
    assert!(trainer.tensors() != before);
    let mut single: T = case.trainer(&params(Precision::F32));
    let expected = norm(step(&mut single, &samples, 1e-3).stepped);
    assert!((gradient_norm - expected).abs() < 0.02 * expected, "{gradient_norm} {expected}");

    // A restart has the scale, and a step of its optimiser is one that was taken.
    let dir = tempfile::tempdir().unwrap();
    trainer.save(dir.path()).unwrap();
    case.decoder = trainer.tensors();
    let mut restarted: T = case.trainer(&params(Precision::F16));
    restarted.restore(dir.path(), 1, None).unwrap();
    let samples = case.samples();
    let steps = [&mut trainer, &mut restarted]
        .map(|trainer| (step(trainer, &samples, 1e-3).stepped, trainer.tensors()));
    assert!(matches!(steps[0].0, Stepped::Taken { .. }) && steps[0] == steps[1]);
}

#[test]
fn overflows_are_skipped_by_kernels_and_in_tensors() {
    overflows_are_skipped_until_the_scale_fits::<Kernels>();
    overflows_are_skipped_until_the_scale_fits::<Tensors>();
}

#[test]
fn what_came_of_steps_may_be_asked_for_late() {
    // More than a trainer keeps on its device, and few.
    for (precision, steps) in [(Precision::F32, Tensors::STEPS_AT_ONCE + 2), (Precision::F16, 3)] {
        let params = TrainParams { precision, ema: 0.5, clip_norm: 1.0, ..published() };
        let case = Case::new();
        let samples = case.samples();
        let (mut at_once, mut late): (Tensors, Tensors) = (case.trainer(&params), case.trainer(&params));
        let rates: Vec<f64> = (0..steps).map(|i| 1e-4 * (i % 3) as f64).collect();
        let outcomes: Vec<_> = rates.iter().map(|&rate| step(&mut at_once, &samples, rate)).collect();
        rates.iter().for_each(|&rate| late.step(&samples, rate).unwrap());
        assert!(late.outcomes().unwrap() == outcomes, "{precision}");
        assert!(outcomes.iter().all(|outcome| outcome.losses.len() == 2 && outcome.is_taken()));
        assert!(late.tensors() == at_once.tensors() && late.average() == at_once.average());
        assert!(late.average().is_some() && late.outcomes().unwrap().is_empty());
    }
}

/// Whatever a step that is no number is followed by, the weights are those before it.
fn nothing_changes_after_a_number_that_is_none<T: Trainer>() {
    for precision in [Precision::F32, Precision::Bf16, Precision::F16] {
        let params = TrainParams { precision, ema: 0.5, ..published() };
        let case = Case::new();
        let samples = case.samples();
        let mut trainer: T = case.trainer(&params);
        assert!(step(&mut trainer, &samples, 1e-3).is_taken());
        let (weights, average) = (trainer.tensors(), trainer.average());
        let spoilt = vec![f32::NAN; case.embeddings[0].len()];
        let mut bad = samples.clone();
        (bad[1].embedding, bad[1].row) = (Embedding::F32(&spoilt), 9);
        for group in [&bad, &samples, &samples] {
            trainer.step(group, 1e-3).unwrap();
        }
        let outcomes = trainer.outcomes().unwrap();
        assert_eq!(outcomes.len(), 3);
        assert!(outcomes[0].losses[0].total().is_nan() && outcomes[0].losses[1].total().is_finite());
        assert!(trainer.tensors() == weights && trainer.average() == average, "{precision}");
    }
}

#[test]
fn nothing_changes_after_a_number_that_is_none_by_kernels_and_in_tensors() {
    nothing_changes_after_a_number_that_is_none::<Kernels>();
    nothing_changes_after_a_number_that_is_none::<Tensors>();
}

#[test]
fn neither_room_nor_company_changes_what_is_learnt() {
    let case = Case::new();
    let samples = case.samples();
    let train = |together: usize, room: u64| {
        let place = OnDevice::new(Default::default(), together, room);
        let decoder = case.decoder.clone();
        let mut trainer = Tensors::new(&case.setup(&published()), decoder, &place).unwrap();
        let outcomes = [0, 1].map(|_| step(&mut trainer, &samples, 1e-3));
        (outcomes, trainer.tensors(), place.resident())
    };
    let embedding = (4 * case.embeddings[0].len()) as u64;
    let whole = train(usize::MAX, u64::MAX);
    assert_eq!(whole.2, 3);
    for (room, resident) in [(0, 0), (2 * embedding, 2), (3 * embedding - 1, 2)] {
        let found = train(usize::MAX, room);
        assert!(found.0 == whole.0 && found.1 == whole.1);
        assert_eq!(found.2, resident);
    }
}

#[test]
fn a_group_that_passes_at_once_is_batches_one_after_the_other() {
    let mut case = Case::new();
    // Four samples that may all pass together.
    case.tokens = [0; 3].map(|_| case.tokens[0].clone());
    let mut samples = case.samples();
    samples.push(samples[0]);
    let train = |together| {
        let place = OnDevice::new(Default::default(), together, u64::MAX);
        let decoder = case.decoder.clone();
        let mut trainer = Tensors::new(&case.setup(&published()), decoder, &place).unwrap();
        [0, 1].map(|_| step(&mut trainer, &samples, 1e-3))
    };
    let whole = train(usize::MAX);
    for together in [1, 2, 3] {
        for (parts, whole) in train(together).iter().zip(&whole) {
            let close = |a: f64, b: f64| assert!((a - b).abs() < 2e-6 * b, "{together} together: {a} {b}");
            close(norm(parts.stepped), norm(whole.stepped));
            parts.losses.iter().zip(&whole.losses).for_each(|(a, b)| close(a.total(), b.total()));
        }
    }
}

#[test]
fn averages_are_those_of_the_host() {
    const DECAY: f64 = 0.9;
    for precision in [Precision::F32, Precision::F16] {
        let case = Case::new();
        let samples = case.samples();
        let params = TrainParams { ema: DECAY, precision, ..published() };
        let mut trainer: Tensors = case.trainer(&params);
        assert!(trainer.average().is_none());
        let mut expected: Option<Vec<Vec<f32>>> = None;
        for _ in 0..4 {
            assert!(step(&mut trainer, &samples, 1e-3).is_taken());
            let weights = trainer.tensors().into_iter().map(|tensor| tensor.data);
            match &mut expected {
                None => expected = Some(weights.collect()),
                Some(average) => {
                    let pairs = average.iter_mut().flatten().zip(weights.flatten());
                    pairs.for_each(|(a, w)| *a += (1.0 - DECAY) as f32 * (w - *a));
                }
            }
        }
        let found = trainer.average().unwrap().into_iter().flat_map(|tensor| tensor.data);
        for (found, expected) in found.zip(expected.unwrap().into_iter().flatten()) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }
}

#[test]
fn small_gradients_come_through_half_precision_by_the_scale_of_the_loss() {
    let case = Case::new();
    let samples = case.samples();
    // Divided by so many batches, the gradient by a logit is about 1e-10: far below half precision's least number, 6e-8.
    let params =
        |precision| TrainParams { batch_size: 3, accumulation: 1 << 20, precision, ..Default::default() };
    let of = |precision| {
        let mut trainer: Kernels = case.trainer(&params(precision));
        norm(step(&mut trainer, &samples, 1e-3).stepped)
    };
    let (single, half) = (of(Precision::F32), of(Precision::F16));
    assert!((half - single).abs() < 0.02 * single, "{half} {single}");
}
