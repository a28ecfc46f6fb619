//! Training on tapes against training on tensors, and against itself with other numbers of threads.

use burn::backend::Autodiff;
use resect_checkpoint::{Part, SamConfig, part_tensors, random};
use resect_data::embeddings::Embedding;
use resect_geometry::Size;
use resect_params::{Loss, Padding, TrainParams};
use resect_sam::{Cpu, NamedTensor, Point, PointLabel, Prompts, Sam};
use resect_train::{Sample, TapeTrainer, TensorTrainer, Trainer};

/// Losses of some batches and norms of some steps; then validation logits, and tensors by name.
struct Outcome {
    losses: Vec<f64>,
    norms: Vec<f64>,
    logits: Vec<Vec<f32>>,
    tensors: Vec<NamedTensor>,
}

/// Trains on three samples, in batches of two and one, for two steps. The second sample of the first batch and the third are
/// prompted with points, and their images cover a part of the grid.
fn train<T: Trainer>(params: &TrainParams) -> Outcome {
    let config = SamConfig::named("tiny").unwrap();
    let names: Vec<_> = part_tensors(&config, Part::MaskDecoder).into_iter().map(|spec| spec.name).collect();
    let tensors = random(&config, 0).filter(|tensor| names.contains(&tensor.name)).collect();
    let prompts = Sam::random(&config, 0, &Default::default()).unwrap().prompt_encoder;
    let mut trainer = T::new(&config, tensors, &prompts, params).unwrap();

    let device = Default::default();
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
    let embeddings: Vec<Vec<f32>> =
        (0..3).map(|s| (0..places).map(|i| ((i * (i + s) % 1009) as f32 / 504.5) - 1.0).collect()).collect();
    let side = config.low_res();
    let masks: Vec<Vec<u8>> =
        (0..3).map(|s| (0..side * side).map(|i| u8::from(i % side / 2 > i / side * s)).collect()).collect();
    let images = [(1, 1), (2, 3), (3, 2)].map(|(h, w)| Size::new(side as u32 / h, side as u32 / w));
    let samples: Vec<_> = tokens
        .iter()
        .zip(embeddings.iter().zip(&masks))
        .zip(images)
        .map(|((tokens, (embedding, mask)), image)| Sample {
            name: "",
            embedding: Embedding::F32(embedding),
            tokens,
            mask,
            image,
        })
        .collect();

    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        losses.extend(samples.chunks(2).map(|batch| trainer.learn(batch).total()));
        norms.push(trainer.step(params.learning_rate));
    }
    let mut tensors = trainer.tensors();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Outcome { losses, norms, logits: trainer.logits(&samples), tensors }
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
