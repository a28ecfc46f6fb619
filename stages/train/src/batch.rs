//! From artifacts to the numbers of a batch.

use crate::TrainError;
use crate::augment::Seen;
use crate::features::Features;
use crate::prompt::to_model;
use rayon::prelude::*;
use resect_checkpoint::SamConfig;
use resect_embeddings::Embedding;
use resect_geometry::{Size, View};
use resect_layers::Cpu;
use resect_prompt::Prompt;
use resect_sam::PromptEncoder;
use resect_targets::Targets;
use resect_train_params::{MaskFit, TrainParams};
use std::borrow::Cow;

/// Features and targets that are known to fit each other and the model.
pub struct Samples<'a> {
    targets: &'a Targets,
    features: &'a Features,
    fit: MaskFit,
}

/// What a decoder learns from: an image, a prompt and the mask it should predict.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// The name of the target.
    pub name: &'a str,
    /// The image: its embedding `[C, g, g]`, or what the model takes in its place ([`crate::Roles::place`]).
    pub embedding: Embedding<'a>,
    /// Which of all images under all views that is: samples of one row have the same.
    pub row: usize,
    /// The prompt, `[t, C]`.
    pub tokens: &'a [f32],
    /// 0 and 1, `[4g, 4g]`.
    pub mask: &'a [u8],
    /// What the image covers of the mask; the rest is padding.
    pub image: Size,
}

impl<'a> Samples<'a> {
    /// Checks that targets, embeddings and model belong together, and that each image is embedded under all views.
    pub fn new(
        targets: &'a Targets,
        features: &'a Features,
        model: &SamConfig,
        views: &[View],
        fit: MaskFit,
    ) -> Result<Self, TrainError> {
        if targets.low_res_size() as usize != model.low_res() {
            let (found, expected) = (targets.low_res_size(), model.low_res());
            return Err(TrainError::Misfit(format!(
                "masks are on a grid of {found}, the model's is {expected}"
            )));
        }
        for target in targets.rows() {
            if let Some(view) = views.iter().find(|view| !features.contains(&target.pixel_hash, **view)) {
                return Err(TrainError::NoEmbedding { target: target.id.clone(), view: *view });
            }
        }
        Ok(Self { targets, features, fit })
    }

    /// The targets.
    pub fn targets(&self) -> &'a Targets {
        self.targets
    }

    /// The tokens `[t, C]` of each chosen target's prompt: once for an epoch, as the prompt encoder does not learn. Prompts are those
    /// of the original image; each is turned as its target is seen.
    pub fn tokens(
        &self,
        chosen: &[Seen],
        prompts: &[Prompt],
        encoder: &PromptEncoder<Cpu>,
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        let one = |(seen, prompt): (&Seen, &Prompt)| {
            let target = &self.targets.rows()[seen.target];
            let prompt = to_model(prompt, target, seen.view, self.targets.low_res_size())?;
            Ok(encoder.forward(&[prompt])?.tokens())
        };
        chosen.iter().zip(prompts).map(one).collect()
    }

    /// The masks of the chosen targets.
    pub fn masks(&self, chosen: &[Seen]) -> Vec<Cow<'_, [u8]>> {
        chosen.par_iter().with_max_len(1).map(|seen| seen.mask(self.targets, self.fit)).collect()
    }

    /// What the model takes of the images of the chosen targets and is not stored.
    ///
    /// # Errors
    /// Pixels that do not fit the model.
    pub fn inputs(&self, chosen: &[Seen]) -> Result<Vec<Option<Vec<f32>>>, TrainError> {
        let hash = |seen: &Seen| self.targets.rows()[seen.target].pixel_hash.as_str();
        self.features.prepare(&chosen.iter().map(|seen| (hash(seen), *seen)).collect::<Vec<_>>())
    }

    /// The chosen targets with their tokens, masks and [`Samples::inputs`].
    ///
    /// # Errors
    /// A target without an embedding under its view.
    pub fn with<'s>(
        &'s self,
        chosen: &[Seen],
        tokens: &'s [Vec<f32>],
        masks: &'s [Cow<'_, [u8]>],
        inputs: &'s [Option<Vec<f32>>],
    ) -> Result<Vec<Sample<'s>>, TrainError> {
        let samples =
            chosen.iter().zip(tokens).zip(masks).zip(inputs).map(|(((seen, tokens), mask), input)| {
                let target = &self.targets.rows()[seen.target];
                let missing = || TrainError::NoEmbedding { target: target.id.clone(), view: seen.view };
                let (hash, view) = (&target.pixel_hash, seen.view);
                let embedding = self.features.get(hash, view, input.as_deref()).ok_or_else(missing)?;
                let row = self.features.row(&target.pixel_hash, seen.view).ok_or_else(missing)?;
                let side = self.targets.low_res_size();
                let image = match self.fit {
                    MaskFit::Padded => seen.view.size(target.original()).with_longest_side(side),
                    MaskFit::Squashed => Size::square(side),
                };
                Ok(Sample { name: &target.id, embedding, row, tokens, mask, image })
            });
        samples.collect()
    }

    /// Has the system begin to read what is needed next from disk, while something else is computed.
    pub fn fetch(&self, chosen: &[Seen]) {
        for seen in chosen {
            self.features.fetch(&self.targets.rows()[seen.target].pixel_hash, seen.view);
        }
    }

    /// Gives the memory of what was read back to the system: memory does not grow with the number of samples.
    pub fn release(&self, chosen: &[Seen]) {
        for seen in chosen {
            self.features.release(&self.targets.rows()[seen.target].pixel_hash, seen.view);
        }
        self.targets.release();
    }
}

/// The order of an epoch's targets.
pub fn order(train: &[usize], targets: &Targets, params: &TrainParams, epoch: u32) -> Vec<usize> {
    let mut order = train.to_vec();
    if params.shuffle {
        // Each target's place comes from a draw of its own, so that a target more or less leaves the others' order.
        let place = |&i: &usize| {
            let id = targets.rows()[i].id.as_bytes();
            let mut rng = resect_seed::stream("order", params.seed, &[&epoch.to_le_bytes(), id]);
            (resect_seed::below(&mut rng, u32::MAX), i)
        };
        order.sort_by_cached_key(place);
    }
    order
}
