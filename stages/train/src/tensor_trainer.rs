//! Training with graphs of tensors, on any backend.
//!
//! On a GPU a step is some hundred kernels, each started by the host, and the host is what takes time. So a group passes the decoder at
//! once, all parameters are one vector ([`Layout`]), and nothing waits for a number of a step before [`Trainer::outcomes`] asks for
//! those of many.

use crate::TrainError;
use crate::batch::{Sample, by_token_count};
use crate::layout::{Layout, learns};
use crate::loss::{Objective, Values};
use crate::loss_backend::LossBackend;
use crate::loss_scale::{LossScale, TensorLossScale};
use crate::resident::OnDevice;
use crate::resume::failed;
use crate::tape_trainer::MOMENTS;
use crate::tensor_adamw::{TensorAdamW, TensorAverage, is_finite, norm};
use crate::trainer::{Outcome, Stepped, Trainer};
use burn::module::AutodiffModule;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Bool, DType, FloatDType, Tensor, TensorData, f16};
use resect_checkpoint::{SamConfig, TensorFile, write_safetensors};
use resect_params::{Precision, TrainParams};
use resect_sam::{
    Cpu, DecoderBackend, MaskDecoder, ModelPrompt, NamedTensor, PromptEmbeddings, PromptEncoder, narrow,
};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Trains a [`MaskDecoder`] with burn's graph.
pub struct TensorTrainer<B: AutodiffBackend> {
    config: SamConfig,
    batch_size: usize,
    accumulation: u32,
    place: OnDevice<Inner<B>>,
    objective: Objective,
    /// The format that operands of products are rounded to.
    narrow: Option<FloatDType>,
    layout: Layout,
    /// The decoder as it came, on the CPU; it names parameters, and has those that never change.
    came: MaskDecoder<Cpu>,
    /// What learns, with the present weights.
    decoder: MaskDecoder<B>,
    /// What predicts in single precision; its weights are set when it is to.
    predictor: MaskDecoder<B::InnerBackend>,
    /// `[length]` of the layout.
    weights: Tensor<B::InnerBackend, 1>,
    optimizer: TensorAdamW<B::InnerBackend>,
    average: Option<TensorAverage<B::InnerBackend>>,
    loss_scale: Option<TensorLossScale<B::InnerBackend>>,
    /// Whether no loss and no norm was other than finite, `[1]`.
    sound: Tensor<B::InnerBackend, 1, Bool>,
    /// Steps whose numbers are on the device.
    under_way: Vec<UnderWay<B>>,
    /// What came of steps before those.
    outcomes: Vec<Outcome>,
    /// `[1, C, g, g]`.
    position: Tensor<B::InnerBackend, 4>,
    /// What stands for the mask prompt that is not there, `[1, C, g, g]`.
    dense: Tensor<B::InnerBackend, 4>,
}

/// A step whose numbers are on the device.
struct UnderWay<B: AutodiffBackend> {
    /// How many samples the group has.
    samples: usize,
    /// The places in the group of those that passed the decoder together.
    places: Vec<Vec<usize>>,
    /// For each of these, Dice term and pixel-wise term of each sample, `[n, 2]`.
    terms: Vec<Tensor<Inner<B>, 2>>,
    /// `[1]`.
    gradient_norm: Tensor<Inner<B>, 1>,
    /// After the step, `[1]`.
    loss_scale: Option<Tensor<Inner<B>, 1>>,
}

impl<B: AutodiffBackend> UnderWay<B> {
    fn numbers(&self) -> impl Iterator<Item = Tensor<Inner<B>, 1>> {
        let terms = self.terms.iter().map(|terms| terms.clone().flatten(0, 1));
        terms.chain([self.gradient_norm.clone()]).chain(self.loss_scale.clone())
    }
}

/// What a decoder takes.
struct Inputs<B: Backend> {
    /// `[n, C, g, g]`.
    embeddings: Tensor<B, 4>,
    /// `[n, t, C]`.
    sparse: Tensor<B, 3>,
    /// `[n, C, g, g]`.
    dense: Tensor<B, 4>,
}

/// What some samples that passed the decoder together left.
struct Pass<B: AutodiffBackend> {
    /// Dice term and pixel-wise term of each, `[n, 2]`.
    terms: Tensor<Inner<B>, 2>,
    /// Their share of what is minimised, `[1]`.
    loss: Tensor<Inner<B>, 1>,
    /// Its gradient, times the scale of the loss, `[length]`.
    gradient: Tensor<Inner<B>, 1>,
}

/// A backend without gradients.
type Inner<B> = <B as AutodiffBackend>::InnerBackend;

impl<B> TensorTrainer<B>
where
    B: AutodiffBackend<InnerBackend: DecoderBackend> + DecoderBackend + LossBackend,
{
    /// Has samples pass the decoder together, which have equally many tokens and the same share of what is minimised, and goes back.
    fn pass(&self, samples: &[Sample<'_>], share: f64) -> Pass<B> {
        let tracked = Tensor::<B, 4>::from_inner;
        let Inputs { embeddings, sparse, dense } = self.inputs(samples);
        let prompts = PromptEmbeddings { sparse: Some(Tensor::from_inner(sparse)), dense: tracked(dense) };
        let position = tracked(self.position.clone());
        let logits = self.decoder.forward_single_mask(tracked(embeddings), position, &prompts);
        let masks = self.masks(samples);
        let images: Vec<_> = samples.iter().map(|sample| sample.image).collect();
        let (loss, terms) = B::loss(self.objective, logits, tracked(masks), &images, share);
        let scaled = match &self.loss_scale {
            Some(scale) => loss.clone() * Tensor::from_inner(scale.scale()),
            None => loss.clone(),
        };
        let gradient = self.layout.gradients(&self.decoder, scaled.backward(), self.place.device());
        Pass { terms: terms.inner(), loss: loss.inner(), gradient }
    }

    fn inputs(&self, samples: &[Sample<'_>]) -> Inputs<Inner<B>> {
        let ([_, c, h, w], n) = (self.dense.dims(), samples.len());
        let tokens: Vec<f32> = samples.iter().flat_map(|sample| sample.tokens).copied().collect();
        let count = tokens.len() / (n * c);
        Inputs {
            embeddings: self.place.embeddings(samples, [c, h, w]),
            sparse: Tensor::from_data(TensorData::new(tokens, [n, count, c]), self.place.device()),
            dense: self.dense.clone().expand([n, c, h, w]),
        }
    }

    /// The masks of samples, `[n, 1, 4g, 4g]`, in half precision, in which they are exact.
    fn masks(&self, samples: &[Sample<'_>]) -> Tensor<Inner<B>, 4> {
        let mask = |&mask: &u8| if mask == 0 { f16::ZERO } else { f16::ONE };
        let values: Vec<f16> = samples.iter().flat_map(|sample| sample.mask).map(mask).collect();
        let side = samples.first().map_or(0, |sample| sample.mask.len().isqrt());
        let data = TensorData::new(values, [samples.len(), 1, side, side]);
        Tensor::from_data(data, (self.place.device(), DType::F16))
    }

    /// The places of a group's samples that pass the decoder together: those of batches of one size with equally many tokens. Beside
    /// them, each sample's share in what is minimised.
    fn passes(&self, group: &[Sample<'_>]) -> Vec<(Vec<usize>, f64)> {
        let mut alike: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        let batches =
            group.chunks(self.batch_size).flat_map(|batch| batch.iter().map(|sample| (batch.len(), sample)));
        for (place, (size, sample)) in batches.enumerate() {
            alike.entry((size, sample.tokens.len())).or_default().push(place);
        }
        let share = |size: usize| 1.0 / (size as f64 * f64::from(self.accumulation));
        let passes = alike.into_iter().flat_map(|((size, _), places)| {
            let passes: Vec<_> =
                places.chunks(self.place.together).map(|places| (places.to_vec(), share(size))).collect();
            passes
        });
        passes.collect()
    }

    /// Moves the weights by a gradient, `[length]`, of Euclidean norm `norm`, `[1]`, where all that was met is finite.
    fn update(
        &mut self,
        learning_rate: f64,
        loss: Tensor<Inner<B>, 1>,
        gradient: Tensor<Inner<B>, 1>,
        norm: Tensor<Inner<B>, 1>,
    ) {
        let sound = self.sound.clone().bool_and(is_finite(loss));
        let taken = sound.clone().bool_and(is_finite(norm.clone()));
        self.weights = self.optimizer.step(learning_rate, self.weights.clone(), gradient, norm, &taken);
        if let Some(average) = &mut self.average {
            average.update(&self.weights, &taken);
        }
        // With f16 a norm that is not finite costs a step, and a smaller scale of the loss is tried.
        self.sound = match &mut self.loss_scale {
            Some(scale) => {
                scale.update(&taken);
                sound
            }
            None => taken,
        };
        self.prepare();
    }

    /// Gives the weights to what learns.
    fn prepare(&mut self) {
        let weights = Tensor::from_inner(self.weights.clone());
        self.decoder = self.layout.spread(weights, self.narrow, self.decoder.clone());
    }

    /// Waits for the numbers of the steps that are under way, in one transfer.
    fn fetch(&mut self) {
        let under_way = std::mem::take(&mut self.under_way);
        let numbers: Vec<_> = under_way.iter().flat_map(UnderWay::numbers).collect();
        if numbers.is_empty() {
            return;
        }
        let numbers: Vec<f64> = Tensor::cat(numbers, 0).into_data().iter::<f64>().collect();
        let mut numbers = numbers.into_iter();
        let outcomes = under_way.iter().map(|step| self.outcome(step, &mut numbers)).collect::<Vec<_>>();
        let taken = outcomes.iter().filter(|outcome| outcome.is_taken()).count();
        self.optimizer.taken(taken as u32);
        self.outcomes.extend(outcomes);
    }

    /// What came of a step, from its numbers in the order of [`UnderWay::numbers`].
    fn outcome(&self, step: &UnderWay<B>, numbers: &mut impl Iterator<Item = f64>) -> Outcome {
        let mut next = || numbers.next().unwrap_or(f64::NAN);
        let mut samples = vec![Values::default(); step.samples];
        for places in &step.places {
            for &place in places {
                let (dice, pixelwise) = (next(), next());
                samples[place] = self.objective.values(dice, pixelwise);
            }
        }
        let gradient_norm = next();
        let stepped = match self.loss_scale.as_ref().map(|_| next()) {
            Some(loss_scale) if !gradient_norm.is_finite() => Stepped::Skipped { loss_scale },
            _ => Stepped::Taken { gradient_norm },
        };
        let batches = samples.chunks(self.batch_size);
        let losses = batches.map(|batch| batch.iter().copied().sum::<Values>() / batch.len() as f64);
        Outcome { losses: losses.collect(), stepped }
    }

    /// The averaged weights, where an average is taken and a step was.
    fn averaged(&self) -> Option<&Tensor<Inner<B>, 1>> {
        self.average.as_ref().filter(|_| self.optimizer.steps() > 0).map(TensorAverage::average)
    }

    /// The decoder of a vector, `[length]`, on the CPU, in one transfer.
    fn on_cpu(&self, vector: &Tensor<Inner<B>, 1>) -> MaskDecoder<Cpu> {
        let vector = Tensor::from_data(vector.to_data(), &Default::default());
        self.layout.spread(vector, None, self.came.clone())
    }

    /// Undoes [`TensorTrainer::on_cpu`], of tensors by name.
    fn brought(&self, tensors: Vec<NamedTensor>) -> Result<Tensor<Inner<B>, 1>, TrainError> {
        let cpu = Default::default();
        let decoder = MaskDecoder::<Cpu>::from_tensors(&self.config, tensors, &cpu)?;
        Ok(Tensor::from_data(self.layout.gathered(&decoder, &cpu).into_data(), self.place.device()))
    }
}

impl<B> Trainer for TensorTrainer<B>
where
    B: AutodiffBackend<InnerBackend: DecoderBackend> + DecoderBackend + LossBackend,
{
    type Device = OnDevice<Inner<B>>;

    const IS_REFERENCE: bool = false;

    const STEPS_AT_ONCE: usize = 32;

    fn new(
        config: &SamConfig,
        tensors: Vec<NamedTensor>,
        prompts: &PromptEncoder<Cpu>,
        params: &TrainParams,
        place: &OnDevice<Inner<B>>,
    ) -> Result<Self, TrainError> {
        let device = place.device();
        let frozen = |tensor: Tensor<Cpu, 4>| Tensor::from_data(tensor.into_data(), device);
        let came = MaskDecoder::from_tensors(config, tensors.clone(), &Default::default())?;
        let decoder =
            MaskDecoder::<B>::from_tensors(config, tensors, device)?.with_precision(params.precision);
        let predictor = decoder.valid().with_precision(Precision::F32);
        let layout = Layout::new(&came);
        let zeros = layout.zeros(device);
        let mut trainer = Self {
            config: config.clone(),
            batch_size: params.batch_size as usize,
            accumulation: params.accumulation,
            place: place.clone(),
            objective: Objective::new(params),
            narrow: narrow(params.precision),
            weights: layout.gathered(&predictor, device),
            optimizer: TensorAdamW::new(params, zeros.clone(), Self::STEPS_AT_ONCE),
            average: (params.ema > 0.0).then(|| TensorAverage::new(params.ema, zeros)),
            loss_scale: LossScale::new(params.precision).map(|scale| TensorLossScale::new(scale, device)),
            sound: Tensor::from_data([true], device),
            under_way: Vec::new(),
            outcomes: Vec::new(),
            position: frozen(prompts.image_positional_encoding()),
            dense: frozen(prompts.forward(&[ModelPrompt::default()])?.dense),
            layout,
            came,
            decoder,
            predictor,
        };
        trainer.prepare();
        Ok(trainer)
    }

    fn step(&mut self, group: &[Sample<'_>], learning_rate: f64) {
        if self.under_way.len() == Self::STEPS_AT_ONCE {
            self.fetch();
        }
        let (mut places, mut terms, mut sum) = (Vec::new(), Vec::new(), None);
        for (chosen, share) in self.passes(group) {
            let samples: Vec<Sample<'_>> = chosen.iter().map(|&place| group[place]).collect();
            let pass = self.pass(&samples, share);
            places.push(chosen);
            terms.push(pass.terms);
            sum = Some(match sum {
                Some((loss, gradient)) => (pass.loss + loss, pass.gradient + gradient),
                None => (pass.loss, pass.gradient),
            });
        }
        let Some((loss, gradient)) = sum else { return };
        let gradient = match &self.loss_scale {
            Some(scale) => gradient * scale.scale().recip(),
            None => gradient,
        };
        let gradient_norm = norm(&gradient);
        self.update(learning_rate, loss, gradient, gradient_norm.clone());
        let loss_scale = self.loss_scale.as_ref().map(TensorLossScale::scale);
        self.under_way.push(UnderWay { samples: group.len(), places, terms, gradient_norm, loss_scale });
    }

    fn outcomes(&mut self) -> Vec<Outcome> {
        self.fetch();
        std::mem::take(&mut self.outcomes)
    }

    fn logits(&mut self, batch: &[Sample<'_>]) -> Vec<Vec<f32>> {
        let weights = self.averaged().unwrap_or(&self.weights).clone();
        self.predictor = self.layout.spread(weights, None, self.predictor.clone());
        let mut all = vec![Vec::new(); batch.len()];
        for places in by_token_count(batch) {
            let samples: Vec<Sample<'_>> = places.iter().map(|&place| batch[place]).collect();
            let Inputs { embeddings, sparse, dense } = self.inputs(&samples);
            let prompts = PromptEmbeddings { sparse: Some(sparse), dense };
            let logits = self.predictor.forward_single_mask(embeddings, self.position.clone(), &prompts);
            let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
            let each = logits.chunks_exact(logits.len() / places.len());
            each.zip(places).for_each(|(logits, place)| all[place] = logits.to_vec());
        }
        all
    }

    fn tensors(&self) -> Vec<NamedTensor> {
        self.on_cpu(&self.weights).tensors()
    }

    fn average(&self) -> Option<Vec<NamedTensor>> {
        self.averaged().map(|average| self.on_cpu(average).tensors())
    }

    fn moments(&self) -> Vec<NamedTensor> {
        let named = ["first", "second"].iter().zip(self.optimizer.moments()).flat_map(|(kind, moment)| {
            let learning = self.on_cpu(moment).tensors().into_iter().filter(|tensor| learns(&tensor.name));
            learning.map(move |tensor| NamedTensor { name: format!("{kind}.{}", tensor.name), ..tensor })
        });
        named.collect()
    }

    fn save(&self, dir: &Path) -> Result<(), TrainError> {
        let scale = self.loss_scale.as_ref().map(TensorLossScale::fetched);
        LossScale::save(scale.as_ref(), dir)?;
        Ok(write_safetensors(&dir.join(MOMENTS), self.moments(), None)?)
    }

    fn restore(
        &mut self,
        dir: &Path,
        steps: u32,
        average: Option<Vec<NamedTensor>>,
    ) -> Result<(), TrainError> {
        let path = dir.join(MOMENTS);
        let saved = TensorFile::open(&path)?.read_all()?;
        let mut saved: HashMap<String, NamedTensor> =
            saved.into_iter().map(|t| (t.name.clone(), t)).collect();
        let mut moment = |kind: &str| {
            let tensors = self.came.tensors().into_iter().map(|tensor| match learns(&tensor.name) {
                true => {
                    let saved = saved.remove(&format!("{kind}.{}", tensor.name));
                    saved
                        .filter(|saved| saved.shape == tensor.shape)
                        .map(|saved| NamedTensor { name: tensor.name, ..saved })
                }
                false => Some(NamedTensor { data: vec![0.0; tensor.data.len()], ..tensor }),
            });
            let tensors = tensors.collect::<Option<Vec<_>>>().ok_or_else(|| {
                failed("read", &path, format!("it lacks a {kind} moment, or has one of another shape"))
            });
            self.brought(tensors?)
        };
        let moments = [moment("first")?, moment("second")?];
        self.optimizer.restore(moments, steps);
        if let (Some(tensors), Some(_)) = (average, &self.average) {
            let average = self.brought(tensors)?;
            self.average.iter_mut().for_each(|held| held.restore(average.clone()));
        }
        if self.loss_scale.is_some() {
            let mut scale = LossScale::new(Precision::F16);
            LossScale::restore(scale.as_mut(), dir)?;
            self.loss_scale = scale.map(|scale| TensorLossScale::new(scale, self.place.device()));
        }
        Ok(())
    }
}
