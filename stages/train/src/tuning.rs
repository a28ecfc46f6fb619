//! The loop: epochs of optimiser steps, each epoch scored, the state saved in between.

use crate::augment::{self, Seen};
use crate::batch::{self, Samples};
use crate::clock::{Clock, timed};
use crate::loss::Values;
use crate::loss_scale;
use crate::prompt;
use crate::resume::{self, Progress, Saver};
use crate::schedule::LearningRate;
use crate::trainer::{Outcome, Setup, Stepped, Trainer};
use crate::validate::{Score, Validation};
use crate::{NotFinite, TrainError};
use resect_checkpoint::NamedTensor;
use resect_checkpoint_records::{Epoch, Step};
use resect_params::Runtime;
use resect_stage::{Plain, Reporter};
use resect_tables::table;
use std::path::Path;
use std::time::Instant;

/// What does not change while a model is tuned.
pub struct Setting<'a, T: Trainer> {
    /// What the trainer is made from.
    pub setup: Setup<'a>,
    pub runtime: &'a Runtime,
    pub samples: &'a Samples<'a>,
    /// Indices of the targets to learn from.
    pub train: &'a [usize],
    /// What each epoch is scored on.
    pub validation: &'a Validation<'a>,
    pub rate: LearningRate<'a>,
    /// The folder of what a restart resumes from.
    pub state: &'a Path,
    /// Where the trainer computes.
    pub device: &'a T::Device,
    pub report: &'a Reporter,
}

impl<T: Trainer> Setting<'_, T> {
    /// Batches of an epoch.
    fn batches(&self) -> usize {
        self.train.len().div_ceil(self.setup.params.batch_size as usize)
    }

    /// Optimiser steps of an epoch.
    fn steps(&self) -> usize {
        self.batches().div_ceil(self.setup.params.accumulation as usize)
    }

    /// The score of some decoder on the validation part.
    fn score(&self, trainer: &mut T) -> Result<Option<Score>, TrainError> {
        self.validation.score(trainer, self.runtime)
    }
}

/// A model that is being tuned.
pub struct Tuning<'a, T: Trainer> {
    setting: Setting<'a, T>,
    trainer: T,
    progress: Progress,
    /// Steps that were taken since outcomes were last asked for.
    under_way: Vec<UnderWay>,
    clock: Clock,
    saver: Saver,
}

/// A step whose outcome is not known yet.
struct UnderWay {
    epoch: u32,
    /// From 1, over all epochs.
    step: u32,
    learning_rate: f64,
    group: Vec<Seen>,
}

impl<'a, T: Trainer> Tuning<'a, T> {
    /// Goes on from the state that an earlier start saved, or begins with the model as it comes.
    pub fn start(
        setting: Setting<'a, T>,
        came: impl FnOnce() -> Result<Vec<NamedTensor>, TrainError>,
    ) -> Result<Self, TrainError> {
        let Setting { setup, report, device, .. } = setting;
        let mut clock = Clock::default();
        let note = |line| report.note(line);
        let resumed = resume::load::<T>(setting.state, &setup, device, note)?;
        let (trainer, progress) = match resumed {
            Some(resumed) => {
                report.note(format!("resumed after {}", resumed.1.position()));
                resumed
            }
            None => {
                let mut trainer = T::new(&setup, came()?, device)?;
                let score = timed(&mut clock.validation, || setting.score(&mut trainer))?;
                let progress = Progress::new(score);
                for row in &progress.epochs {
                    report.row("epochs", table::cells(row)?);
                }
                (trainer, progress)
            }
        };
        Ok(Self { setting, trainer, progress, under_way: Vec::new(), clock, saver: Saver::default() })
    }

    /// Trains to the end.
    pub fn finish(mut self) -> Result<Progress, TrainError> {
        self.tell(Plain::Never);
        while !self.progress.is_over(self.setting.setup.params) {
            let began = Instant::now();
            self.epoch()?;
            self.clock.epochs.push(began.elapsed().as_secs_f64());
            self.tell(Plain::Always);
        }
        timed(&mut self.clock.saving, || self.saver.finish())?;
        self.setting.report.timing(&self.clock.timing());
        Ok(self.progress)
    }

    /// Trains an epoch, or what is left of it.
    fn epoch(&mut self) -> Result<(), TrainError> {
        let Setting { setup, runtime, samples, train, .. } = self.setting;
        let params = setup.params;
        let epoch = self.progress.next_epoch();
        let order = batch::order(train, samples.targets(), params, epoch);
        let drawn = prompt::drawn(samples.targets(), &order, params, epoch)?;
        let seen = augment::drawn(samples.targets(), &order, params, epoch);
        let tokens = samples.tokens(&seen, &drawn, setup.prompts)?;
        let together = (params.batch_size * params.accumulation) as usize;
        let groups: Vec<_> = seen.chunks(together).zip(tokens.chunks(together)).collect();
        let is_due = |step: u32| runtime.save_steps > 0 && step.is_multiple_of(runtime.save_steps);
        for (i, (group, tokens)) in groups.iter().enumerate().skip(self.progress.groups) {
            if let Some((next, _)) = groups.get(i + 1) {
                samples.fetch(next);
            }
            let step = self.progress.step() + self.under_way.len() as u32 + 1;
            self.step(epoch, step, group, tokens)?;
            samples.release(group);
            let is_last = i + 1 == groups.len();
            if is_last || is_due(step) || self.under_way.len() >= T::STEPS_AT_ONCE {
                self.look()?;
            }
            // After the last step the epoch is ended first.
            if is_due(step) && !is_last {
                self.sound_weights(epoch, group)?;
                self.save()?;
            }
        }
        if let Some((last, _)) = groups.last() {
            self.end_epoch(epoch, last)?;
        }
        if epoch.is_multiple_of(runtime.save_epochs) || is_due(self.progress.step()) {
            self.save()?;
        }
        Ok(())
    }

    /// Takes an optimiser step with the gradients of a group of batches.
    fn step(&mut self, epoch: u32, step: u32, group: &[Seen], tokens: &[Vec<f32>]) -> Result<(), TrainError> {
        let began = Instant::now();
        let samples = self.setting.samples;
        let masks = samples.masks(group);
        let learning_rate = self.setting.rate.of(epoch, step);
        let inputs = samples.inputs(group)?;
        self.trainer.step(&samples.with(group, tokens, &masks, &inputs)?, learning_rate)?;
        self.under_way.push(UnderWay { epoch, step, learning_rate, group: group.to_vec() });
        self.clock.learning += began.elapsed().as_secs_f64();
        Ok(())
    }

    /// Takes note of what came of the steps that are under way.
    fn look(&mut self) -> Result<(), TrainError> {
        let began = Instant::now();
        let outcomes = self.trainer.outcomes()?;
        self.clock.learning += began.elapsed().as_secs_f64();
        let under_way = std::mem::take(&mut self.under_way);
        under_way.into_iter().zip(outcomes).try_for_each(|(step, outcome)| self.note(step, outcome))
    }

    /// Takes note of what came of a step.
    fn note(&mut self, under_way: UnderWay, outcome: Outcome) -> Result<(), TrainError> {
        let UnderWay { epoch, step, learning_rate, group } = under_way;
        let Outcome { losses, stepped } = outcome;
        if let Some(loss) = losses.iter().map(|loss| loss.total()).find(|loss| !loss.is_finite()) {
            return Err(self.not_finite("the loss", loss, epoch, step, &group));
        }
        let gradient_norm = loss_scale::gradient_norm(stepped, epoch, step)?;
        if matches!(stepped, Stepped::Taken { .. }) && !gradient_norm.is_finite() {
            return Err(self.not_finite("the gradient's norm", gradient_norm, epoch, step, &group));
        }
        losses.iter().for_each(|loss| self.progress.loss += loss.total());
        let count = losses.len() as f64;
        let mean = losses.into_iter().sum::<Values>() / count;
        let row = Step {
            epoch,
            step,
            loss: mean.total(),
            dice_loss: mean.dice,
            ce_loss: mean.ce,
            learning_rate,
            gradient_norm,
        };
        self.setting.report.row("steps", table::cells(&row)?);
        self.progress.steps.push(row);
        self.progress.groups += 1;
        self.clock.steps += 1;
        self.clock.samples += group.len() as u64;
        self.tell(Plain::Never);
        Ok(())
    }

    /// Scores the epoch's weights, or their average, and keeps them if they are to be kept. `last` is the last step's group.
    fn end_epoch(&mut self, epoch: u32, last: &[Seen]) -> Result<(), TrainError> {
        let weights = self.sound_weights(epoch, last)?;
        let Self { setting, trainer, progress, clock, .. } = self;
        let score = timed(&mut clock.validation, || setting.score(trainer))?;
        if let Some(loss) = score.map(|score| score.loss).filter(|loss| !loss.is_finite()) {
            return Err(self.not_finite("the validation loss", loss, epoch, self.progress.step(), last));
        }
        let row = Epoch {
            epoch,
            train_loss: Some(progress.loss / setting.batches() as f64),
            validation_loss: score.map(|s| s.loss),
            validation_dice: score.and_then(|s| s.dice),
            learning_rate: progress.steps.last().map(|step| step.learning_rate),
        };
        setting.report.row("epochs", table::cells(&row)?);
        progress.end_epoch(row, setting.setup.params.keep, || trainer.average().unwrap_or(weights));
        Ok(())
    }

    fn save(&mut self) -> Result<(), TrainError> {
        let Self { setting, trainer, progress, clock, saver, .. } = self;
        timed(&mut clock.saving, || saver.save(setting.state, trainer, progress))
    }

    /// The weights. Those that are no numbers must neither be kept nor saved.
    fn sound_weights(&mut self, epoch: u32, group: &[Seen]) -> Result<Vec<NamedTensor>, TrainError> {
        let weights = self.trainer.tensors();
        for tensor in &weights {
            if let Some(value) = tensor.data.iter().find(|x| !x.is_finite()) {
                let what = format!("a weight of {}", tensor.name);
                return Err(self.not_finite(&what, f64::from(*value), epoch, self.progress.step(), group));
            }
        }
        Ok(weights)
    }

    fn not_finite(&mut self, what: &str, value: f64, epoch: u32, step: u32, group: &[Seen]) -> TrainError {
        // What is told is the newest state, also if that is on its way to the disk. Should it fail, it is the one before.
        let _ = self.saver.finish();
        let targets = self.setting.samples.targets().rows();
        TrainError::NotFinite(Box::new(NotFinite {
            what: what.to_owned(),
            value,
            epoch,
            step,
            learning_rate: self.setting.rate.of(epoch, step),
            samples: group.iter().map(|seen| targets[seen.target].id.clone()).collect(),
            state: resume::newest(self.setting.state).ok().flatten(),
        }))
    }

    /// Says how far training is.
    fn tell(&self, plain: Plain) {
        let (params, progress) = (self.setting.setup.params, &self.progress);
        let steps = self.setting.steps();
        let epochs_done = (progress.next_epoch() - 1) as usize;
        let done = epochs_done * steps + progress.groups;
        // Between two epochs the one that ended is spoken of.
        let (epoch, loss) = match progress.groups {
            0 => (epochs_done, progress.epochs.last().and_then(|row| row.train_loss)),
            _ => (epochs_done + 1, progress.steps.last().map(|step| step.loss)),
        };
        let mut phase = format!("epoch {epoch}/{}", params.epochs);
        if let Some(loss) = loss {
            phase.push_str(&format!(", loss {loss:.3}"));
        }
        if let Some(dice) = progress.epochs.last().and_then(|row| row.validation_dice) {
            // A living line has little room.
            let name = if plain == Plain::Always { "validation Dice" } else { "Dice" };
            phase.push_str(&format!(", {name} {dice:.3}"));
        }
        if let Some((best, dice)) = progress.best() {
            phase.push_str(&format!(" (best {dice:.3}, epoch {best})"));
        }
        let total = u64::from(params.epochs) * steps as u64;
        self.setting.report.advance(resect_stage::Progress {
            phase,
            done: done as u64,
            total,
            unit: "steps".into(),
            plain,
        });
    }
}
