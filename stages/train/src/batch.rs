//! From artifacts to the tensors of a batch.

use crate::TrainError;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use resect_checkpoint::SamConfig;
use resect_data::embeddings::Embeddings;
use resect_data::targets::Targets;
use resect_geometry::PixelBox;
use resect_params::TrainParams;
use resect_sam::{PromptEmbeddings, PromptEncoder, Prompts};

/// Embeddings and targets that are known to fit each other and the model.
pub struct Samples<'a> {
    targets: &'a Targets,
    embeddings: &'a Embeddings,
}

/// What the decoder and the loss take, for `n` targets.
pub struct Batch<B: Backend> {
    /// `[n, C, g, g]`.
    pub embeddings: Tensor<B, 4>,
    /// `[1, C, g, g]`.
    pub image_position: Tensor<B, 4>,
    /// Box tokens and the dense part.
    pub prompts: PromptEmbeddings<B>,
    /// 0 or 1, `[n, 1, 4g, 4g]`.
    pub masks: Tensor<B, 4>,
}

impl<'a> Samples<'a> {
    /// Checks that targets, embeddings and model belong together.
    pub fn new(
        targets: &'a Targets,
        embeddings: &'a Embeddings,
        model: &SamConfig,
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
        match targets.rows().iter().find(|target| !embeddings.contains(&target.pixel_hash)) {
            Some(target) => Err(TrainError::NoEmbedding(target.id.clone())),
            None => Ok(Self { targets, embeddings }),
        }
    }

    /// The targets.
    pub fn targets(&self) -> &Targets {
        self.targets
    }

    /// Embeddings of the chosen targets, `[n, C, g, g]`.
    pub fn embeddings<B: Backend>(&self, chosen: &[usize], device: &B::Device) -> Tensor<B, 4> {
        let [c, h, w] = self.embeddings.shape();
        let mut values = Vec::with_capacity(chosen.len() * c * h * w);
        for &i in chosen {
            // That each has one was checked in `new`.
            self.embeddings.append_to(&self.targets.rows()[i].pixel_hash, &mut values);
        }
        Tensor::from_data(TensorData::new(values, [chosen.len(), c, h, w]), device)
    }

    /// Box prompts of the chosen targets, in model input pixels.
    pub fn prompts<B: Backend>(
        &self,
        chosen: &[usize],
        boxes: &[PixelBox],
        device: &B::Device,
    ) -> Result<Prompts<B>, TrainError> {
        let scaled: Vec<[f32; 4]> = chosen
            .iter()
            .zip(boxes)
            .map(|(&i, b)| {
                let target = &self.targets.rows()[i];
                b.to_model(target.original(), target.resized())
            })
            .collect();
        Ok(Prompts::boxes(&scaled, device)?)
    }

    /// A training batch. What is frozen is computed without a graph.
    pub fn batch<B: AutodiffBackend>(
        &self,
        chosen: &[usize],
        boxes: &[PixelBox],
        encoder: &PromptEncoder<B::InnerBackend>,
    ) -> Result<Batch<B>, TrainError> {
        let device = Default::default();
        let prompts = encoder.forward(&self.prompts(chosen, boxes, &device)?);
        let side = self.targets.low_res_size() as usize;
        let masks: Vec<f32> =
            chosen.iter().flat_map(|&i| self.targets.low_res(i)).map(|&m| f32::from(m)).collect();
        Ok(Batch {
            embeddings: Tensor::from_inner(self.embeddings(chosen, &device)),
            image_position: Tensor::from_inner(encoder.image_positional_encoding()),
            prompts: PromptEmbeddings {
                sparse: prompts.sparse.map(Tensor::from_inner),
                dense: Tensor::from_inner(prompts.dense),
            },
            masks: Tensor::from_data(TensorData::new(masks, [chosen.len(), 1, side, side]), &device),
        })
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
