//! The learning rate of each optimiser step.

use crate::TrainError;
use resect_train_params::{Schedule, TrainParams};
use std::f64::consts::PI;

/// The settings of a schedule, known to fit how long training takes.
pub struct LearningRate<'a> {
    params: &'a TrainParams,
    /// Optimiser steps over all epochs.
    steps: u64,
}

impl<'a> LearningRate<'a> {
    /// Checks that a warm-up leaves steps for the cosine.
    pub fn new(params: &'a TrainParams, steps: u64) -> Result<Self, TrainError> {
        let warmup = params.warmup_steps;
        if params.schedule == Schedule::Step && u64::from(warmup) >= steps {
            return Err(TrainError::WarmUp { warmup, steps });
        }
        Ok(Self { params, steps })
    }

    /// The rate of a step; epochs and steps count from 1, steps over all epochs.
    ///
    /// `CosineAnnealingLR` of PyTorch, by the epoch with `T_max` = epochs, or by the step with `T_max` = the steps after
    /// `LinearLR(start_factor = 1 / (warmup + 1), total_iters = warmup)`. Both cosines begin with the full rate.
    pub fn of(&self, epoch: u32, step: u32) -> f64 {
        let TrainParams { epochs, warmup_steps: warmup, .. } = *self.params;
        match self.params.schedule {
            Schedule::Epoch => self.cosine(f64::from(epoch - 1), f64::from(epochs)),
            Schedule::Step if step <= warmup => {
                self.params.learning_rate * f64::from(step) / (f64::from(warmup) + 1.0)
            }
            Schedule::Step => {
                self.cosine(f64::from(step - 1 - warmup), (self.steps - u64::from(warmup)) as f64)
            }
        }
    }

    /// From the full rate at 0 to the least when all is done.
    fn cosine(&self, done: f64, all: f64) -> f64 {
        let TrainParams { learning_rate, min_learning_rate, .. } = *self.params;
        let turn = PI * done / all;
        min_learning_rate + (learning_rate - min_learning_rate) * (1.0 + turn.cos()) / 2.0
    }
}

#[cfg(test)]
mod tests;
