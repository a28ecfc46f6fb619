//! Training on tapes against training on tensors, and against itself with other numbers of threads.

use burn_autodiff::Autodiff;
use resect_checkpoint::{Part, SamConfig, part_tensors, random};
use resect_data::embeddings::Embedding;
use resect_geometry::Size;
use resect_params::{Loss, Padding, Precision, TrainParams};
use resect_sam::{Cpu, NamedTensor, Point, PointLabel, PromptEncoder, Prompts, Sam};
use resect_train::{OnDevice, Outcome, Sample, Stepped, TapeTrainer, TensorTrainer, Trainer, Values};

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
        let prompts = Sam::random(&config, 0, &device).unwrap().prompt_encoder;
        let point = |x, y| Point { x, y, label: PointLabel::Foreground };
        let points = |points: &[Point]| Prompts::points(&[points.to_vec()], &device);
        let tokens = [
            Prompts::boxes(&[[10.0, 20.0, 99.0, 120.0]], &device),
            points(&[point(50.0, 24.0), point(41.5, 30.0), point(44.0, 12.0)]),
            points(&[point(100.0, 125.0)]),
        ];
        let tokens = tokens.map(|given| prompts.forward(&given.unwrap()).sparse.unwrap());
        let tokens = tokens.map(|tokens| tokens.into_data().to_vec::<f32>().unwrap());
        let places = config.embedding_channels() * config.grid() * config.grid();
        let embedding = |s| (0..places).map(|i| ((i * (i + s) % 1009) as f32 / 504.5) - 1.0).collect();
        let embeddings = (0..3).map(embedding).collect();
        let side = config.low_res();
        let mask = |s| (0..side * side).map(|i| u8::from(i % side / 2 > i / side * s)).collect();
        let masks = (0..3).map(mask).collect();
        Self { config, decoder, prompts, tokens, embeddings, masks }
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
        T::new(&self.config, self.decoder.clone(), &self.prompts, params, &Default::default()).unwrap()
    }
}

/// Learns from a group and says at once what came of it.
fn learn(trainer: &mut impl Trainer, group: &[Sample<'_>], batch_size: usize, learning_rate: f64) -> Outcome {
    trainer.learn(group, batch_size, learning_rate);
    let mut outcomes = trainer.outcomes();
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

/// Trains on three samples, in batches of two and one, for two steps.
fn train<T: Trainer>(params: &TrainParams) -> Trained {
    let case = Case::new();
    let mut trainer: T = case.trainer(params);
    let samples = case.samples();

    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let outcome = learn(&mut trainer, &samples, 2, params.learning_rate);
        losses.extend(outcome.losses.into_iter().map(Values::total));
        match outcome.stepped {
            Stepped::Taken { gradient_norm } => norms.push(gradient_norm),
            skipped => panic!("{skipped:?}"),
        }
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
fn tapes_and_tensors_train_alike() {
    train_alike(&published());
    train_alike(&focal());
}

fn train_alike(params: &TrainParams) {
    let (tapes, tensors) = (train::<TapeTrainer>(params), train::<TensorTrainer<Autodiff<Cpu>>>(params));
    let close = |a: f64, b: f64, tolerance: f64| {
        assert!((a - b).abs() <= tolerance * b.abs(), "{a} and {b}");
    };
    tapes.losses.iter().zip(&tensors.losses).for_each(|(a, b)| close(*a, *b, 1e-5));
    tapes.norms.iter().zip(&tensors.norms).for_each(|(a, b)| close(*a, *b, 1e-4));
    let largest = tensors.logits.iter().flatten().fold(0f32, |m, x| m.max(x.abs()));
    for (a, b) in tapes.logits.iter().flatten().zip(tensors.logits.iter().flatten()) {
        assert!((a - b).abs() <= 1e-3 * largest, "logits {a} and {b}");
    }
    assert_eq!(tapes.tensors.len(), tensors.tensors.len());
    for (a, b) in tapes.tensors.iter().zip(&tensors.tensors) {
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
        let outcome = pool.install(|| train::<TapeTrainer>(&focal()));
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
    let params = |precision| TrainParams { accumulation: 1, precision, ..Default::default() };
    let samples = case.samples();
    let mut trainer: T = case.trainer(&params(Precision::F16));
    let before = trainer.tensors();
    let mut skipped = 0;
    let gradient_norm = loop {
        let Outcome { losses, stepped } = learn(&mut trainer, &samples, 3, 1e-3);
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
    let Stepped::Taken { gradient_norm: expected } = learn(&mut single, &samples, 3, 1e-3).stepped else {
        panic!("nothing to skip")
    };
    assert!((gradient_norm - expected).abs() < 0.02 * expected, "{gradient_norm} {expected}");

    // A restart has the scale, and a step of its optimiser is one that was taken.
    let dir = tempfile::tempdir().unwrap();
    trainer.save(dir.path()).unwrap();
    case.decoder = trainer.tensors();
    let mut restarted: T = case.trainer(&params(Precision::F16));
    restarted.restore(dir.path(), 1, None).unwrap();
    let samples = case.samples();
    let steps = [&mut trainer, &mut restarted]
        .map(|trainer| (learn(trainer, &samples, 3, 1e-3).stepped, trainer.tensors()));
    assert!(matches!(steps[0].0, Stepped::Taken { .. }) && steps[0] == steps[1]);
}

#[test]
fn overflows_are_skipped_on_tapes_and_on_tensors() {
    overflows_are_skipped_until_the_scale_fits::<TapeTrainer>();
    overflows_are_skipped_until_the_scale_fits::<TensorTrainer<Autodiff<Cpu>>>();
}

#[test]
fn small_gradients_come_through_half_precision_by_the_scale_of_the_loss() {
    let case = Case::new();
    let samples = case.samples();
    // Divided by so many batches, the gradient by a logit is about 1e-10: far below half precision's least number, 6e-8.
    let params = |precision| TrainParams { accumulation: 1 << 20, precision, ..Default::default() };
    let of = |precision| {
        let mut trainer: TapeTrainer = case.trainer(&params(precision));
        match learn(&mut trainer, &samples, 3, 1e-3).stepped {
            Stepped::Taken { gradient_norm } => gradient_norm,
            skipped => panic!("{skipped:?}"),
        }
    };
    let (single, half) = (of(Precision::F32), of(Precision::F16));
    assert!((half - single).abs() < 0.02 * single, "{half} {single}");
}

type Tensors = TensorTrainer<Autodiff<Cpu>>;

#[test]
fn what_came_of_steps_may_be_asked_for_late() {
    for precision in [Precision::F32, Precision::F16] {
        let params = TrainParams { precision, ema: 0.5, clip_norm: 1.0, ..published() };
        let case = Case::new();
        let samples = case.samples();
        let (mut at_once, mut late): (Tensors, Tensors) = (case.trainer(&params), case.trainer(&params));
        let mut outcomes = Vec::new();
        for rate in [1e-3, 3e-3, 2e-3] {
            outcomes.push(learn(&mut at_once, &samples, 2, rate));
            late.learn(&samples, 2, rate);
        }
        assert_eq!(late.outcomes(), outcomes);
        assert_eq!(outcomes[2].losses.len(), 2);
        assert!(late.tensors() == at_once.tensors() && late.average() == at_once.average());
        assert!(late.average().is_some() && late.outcomes().is_empty());
    }
}

#[test]
fn after_a_number_that_is_none_nothing_changes() {
    for precision in [Precision::F32, Precision::Bf16, Precision::F16] {
        let params = TrainParams { precision, ema: 0.5, ..published() };
        let case = Case::new();
        let samples = case.samples();
        let mut trainer: Tensors = case.trainer(&params);
        let good = learn(&mut trainer, &samples, 2, 1e-3);
        let (weights, average) = (trainer.tensors(), trainer.average());
        let spoilt = vec![f32::NAN; case.embeddings[0].len()];
        let mut bad = samples.clone();
        (bad[1].embedding, bad[1].row) = (Embedding::F32(&spoilt), 9);
        trainer.learn(&bad, 2, 1e-3);
        trainer.learn(&samples, 2, 1e-3);
        let outcomes = trainer.outcomes();
        assert!(good.losses.iter().all(|loss| loss.total().is_finite()));
        assert!(outcomes[0].losses[0].total().is_nan() && outcomes[0].losses[1].total().is_finite());
        assert!(trainer.tensors() == weights && trainer.average() == average, "{precision}");
    }
}

#[test]
fn neither_room_nor_company_changes_what_is_learnt() {
    let case = Case::new();
    let samples = case.samples();
    let params = published();
    let train = |together: usize, room: u64| {
        let place = OnDevice::new(Default::default(), together, room);
        let mut trainer =
            Tensors::new(&case.config, case.decoder.clone(), &case.prompts, &params, &place).unwrap();
        let outcomes = [0, 1].map(|_| learn(&mut trainer, &samples, 2, 1e-3));
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
    // One sample at a time: sums of gradients in another order.
    let single = train(1, u64::MAX);
    for (single, whole) in single.0.iter().zip(&whole.0) {
        for (a, b) in single.losses.iter().zip(&whole.losses) {
            assert!((a.total() - b.total()).abs() < 1e-6 * b.total());
        }
    }
}

#[test]
fn averages_are_those_of_the_host() {
    let params = TrainParams { ema: 0.6, ..published() };
    let case = Case::new();
    let samples = case.samples();
    let (mut tensors, mut tapes): (Tensors, TapeTrainer) = (case.trainer(&params), case.trainer(&params));
    assert!(tensors.average().is_none() && tapes.average().is_none());
    for _ in 0..3 {
        learn(&mut tensors, &samples, 2, 1e-3);
        learn(&mut tapes, &samples, 2, 1e-3);
    }
    let sorted = |mut tensors: Vec<NamedTensor>| {
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        tensors
    };
    let (tensors, tapes) = (sorted(tensors.average().unwrap()), sorted(tapes.average().unwrap()));
    for (a, b) in tensors.iter().zip(&tapes) {
        let mean = a.data.iter().zip(&b.data).map(|(a, b)| (a - b).abs()).sum::<f32>() / a.data.len() as f32;
        let allowed = if a.name.contains("k_proj.bias") { 4e-3 } else { 1e-5 };
        assert!(a.name == b.name && mean <= allowed, "{}: {mean}", a.name);
    }
}
