//! The limits of the settings. Each problem names its setting.

use crate::{JitterUnit, MaskFit, Padding, Prompts, Schedule, TrainParams};
use resect_params::{Problems, is_share};

/// Most points of a sample: each is a token.
const MAX_POINTS: u32 = 100;

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

#[cfg(test)]
mod tests;
