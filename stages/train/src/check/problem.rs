//! The problem that every device solves before it trains.

use crate::TrainError;
use crate::batch::Sample;
use crate::model::Roles;
use resect_checkpoint::{NamedTensor, Part, SamConfig, part_tensors, random};
use resect_embeddings::Embedding;
use resect_geometry::Size;
use resect_layers::Cpu;
use resect_prompt::ModelPrompt;
use resect_sam::PromptEncoder;
use resect_tuning::Tuning;
use std::collections::HashSet;

/// Weights and samples that are always the same.
pub struct Problem {
    pub config: SamConfig,
    pub prompts: PromptEncoder<Cpu>,
    /// The decoder is tuned.
    pub roles: Roles,
    pub tensors: Vec<NamedTensor>,
    samples: Vec<OwnSample>,
}

struct OwnSample {
    name: &'static str,
    embedding: Vec<f32>,
    tokens: Vec<f32>,
    mask: Vec<u8>,
    image: Size,
}

impl Problem {
    /// Seed of the weights.
    const SEED: u64 = 0;

    pub fn new() -> Result<Self, TrainError> {
        let missing = || TrainError::Misfit("internal error: there is no model named tiny".into());
        let config = SamConfig::named("tiny").ok_or_else(missing)?;
        let decoder: HashSet<_> =
            part_tensors(&config, Part::MaskDecoder).into_iter().map(|spec| spec.name).collect();
        let tensors = random(&config, Self::SEED).filter(|tensor| decoder.contains(&tensor.name)).collect();
        let prompts = PromptEncoder::random(&config, Self::SEED, &Default::default())?;
        let samples = [("1", [0.2, 0.3, 0.7, 0.8], 1.0), ("2", [0.1, 0.4, 0.5, 0.6], 0.75)];
        let samples = samples
            .into_iter()
            .enumerate()
            .map(|(i, (name, bounds, height))| OwnSample::new(&config, &prompts, name, i, bounds, height));
        let roles = Roles::new(&config, &Tuning::default())?;
        Ok(Self { samples: samples.collect::<Result<_, _>>()?, roles, config, prompts, tensors })
    }

    pub fn batch(&self) -> Vec<Sample<'_>> {
        self.samples.iter().enumerate().map(|(row, sample)| sample.at(row)).collect()
    }
}

impl OwnSample {
    /// As the sample of a row.
    fn at(&self, row: usize) -> Sample<'_> {
        Sample {
            name: self.name,
            embedding: Embedding::F32(&self.embedding),
            row,
            tokens: &self.tokens,
            mask: &self.mask,
            image: self.image,
        }
    }

    /// A box, of left, top, right and bottom as shares of the input, and the disc in it; the image covers so much of the input's height.
    fn new(
        config: &SamConfig,
        prompts: &PromptEncoder<Cpu>,
        name: &'static str,
        number: usize,
        bounds: [f32; 4],
        height: f32,
    ) -> Result<Self, TrainError> {
        let prompt = ModelPrompt::of_box(bounds.map(|share| share * config.image_size() as f32));
        let tokens = prompts.forward(&[prompt])?.tokens();
        let places = config.embedding_channels() * config.grid() * config.grid();
        // As large as embeddings are, and without a pattern that a place or a channel would share with others.
        let step = 1.7 + number as f32;
        let embedding = (0..places).map(|i| ((i as f32 + 1.0) * step).sin()).collect();
        let side = config.low_res();
        let [left, top, right, bottom] = bounds.map(|share| share * side as f32);
        let disc = |i: usize| {
            let (x, y) = ((i % side) as f32 + 0.5, (i / side) as f32 + 0.5);
            let across = (2.0 * x - left - right) / (right - left);
            let down = (2.0 * y - top - bottom) / (bottom - top);
            u8::from(across * across + down * down <= 1.0)
        };
        let mask = (0..side * side).map(disc).collect();
        let image = Size::new(side as u32, (height * side as f32) as u32);
        Ok(Self { name, embedding, tokens, mask, image })
    }
}
