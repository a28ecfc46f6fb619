//! Training with graphs of tensors, on any backend.

use crate::TrainError;
use crate::adamw::clip_factor;
use crate::batch::{Sample, by_token_count};
use crate::loss::{Objective, Values};
use crate::loss_scale::LossScale;
use crate::resume::failed;
use crate::trainer::{Stepped, Trainer};
use burn::module::{AutodiffModule, Module, ModuleVisitor, Param, ParamId};
use burn::record::{BinFileRecorder, FullPrecisionSettings, Recorder};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{ElementConversion, Tensor, TensorData};
use burn_optim::{
    AdamW, AdamWConfig, GradientsAccumulator, GradientsParams, Optimizer, adaptor::OptimizerAdaptor,
};
use resect_checkpoint::SamConfig;
use resect_data::{read_json, write_json};
use resect_geometry::Size;
use resect_params::{Precision, TrainParams};
use resect_sam::{Cpu, MaskDecoder, NamedTensor, PromptEmbeddings, PromptEncoder, Prompts, is_idle};
use std::collections::HashMap;
use std::path::Path;

/// File of burn's optimiser, without the ending that burn gives it.
const OPTIMIZER: &str = "optimizer";
/// File of the name behind each identity in the former.
const NAMES: &str = "optimizer.json";

type Adam<B> = OptimizerAdaptor<AdamW, MaskDecoder<B>, B>;

/// Trains a [`MaskDecoder`] with burn's own graph and optimiser.
pub struct TensorTrainer<B: AutodiffBackend> {
    decoder: MaskDecoder<B>,
    optimizer: Adam<B>,
    accumulator: GradientsAccumulator<MaskDecoder<B>>,
    accumulation: u32,
    clip_norm: f64,
    loss_scale: Option<LossScale>,
    objective: Objective,
    /// `[1, C, g, g]`.
    position: Tensor<B, 4>,
    /// What stands for the mask prompt that is not there, `[1, C, g, g]`.
    dense: Tensor<B, 4>,
}

/// What a decoder takes.
struct Inputs<B: Backend> {
    embeddings: Tensor<B, 4>,
    prompts: PromptEmbeddings<B>,
}

impl<B: AutodiffBackend> TensorTrainer<B> {
    fn inputs<T: Backend<Device = B::Device>>(&self, batch: &[Sample<'_>], dense: Tensor<T, 4>) -> Inputs<T> {
        let device = dense.device();
        let ([_, c, h, w], n) = (dense.dims(), batch.len());
        let mut all = Vec::with_capacity(n * c * h * w);
        batch.iter().for_each(|sample| sample.embedding.append_to(&mut all));
        let tokens: Vec<f32> = batch.iter().flat_map(|sample| sample.tokens).copied().collect();
        let count = tokens.len() / (n * c);
        Inputs {
            embeddings: Tensor::from_data(TensorData::new(all, [n, c, h, w]), &device),
            prompts: PromptEmbeddings {
                sparse: Some(Tensor::from_data(TensorData::new(tokens, [n, count, c]), &device)),
                dense: dense.expand([n, c, h, w]),
            },
        }
    }

    /// Learns from samples with equally many tokens, of a batch of `n`. The sums of their losses.
    fn learn_alike(&mut self, samples: &[Sample<'_>], n: f64) -> Values {
        let Inputs { embeddings, prompts } = self.inputs(samples, self.dense.clone());
        let logits = self.decoder.forward_single_mask(embeddings, self.position.clone(), &prompts);
        let masks: Vec<f32> =
            samples.iter().flat_map(|sample| sample.mask).map(|&mask| f32::from(mask)).collect();
        let masks = Tensor::from_data(TensorData::new(masks, logits.dims()), &logits.device());
        let images: Vec<Size> = samples.iter().map(|sample| sample.image).collect();
        let terms = self.objective.terms(logits, masks, &images);
        let scale = self.loss_scale.map_or(1.0, |scale| scale.scale());
        let loss = self.objective.sum(&terms).mul_scalar(scale / (n * f64::from(self.accumulation)));
        let gradients = GradientsParams::from_grads(loss.backward(), &self.decoder);
        self.accumulator.accumulate(&self.decoder, gradients);
        self.objective.sums(&terms)
    }
}

/// The samples at some places of a batch.
fn of<'a>(batch: &[Sample<'a>], places: &[usize]) -> Vec<Sample<'a>> {
    places.iter().map(|&place| batch[place]).collect()
}

impl<B: AutodiffBackend> Trainer for TensorTrainer<B> {
    type Device = B::Device;

    const IS_REFERENCE: bool = false;

    fn new(
        config: &SamConfig,
        tensors: Vec<NamedTensor>,
        prompts: &PromptEncoder<Cpu>,
        params: &TrainParams,
        device: &B::Device,
    ) -> Result<Self, TrainError> {
        let frozen = |tensor: Tensor<Cpu, 4>| Tensor::from_data(tensor.into_data(), device);
        Ok(Self {
            decoder: MaskDecoder::from_tensors(config, tensors, device)?.with_precision(params.precision),
            optimizer: optimizer(params),
            accumulator: GradientsAccumulator::new(),
            accumulation: params.accumulation,
            clip_norm: params.clip_norm,
            loss_scale: LossScale::new(params.precision),
            objective: Objective::new(params),
            position: frozen(prompts.image_positional_encoding()),
            dense: frozen(prompts.forward(&Prompts::none(1, &Default::default())).dense),
        })
    }

    fn learn(&mut self, batch: &[Sample<'_>]) -> Values {
        let n = batch.len() as f64;
        let groups = by_token_count(batch).into_iter();
        groups.map(|group| self.learn_alike(&of(batch, &group), n)).sum::<Values>() / n
    }

    fn step(&mut self, learning_rate: f64) -> Stepped {
        let mut gradients = self.accumulator.grads();
        if let Some(scale) = &self.loss_scale {
            self.decoder.visit(&mut Scale(&mut gradients, 1.0 / scale.scale()));
        }
        let norm = norm(&self.decoder, &gradients);
        if let Some(scale) = &mut self.loss_scale {
            if !norm.is_finite() {
                return Stepped::Skipped { loss_scale: scale.bad() };
            }
            scale.good();
        } else if !norm.is_finite() {
            return Stepped::Taken { gradient_norm: norm };
        }
        if self.clip_norm > 0.0 {
            self.decoder.visit(&mut Scale(&mut gradients, clip_factor(self.clip_norm, norm)));
        }
        let names = self.decoder.parameter_names().into_iter();
        let idle = names.filter(|(name, _)| is_idle(name)).map(|(_, id)| id).collect();
        self.decoder.visit(&mut Zero(&mut gradients, idle));
        self.decoder = self.optimizer.step(learning_rate, self.decoder.clone(), gradients);
        Stepped::Taken { gradient_norm: norm }
    }

    fn logits(&mut self, batch: &[Sample<'_>]) -> Vec<Vec<f32>> {
        let decoder = self.decoder.valid().with_precision(Precision::F32);
        let mut all = vec![Vec::new(); batch.len()];
        for group in by_token_count(batch) {
            let samples = of(batch, &group);
            let Inputs { embeddings, prompts } = self.inputs(&samples, self.dense.clone().inner());
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

    fn save(&self, dir: &Path) -> Result<(), TrainError> {
        LossScale::save(self.loss_scale.as_ref(), dir)?;
        let path = dir.join(OPTIMIZER);
        let recorder = BinFileRecorder::<FullPrecisionSettings>::new();
        Recorder::<B>::record(&recorder, self.optimizer.to_record(), path.clone())
            .map_err(|e| failed("write", &path, e))?;
        let names = self.decoder.parameter_names().into_iter().map(|(name, id)| (id.serialize(), name));
        Ok(write_json(&dir.join(NAMES), &names.collect::<HashMap<_, _>>())?)
    }

    fn restore(&mut self, dir: &Path, _steps: u32) -> Result<(), TrainError> {
        let path = dir.join(OPTIMIZER);
        let recorder = BinFileRecorder::<FullPrecisionSettings>::new();
        let device = self.position.device();
        let record: <Adam<B> as Optimizer<MaskDecoder<B>, B>>::Record =
            Recorder::<B>::load(&recorder, path.clone(), &device).map_err(|e| failed("read", &path, e))?;
        // Identities are drawn anew in each process; names stay.
        let saved: HashMap<String, String> = read_json(&dir.join(NAMES))?;
        let ids: HashMap<String, ParamId> = self.decoder.parameter_names().into_iter().collect();
        let mut renamed = record.clone();
        renamed.clear();
        for (id, moments) in record {
            let name = saved.get(&id.serialize());
            let Some(id) = name.and_then(|name| ids.get(name)) else {
                return Err(failed("read", &path, "it holds a parameter that the decoder has not"));
            };
            renamed.insert(*id, moments);
        }
        self.optimizer = self.optimizer.clone().load_record(renamed);
        LossScale::restore(self.loss_scale.as_mut(), dir)
    }
}

fn optimizer<B: AutodiffBackend>(params: &TrainParams) -> Adam<B> {
    AdamWConfig::new()
        .with_beta_1(params.beta1 as f32)
        .with_beta_2(params.beta2 as f32)
        .with_epsilon(params.epsilon as f32)
        .with_weight_decay(params.weight_decay as f32)
        .init()
}

/// Multiplies all gradients.
struct Scale<'a>(&'a mut GradientsParams, f64);

impl<B: AutodiffBackend> ModuleVisitor<B> for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(gradient) = self.0.remove::<B::InnerBackend, D>(param.id) {
            self.0.register(param.id, gradient.mul_scalar(self.1));
        }
    }
}

/// Gives some parameters gradients of zero: burn's optimiser leaves alone what has none.
struct Zero<'a>(&'a mut GradientsParams, Vec<ParamId>);

impl<B: AutodiffBackend> ModuleVisitor<B> for Zero<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if self.1.contains(&param.id) {
            self.0.register(param.id, param.val().inner().zeros_like());
        }
    }
}

/// Euclidean norm over all gradients.
fn norm<B: AutodiffBackend>(decoder: &MaskDecoder<B>, gradients: &GradientsParams) -> f64 {
    struct Squares<'a>(&'a GradientsParams, f64);
    impl<B: AutodiffBackend> ModuleVisitor<B> for Squares<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            if let Some(gradient) = self.0.get::<B::InnerBackend, D>(param.id) {
                self.1 += gradient.powi_scalar(2).sum().into_scalar().elem::<f64>();
            }
        }
    }
    let mut squares = Squares(gradients, 0.0);
    decoder.visit(&mut squares);
    squares.1.sqrt()
}
