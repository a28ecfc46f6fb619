//! Augmentation: in each epoch each target is seen under a view drawn for it, a flip or a quarter turn.
//!
//! All of a sample turns together: the embedding is that of the turned image, which `embed` kept; the prompt, drawn in the original
//! image, is carried into the turned one; and the mask is what `ingest` makes of a turned mask at original resolution.

use rayon::prelude::*;
use resect_data::targets::Targets;
use resect_geometry::View;
use resect_params::TrainParams;
use std::borrow::Cow;

/// A target under a view.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// Its number among the targets.
    pub target: usize,
    /// How its image is turned.
    pub view: View,
    /// The turned mask on the low-res grid, 0 and 1.
    pub mask: Cow<'a, [u8]>,
}

impl<'a> Seen<'a> {
    /// A target as it is.
    pub fn upright(targets: &'a Targets, target: usize) -> Self {
        Self { target, view: View::Identity, mask: Cow::Borrowed(targets.low_res(target)) }
    }

    /// A target turned.
    fn turned(targets: &'a Targets, target: usize, view: View) -> Self {
        if view == View::Identity {
            return Self::upright(targets, target);
        }
        let mask = view.mask(&targets.mask(target)).to_low_res(targets.low_res_size());
        Self { target, view, mask: mask.pixels().iter().map(|&pixel| u8::from(pixel)).collect() }
    }
}

/// The chosen targets as an epoch sees them: each of the views is equally likely. Turned masks are held for the epoch: 64 KiB a
/// target for the published models.
pub fn drawn<'a>(targets: &'a Targets, chosen: &[usize], params: &TrainParams, epoch: u32) -> Vec<Seen<'a>> {
    let views = params.augment.views();
    let one = |&target: &usize| {
        let id = targets.rows()[target].id.as_bytes();
        let mut rng = resect_seed::stream("view", params.seed, &[&epoch.to_le_bytes(), id]);
        let view = views[resect_seed::below(&mut rng, views.len() as u32) as usize];
        Seen::turned(targets, target, view)
    };
    chosen.par_iter().map(one).collect()
}
