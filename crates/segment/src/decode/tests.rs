use super::*;
use crate::Predictor;
use half::f16;
use half::slice::HalfFloatSliceExt;
use resect_checkpoint::{NamedTensor, SamConfig, random, write_random, write_safetensors};
use resect_checkpoint_records::{FORMAT, SUMMARY_FILE, SelectedBy, TUNED_FILE};
use resect_layers::Cpu;
use resect_prompt::{Label, ModelPoint};

fn checkpoint(dir: &Path) -> Checkpoint {
    write_random(dir, &SamConfig::named("tiny").unwrap(), 5).unwrap();
    Checkpoint::open(dir).unwrap()
}

/// The embedding of an image that `seed` stands for.
fn embedding(config: &SamConfig, seed: usize) -> Vec<f32> {
    let values = config.embedding_channels() * config.grid() * config.grid();
    (0..values).map(|i| ((i * (i + seed) % 1009) as f32 / 504.5) - 1.0).collect()
}

/// More prompts of one form than pass together, and all other forms among them.
fn prompts(config: &SamConfig) -> Vec<ModelPrompt> {
    let grid: Vec<f32> = (0..config.low_res().pow(2)).map(|i| (i % 17) as f32 - 8.0).collect();
    let mut prompts = Vec::new();
    for i in 0..10 {
        let x = 11.0 * i as f32;
        let bounds = [x, 10.0, x + 60.0, 90.0];
        let points = vec![ModelPoint { x, y: 40.0, label: Label::Foreground }; 1 + i % 3];
        prompts.push(ModelPrompt::of_box(bounds));
        prompts.push(ModelPrompt::of_points(points.clone()));
        let mask = (i % 2 == 0).then(|| grid.clone());
        prompts.push(ModelPrompt { bounds: Some(bounds), points, mask });
    }
    prompts.push(ModelPrompt { mask: Some(grid), ..ModelPrompt::default() });
    prompts.push(ModelPrompt::default());
    prompts
}

#[test]
fn what_a_prompt_gives_depends_neither_on_its_neighbours_nor_on_the_batch() {
    let dir = tempfile::tempdir().unwrap();
    let base = checkpoint(dir.path());
    let device = Default::default();
    let decoders =
        [1, 3, 8].map(|batch| Decoders::<Cpu>::load(&base, &[Weights::Base], batch, &device).unwrap());
    let prompts = prompts(base.config());
    // Images of their own, in both formats.
    let images: Vec<ImageEmbedding<Cpu>> = (0..3)
        .map(|seed| {
            let values = embedding(base.config(), seed);
            let halves: Vec<f16> = values.iter().map(|&value| f16::from_f32(value)).collect();
            let stored = if seed == 2 { Embedding::F16(&halves) } else { Embedding::F32(&values) };
            decoders[0].embedding(stored).unwrap()
        })
        .collect();
    let queries: Vec<Query<'_, Cpu>> = prompts
        .iter()
        .enumerate()
        .map(|(i, prompt)| Query { embedding: &images[i % images.len()], prompt })
        .collect();
    for multimask in [false, true] {
        let alone: Vec<Vec<Prediction>> = queries
            .iter()
            .map(|query| decoders[2].decode(std::slice::from_ref(query), multimask).unwrap().remove(0))
            .collect();
        assert!(alone.iter().all(|of| of.len() == 1 && of[0].masks().len() == if multimask { 3 } else { 1 }));
        for decoders in &decoders {
            assert!(decoders.decode(&queries, multimask).unwrap() == alone, "{}", decoders.batch);
        }
        assert_ne!(alone[0], alone[9], "boxes matter, on one image");
        let elsewhere = Query { embedding: &images[1], ..queries[0] };
        assert_ne!(decoders[0].decode(&[elsewhere], multimask).unwrap()[0], alone[0], "images matter");
    }
    assert!(decoders[0].decode(&[], false).unwrap().is_empty());
}

#[test]
fn half_precision_is_decoded_as_the_single_precision_of_its_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let base = checkpoint(dir.path());
    let decoders = Decoders::<Cpu>::load(&base, &[Weights::Base], 8, &Default::default()).unwrap();
    let halves: Vec<f16> = embedding(base.config(), 3).into_iter().map(f16::from_f32).collect();
    let mut singles = vec![0.0; halves.len()];
    halves.convert_to_f32_slice(&mut singles);
    let prompt = ModelPrompt::of_box([10.0, 20.0, 90.0, 80.0]);
    let of = |embedding: &ImageEmbedding<Cpu>| {
        decoders.decode(&[Query { embedding, prompt: &prompt }], false).unwrap()
    };
    let brought =
        [Embedding::F16(&halves), Embedding::F32(&singles)].map(|s| of(&decoders.embedding(s).unwrap()));
    assert_eq!(brought[0], brought[1]);
    // By way of those that stay on the device: brought, then found there.
    let resident = Resident::<Cpu>::new(Default::default(), u64::MAX);
    for there in [false, true] {
        assert_eq!(resident.holds(7), there);
        let stored = Stored::read(7, Embedding::F16(&halves), &resident);
        assert_eq!(of(&decoders.resident(stored, &resident).unwrap()), brought[0]);
    }
}

#[test]
fn several_decoders_give_what_each_gives_alone() {
    let dir = tempfile::tempdir().unwrap();
    let base = checkpoint(&dir.path().join("base"));
    let tuned = dir.path().join("tuned");
    std::fs::create_dir(&tuned).unwrap();
    let weights: Vec<NamedTensor> =
        random(base.config(), 6).filter(|tensor| tensor.name.starts_with("mask_decoder.")).collect();
    write_safetensors(&tuned.join(TUNED_FILE), weights, None).unwrap();
    let summary = Summary {
        format: FORMAT.into(),
        epoch: 1,
        epochs: 1,
        stopped_early: false,
        selected_by: SelectedBy::LastEpoch,
        validation_dice: None,
        tuning: Default::default(),
        prompts: None,
        iou_head_trained: false,
    };
    resect_data::write_json(&tuned.join(SUMMARY_FILE), &summary).unwrap();
    let prompts = prompts(base.config());
    let values = embedding(base.config(), 1);
    let decoded = |weights: &[Weights<'_>]| {
        let decoders = Decoders::<Cpu>::load(&base, weights, 4, &Default::default()).unwrap();
        let embedding = decoders.embedding(Embedding::F32(&values)).unwrap();
        let queries: Vec<_> = prompts.iter().map(|prompt| Query { embedding: &embedding, prompt }).collect();
        decoders.decode(&queries, true).unwrap()
    };
    let both = decoded(&[Weights::Base, Weights::Tuned(&tuned)]);
    let apart = [decoded(&[Weights::Base]), decoded(&[Weights::Tuned(&tuned)])];
    for (both, (base, tuned)) in both.iter().zip(apart[0].iter().zip(&apart[1])) {
        assert_eq!(both, &[base.clone(), tuned.clone()].concat());
        assert_ne!(base, tuned);
    }
    assert!(decoded(&[]).iter().all(Vec::is_empty));
    std::fs::remove_file(tuned.join(TUNED_FILE)).unwrap();
    let none = Decoders::<Cpu>::load(&base, &[Weights::Tuned(&tuned)], 4, &Default::default());
    assert!(matches!(none, Err(SegmentError::NoWeights { .. })));
}

#[test]
fn what_is_not_finite_is_told_with_its_prompt() {
    let dir = tempfile::tempdir().unwrap();
    let predictor =
        Predictor::<Cpu>::load(checkpoint(dir.path()), Weights::Base, 8, &Default::default()).unwrap();
    let (config, decoders) = (predictor.config(), predictor.decoders());
    let mut spoilt = embedding(config, 1);
    let sound = decoders.embedding(Embedding::F32(&spoilt)).unwrap();
    spoilt[3] = f32::NAN;
    let spoilt = decoders.embedding(Embedding::F32(&spoilt)).unwrap();
    let (bounds, nothing) = (ModelPrompt::of_box([1.0, 2.0, 30.0, 40.0]), ModelPrompt::default());
    let queries = [(&sound, &bounds), (&spoilt, &bounds), (&sound, &nothing)]
        .map(|(embedding, prompt)| Query { embedding, prompt });
    let error = decoders.decode(&queries, false).unwrap_err();
    assert!(matches!(error, SegmentError::NotFinite { index: 1, decoder: 0 }), "{error}");
    let prompt = ModelPrompt::of_box([1.0, f32::NAN, 30.0, 40.0]);
    let error = decoders.decode(&[Query { embedding: &sound, prompt: &prompt }], false).unwrap_err();
    assert!(matches!(error, SegmentError::Prompts(_)), "{error}");
}

#[test]
fn the_best_mask_is_the_first_of_highest_predicted_iou() {
    let best = |scores: &[f32]| {
        let masks = scores.iter().map(|&predicted_iou| PredictedMask { logits: vec![], predicted_iou });
        Prediction { masks: masks.collect() }.best()
    };
    assert_eq!([best(&[0.1, 0.9, 0.9]), best(&[-3.0]), best(&[0.2, 0.1, 0.4])], [1, 0, 2]);
}
