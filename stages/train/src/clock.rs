//! Where the time of this start went: for the run record, never for an artifact.

use serde::Serialize;
use std::time::Instant;

/// Sums up what was done in this start, and the seconds it took.
#[derive(Default)]
pub struct Clock {
    /// Optimiser steps.
    pub steps: u64,
    /// Samples learnt from.
    pub samples: u64,
    /// Seconds of the optimiser steps.
    pub learning: f64,
    /// Seconds of scoring on the validation part.
    pub validation: f64,
    /// Seconds of saving what a restart resumes from.
    pub saving: f64,
    /// Seconds of each epoch, scoring and saving included.
    pub epochs: Vec<f64>,
}

/// What the run record says.
#[derive(Serialize)]
struct Timing<'a> {
    steps: u64,
    steps_per_second: Option<f64>,
    samples_per_second: Option<f64>,
    epoch_seconds: &'a [f64],
    validation_seconds: f64,
    saving_seconds: f64,
}

impl Clock {
    /// For the run record; a rate is absent where nothing was learnt.
    pub fn timing(&self) -> impl Serialize + '_ {
        let rate = |count: u64| (count > 0).then(|| count as f64 / self.learning);
        Timing {
            steps: self.steps,
            steps_per_second: rate(self.steps),
            samples_per_second: rate(self.samples),
            epoch_seconds: &self.epochs,
            validation_seconds: self.validation,
            saving_seconds: self.saving,
        }
    }
}

/// Does something and adds the seconds it took.
pub fn timed<T>(seconds: &mut f64, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = work();
    *seconds += began.elapsed().as_secs_f64();
    done
}
