//! Attention of the mask decoder, where one side has few tokens, and its gradients.

use burn::tensor::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::tensor::CubeTensor;

use super::Given;
use super::launch::{plane_item, planes, rounded, shaped, threads};

/// What the backward pass of an attention needs.
#[derive(Clone, Debug)]
pub(super) struct Attention<R: CubeRuntime> {
    queries: CubeTensor<R>,
    keys: CubeTensor<R>,
    values: CubeTensor<R>,
    heads: usize,
    /// The format of operands.
    format: DType,
    /// `[n, t, c]`.
    out: CubeTensor<R>,
    /// The logarithm of each query's sum of exponentials, `[n, t, heads]`.
    sums: CubeTensor<R>,
}

/// From this length on, the threads of a plane share a side.
const LONG: usize = 64;

impl<R: CubeRuntime> Attention<R> {
    /// Attention of `queries [n, t, c]` to `keys` and `values [n, t', c]`, by heads. It is written for few queries or few keys.
    pub fn forward(
        [queries, keys, values]: [CubeTensor<R>; 3],
        heads: usize,
        format: DType,
    ) -> (Self, CubeTensor<R>) {
        let [n, t, c] = queries.meta.shape().dims();
        let [_, others, _] = keys.meta.shape().dims();
        let (out, sums) = (shaped(&queries, [n, t, c]), shaped(&queries, [n, t, heads]));
        let (cubes, cube, divided) = workers(&out, n * t * heads, others);
        attend::launch(
            &queries.client.clone(),
            cubes,
            cube,
            queries.clone().into_array_arg(),
            keys.clone().into_array_arg(),
            values.clone().into_array_arg(),
            out.clone().into_array_arg(),
            sums.clone().into_array_arg(),
            scale(c / heads),
            t as u32,
            others as u32,
            heads as u32,
            (c / heads) as u32,
            divided,
            format.into(),
        );
        (Self { queries, keys, values, heads, format, out: out.clone(), sums }, out)
    }
}

/// Queries, keys and values.
impl<R: CubeRuntime> Given<R, 3> for Attention<R> {
    fn back(self, gradient: CubeTensor<R>, _: [bool; 3]) -> [Option<CubeTensor<R>>; 3] {
        let Self { queries, keys, values, heads, format, out, sums } = self;
        let [n, t, c] = queries.meta.shape().dims();
        let [_, others, _] = keys.meta.shape().dims();
        let client = queries.client.clone();
        let of_queries = shaped(&queries, [n, t, c]);
        let [of_keys, of_values] = [(); 2].map(|()| shaped(&queries, [n, others, c]));
        let along = shaped(&queries, [n, t, heads]);
        let (cubes, cube, divided) = workers(&out, n * t * heads, others);
        attend_back_queries::launch(
            &client,
            cubes,
            cube,
            queries.clone().into_array_arg(),
            keys.clone().into_array_arg(),
            values.clone().into_array_arg(),
            out.clone().into_array_arg(),
            gradient.clone().into_array_arg(),
            sums.clone().into_array_arg(),
            of_queries.clone().into_array_arg(),
            along.clone().into_array_arg(),
            scale(c / heads),
            t as u32,
            others as u32,
            heads as u32,
            (c / heads) as u32,
            divided,
            format.into(),
        );
        let (cubes, cube, divided) = workers(&out, n * others * heads, t);
        attend_back_keys::launch(
            &client,
            cubes,
            cube,
            queries.into_array_arg(),
            keys.into_array_arg(),
            values.into_array_arg(),
            gradient.into_array_arg(),
            sums.into_array_arg(),
            along.into_array_arg(),
            of_keys.clone().into_array_arg(),
            of_values.clone().into_array_arg(),
            scale(c / heads),
            t as u32,
            others as u32,
            heads as u32,
            (c / heads) as u32,
            divided,
            format.into(),
        );
        [of_queries, of_keys, of_values].map(Some)
    }
}

/// The launch for items that are each combined with `others`: a thread for each item, or a plane for each where there are many others.
fn workers<R: CubeRuntime>(
    tensor: &CubeTensor<R>,
    items: usize,
    others: usize,
) -> (CubeCount, CubeDim, bool) {
    let divided = others >= LONG;
    let (cubes, cube) = if divided { planes(tensor, items) } else { threads(tensor, items) };
    (cubes, cube, divided)
}

fn scale(head: usize) -> f32 {
    (head as f32).powf(-0.5)
}

/// The item of a thread, or of the thread's plane.
#[cube]
fn item(#[comptime] divided: bool) -> usize {
    let mut item = ABSOLUTE_POS;
    if comptime!(divided) {
        item = plane_item();
    }
    item
}

/// The first of the others that a thread works on.
#[cube]
fn first(#[comptime] divided: bool) -> u32 {
    let mut first = 0u32;
    if comptime!(divided) {
        first = UNIT_POS_X;
    }
    first
}

/// The distance to the next of the others that a thread works on.
#[cube]
fn step(#[comptime] divided: bool) -> u32 {
    let mut step = 1u32;
    if comptime!(divided) {
        step = CUBE_DIM_X;
    }
    step
}

/// Lower than any score.
const LOWEST: f32 = -1e30;

/// A thread or a plane for each query of a head. It reads the scores once, and scales its sums down when a larger score comes.
/// (Milakov and Gimelshein, 2018)
#[cube(launch)]
fn attend<E: Float>(
    queries: &Array<f32>,
    keys: &Array<f32>,
    values: &Array<f32>,
    out: &mut Array<f32>,
    sums: &mut Array<f32>,
    scale: f32,
    count: u32,
    others: u32,
    #[comptime] heads: u32,
    #[comptime] head: u32,
    #[comptime] divided: bool,
    #[define(E)] _dtype: StorageType,
) {
    let item = item(divided);
    let (first, step) = (first(divided), step(divided));
    if item >= sums.len() {
        terminate!();
    }
    let start = item * head as usize;
    let mut query = Array::<f32>::new(head as usize);
    let mut attended = Array::<f32>::new(head as usize);
    #[unroll]
    for e in 0..head as usize {
        query[e] = rounded::<E>(queries[start + e] * scale);
        attended[e] = 0f32;
    }
    let before = item as u32 / (count * heads) * others;
    let mut highest = f32::new(LOWEST);
    let mut sum = 0f32;
    let mut other = first;
    while other < others {
        let at = (((before + other) * heads + item as u32 % heads) * head) as usize;
        let mut score = 0f32;
        #[unroll]
        for e in 0..head as usize {
            score += query[e] * rounded::<E>(keys[at + e]);
        }
        let higher = max(highest, score);
        let kept = (highest - higher).exp();
        let weight = (score - higher).exp();
        sum = sum * kept + weight;
        #[unroll]
        for e in 0..head as usize {
            attended[e] = attended[e] * kept + weight * rounded::<E>(values[at + e]);
        }
        highest = higher;
        other += step;
    }
    if comptime!(divided) {
        let highest_of_all = plane_max(highest);
        let kept = (highest - highest_of_all).exp();
        sum = plane_sum(sum * kept);
        #[unroll]
        for e in 0..head as usize {
            attended[e] = plane_sum(attended[e] * kept);
        }
        highest = highest_of_all;
    }
    // One thread of a plane writes.
    if first == 0 {
        sums[item] = highest + sum.ln();
        #[unroll]
        for e in 0..head as usize {
            out[start + e] = attended[e] / sum;
        }
    }
}

/// A thread or a plane for each query of a head. `along` is the product of the query's gradient with its result, which the keys need.
#[cube(launch)]
fn attend_back_queries<E: Float>(
    queries: &Array<f32>,
    keys: &Array<f32>,
    values: &Array<f32>,
    attended: &Array<f32>,
    gradient: &Array<f32>,
    sums: &Array<f32>,
    out: &mut Array<f32>,
    along: &mut Array<f32>,
    scale: f32,
    count: u32,
    others: u32,
    #[comptime] heads: u32,
    #[comptime] head: u32,
    #[comptime] divided: bool,
    #[define(E)] _dtype: StorageType,
) {
    let item = item(divided);
    let (first, step) = (first(divided), step(divided));
    if item >= sums.len() {
        terminate!();
    }
    let start = item * head as usize;
    let mut query = Array::<f32>::new(head as usize);
    let mut back = Array::<f32>::new(head as usize);
    let mut of_query = Array::<f32>::new(head as usize);
    let mut own = 0f32;
    #[unroll]
    for e in 0..head as usize {
        query[e] = rounded::<E>(queries[start + e] * scale);
        back[e] = gradient[start + e];
        of_query[e] = 0f32;
        own += gradient[start + e] * attended[start + e];
    }
    let before = item as u32 / (count * heads) * others;
    let sum = sums[item];
    let mut other = first;
    while other < others {
        let at = (((before + other) * heads + item as u32 % heads) * head) as usize;
        let mut score = 0f32;
        let mut of_weight = 0f32;
        #[unroll]
        for e in 0..head as usize {
            score += query[e] * rounded::<E>(keys[at + e]);
            of_weight += back[e] * rounded::<E>(values[at + e]);
        }
        let of_score = (score - sum).exp() * (of_weight - own);
        #[unroll]
        for e in 0..head as usize {
            of_query[e] += of_score * rounded::<E>(keys[at + e]);
        }
        other += step;
    }
    if comptime!(divided) {
        #[unroll]
        for e in 0..head as usize {
            of_query[e] = plane_sum(of_query[e]);
        }
    }
    if first == 0 {
        along[item] = own;
        #[unroll]
        for e in 0..head as usize {
            out[start + e] = of_query[e] * scale;
        }
    }
}

/// A thread or a plane for each key of a head, and its value.
#[cube(launch)]
fn attend_back_keys<E: Float>(
    queries: &Array<f32>,
    keys: &Array<f32>,
    values: &Array<f32>,
    gradient: &Array<f32>,
    sums: &Array<f32>,
    along: &Array<f32>,
    of_keys: &mut Array<f32>,
    of_values: &mut Array<f32>,
    scale: f32,
    count: u32,
    others: u32,
    #[comptime] heads: u32,
    #[comptime] head: u32,
    #[comptime] divided: bool,
    #[define(E)] _dtype: StorageType,
) {
    let item = item(divided);
    let (first, step) = (first(divided), step(divided));
    if item >= keys.len() / head as usize {
        terminate!();
    }
    let start = item * head as usize;
    let mut key = Array::<f32>::new(head as usize);
    let mut value = Array::<f32>::new(head as usize);
    let mut of_key = Array::<f32>::new(head as usize);
    let mut of_value = Array::<f32>::new(head as usize);
    #[unroll]
    for e in 0..head as usize {
        key[e] = rounded::<E>(keys[start + e]);
        value[e] = rounded::<E>(values[start + e]);
        of_key[e] = 0f32;
        of_value[e] = 0f32;
    }
    let before = item as u32 / (others * heads) * count;
    let mut other = first;
    while other < count {
        let query = ((before + other) * heads + item as u32 % heads) as usize;
        let at = query * head as usize;
        let mut score = 0f32;
        let mut of_weight = 0f32;
        #[unroll]
        for e in 0..head as usize {
            score += rounded::<E>(queries[at + e] * scale) * key[e];
            of_weight += gradient[at + e] * value[e];
        }
        let weight = (score - sums[query]).exp();
        let of_score = weight * (of_weight - along[query]);
        #[unroll]
        for e in 0..head as usize {
            of_key[e] += of_score * rounded::<E>(queries[at + e] * scale);
            of_value[e] += weight * gradient[at + e];
        }
        other += step;
    }
    if comptime!(divided) {
        #[unroll]
        for e in 0..head as usize {
            of_key[e] = plane_sum(of_key[e]);
            of_value[e] = plane_sum(of_value[e]);
        }
    }
    if first == 0 {
        #[unroll]
        for e in 0..head as usize {
            of_keys[start + e] = of_key[e];
            of_values[start + e] = of_value[e];
        }
    }
}
