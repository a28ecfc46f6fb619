//! From artifacts to the numbers of a batch.

use crate::TrainError;
use crate::augment::Seen;
use resect_checkpoint::SamConfig;
use resect_data::embeddings::{Embedding, Embeddings};
use resect_data::targets::Targets;
use resect_geometry::{PixelBox, View};
use resect_params::TrainParams;
use resect_sam::{Cpu, PromptEncoder, Prompts};

/// Embeddings and targets that are known to fit each other and the model.
pub struct Samples<'a> {
    targets: &'a Targets,
    embeddings: &'a Embeddings,
}

/// What a decoder learns from: an image, a box and the mask it should predict.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// The name of the target.
    pub name: &'a str,
    /// The image, `[C, g, g]`.
    pub embedding: Embedding<'a>,
    /// The box, `[t, C]`.
    pub tokens: &'a [f32],
    /// 0 and 1, `[4g, 4g]`.
    pub mask: &'a [u8],
}

impl<'a> Samples<'a> {
    /// Checks that targets, embeddings and model belong together, and that each image is embedded under all views.
    pub fn new(
        targets: &'a Targets,
        embeddings: &'a Embeddings,
        model: &SamConfig,
        views: &[View],
    ) -> Result<Self, TrainError> {
        let expected = [model.embedding_channels(), model.grid(), model.grid()];
        if embeddings.shape() != expected {
            let found = embeddings.shape();
            return Err(TrainError::Misfit(format!(
                "embeddings are {found:?}, the model's are {expected:?}"
            )));
        }
        if targets.low_res_size() as usize != model.low_res() {
            let (found, expected) = (targets.low_res_size(), model.low_res());
            return Err(TrainError::Misfit(format!(
                "masks are on a grid of {found}, the model's is {expected}"
            )));
        }
        for target in targets.rows() {
            if let Some(view) = views.iter().find(|view| !embeddings.contains(&target.pixel_hash, **view)) {
                return Err(TrainError::NoEmbedding { target: target.id.clone(), view: *view });
            }
        }
        Ok(Self { targets, embeddings })
    }

    /// The targets.
    pub fn targets(&self) -> &Targets {
        self.targets
    }

    /// The tokens of the chosen targets' boxes, `[n, t, C]`: once for an epoch, as the prompt encoder does not learn. Boxes are those
    /// of the original image; each is turned as its target is seen.
    pub fn tokens(
        &self,
        chosen: &[Seen<'_>],
        boxes: &[PixelBox],
        encoder: &PromptEncoder<Cpu>,
    ) -> Result<Vec<f32>, TrainError> {
        let scaled: Vec<[f32; 4]> = chosen
            .iter()
            .zip(boxes)
            .map(|(&Seen { target, view, .. }, b)| {
                let target = &self.targets.rows()[target];
                let turned = view.pixel_box(*b, target.original());
                turned.to_model(view.size(target.original()), view.size(target.resized()))
            })
            .collect();
        let tokens = encoder.forward(&Prompts::boxes(&scaled, &Default::default())?).sparse;
        Ok(tokens.map(|tokens| tokens.into_data().iter::<f32>().collect()).unwrap_or_default())
    }

    /// The chosen targets with their tokens.
    pub fn with_tokens(&'a self, chosen: &'a [Seen<'a>], tokens: &'a [f32]) -> Vec<Sample<'a>> {
        let length = (tokens.len() / chosen.len().max(1)).max(1);
        let samples = chosen.iter().zip(tokens.chunks_exact(length)).filter_map(|(seen, tokens)| {
            let target = &self.targets.rows()[seen.target];
            // That each has an embedding was checked in `new`.
            let embedding = self.embeddings.get(&target.pixel_hash, seen.view)?;
            Some(Sample { name: &target.id, embedding, tokens, mask: &seen.mask })
        });
        samples.collect()
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

/// The boxes of an epoch: each side moved outward by 0 to `jitter` pixels (exclusive) at original resolution, clipped.
pub fn jitter(targets: &Targets, chosen: &[usize], params: &TrainParams, epoch: u32) -> Vec<PixelBox> {
    let one = |&i: &usize| {
        let target = &targets.rows()[i];
        let mut rng =
            resect_seed::stream("jitter", params.seed, &[&epoch.to_le_bytes(), target.id.as_bytes()]);
        let by = [(); 4].map(|()| resect_seed::below(&mut rng, params.jitter));
        target.bounding_box().grown(by, target.original())
    };
    chosen.iter().map(one).collect()
}
