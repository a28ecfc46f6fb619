//! Augmentation: in each epoch each target is seen under a view drawn for it, a flip or a quarter turn.
//!
//! All of a sample turns together: the embedding is that of the turned image, which `embed` kept; the prompt, drawn in the original
//! image, is carried into the turned one; and the mask is what `ingest` makes of a turned mask at original resolution.

use resect_geometry::{Size, View};
use resect_targets::Targets;
use resect_train_params::{MaskFit, TrainParams};
use std::borrow::Cow;

/// A target under a view.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Its number among the targets.
    pub target: usize,
    /// How its image is turned.
    pub view: View,
}

impl Seen {
    /// A target as it is.
    pub fn upright(target: usize) -> Self {
        Self { target, view: View::Identity }
    }

    /// The turned mask on the low-res grid, 0 and 1. One that is turned or squashed is made anew each time: kept, they would need memory
    /// for all targets.
    pub fn mask(self, targets: &Targets, fit: MaskFit) -> Cow<'_, [u8]> {
        let turned = || self.view.mask(&targets.mask(self.target));
        let mask = match (fit, self.view) {
            (MaskFit::Padded, View::Identity) => return Cow::Borrowed(targets.low_res(self.target)),
            (MaskFit::Padded, _) => turned().to_low_res(targets.low_res_size()),
            (MaskFit::Squashed, _) => turned().resized_nearest(Size::square(targets.low_res_size())),
        };
        mask.pixels().iter().map(|&pixel| u8::from(pixel)).collect()
    }
}

/// The chosen targets as an epoch sees them: each of the views is equally likely.
pub fn drawn(targets: &Targets, chosen: &[usize], params: &TrainParams, epoch: u32) -> Vec<Seen> {
    let views = params.augment.views();
    let one = |&target: &usize| {
        let id = targets.rows()[target].id.as_bytes();
        let mut rng = resect_seed::stream("view", params.seed, &[&epoch.to_le_bytes(), id]);
        Seen { target, view: views[resect_seed::below(&mut rng, views.len() as u32) as usize] }
    };
    chosen.iter().map(one).collect()
}
