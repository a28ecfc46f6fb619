//! The limits of the settings. Each problem names its setting.

use crate::{IngestLimits, MaskParams, SplitBy, SplitParams};
use resect_params::{Problems, is_share};

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
