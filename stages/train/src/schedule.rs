//! The learning rate of each optimiser step.

use crate::TrainError;
use resect_params::{Schedule, TrainParams};
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
mod tests {
    use super::*;

    #[test]
    fn the_cosine_is_pytorchs() {
        let params =
            TrainParams { epochs: 30, learning_rate: 1e-5, min_learning_rate: 1e-7, ..Default::default() };
        // torch.optim.lr_scheduler.CosineAnnealingLR(AdamW(lr=1e-5), T_max=30, eta_min=1e-7), epochs 1, 2, 16, 30.
        let rate = LearningRate::new(&params, 60).unwrap();
        for (epoch, expected) in
            [(1, 1e-5), (2, 9.972_883_382_072_953e-6), (16, 5.05e-6), (30, 1.271_166_179_270_466_7e-7)]
        {
            let found = rate.of(epoch, 2 * epoch);
            assert!((found - expected).abs() < 1e-16, "epoch {epoch}: {found}");
        }
    }

    #[test]
    fn the_step_after_the_warm_up_has_the_full_rate() {
        let params = TrainParams {
            schedule: Schedule::Step,
            warmup_steps: 3,
            learning_rate: 4.0,
            ..Default::default()
        };
        let rate = LearningRate::new(&params, 5).unwrap();
        assert_eq!([1, 2, 3, 4].map(|step| rate.of(1, step)), [1.0, 2.0, 3.0, 4.0]);
        assert!((rate.of(1, 5) - 2.0).abs() < 1e-6);
        let at_once = TrainParams { warmup_steps: 0, ..params.clone() };
        assert_eq!(LearningRate::new(&at_once, 5).unwrap().of(1, 1), 4.0);
    }

    #[test]
    fn a_warm_up_that_never_ends_is_refused() {
        let params = TrainParams { schedule: Schedule::Step, warmup_steps: 5, ..Default::default() };
        let error = LearningRate::new(&params, 5).err().unwrap();
        assert_eq!(
            error.to_string(),
            "train.warmup_steps is 5, but all of training takes 5 steps; lower it or raise train.epochs"
        );
        assert!(LearningRate::new(&params, 6).is_ok());
    }
}
