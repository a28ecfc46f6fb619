//! Values that have the right type and still cannot be: one problem each, by the setting's full name.

use crate::{EvaluateParams, IngestLimits, MaskParams, Runtime, Schedule, SplitBy, SplitParams, TrainParams};

/// A setting whose value cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {message}")]
pub struct Invalid {
    /// Full name, such as `train.learning_rate`.
    pub setting: String,
    /// What is expected of it and what it is instead.
    pub message: String,
}

/// Collects every problem instead of stopping at the first.
#[derive(Debug, Default)]
pub struct Problems(pub Vec<Invalid>);

impl Problems {
    /// Notes a problem with `setting` unless `holds`.
    pub fn expect(&mut self, holds: bool, setting: &str, message: impl FnOnce() -> String) {
        if !holds {
            self.0.push(Invalid { setting: setting.to_owned(), message: message() });
        }
    }
}

fn is_share(x: f64) -> bool {
    (0.0..=1.0).contains(&x)
}

impl MaskParams {
    /// Checks the values.
    pub fn check(&self, problems: &mut Problems) {
        problems.expect(self.threshold >= 1, "mask.threshold", || {
            "must be 1 to 255; 0 would make every pixel foreground".into()
        });
        problems.expect(self.labels.is_empty() || !self.labels.contains(&0), "mask.labels", || {
            "must not contain 0: that is the background".into()
        });
    }
}

impl SplitParams {
    /// Checks the values.
    pub fn check(&self, problems: &mut Problems) {
        problems.expect((0.0..=0.9).contains(&self.validation_share), "split.validation_share", || {
            format!("must be 0 to 0.9, is {}", self.validation_share)
        });
        problems.expect(self.test_share > 0.0 && self.test_share < 1.0, "split.test_share", || {
            format!("must be above 0 and below 1, is {}", self.test_share)
        });
        problems.expect(self.by == SplitBy::Random || !self.train.is_empty(), "split.train", || {
            "must name at least one of the dataset's splits, such as [\"train\"]".into()
        });
        for name in &self.test {
            problems.expect(!self.train.contains(name), "split.test", || {
                format!(
                    "must not share \"{name}\" with split.train: a sample is trained on or reported, not both"
                )
            });
        }
    }
}

impl IngestLimits {
    /// Checks the values.
    pub fn check(&self, problems: &mut Problems) {
        problems.expect(is_share(self.max_rejected), "ingest.max_rejected", || {
            format!("must be a share from 0 to 1, is {}", self.max_rejected)
        });
        problems.expect(self.max_pixels > 0, "ingest.max_pixels", || "must be at least 1".into());
        problems.expect(self.duplicate_distance <= 64, "ingest.duplicate_distance", || {
            format!("counts bits of 64, is {}", self.duplicate_distance)
        });
    }
}

impl TrainParams {
    /// Checks the values.
    pub fn check(&self, problems: &mut Problems) {
        for (name, value) in
            [("epochs", self.epochs), ("batch_size", self.batch_size), ("accumulation", self.accumulation)]
        {
            problems.expect(value >= 1, &format!("train.{name}"), || "must be at least 1".into());
        }
        problems.expect(
            self.learning_rate > 0.0 && self.learning_rate.is_finite(),
            "train.learning_rate",
            || format!("must be above 0 and finite, is {}", self.learning_rate),
        );
        problems.expect(
            (0.0..=self.learning_rate).contains(&self.min_learning_rate),
            "train.min_learning_rate",
            || format!("must be from 0 to train.learning_rate, is {}", self.min_learning_rate),
        );
        problems.expect(
            self.warmup_steps == 0 || self.schedule == Schedule::Step,
            "train.warmup_steps",
            || {
                format!(
                    "must be 0 with train.schedule = \"epoch\", is {}; train.schedule = \"step\" has a warm-up",
                    self.warmup_steps
                )
            },
        );
        problems.expect(self.clip_norm >= 0.0 && self.clip_norm.is_finite(), "train.clip_norm", || {
            format!("must be 0 (no clipping) or more, and finite, is {}", self.clip_norm)
        });
        problems.expect(
            self.weight_decay >= 0.0 && self.weight_decay.is_finite(),
            "train.weight_decay",
            || format!("must be 0 or more, is {}", self.weight_decay),
        );
        for (name, value) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            problems.expect((0.0..1.0).contains(&value), &format!("train.{name}"), || {
                format!("must be at least 0 and below 1, is {value}")
            });
        }
        problems.expect(self.epsilon > 0.0 && self.epsilon.is_finite(), "train.epsilon", || {
            format!("must be above 0, is {}", self.epsilon)
        });
        problems.expect((0.0..1.0).contains(&self.ema), "train.ema", || {
            format!("must be 0 (no average) or above, and below 1, such as 0.99, is {}", self.ema)
        });
    }
}

impl EvaluateParams {
    /// Checks the values.
    pub fn check(&self, problems: &mut Problems) {
        let [small, large] = self.size_bounds;
        problems.expect(0.0 < small && small < large && large < 1.0, "evaluate.size_bounds", || {
            format!("must be two fractions of the image's area, ascending, is [{small}, {large}]")
        });
    }
}

impl Runtime {
    /// Checks the values.
    pub fn check(&self, problems: &mut Problems) {
        for (name, value) in [("embed_batch", self.embed_batch), ("decode_batch", self.decode_batch)] {
            problems.expect(value >= 1, &format!("runtime.{name}"), || "must be at least 1".into());
        }
        problems.expect(self.save_epochs >= 1, "runtime.save_epochs", || "must be at least 1".into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_and_a_clip_norm_that_cannot_be_are_named() {
        let found = |params: TrainParams| {
            let mut problems = Problems::default();
            params.check(&mut problems);
            problems.0.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let warm = TrainParams { warmup_steps: 5, ..Default::default() };
        assert_eq!(
            found(warm.clone()),
            [
                "train.warmup_steps must be 0 with train.schedule = \"epoch\", is 5; train.schedule = \"step\" has a warm-up"
            ]
        );
        let clipped = TrainParams { schedule: Schedule::Step, clip_norm: 1.0, ..warm };
        assert!(found(clipped.clone()).is_empty());
        for clip_norm in [-1.0, f64::NAN, f64::INFINITY] {
            let message =
                format!("train.clip_norm must be 0 (no clipping) or more, and finite, is {clip_norm}");
            assert_eq!(found(TrainParams { clip_norm, ..clipped.clone() }), [message]);
        }
    }
}
