//! Training on the CPU: each sample of a batch on a tape of its own, side by side.

use crate::TrainError;
use crate::adamw::AdamW;
use crate::average::Average;
use crate::batch::Sample;
use crate::loss::{Objective, Values};
use crate::loss_scale::LossScale;
use crate::resume::failed;
use crate::sample_loss::SampleLoss;
use crate::trainer::{Outcome, Stepped, Trainer};
use rayon::prelude::*;
use resect_checkpoint::{SamConfig, TensorFile, write_safetensors};
use resect_kernels::on_lanes;
use resect_numeric::Precision;
use resect_sam::{Cpu, NamedTensor, PromptEncoder, Run, TapeDecoder};
use resect_train_params::TrainParams;
use std::collections::HashMap;
use std::path::Path;

/// File of AdamW's moments.
pub(crate) const MOMENTS: &str = "moments.safetensors";

/// Trains a [`TapeDecoder`].
///
/// Samples of a batch meet only where their gradients are summed, in their order, so the number of threads changes no bit.
pub struct TapeTrainer {
    decoder: TapeDecoder,
    optimizer: AdamW,
    gradients: Vec<Vec<f32>>,
    lanes: Vec<Lane>,
    batch_size: usize,
    accumulation: u32,
    precision: Precision,
    loss_scale: Option<LossScale>,
    objective: Objective,
    ema: f64,
    average: Option<Average>,
    /// The averaged weights as the decoder has them, made where they are needed and dropped with the next step.
    averaged: Option<Vec<Vec<f32>>>,
    /// Whether no loss and no norm was other than finite.
    sound: bool,
    outcomes: Vec<Outcome>,
}

/// One of the samples that are under way together, with the memory it needs.
#[derive(Default)]
struct Lane {
    run: Run,
    embedding: Vec<f32>,
    /// First the probabilities, then the gradient by the logits.
    gradient: Vec<f32>,
}

impl Lane {
    fn read(&mut self, sample: &Sample<'_>) {
        self.embedding.clear();
        sample.embedding.append_to(&mut self.embedding);
    }
}

impl TapeTrainer {
    /// The loss of a batch. Its gradient is added to those before.
    fn learn(&mut self, batch: &[Sample<'_>]) -> Values {
        let n = batch.len();
        let scale = self.loss_scale.map_or(1.0, |scale| scale.scale());
        let share = scale / (n as f64 * f64::from(self.accumulation));
        let (decoder, objective, precision) = (&self.decoder, self.objective, self.precision);
        // All at once: their gradients are summed when all are there.
        let losses = on_lanes(&mut self.lanes, n, batch, |lane: &mut Lane, sample| {
            lane.read(sample);
            let Lane { run, embedding, gradient } = lane;
            decoder.forward(embedding, sample.tokens, precision, run);
            gradient.resize(run.logits().len(), 0.0);
            let loss = SampleLoss::of(objective, sample.image, run.logits(), sample.mask, gradient);
            loss.gradient(run.logits(), sample.mask, share, gradient);
            decoder.backward(gradient, run);
            loss.values()
        });
        decoder.gradients(self.lanes[..n].iter().map(|lane| &lane.run), &mut self.gradients);
        losses.into_iter().sum::<Values>() / n as f64
    }

    /// Takes a step with the gradients since the last one, or skips it. Where the norm is not finite, no weight changes.
    fn update(&mut self, learning_rate: f64) -> Stepped {
        if let Some(scale) = &mut self.loss_scale {
            if !unscale(&mut self.gradients, scale.scale()) {
                self.gradients.iter_mut().for_each(|gradient| gradient.fill(0.0));
                return Stepped::Skipped { loss_scale: scale.bad() };
            }
            scale.good();
        }
        let parameters = self.decoder.parameters_mut();
        let gradient_norm = self.optimizer.step(learning_rate, parameters, &mut self.gradients);
        if gradient_norm.is_finite() {
            for parameter in self.decoder.idle_mut() {
                self.optimizer.decay(learning_rate, parameter);
            }
            self.take_average();
        }
        Stepped::Taken { gradient_norm }
    }

    /// Takes the weights into their average.
    fn take_average(&mut self) {
        self.averaged = None;
        match &mut self.average {
            _ if self.ema == 0.0 => {}
            Some(average) => average.update(self.decoder.tensors()),
            none => *none = Some(Average::new(self.ema, self.decoder.tensors())),
        }
    }

    /// Puts the averaged weights in the decoder's place, and what was there in theirs: called twice, nothing changed. Of idle
    /// parameters, which give no mask, there is no average to be put.
    fn exchange(&mut self) {
        if let Some(average) = &self.average {
            let tensor = |name: &str| average.tensors().iter().find(|t| t.name == name).cloned();
            let averaged = self.averaged.take().or_else(|| self.decoder.unnamed(tensor));
            if let Some(mut parameters) = averaged {
                self.decoder.parameters_mut().swap_with_slice(&mut parameters);
                self.averaged = Some(parameters);
            }
        }
    }
}

impl Trainer for TapeTrainer {
    /// The CPU.
    type Device = ();

    const IS_REFERENCE: bool = true;

    const STEPS_AT_ONCE: usize = 1;

    fn new(
        config: &SamConfig,
        tensors: Vec<NamedTensor>,
        prompts: &PromptEncoder<Cpu>,
        params: &TrainParams,
        (): &(),
    ) -> Result<Self, TrainError> {
        let decoder = TapeDecoder::from_tensors(config, tensors, prompts)?;
        Ok(Self {
            optimizer: AdamW::new(params, [decoder.zeros(), decoder.zeros()]),
            gradients: decoder.zeros(),
            lanes: Vec::new(),
            batch_size: params.batch_size as usize,
            accumulation: params.accumulation,
            precision: params.precision,
            loss_scale: LossScale::new(params.precision),
            objective: Objective::new(params),
            ema: params.ema,
            average: None,
            averaged: None,
            sound: true,
            outcomes: Vec::new(),
            decoder,
        })
    }

    fn step(&mut self, group: &[Sample<'_>], learning_rate: f64) {
        let losses: Vec<Values> = group.chunks(self.batch_size).map(|batch| self.learn(batch)).collect();
        self.sound &= losses.iter().all(|loss| loss.total().is_finite());
        let stepped = match self.sound {
            true => self.update(learning_rate),
            false => Stepped::Taken { gradient_norm: f64::NAN },
        };
        self.sound &= !matches!(stepped, Stepped::Taken { gradient_norm } if !gradient_norm.is_finite());
        self.outcomes.push(Outcome { losses, stepped });
    }

    fn outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    fn logits(&mut self, batch: &[Sample<'_>]) -> Vec<Vec<f32>> {
        self.exchange();
        let decoder = &self.decoder;
        let read = |lane: &mut Lane, sample: &Sample<'_>| {
            lane.read(sample);
            decoder.predict(&lane.embedding, sample.tokens, &mut lane.run);
            lane.run.logits().to_vec()
        };
        let logits = on_lanes(&mut self.lanes, rayon::current_num_threads(), batch, read);
        self.exchange();
        logits
    }

    fn tensors(&self) -> Vec<NamedTensor> {
        self.decoder.tensors()
    }

    fn average(&self) -> Option<Vec<NamedTensor>> {
        self.average.as_ref().map(|average| average.tensors().to_vec())
    }

    fn moments(&self) -> Vec<NamedTensor> {
        let [first, second] = self.optimizer.moments();
        let named = |kind: &'static str, moments| {
            self.decoder.named(moments).map(move |t| NamedTensor { name: format!("{kind}.{}", t.name), ..t })
        };
        named("first", first).chain(named("second", second)).collect()
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
        let mut taken = |kind: &str| {
            self.decoder.unnamed(|name| saved.remove(&format!("{kind}.{name}"))).ok_or_else(|| {
                failed("read", &path, format!("it lacks a {kind} moment, or has one of another shape"))
            })
        };
        let moments = [taken("first")?, taken("second")?];
        self.optimizer.restore(moments, steps);
        self.average = average.map(|tensors| Average::new(self.ema, tensors));
        LossScale::restore(self.loss_scale.as_mut(), dir)
    }
}

/// Divides gradients by the scale of the loss, and tells whether all are finite.
fn unscale(gradients: &mut [Vec<f32>], scale: f64) -> bool {
    let inverse = (1.0 / scale) as f32;
    let finite = gradients.par_iter_mut().with_max_len(1).map(|gradient| {
        gradient.iter_mut().fold(true, |finite, x| {
            *x *= inverse;
            finite & x.is_finite()
        })
    });
    finite.reduce(|| true, |a, b| a & b)
}
