//! Values that have the right type and still cannot be: one problem each, by the setting's full name.

use crate::{
    EvaluateParams, IngestLimits, JitterUnit, MaskFit, MaskParams, Padding, Prompts, Runtime, Schedule,
    SplitBy, SplitParams, TrainParams,
};

/// Most points of a sample: each is a token.
const MAX_POINTS: u32 = 100;

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
        problems.expect(self.max_bytes > 0, "ingest.max_bytes", || "must be at least 1".into());
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
        problems.expect(
            self.mask_fit == MaskFit::Padded || self.padding == Padding::Counted,
            "train.padding",
            || "must be \"counted\" with train.mask_fit = \"squashed\", which leaves no padding".into(),
        );
        self.check_loss(problems);
        self.check_prompts(problems);
    }

    fn check_loss(&self, problems: &mut Problems) {
        let weights = &self.loss_weights;
        let name = "train.loss_weights";
        if weights.is_empty() {
            return;
        }
        if !self.loss.has_two_terms() {
            problems.expect(false, name, || {
                format!(
                    "must be [] with a train.loss of one term, is {weights:?}; \"dice-ce\" and \"dice-focal\" have two"
                )
            });
        } else if weights.len() != 2 {
            problems.expect(false, name, || {
                format!(
                    "must be two numbers, of Dice and of the pixel-wise term, or [] for the customary ones, is {weights:?}"
                )
            });
        } else {
            let allowed = weights.iter().all(|w| *w >= 0.0 && w.is_finite());
            problems.expect(allowed && weights.iter().any(|w| *w > 0.0), name, || {
                format!("must be 0 or more and finite, and not both 0, is {weights:?}")
            });
        }
    }

    fn check_prompts(&self, problems: &mut Problems) {
        problems.expect(self.jitter_unit == JitterUnit::Pixels || self.jitter <= 100, "train.jitter", || {
            format!("must be 0 to 100 with train.jitter_unit = \"percent\", is {}", self.jitter)
        });
        problems.expect((1..=MAX_POINTS).contains(&self.points), "train.points", || {
            format!("must be 1 to {MAX_POINTS}, is {}", self.points)
        });
        problems.expect(self.points <= 1 || self.prompts != Prompts::Box, "train.points", || {
            format!(
                "must be 1 with train.prompts = \"box\", which draws none, is {}; \"point\" and \"mixed\" draw points",
                self.points
            )
        });
        problems.expect(is_share(self.box_share), "train.box_share", || {
            format!("must be a share from 0 to 1, is {}", self.box_share)
        });
        problems.expect(
            !is_share(self.box_share)
                || self.box_share == Self::default().box_share
                || self.prompts == Prompts::Mixed,
            "train.box_share",
            || format!("has a meaning with train.prompts = \"mixed\" alone, is {}", self.box_share),
        );
    }
}

impl EvaluateParams {
    /// Checks the values.
    pub fn check(&self, problems: &mut Problems) {
        let [small, large] = self.size_bounds;
        problems.expect(0.0 < small && small < large && large < 1.0, "evaluate.size_bounds", || {
            format!("must be two fractions of the image's area, ascending, is [{small}, {large}]")
        });
        let tolerance = self.surface_tolerance;
        problems.expect(tolerance.is_finite() && tolerance >= 0.0, "evaluate.surface_tolerance", || {
            format!("must be a distance in pixels, 0 or more, is {tolerance}")
        });
        problems.expect((100..=1_000_000).contains(&self.resamples), "evaluate.resamples", || {
            format!("must be 100 to 1000000, is {}", self.resamples)
        });
        for (name, noise) in [("noise_pixels", &self.noise_pixels), ("noise_percent", &self.noise_percent)] {
            let ascending = noise.is_sorted_by(|a, b| a < b);
            problems.expect(ascending, &format!("evaluate.{name}"), || {
                format!("must be ascending, each value once, is {noise:?}")
            });
        }
    }
}

impl Runtime {
    /// Checks the values.
    pub fn check(&self, problems: &mut Problems) {
        problems.expect(self.memory.is_finite() && self.memory >= 0.0, "runtime.memory", || {
            format!("must be GB, 0 or more, is {}", self.memory)
        });
        for (name, value) in [("embed_batch", self.embed_batch), ("decode_batch", self.decode_batch)] {
            problems.expect(value >= 1, &format!("runtime.{name}"), || "must be at least 1".into());
        }
        problems.expect(self.save_epochs >= 1, "runtime.save_epochs", || "must be at least 1".into());
    }
}

#[cfg(test)]
mod tests;
