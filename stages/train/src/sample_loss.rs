//! The loss of one sample on the host: the same whatever else is in its batch.

use crate::loss::{FOCAL_WEIGHTS, Objective, Pixelwise, SMOOTH, Values};
use resect_geometry::Size;
use resect_kernels::{exp_negative, ln_1p_unit, vectorised};

/// The sums that the loss of one sample is made of.
#[derive(Clone, Copy, Debug)]
pub struct SampleLoss {
    objective: Objective,
    /// What the image covers of the grid.
    image: Size,
    sums: Sums,
}

/// Over the cells that count.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    cells: usize,
    pixelwise: f64,
    overlap: f64,
    sizes: f64,
}

impl SampleLoss {
    /// Of logits and a mask of 0 and 1, `[s, s]`, on which the image covers `image`; leaves the probabilities of the cells that
    /// count in `probabilities`, and 0 in the others. All three have one length.
    pub fn of<M: Copy + Into<f32>>(
        objective: Objective,
        image: Size,
        logits: &[f32],
        mask: &[M],
        probabilities: &mut [f32],
    ) -> Self {
        /// Cells summed in single precision before they go into double.
        const CHUNK: usize = 1024;
        let mut sums = Sums::default();
        probabilities.fill(0.0);
        vectorised(
            #[inline(always)]
            || {
                for run in objective.runs(image, logits.len().isqrt()) {
                    let cells = logits[run.clone()].chunks(CHUNK).zip(mask[run.clone()].chunks(CHUNK));
                    for ((x, g), p) in cells.zip(probabilities[run].chunks_mut(CHUNK)) {
                        match objective.pixelwise {
                            Pixelwise::CrossEntropy => sums.add(x, g, p, |_, _, ce| ce),
                            Pixelwise::Focal => sums.add(x, g, p, focal),
                        }
                    }
                }
            },
        );
        Self { objective, image, sums }
    }

    /// The loss.
    pub fn values(self) -> Values {
        let Sums { cells, pixelwise, overlap, sizes } = self.sums;
        let dice = 1.0 - (2.0 * overlap + SMOOTH) / (sizes + SMOOTH);
        self.objective.values(dice, pixelwise / cells.max(1) as f64)
    }

    /// Turns the probabilities into the gradient of `share` times the loss by the logits.
    pub fn gradient<M: Copy + Into<f32>>(
        self,
        logits: &[f32],
        mask: &[M],
        share: f64,
        probabilities: &mut [f32],
    ) {
        let Self { objective, image, sums } = self;
        let [of_dice, of_pixelwise] = objective.weights.map(|weight| weight * share);
        let cell = (of_pixelwise / sums.cells.max(1) as f64) as f32;
        let union = sums.sizes + SMOOTH;
        let inside = (-2.0 * of_dice / union) as f32;
        let everywhere = (2.0 * of_dice * (2.0 * sums.overlap + SMOOTH) / (union * union)) as f32;
        let dice = |p: f32, g: f32| (inside * g + everywhere * p) * p * (1.0 - p);
        vectorised(
            #[inline(always)]
            || {
                for run in objective.runs(image, logits.len().isqrt()) {
                    let masks = mask[run.clone()].iter().map(|&g| g.into());
                    let cells = probabilities[run.clone()].iter_mut().zip(masks);
                    match objective.pixelwise {
                        Pixelwise::CrossEntropy => {
                            for (p, g) in cells {
                                *p = cell * (*p - g) + dice(*p, g);
                            }
                        }
                        Pixelwise::Focal => {
                            for ((p, g), &x) in cells.zip(&logits[run]) {
                                *p = cell * focal_slope(x, *p, g) + dice(*p, g);
                            }
                        }
                    }
                }
            },
        );
    }
}

impl Sums {
    /// Adds some cells and leaves their probabilities in `p`. `pixelwise` makes a cell's term of its probability, its mask and its
    /// cross-entropy.
    #[inline(always)]
    fn add<M: Copy + Into<f32>>(
        &mut self,
        x: &[f32],
        g: &[M],
        p: &mut [f32],
        pixelwise: impl Fn(f32, f32, f32) -> f32,
    ) {
        /// Sums that run beside one another, as the processor likes it.
        const LANES: usize = 16;
        self.cells += x.len();
        let (mut term, mut overlap, mut sizes) = ([0f32; LANES], [0f32; LANES], [0f32; LANES]);
        for ((x, g), p) in x.chunks(LANES).zip(g.chunks(LANES)).zip(p.chunks_mut(LANES)) {
            for (i, ((&x, &g), p)) in x.iter().zip(g).zip(p).enumerate() {
                let g: f32 = g.into();
                let e = exp_negative(-x.abs());
                let large = 1.0 / (1.0 + e);
                *p = if x < 0.0 { e * large } else { large };
                term[i] += pixelwise(*p, g, cross_entropy(x, g, e));
                overlap[i] += *p * g;
                sizes[i] += *p * *p + g * g;
            }
        }
        let sum = |lanes: [f32; LANES]| lanes.iter().map(|&x| f64::from(x)).sum::<f64>();
        self.pixelwise += sum(term);
        self.overlap += sum(overlap);
        self.sizes += sum(sizes);
    }
}

/// Binary cross-entropy of a logit whose `exp(-|x|)` is `e`: max(x, 0) - x g + log(1 + e) neither overflows nor loses digits.
#[inline(always)]
fn cross_entropy(x: f32, g: f32, e: f32) -> f32 {
    if x < 0.0 { -x * g + ln_1p_unit(e) } else { x - x * g + ln_1p_unit(e) }
}

/// The focal loss of a probability with its cross-entropy.
#[inline(always)]
fn focal(p: f32, g: f32, ce: f32) -> f32 {
    focal_weight(g) * (p - g) * (p - g) * ce
}

/// Its derivative by the logit.
///
/// With `w = |p - g|`, the probability of the wrong class, and `ce` the cross-entropy: `dw` is `w (1 - w)` and `dce` is `w` away
/// from the mask, so the slope of `w^2 ce` is `w^2 (2 (1 - w) ce + w)`, and `p - g` has its sign.
#[inline(always)]
fn focal_slope(x: f32, p: f32, g: f32) -> f32 {
    let wrong = (p - g).abs();
    let ce = cross_entropy(x, g, exp_negative(-x.abs()));
    focal_weight(g) * (p - g) * wrong * (2.0 * (1.0 - wrong) * ce + wrong)
}

#[inline(always)]
fn focal_weight(g: f32) -> f32 {
    let [object, background] = FOCAL_WEIGHTS;
    background + (object - background) * g
}

#[cfg(test)]
mod tests;
