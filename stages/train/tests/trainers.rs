//! Training on tapes against training on tensors, and against itself with other numbers of threads.

use burn::backend::Autodiff;
use resect_checkpoint::{Part, SamConfig, part_tensors, random};
use resect_data::embeddings::Embedding;
use resect_params::TrainParams;
use resect_sam::{Cpu, NamedTensor, Prompts, Sam};
use resect_train::{Sample, TapeTrainer, TensorTrainer, Trainer};

/// Losses of some batches and norms of some steps; then validation logits, and tensors by name.
struct Outcome {
    losses: Vec<f64>,
    norms: Vec<f64>,
    logits: Vec<Vec<f32>>,
    tensors: Vec<NamedTensor>,
}

/// Trains on three samples, in batches of two and one, for two steps.
fn train<T: Trainer>() -> Outcome {
    let config = SamConfig::named("tiny").unwrap();
    let names: Vec<_> = part_tensors(&config, Part::MaskDecoder).into_iter().map(|spec| spec.name).collect();
    let tensors = random(&config, 0).filter(|tensor| names.contains(&tensor.name)).collect();
    let prompts = Sam::random(&config, 0, &Default::default()).unwrap().prompt_encoder;
    let params =
        TrainParams { accumulation: 2, learning_rate: 1e-3, weight_decay: 0.1, ..Default::default() };
    let mut trainer = T::new(&config, tensors, &prompts, &params, &Default::default()).unwrap();

    let boxes = [[10.0, 20.0, 99.0, 120.0], [40.0, 4.0, 60.0, 44.0], [0.0, 0.0, 200.0, 250.0]];
    let tokens = prompts.forward(&Prompts::boxes(&boxes, &Default::default()).unwrap()).sparse.unwrap();
    let tokens: Vec<f32> = tokens.into_data().to_vec().unwrap();
    let places = config.embedding_channels() * config.grid() * config.grid();
    let embeddings: Vec<Vec<f32>> =
        (0..3).map(|s| (0..places).map(|i| ((i * (i + s) % 1009) as f32 / 504.5) - 1.0).collect()).collect();
    let side = config.low_res();
    let masks: Vec<Vec<u8>> =
        (0..3).map(|s| (0..side * side).map(|i| u8::from(i % side / 2 > i / side * s)).collect()).collect();
    let samples: Vec<_> = tokens
        .chunks(tokens.len() / 3)
        .zip(embeddings.iter().zip(&masks))
        .map(|(tokens, (embedding, mask))| Sample {
            name: "",
            embedding: Embedding::F32(embedding),
            tokens,
            mask,
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

#[test]
fn tapes_and_tensors_train_alike() {
    let (tapes, tensors) = (train::<TapeTrainer>(), train::<TensorTrainer<Autodiff<Cpu>>>());
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
        let outcome = pool.install(train::<TapeTrainer>);
        let bits: Vec<u64> = outcome.losses.iter().chain(&outcome.norms).map(|x| x.to_bits()).collect();
        let logits: Vec<u32> = outcome.logits.iter().flatten().map(|x| x.to_bits()).collect();
        (bits, logits, outcome.tensors)
    };
    let one = run(1);
    for threads in [2, 3] {
        assert!(run(threads) == one, "{threads} threads");
    }
}
