//! Training of a model with burn's graph, on any backend.
//!
//! On a GPU a step is some hundred kernels, each started by the host, and the host is what takes time. So a group passes the decoder at
//! once, all parameters are one vector ([`Layout`]), and nothing waits for a number of a step before [`Trainer::outcomes`] asks for
//! those of many. On the CPU kernels on slices do the work, and a step's numbers are asked for at once.

use crate::adamw::{AdamW, is_finite};
use crate::average::Average;
use crate::batch::Sample;
use crate::layout::Layout;
use crate::loss::{Objective, Values};
use crate::loss_scale::LossScale;
use crate::model::{Model, Needed, Roles};
use crate::resident::OnDevice;
use crate::resume::failed;
use crate::trainer::{Outcome, Setup, Stepped, Trainer};
use crate::{TrainError, TrainingBackend};
use burn::module::{AutodiffModule, Module};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Bool, FloatDType, Tensor, TensorData};
use resect_checkpoint::{NamedTensor, SamConfig, TensorFile, write_safetensors};
use resect_encoder::feature_shape;
use resect_layers::{Cpu, Layers, parameter_names};
use resect_numeric::Place;
use resect_prompt::ModelPrompt;
use resect_sam::PromptEmbeddings;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// File of AdamW's moments.
const MOMENTS: &str = "moments.safetensors";

/// Trains a [`Model`] with burn's graph.
pub struct ModelTrainer<B: AutodiffBackend> {
    config: SamConfig,
    batch_size: usize,
    accumulation: u32,
    place: OnDevice<Inner<B>>,
    objective: Objective,
    /// The format that operands of products are rounded to.
    narrow: Option<FloatDType>,
    layout: Layout,
    roles: Roles,
    /// The features that the model takes are those of this place, and have this shape.
    entry: (Place, [usize; 3]),
    /// The tuned parameters and the mask decoder as they came, on the CPU. It names parameters.
    came: Model<Cpu>,
    /// What learns, with the present weights.
    model: Model<B>,
    /// What predicts in single precision; its weights are set when it is to.
    predictor: Model<B::InnerBackend>,
    /// `[length]` of the layout.
    weights: Tensor<B::InnerBackend, 1>,
    optimizer: AdamW<B::InnerBackend>,
    average: Option<Average<B::InnerBackend>>,
    loss_scale: Option<LossScale<B::InnerBackend>>,
    /// Whether no loss and no norm was other than finite, `[1]`.
    sound: Tensor<B::InnerBackend, 1, Bool>,
    /// A parameter that is to learn and had no gradient in a step, by its number.
    lacking: Option<usize>,
    /// Steps whose numbers are on the device.
    under_way: Vec<UnderWay<B>>,
    /// The results of steps before those.
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

/// What a model takes.
struct Inputs<B: Backend> {
    /// Of the image of each sample, or of the one image of all.
    features: Tensor<B, 4>,
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
    /// A parameter that is to learn and has no gradient.
    lacking: Option<usize>,
}

/// A backend without gradients.
type Inner<B> = <B as AutodiffBackend>::InnerBackend;

impl<B> ModelTrainer<B>
where
    B: AutodiffBackend<InnerBackend: TrainingBackend> + TrainingBackend,
{
    /// Has samples pass the decoder together, which have equally many tokens and the same share of what is minimised, and goes back.
    fn pass(&self, samples: &[Sample<'_>], share: f64) -> Pass<B> {
        let tracked = Tensor::<B, 4>::from_inner;
        let Inputs { features, sparse, dense } = self.inputs(samples);
        let prompts = PromptEmbeddings { sparse: Some(Tensor::from_inner(sparse)), dense: tracked(dense) };
        let position = tracked(self.position.clone());
        let embeddings = self.model.embeddings(self.entry.0, tracked(features), samples.len());
        let logits = self.model.decoder().forward_single_mask(embeddings, position, &prompts);
        let masks = self.masks(samples);
        let images: Vec<_> = samples.iter().map(|sample| sample.image).collect();
        let (loss, terms) = B::loss(self.objective, logits, tracked(masks), &images, share);
        let scaled = match &self.loss_scale {
            Some(scale) => loss.clone() * Tensor::from_inner(scale.scale()),
            None => loss.clone(),
        };
        let (gradient, lacking) = self.layout.gradients(&self.model, scaled.backward(), self.place.device());
        Pass { terms: terms.inner(), loss: loss.inner(), gradient, lacking }
    }

    fn inputs(&self, samples: &[Sample<'_>]) -> Inputs<Inner<B>> {
        let ([_, c, h, w], n) = (self.dense.dims(), samples.len());
        let tokens: Vec<f32> = samples.iter().flat_map(|sample| sample.tokens).copied().collect();
        let count = tokens.len() / (n * c);
        // An image that is encoded anew is encoded once for its samples, which pass alone.
        let images = if self.model.encodes() { &samples[..1] } else { samples };
        let rows: Vec<_> = images.iter().map(|sample| (sample.row, sample.embedding)).collect();
        Inputs {
            features: Inner::<B>::embeddings(&self.place, &rows, self.entry.1),
            sparse: Tensor::from_data(TensorData::new(tokens, [n, count, c]), self.place.device()),
            dense: self.dense.clone().expand([n, c, h, w]),
        }
    }

    /// The masks of samples, `[n, 1, 4g, 4g]`.
    fn masks(&self, samples: &[Sample<'_>]) -> Tensor<Inner<B>, 4> {
        let masks: Vec<&[u8]> = samples.iter().map(|sample| sample.mask).collect();
        Inner::<B>::mask_batch(self.place.device(), &masks, self.config.low_res())
    }

    /// What samples that pass the model together have in common, besides the number of their tokens: the image, where it is encoded anew.
    fn image(&self, sample: &Sample<'_>) -> Option<usize> {
        self.model.encodes().then_some(sample.row)
    }

    /// The places of samples that pass the model together.
    fn alike(&self, batch: &[Sample<'_>]) -> Vec<Vec<usize>> {
        let mut alike: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (place, sample) in batch.iter().enumerate() {
            alike.entry((sample.tokens.len(), self.image(sample))).or_default().push(place);
        }
        alike.into_values().collect()
    }

    /// The places of a group's samples that pass the model together: those of batches of one size with equally many tokens. Beside
    /// them, each sample's share in what is minimised.
    fn passes(&self, group: &[Sample<'_>]) -> Vec<(Vec<usize>, f64)> {
        let mut alike: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        let batches =
            group.chunks(self.batch_size).flat_map(|batch| batch.iter().map(|sample| (batch.len(), sample)));
        for (place, (size, sample)) in batches.enumerate() {
            alike.entry((size, sample.tokens.len(), self.image(sample))).or_default().push(place);
        }
        let share = |size: usize| 1.0 / (size as f64 * f64::from(self.accumulation));
        let passes = alike.into_iter().flat_map(|((size, ..), places)| {
            let passes: Vec<_> = places
                .chunks(self.place.together.min(Inner::<B>::SAMPLES_AT_ONCE))
                .map(|places| (places.to_vec(), share(size)))
                .collect();
            passes
        });
        passes.collect()
    }

    /// Takes a step with the gradients of a group.
    fn take_step(&mut self, group: &[Sample<'_>], learning_rate: f64) {
        let (mut places, mut terms, mut sum) = (Vec::new(), Vec::new(), None);
        for (chosen, share) in self.passes(group) {
            let samples: Vec<Sample<'_>> = chosen.iter().map(|&place| group[place]).collect();
            let pass = self.pass(&samples, share);
            places.push(chosen);
            terms.push(pass.terms);
            self.lacking = self.lacking.or(pass.lacking);
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
        let gradient_norm = Inner::<B>::norm(&gradient);
        self.update(learning_rate, loss, gradient, gradient_norm.clone());
        let loss_scale = self.loss_scale.as_ref().map(LossScale::scale);
        self.under_way.push(UnderWay { samples: group.len(), places, terms, gradient_norm, loss_scale });
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
        self.model = self.layout.spread_to_learn(self.weights.clone(), self.narrow, self.model.clone());
    }

    /// Waits for the numbers of the steps that are under way, in one transfer.
    fn fetch(&mut self) -> Result<(), TrainError> {
        let under_way = std::mem::take(&mut self.under_way);
        let numbers: Vec<_> = under_way.iter().flat_map(UnderWay::numbers).collect();
        if numbers.is_empty() {
            return Ok(());
        }
        let numbers: Vec<f64> = Tensor::cat(numbers, 0).into_data().iter::<f64>().collect();
        let mut numbers = numbers.into_iter();
        let outcomes = under_way.iter().map(|step| self.outcome(step, &mut numbers));
        let outcomes = outcomes.collect::<Option<Vec<_>>>().ok_or(TrainError::Incomplete)?;
        let taken = outcomes.iter().filter(|outcome| outcome.is_taken()).count();
        self.optimizer.taken(taken as u32);
        self.outcomes.extend(outcomes);
        Ok(())
    }

    /// The result of a step, from its numbers in the order of [`UnderWay::numbers`]; none where there are too few.
    fn outcome(&self, step: &UnderWay<B>, numbers: &mut impl Iterator<Item = f64>) -> Option<Outcome> {
        let mut samples = vec![Values::default(); step.samples];
        for places in &step.places {
            for &place in places {
                let (dice, pixelwise) = (numbers.next()?, numbers.next()?);
                samples[place] = self.objective.values(dice, pixelwise);
            }
        }
        let gradient_norm = numbers.next()?;
        let loss_scale = match self.loss_scale {
            Some(_) => Some(numbers.next()?),
            None => None,
        };
        let stepped = match loss_scale {
            Some(loss_scale) if !gradient_norm.is_finite() => Stepped::Skipped { loss_scale },
            _ => Stepped::Taken { gradient_norm },
        };
        let batches = samples.chunks(self.batch_size);
        let losses = batches.map(|batch| batch.iter().copied().sum::<Values>() / batch.len() as f64);
        Some(Outcome { losses: losses.collect(), stepped })
    }

    /// The averaged weights, where an average is taken and a step was.
    fn averaged(&self) -> Option<&Tensor<Inner<B>, 1>> {
        self.average.as_ref().filter(|_| self.optimizer.steps() > 0).map(Average::average)
    }

    /// The tuned tensors of a vector, `[length]`, in one transfer.
    fn on_cpu(&self, vector: &Tensor<Inner<B>, 1>) -> Vec<NamedTensor> {
        let vector = Tensor::from_data(vector.to_data(), &Default::default());
        self.layout.spread(vector, self.came.clone()).tensors(&self.roles)
    }

    /// Undoes [`ModelTrainer::on_cpu`], of tensors by name.
    fn brought(&self, tensors: Vec<NamedTensor>) -> Result<Tensor<Inner<B>, 1>, TrainError> {
        let cpu = Default::default();
        let model = Model::<Cpu>::load(&self.config, &self.roles, tensors, None, Needed::Tuned, &cpu)?;
        Ok(Tensor::from_data(self.layout.gathered(&model, &cpu).into_data(), self.place.device()))
    }
}

impl<B> Trainer for ModelTrainer<B>
where
    B: AutodiffBackend<InnerBackend: TrainingBackend> + TrainingBackend,
{
    type Device = OnDevice<Inner<B>>;

    const IS_REFERENCE: bool = Inner::<B>::IS_REFERENCE;

    const STEPS_AT_ONCE: usize = Inner::<B>::STEPS_AT_ONCE;

    fn new(
        setup: &Setup<'_>,
        tensors: Vec<NamedTensor>,
        place: &OnDevice<Inner<B>>,
    ) -> Result<Self, TrainError> {
        let Setup { config, roles, prompts, params, base } = *setup;
        let device = place.device();
        let frozen = |tensor: Tensor<Cpu, 4>| Tensor::from_data(tensor.into_data(), device);
        let cpu = Default::default();
        let came = Model::<Cpu>::load(config, roles, tensors.clone(), base, Needed::Tuned, &cpu)?;
        // What is not tuned has no gradient.
        let model = Model::<B>::load(config, roles, tensors, base, Needed::All, device)?.no_grad();
        let predictor = model.valid();
        let model = model.with_precision(params.precision).no_grad();
        let layout = Layout::new(&came, roles);
        let zeros = layout.zeros(device);
        let mut trainer = Self {
            config: config.clone(),
            batch_size: params.batch_size as usize,
            accumulation: params.accumulation,
            place: place.clone(),
            objective: Objective::new(params),
            narrow: Some(B::storage(params.precision)).filter(|format| *format != FloatDType::F32),
            weights: layout.gathered(&predictor, device),
            optimizer: AdamW::new(params, zeros.clone(), Self::STEPS_AT_ONCE),
            average: (params.ema > 0.0).then(|| Average::new(params.ema, zeros)),
            loss_scale: LossScale::new(params.precision, device),
            sound: Tensor::from_data([true], device),
            lacking: None,
            under_way: Vec::new(),
            outcomes: Vec::new(),
            position: frozen(prompts.image_positional_encoding()),
            dense: frozen(prompts.forward(&[ModelPrompt::default()])?.dense),
            entry: (roles.place(), feature_shape(config, roles.place())),
            roles: roles.clone(),
            layout,
            came,
            model,
            predictor,
        };
        trainer.prepare();
        Ok(trainer)
    }

    fn step(&mut self, group: &[Sample<'_>], learning_rate: f64) -> Result<(), TrainError> {
        if self.under_way.len() == Self::STEPS_AT_ONCE {
            self.fetch()?;
        }
        Inner::<B>::within_step(|| self.take_step(group, learning_rate));
        match self.lacking.and_then(|number| parameter_names(&self.came, "").into_iter().nth(number)) {
            Some((name, _)) => Err(TrainError::NoGradient { name }),
            None => Ok(()),
        }
    }

    fn outcomes(&mut self) -> Result<Vec<Outcome>, TrainError> {
        self.fetch()?;
        Ok(std::mem::take(&mut self.outcomes))
    }

    fn logits(&mut self, batch: &[Sample<'_>]) -> Vec<Vec<f32>> {
        let weights = self.averaged().unwrap_or(&self.weights).clone();
        self.predictor = self.layout.spread(weights, self.predictor.clone());
        let mut all = vec![Vec::new(); batch.len()];
        for places in self.alike(batch) {
            let samples: Vec<Sample<'_>> = places.iter().map(|&place| batch[place]).collect();
            let Inputs { features, sparse, dense } = self.inputs(&samples);
            let prompts = PromptEmbeddings { sparse: Some(sparse), dense };
            let (predictor, position) = (&self.predictor, self.position.clone());
            let logits = Inner::<B>::within(|| {
                let embeddings = predictor.embeddings(self.entry.0, features, samples.len());
                predictor.decoder().forward_single_mask(embeddings, position, &prompts)
            });
            let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
            let each = logits.chunks_exact(logits.len() / places.len());
            each.zip(places).for_each(|(logits, place)| all[place] = logits.to_vec());
        }
        all
    }

    fn tensors(&self) -> Vec<NamedTensor> {
        self.on_cpu(&self.weights)
    }

    fn average(&self) -> Option<Vec<NamedTensor>> {
        self.averaged().map(|average| self.on_cpu(average))
    }

    fn moments(&self) -> Vec<NamedTensor> {
        let named = ["first", "second"].iter().zip(self.optimizer.moments()).flat_map(|(kind, moment)| {
            let learning = self.on_cpu(moment).into_iter().filter(|tensor| self.roles.learns(&tensor.name));
            learning.map(move |tensor| NamedTensor { name: format!("{kind}.{}", tensor.name), ..tensor })
        });
        named.collect()
    }

    fn save(&self, dir: &Path) -> Result<(), TrainError> {
        LossScale::save(self.loss_scale.as_ref(), dir)?;
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
            let tensors = self.came.tensors(&self.roles).into_iter().map(|tensor| {
                match self.roles.learns(&tensor.name) {
                    true => {
                        let saved = saved.remove(&format!("{kind}.{}", tensor.name));
                        saved
                            .filter(|saved| saved.shape == tensor.shape)
                            .map(|saved| NamedTensor { name: tensor.name, ..saved })
                    }
                    false => Some(NamedTensor { data: vec![0.0; tensor.data.len()], ..tensor }),
                }
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
        LossScale::restore(self.loss_scale.as_mut(), dir)
    }
}
