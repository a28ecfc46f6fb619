//! What training minimises: a Dice and a pixel-wise term of each sample, weighted; the mean over samples.
//!
//! Both are those of MONAI and torchvision ([`Loss`]). Here on tensors; [`crate::SampleLoss`] has the same on the host.

use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use resect_geometry::Size;
use resect_train_params::{Loss, Padding, TrainParams};
use std::iter::Sum;
use std::ops::{AddAssign, Div, Range};

/// MONAI's `smooth_nr` and `smooth_dr`.
pub(crate) const SMOOTH: f64 = 1e-5;
/// Weight of the focal loss where the mask is 1, and where it is 0: alpha 0.25.
pub(crate) const FOCAL_WEIGHTS: [f32; 2] = [0.25, 0.75];

/// The pixel-wise term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pixelwise {
    /// Binary cross-entropy with logits.
    CrossEntropy,
    /// The same, times the squared probability of the wrong class (gamma 2), times [`FOCAL_WEIGHTS`].
    Focal,
}

/// The loss that the settings ask for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    pub(crate) pixelwise: Pixelwise,
    /// Of Dice and of the pixel-wise term.
    pub(crate) weights: [f64; 2],
    padding: Padding,
}

/// The loss as numbers: of a sample, or the mean or sum over some.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Values {
    /// Dice term, 0 to 1, without its weight.
    pub dice: f64,
    /// Pixel-wise term, 0 or more, without its weight.
    pub ce: f64,
    total: f64,
}

impl Values {
    /// What is minimised: the weighted sum of the terms.
    pub fn total(self) -> f64 {
        self.total
    }
}

impl AddAssign for Values {
    fn add_assign(&mut self, other: Self) {
        self.dice += other.dice;
        self.ce += other.ce;
        self.total += other.total;
    }
}

impl Sum for Values {
    fn sum<I: Iterator<Item = Self>>(values: I) -> Self {
        values.fold(Self::default(), |mut sum, values| {
            sum += values;
            sum
        })
    }
}

impl Div<f64> for Values {
    type Output = Self;

    fn div(self, by: f64) -> Self {
        Self { dice: self.dice / by, ce: self.ce / by, total: self.total / by }
    }
}

/// The terms of each sample, `[n]`, without their weights.
#[derive(Clone, Debug)]
pub struct Terms<B: Backend> {
    /// Dice term, 0 to 1.
    pub dice: Tensor<B, 1>,
    /// Pixel-wise term, 0 or more.
    pub pixelwise: Tensor<B, 1>,
}

impl Objective {
    /// The loss of `train.loss`, `train.loss_weights` and `train.padding`.
    pub fn new(params: &TrainParams) -> Self {
        let pixelwise = match params.loss {
            Loss::DiceFocal => Pixelwise::Focal,
            Loss::DiceCe | Loss::Dice | Loss::Ce => Pixelwise::CrossEntropy,
        };
        let weights = <[f64; 2]>::try_from(params.loss_weights.as_slice());
        Self {
            pixelwise,
            weights: weights.unwrap_or(params.loss.customary_weights()),
            padding: params.padding,
        }
    }

    /// Terms with the total they add up to.
    pub(crate) fn values(self, dice: f64, pixelwise: f64) -> Values {
        let [of_dice, of_pixelwise] = self.weights;
        Values { dice, ce: pixelwise, total: of_dice * dice + of_pixelwise * pixelwise }
    }

    /// How many rows and columns of a grid count, from its first corner on.
    pub(crate) fn covered(self, image: Size, side: usize) -> [usize; 2] {
        match self.padding {
            Padding::Counted => [side, side],
            Padding::Ignored => [image.height as usize, image.width as usize],
        }
    }

    /// The cells that count, of a grid of `side x side` on which the image covers `image`: runs in row order.
    pub(crate) fn runs(self, image: Size, side: usize) -> impl Iterator<Item = Range<usize>> + Clone {
        let [rows, columns] = self.covered(image, side);
        // Whole rows are one run.
        let (runs, length) = if columns == side { (1, rows * side) } else { (rows, columns) };
        (0..runs).map(move |run| run * side..run * side + length)
    }

    /// The terms of logits `[n, 1, s, s]` against masks of 0 and 1 of the same shape. `images` says how much of the grid each
    /// sample's image covers.
    ///
    /// Dice per sample with squared predictions, `1 - (2 sum(p g) + e) / (sum(p^2) + sum(g^2) + e)`; the pixel-wise term is the
    /// mean over all cells of the sample that count. (`monai/losses/dice.py`; `torchvision/ops/focal_loss.py`)
    pub fn terms<B: Backend>(self, logits: Tensor<B, 4>, masks: Tensor<B, 4>, images: &[Size]) -> Terms<B> {
        let [n, _, side, _] = logits.dims();
        let counted = self.counted(images, side, &logits.device());
        let only = |x: Tensor<B, 2>| match &counted {
            Some(counted) => x * counted.clone(),
            None => x,
        };
        let x = logits.reshape([n, side * side]);
        let g = only(masks.reshape([n, side * side]));
        // The form that neither overflows nor loses digits: max(x, 0) - x g + log(1 + exp(-|x|)).
        let ce = relu(x.clone()) - x.clone() * g.clone() + x.clone().abs().neg().exp().log1p();
        let p = sigmoid(x);
        let pixelwise = match self.pixelwise {
            Pixelwise::CrossEntropy => ce,
            Pixelwise::Focal => {
                let [object, background] = FOCAL_WEIGHTS;
                let wrong = p.clone() - g.clone();
                (g.clone() * (object - background) + background) * wrong.clone() * wrong * ce
            }
        };
        // Line by line, then over lines: a GPU gives each number of a sum to one thread.
        let sum = |x: Tensor<B, 2>| {
            let lines = x.reshape([n * side, side]).sum_dim(1);
            lines.reshape([n, side]).sum_dim(1).reshape([n])
        };
        let pixelwise = match &counted {
            Some(counted) => sum(only(pixelwise)) / sum(counted.clone()),
            None => sum(pixelwise) / (side * side) as f64,
        };
        let p = only(p);
        let overlap = sum(p.clone() * g.clone());
        // The mask is 0 and 1, its own square.
        let sizes = sum(p.clone() * p) + sum(g);
        let dice = ((overlap * 2.0 + SMOOTH) / (sizes + SMOOTH)).neg() + 1.0;
        Terms { dice, pixelwise }
    }

    /// The weighted terms, summed over the samples, `[1]`.
    pub fn sum<B: Backend>(self, terms: &Terms<B>) -> Tensor<B, 1> {
        let [dice, pixelwise] = self.weights;
        (terms.dice.clone() * dice + terms.pixelwise.clone() * pixelwise).sum_dim(0)
    }

    /// 1 for each cell that counts, 0 for the others, `[n, s * s]`; none where all count.
    fn counted<B: Backend>(self, images: &[Size], side: usize, device: &B::Device) -> Option<Tensor<B, 2>> {
        let n = images.len();
        // What the image covers is the product of its rows and its columns.
        let covered = |length: fn(&Size) -> u32| -> Vec<f32> {
            let lengths = images.iter().map(|image| length(image) as usize);
            lengths.flat_map(|length| (0..side).map(move |i| f32::from(u8::from(i < length)))).collect()
        };
        (self.padding == Padding::Ignored).then(|| {
            let rows = TensorData::new(covered(|image| image.height), [n, side, 1]);
            let columns = TensorData::new(covered(|image| image.width), [n, 1, side]);
            let rows = Tensor::<B, 3>::from_data(rows, device);
            (rows * Tensor::from_data(columns, device)).reshape([n, side * side])
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
