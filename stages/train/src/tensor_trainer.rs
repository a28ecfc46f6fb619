//! Training with graphs of tensors, on any backend.

use crate::TrainError;
use crate::batch::{Sample, by_token_count};
use crate::flat::Flat;
use crate::flat_adamw::{FlatAdamW, Taken};
use crate::loss::{Objective, Terms, Values};
use crate::loss_scale::LossScale;
use crate::resident::OnDevice;
use crate::trainer::{Outcome, Stepped, Trainer};
use burn::module::AutodiffModule;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use burn_optim::GradientsParams;
use resect_checkpoint::{SamConfig, TensorFile, write_safetensors};
use resect_geometry::Size;
use resect_params::{Precision, TrainParams};
use resect_sam::{Cpu, MaskDecoder, NamedTensor, PromptEmbeddings, PromptEncoder, Prompts};
use std::path::Path;

/// Files of AdamW's moments: decoders, whose parameters are the running means of the gradients and of their squares.
const MOMENTS: [&str; 2] = ["first-moment.safetensors", "second-moment.safetensors"];

/// Trains a [`MaskDecoder`] with burn's graph of tensors.
///
/// The host hands over work and waits for nothing: loss, norm and what is decided by them stay on the device until
/// [`Trainer::outcomes`] asks for them.
pub struct TensorTrainer<B: AutodiffBackend> {
    config: SamConfig,
    place: OnDevice<B::InnerBackend>,
    decoder: MaskDecoder<B>,
    flat: Flat,
    optimizer: FlatAdamW<B::InnerBackend>,
    accumulation: u32,
    precision: Precision,
    objective: Objective,
    /// `[1, C, g, g]`.
    position: Tensor<B, 4>,
    /// What stands for the mask prompt that is not there, `[1, C, g, g]`.
    dense: Tensor<B, 4>,
    waiting: Vec<Waiting<B::InnerBackend>>,
}

/// A group whose outcome is on the device.
struct Waiting<B: Backend> {
    /// Its Dice terms and its pixel-wise terms, sample by sample, then norm and scale of the loss: `[2 n + 2]`.
    numbers: Tensor<B, 1>,
    /// Which of the group's samples each term belongs to.
    order: Vec<usize>,
    batch_size: usize,
}

/// What a decoder takes.
struct Inputs<B: Backend> {
    embeddings: Tensor<B, 4>,
    prompts: PromptEmbeddings<B>,
}

impl<B: AutodiffBackend> TensorTrainer<B> {
    /// Inputs of samples with equally many tokens, on the backend of `dense`, which `lifted` brings embeddings to.
    fn inputs<T: Backend<Device = B::Device>>(
        &self,
        samples: &[Sample<'_>],
        dense: Tensor<T, 4>,
        lifted: impl Fn(Tensor<B::InnerBackend, 4>) -> Tensor<T, 4>,
    ) -> Inputs<T> {
        let ([_, c, h, w], n) = (dense.dims(), samples.len());
        let tokens: Vec<f32> = samples.iter().flat_map(|sample| sample.tokens).copied().collect();
        let count = tokens.len() / (n * c);
        let tokens = TensorData::new(tokens, [n, count, c]);
        Inputs {
            embeddings: lifted(self.place.embeddings(samples, [c, h, w])),
            prompts: PromptEmbeddings {
                sparse: Some(Tensor::from_data(tokens, &self.place.device)),
                dense: dense.expand([n, c, h, w]),
            },
        }
    }

    /// The terms of samples with equally many tokens.
    fn terms(&self, samples: &[Sample<'_>]) -> Terms<B> {
        let Inputs { embeddings, prompts } = self.inputs(samples, self.dense.clone(), Tensor::from_inner);
        let logits = self.decoder.forward_single_mask(embeddings, self.position.clone(), &prompts);
        let masks: Vec<f32> =
            samples.iter().flat_map(|sample| sample.mask).map(|&mask| f32::from(mask)).collect();
        let masks = Tensor::from_data(TensorData::new(masks, logits.dims()), &self.place.device);
        let images: Vec<Size> = samples.iter().map(|sample| sample.image).collect();
        self.objective.terms(logits, masks, &images)
    }

    /// The gradient of the samples' terms, each with its share of the loss.
    fn gradient(&self, terms: &Terms<B>, shares: Vec<f32>) -> Tensor<B::InnerBackend, 1> {
        let device = &self.place.device;
        let length = shares.len();
        let mut loss =
            self.objective.sum(terms, Tensor::from_data(TensorData::new(shares, [length]), device));
        if let Some(scale) = self.optimizer.loss_scale() {
            loss = loss * Tensor::from_inner(scale);
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &self.decoder);
        self.flat.gradients(&self.decoder, gradients, device)
    }

    /// The decoder with other parameters.
    fn decoder(&self, parameters: Tensor<B::InnerBackend, 1>) -> MaskDecoder<B> {
        self.flat.decoder(self.decoder.clone(), parameters)
    }

    /// The parameters of a decoder that lies in a file.
    fn read(&self, path: &Path) -> Result<Tensor<B::InnerBackend, 1>, TrainError> {
        self.parameters(TensorFile::open(path)?.read_all()?)
    }

    fn parameters(&self, tensors: Vec<NamedTensor>) -> Result<Tensor<B::InnerBackend, 1>, TrainError> {
        let decoder = MaskDecoder::<B>::from_tensors(&self.config, tensors, &self.place.device)?;
        Ok(Flat::new(&decoder).weights(&decoder, &self.place.device))
    }
}

/// The samples at some places of a batch.
fn of<'a>(batch: &[Sample<'a>], places: &[usize]) -> Vec<Sample<'a>> {
    places.iter().map(|&place| batch[place]).collect()
}

impl<B: AutodiffBackend> Trainer for TensorTrainer<B> {
    type Device = OnDevice<B::InnerBackend>;

    /// So many steps take a GPU a part of a second.
    const GROUPS_AHEAD: usize = 32;

    const IS_REFERENCE: bool = false;

    fn new(
        config: &SamConfig,
        tensors: Vec<NamedTensor>,
        prompts: &PromptEncoder<Cpu>,
        params: &TrainParams,
        place: &OnDevice<B::InnerBackend>,
    ) -> Result<Self, TrainError> {
        let frozen = |tensor: Tensor<Cpu, 4>| Tensor::from_data(tensor.into_data(), &place.device);
        let decoder = MaskDecoder::from_tensors(config, tensors, &place.device)?;
        let decoder = decoder.with_precision(params.precision);
        let flat = Flat::new(&decoder);
        let weights = flat.weights(&decoder, &place.device);
        Ok(Self {
            config: config.clone(),
            place: place.clone(),
            optimizer: FlatAdamW::new(params, weights.clone()),
            decoder: flat.decoder(decoder, weights),
            flat,
            accumulation: params.accumulation,
            precision: params.precision,
            objective: Objective::new(params),
            position: frozen(prompts.image_positional_encoding()),
            dense: frozen(prompts.forward(&Prompts::none(1, &Default::default())).dense),
            waiting: Vec::new(),
        })
    }

    /// All batches pass together where they may: a batch's share of a sample's gradient is the same in whichever company it passes.
    fn learn(&mut self, group: &[Sample<'_>], batch_size: usize, learning_rate: f64) {
        let share_in = |batch: &[Sample<'_>]| 1.0 / (batch.len() as f64 * f64::from(self.accumulation));
        let shares: Vec<f32> =
            group.chunks(batch_size).flat_map(|batch| vec![share_in(batch) as f32; batch.len()]).collect();
        let alike = by_token_count(group);
        let parts: Vec<&[usize]> =
            alike.iter().flat_map(|places| places.chunks(self.place.together)).collect();
        let (mut dice, mut pixelwise) = (Vec::new(), Vec::new());
        let mut gradient: Option<Tensor<B::InnerBackend, 1>> = None;
        for places in &parts {
            let terms = self.terms(&of(group, places));
            let further = self.gradient(&terms, places.iter().map(|&place| shares[place]).collect());
            gradient = Some(match gradient {
                Some(sum) => sum + further,
                None => further,
            });
            dice.push(terms.dice.inner());
            pixelwise.push(terms.pixelwise.inner());
        }
        let Some(gradient) = gradient else { return };
        let terms = Tensor::cat([dice, pixelwise].concat(), 0);
        let Taken { norm, scale } = self.optimizer.step(learning_rate, gradient, terms.clone().sum());
        self.decoder = self.decoder(self.optimizer.weights());
        let numbers = Tensor::cat(vec![terms, norm, scale], 0);
        self.waiting.push(Waiting { numbers, order: parts.concat(), batch_size });
    }

    fn outcomes(&mut self) -> Vec<Outcome> {
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() {
            return Vec::new();
        }
        // One transfer for all.
        let numbers = Tensor::cat(waiting.iter().map(|group| group.numbers.clone()).collect(), 0);
        let numbers: Vec<f64> = numbers.into_data().iter::<f64>().collect();
        let mut rest = numbers.as_slice();
        let mut outcomes = Vec::with_capacity(waiting.len());
        for Waiting { order, batch_size, .. } in waiting {
            let (own, others) = rest.split_at(2 * order.len() + 2);
            rest = others;
            outcomes.push(self.outcome(own, &order, batch_size));
        }
        outcomes
    }

    fn logits(&mut self, batch: &[Sample<'_>]) -> Vec<Vec<f32>> {
        let decoder = self.decoder.valid().with_precision(Precision::F32);
        let mut all = vec![Vec::new(); batch.len()];
        for group in by_token_count(batch) {
            let samples = of(batch, &group);
            let dense = self.dense.clone().inner();
            let Inputs { embeddings, prompts } = self.inputs(&samples, dense, |embeddings| embeddings);
            let position = self.position.clone().inner();
            let logits = decoder.forward_single_mask(embeddings, position, &prompts);
            let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
            let each = logits.chunks_exact(logits.len() / group.len());
            each.zip(group).for_each(|(logits, place)| all[place] = logits.to_vec());
        }
        all
    }

    fn tensors(&self) -> Vec<NamedTensor> {
        self.decoder.tensors()
    }

    fn average(&self) -> Option<Vec<NamedTensor>> {
        Some(self.decoder(self.optimizer.average()?).tensors())
    }

    fn save(&self, dir: &Path) -> Result<(), TrainError> {
        LossScale::save(self.optimizer.saved_loss_scale().as_ref(), dir)?;
        for (file, moment) in MOMENTS.into_iter().zip(self.optimizer.moments()) {
            write_safetensors(&dir.join(file), self.decoder(moment).tensors(), None)?;
        }
        Ok(())
    }

    fn restore(
        &mut self,
        dir: &Path,
        steps: u32,
        average: Option<Vec<NamedTensor>>,
    ) -> Result<(), TrainError> {
        let [first, second] = MOMENTS.map(|file| self.read(&dir.join(file)));
        let average = average.map(|tensors| self.parameters(tensors)).transpose()?;
        let mut scale = LossScale::new(self.precision);
        LossScale::restore(scale.as_mut(), dir)?;
        self.optimizer.restore([first?, second?], average, scale, steps);
        Ok(())
    }
}

impl<B: AutodiffBackend> TensorTrainer<B> {
    /// What came of a group, from its numbers ([`Waiting::numbers`]).
    fn outcome(&self, numbers: &[f64], order: &[usize], batch_size: usize) -> Outcome {
        let n = order.len();
        let mut samples = vec![Values::default(); n];
        for (i, &place) in order.iter().enumerate() {
            samples[place] = self.objective.values(numbers[i], numbers[n + i]);
        }
        let mean = |batch: &[Values]| batch.iter().copied().sum::<Values>() / batch.len() as f64;
        let losses = samples.chunks(batch_size).map(mean).collect();
        let (gradient_norm, loss_scale) = (numbers[2 * n], numbers[2 * n + 1]);
        let stepped = match self.precision {
            Precision::F16 if !gradient_norm.is_finite() => Stepped::Skipped { loss_scale },
            _ => Stepped::Taken { gradient_norm },
        };
        Outcome { losses, stepped }
    }
}
