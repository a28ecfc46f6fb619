//! Activations and their derivatives, element by element.

use resect_numeric::{Activation, Precision};

use crate::blocks::each_item;
use crate::rounding::round;
use crate::vector::{each, gelu, gelu_in_place, relu_in_place, vectorised};

/// Numbers that one thread takes at a time.
const CHUNK: usize = 1 << 16;

/// Activates in place. The derivative of a GELU goes to `slope`, unless that is empty; the derivative of a rectifier follows from
/// its result.
#[inline(always)]
pub(crate) fn activate(activation: Option<Activation>, y: &mut [f32], slope: &mut [f32]) {
    match activation {
        None => {}
        Some(Activation::Relu) => relu_in_place(y),
        Some(Activation::Gelu) if slope.is_empty() => gelu_in_place(y),
        Some(Activation::Gelu) => {
            for (y, slope) in y.iter_mut().zip(slope) {
                (*y, *slope) = gelu(*y);
            }
        }
    }
}

/// Activates in place and rounds the results to `result`, on several threads. The derivative of a GELU goes to `slope`, unless that is
/// empty; the derivative of a rectifier follows from its result.
pub fn activate_each(activation: Option<Activation>, result: Precision, y: &mut [f32], slope: &mut [f32]) {
    let slopes: Vec<&mut [f32]> = match slope.is_empty() {
        true => y.chunks(CHUNK).map(|_| Default::default()).collect(),
        false => slope.chunks_mut(CHUNK).collect(),
    };
    each_item(y.chunks_mut(CHUNK).zip(slopes).collect(), |(y, slope): (&mut [f32], &mut [f32])| {
        vectorised(
            #[inline(always)]
            || activate(activation, y, slope),
        );
        round(result, y);
    });
}

/// The derivative of an activation at each element of a result.
#[derive(Clone, Copy, Debug)]
pub enum Slope<'a> {
    /// That of a rectifier, by its result: 1 where that is positive, else 0.
    Relu(&'a [f32]),
    /// Its values.
    Values(&'a [f32]),
}

impl<'a> Slope<'a> {
    /// The derivatives of some elements.
    pub(crate) fn part(self, range: std::ops::Range<usize>) -> Self {
        match self {
            Self::Relu(y) => Self::Relu(&y[range]),
            Self::Values(slope) => Self::Values(&slope[range]),
        }
    }

    /// Changes the gradient by a result to the gradient by what was activated, on several threads.
    pub fn apply_each(self, d: &mut [f32]) {
        each_item(d.chunks_mut(CHUNK).enumerate().collect(), |(i, d): (usize, &mut [f32])| {
            let slope = self.part(i * CHUNK..i * CHUNK + d.len());
            vectorised(
                #[inline(always)]
                || slope.apply(d),
            );
        });
    }

    /// Changes the gradient by a result to the gradient by what was activated.
    #[inline(always)]
    pub(crate) fn apply(self, d: &mut [f32]) {
        match self {
            Self::Relu(y) => each(d, y, |d, y| *d = if y > 0.0 { *d } else { 0.0 }),
            Self::Values(slope) => each(d, slope, |d, slope| *d *= slope),
        }
    }
}

/// The gradient of the loss by the result of a layer.
#[derive(Debug)]
pub enum Upstream<'a> {
    /// Of a layer without an activation.
    Plain(&'a [f32]),
    /// Of a layer with an activation. The gradient is overwritten.
    Activated(&'a mut [f32], Slope<'a>),
}

impl<'a> Upstream<'a> {
    /// How many numbers there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Plain(d) => d.len(),
            Self::Activated(d, _) => d.len(),
        }
    }

    /// Parts of `length` numbers each, the last one aside.
    pub(crate) fn chunks(self, length: usize) -> Vec<Self> {
        match self {
            Self::Plain(d) => d.chunks(length).map(Self::Plain).collect(),
            Self::Activated(d, slope) => d
                .chunks_mut(length)
                .enumerate()
                .map(|(i, d)| {
                    let start = i * length;
                    let slope = slope.part(start..start + d.len());
                    Self::Activated(d, slope)
                })
                .collect(),
        }
    }

    /// The gradient by what was activated.
    #[inline(always)]
    pub(crate) fn resolve(self) -> &'a [f32] {
        match self {
            Self::Plain(d) => d,
            Self::Activated(d, slope) => {
                vectorised(
                    #[inline(always)]
                    || slope.apply(d),
                );
                d
            }
        }
    }
}
