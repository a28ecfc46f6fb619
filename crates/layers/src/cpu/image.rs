//! Sums, rows and planes of images, neighbourhoods and masks.

use burn::tensor::Shape;
use burn_flex::FlexTensor;
use resect_kernels::{Buffer, neighbourhoods, neighbourhoods_backward, sum_of, transpose};
use resect_numeric::Precision;

use super::graph::{Saved, Sink, give_both};
use super::tensors::{dims3, from_buffer, in_order, len, numbers, shape};

/// The sum of two tensors. The second one may be the same for all samples.
#[derive(Clone, Debug)]
pub(super) struct Sum {
    /// The shape of the second tensor, where it is the same for all samples.
    shared: Option<Vec<usize>>,
}

impl Sum {
    pub fn forward(x: &FlexTensor, y: &FlexTensor) -> (Self, FlexTensor) {
        let mut out = Buffer::stale(len(x));
        sum_of(&mut out, numbers(x), numbers(y));
        (Self { shared: (len(y) < len(x)).then(|| shape(y)) }, from_buffer(out, &shape(x)))
    }
}

impl Saved<2> for Sum {
    fn backward(self, d: FlexTensor, [x, y]: [Sink; 2]) -> [Option<FlexTensor>; 2] {
        let Some(shared) = self.shared else { return give_both(d, [x, y]) };
        let y = match y.is_wanted() {
            true => {
                let one = shared.iter().product();
                let mut sums = numbers(&d)[..one].to_vec();
                for d in numbers(&d)[one..].chunks_exact(one) {
                    resect_kernels::add_to(&mut sums, d);
                }
                y.give_numbers(&sums, &shared)
            }
            false => None,
        };
        [x.give(d), y]
    }
}

/// `[n, c, h, w]` to `[n, h * w, c]`, with a summand.
pub(super) fn to_rows(x: FlexTensor, summand: Option<FlexTensor>) -> FlexTensor {
    let size = shape(&x);
    let (n, channels, places) = (size[0], size[1], size[2] * size[3]);
    let rows = x.permute(&[0, 2, 3, 1]);
    if summand.is_none() && rows.is_contiguous() {
        return rows.reshape(Shape::from(vec![n, places, channels]));
    }
    let x = in_order(x);
    // A summand that was expanded over images is the same for all.
    let summand = summand.map(|summand| {
        let shared = summand.layout().strides()[0] == 0;
        in_order(if shared { summand.narrow(0, 0, 1) } else { summand })
    });
    let mut out = Buffer::stale(n * channels * places);
    resect_kernels::to_rows(numbers(&x), summand.as_ref().map(numbers), [channels, places], &mut out);
    from_buffer(out, &[n, places, channels])
}

/// `[n, side * side, c]` to `[n, c, side, side]`.
pub(super) fn to_planes(x: &FlexTensor, side: usize) -> FlexTensor {
    let [n, tokens, channels] = dims3(x);
    let mut out = Buffer::stale(len(x));
    for (x, out) in numbers(x).chunks(tokens * channels).zip(out.chunks_mut(tokens * channels)) {
        transpose(x, [tokens, channels], out);
    }
    from_buffer(out, &[n, channels, side, side])
}

/// Neighbourhoods of tokens.
#[derive(Clone, Debug)]
pub(super) struct Neighbourhoods {
    shape: [usize; 3],
    side: usize,
}

impl Neighbourhoods {
    pub fn forward(x: &FlexTensor, side: usize) -> (Self, FlexTensor) {
        let [n, tokens, channels] = dims3(x);
        let mut out = Buffer::stale(9 * len(x));
        neighbourhoods(numbers(x), side, channels, &mut out);
        (Self { shape: dims3(x), side }, from_buffer(out, &[n, tokens, 9 * channels]))
    }
}

impl Saved<1> for Neighbourhoods {
    fn backward(self, d: FlexTensor, [x]: [Sink; 1]) -> [Option<FlexTensor>; 1] {
        let mut dx = x.open(&self.shape);
        if let Some(dx) = &mut dx {
            neighbourhoods_backward(numbers(&d), self.side, self.shape[2], dx.target());
        }
        [dx.map(|dx| dx.into_tensor())]
    }
}

/// What the backward pass of masks needs.
#[derive(Clone, Debug)]
pub(super) struct Masks {
    masks: resect_kernels::Masks,
    /// `[n, m, c]`
    weights: FlexTensor,
    /// `[n, h * w * 16, c]`
    image: FlexTensor,
}

impl Masks {
    pub fn forward(
        weights: FlexTensor,
        image: FlexTensor,
        grid: [usize; 2],
        precision: Precision,
    ) -> (Self, FlexTensor) {
        let [n, count, channels] = dims3(&weights);
        let masks = resect_kernels::Masks { grid, masks: count, channels, precision };
        let shape = [n, count, 4 * grid[0], 4 * grid[1]];
        let mut out = Buffer::stale(shape.iter().product());
        masks.forward(numbers(&weights), numbers(&image), &mut out);
        (Self { masks, weights, image }, from_buffer(out, &shape))
    }
}

/// Weights and image.
impl Saved<2> for Masks {
    fn backward(self, d: FlexTensor, [weights, image]: [Sink; 2]) -> [Option<FlexTensor>; 2] {
        let mut dw = weights.open(&shape(&self.weights));
        let mut dx = image.open(&shape(&self.image));
        self.masks.backward(
            numbers(&self.weights),
            numbers(&self.image),
            numbers(&d),
            dw.as_mut().map(|dw| dw.target()),
            dx.as_mut().map(|dx| dx.target()),
        );
        [dw, dx].map(|gradient| gradient.map(|gradient| gradient.into_tensor()))
    }
}
