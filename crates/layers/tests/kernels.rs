//! Every layer's kernels on the CPU against the layer in tensors: results and gradients, in single precision and in narrower formats,
//! and the same bits with any number of threads and beside any samples.

use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{FloatDType, Tensor, TensorData};
use burn_autodiff::Autodiff;
use resect_layers::{Affine, Cpu, Layers, Rounding, Squares, reference};
use resect_numeric::{Activation, Precision};

type Graph = Autodiff<Cpu>;

/// Numbers between -1 and 1 that repeat nowhere soon.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A tensor of the graph by which a gradient is asked for.
fn leaf<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<Graph, D> {
    let data = TensorData::new(numbers(shape.iter().product(), seed), shape);
    Tensor::from_data(data, &Default::default()).require_grad()
}

fn values<B: burn::tensor::backend::Backend, const D: usize>(x: Tensor<B, D>) -> Vec<f32> {
    x.into_data().convert::<f32>().to_vec().unwrap()
}

/// The result of a layer and the gradients by some leaves, of a loss that weighs every number of the result differently.
fn run<const D: usize>(
    out: Tensor<Graph, D>,
    gradients: impl FnOnce(&<Graph as AutodiffBackend>::Gradients) -> Vec<Option<Vec<f32>>>,
) -> Vec<Vec<f32>> {
    let shape = out.dims();
    let weights = TensorData::new(numbers(shape.iter().product(), 77), shape);
    let weights = Tensor::<Graph, D>::from_data(weights, &Default::default());
    let found = gradients(&(out.clone() * weights).sum().backward());
    let found = found.into_iter().map(|gradient| gradient.expect("a gradient"));
    std::iter::once(values(out)).chain(found).collect()
}

macro_rules! outcome {
    ($out:expr; $($leaf:expr),*) => {
        run($out, |gradients| vec![$($leaf.grad(gradients).map(values)),*])
    };
}

/// How far numbers are off. In single precision: the largest difference, as a share of the largest number. In a narrower format: the
/// norm of the differences, as a share of the norm. There a rectifier may pass a number near 0 in one way and not in the other, because
/// tensors round the result of a product and kernels do not.
fn error(precision: Precision, found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    assert!(largest > 0.0 && found.iter().all(|x| x.is_finite()), "nothing but zeros, or not finite");
    let norm =
        |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let mut differences = found.iter().zip(expected).map(|(a, b)| a - b);
    match precision {
        Precision::F32 => differences.fold(0f32, |worst, x| worst.max(x.abs())) / largest,
        _ => (norm(&mut differences) / norm(&mut expected.iter().copied())) as f32,
    }
}

fn assert_close(
    what: &str,
    precision: Precision,
    found: Vec<Vec<f32>>,
    expected: Vec<Vec<f32>>,
    in_single: f32,
) {
    let tolerance = match precision {
        Precision::F32 => in_single,
        Precision::F16 => 1e-2,
        Precision::Bf16 => 5e-2,
    };
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let error = error(precision, found, expected);
        let which = if i == 0 { "the result".into() } else { format!("gradient {i}") };
        assert!(error <= tolerance, "{what}, {precision}: {which} is off by {error:.1e}");
    }
}

const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::F16, Precision::Bf16];

#[test]
fn linear_layers() {
    // Few rows of a large weight, many rows in several strips, and a transposed convolution's short bias.
    for (n, t, from, to, channels) in
        [(2, 7, 256, 300, 300), (2, 900, 48, 40, 40), (3, 5, 8, 12, 3), (1, 1, 5, 9, 9)]
    {
        for activation in [None, Some(Activation::Relu), Some(Activation::Gelu)] {
            for precision in PRECISIONS {
                let x = leaf([n, t, from], 1);
                let (weight, bias) = (leaf([from, to], 2), leaf([channels], 3));
                let residual = activation.is_none().then(|| leaf([n, t, to], 4));
                let arguments =
                    || (x.clone(), weight.clone(), Some(bias.clone()), activation, residual.clone());
                let found = {
                    let (x, w, b, a, r) = arguments();
                    Graph::linear_layer(x, w, b, a, r, Rounding::operands(precision))
                };
                let expected = {
                    let (x, w, b, a, r) = arguments();
                    reference::linear(x, w, b, a, r, Rounding::operands(precision))
                };
                let what = format!("{n} x {t} x {from} to {to}, {activation:?}");
                let (found, expected) =
                    (outcome!(found; x, weight, bias), outcome!(expected; x, weight, bias));
                assert_close(&what, precision, found, expected, 2e-6);
            }
        }
    }
}

#[test]
fn activations() {
    for activation in [None, Some(Activation::Relu), Some(Activation::Gelu)] {
        for precision in PRECISIONS {
            // More numbers than a thread takes at a time. The input is a result that nothing else holds, or a leaf.
            let x = leaf([2, 700, 60], 1);
            for scale in [1.0, 1.5] {
                let given = || if scale == 1.0 { x.clone() } else { x.clone().mul_scalar(scale) };
                let found = Graph::activation_layer(given(), activation, precision);
                // The reference stores its result in the narrow format.
                let expected = reference::activated(given(), activation, precision).cast(FloatDType::F32);
                let what = format!("{activation:?} of x times {scale}");
                assert_close(&what, precision, outcome!(found; x), outcome!(expected; x), 1e-5);
            }
            assert_eq!(values(x), numbers(2 * 700 * 60, 1), "the input is as it was");
        }
    }
}

#[test]
fn a_residual_and_a_missing_bias() {
    let (x, weight, residual) = (leaf([2, 600, 20], 1), leaf([20, 30], 2), leaf([2, 600, 30], 3));
    let found =
        Graph::linear_layer(x.clone(), weight.clone(), None, None, Some(residual.clone()), Rounding::NONE);
    let expected =
        reference::linear(x.clone(), weight.clone(), None, None, Some(residual.clone()), Rounding::NONE);
    let found = outcome!(found; x, weight, residual);
    assert_close("residual", Precision::F32, found, outcome!(expected; x, weight, residual), 2e-6);
}

#[test]
fn one_input_of_several_layers_gets_the_sum_of_their_gradients() {
    let x = leaf([2, 300, 16], 1);
    let [a, b, c] = [2, 3, 4].map(|seed| leaf([16, 16], seed));
    let layers = |linear: &dyn Fn(Tensor<Graph, 3>, Tensor<Graph, 2>) -> Tensor<Graph, 3>| {
        let [p, q, r] = [&a, &b, &c].map(|weight| linear(x.clone(), weight.clone()));
        p * q + r
    };
    let found = layers(&|x, weight| Graph::linear_layer(x, weight, None, None, None, Rounding::NONE));
    let expected = layers(&|x, weight| reference::linear(x, weight, None, None, None, Rounding::NONE));
    assert_close(
        "shared input",
        Precision::F32,
        outcome!(found; x, a, b, c),
        outcome!(expected; x, a, b, c),
        2e-6,
    );
}

#[test]
fn frozen_weights_get_no_gradient_and_change_no_other() {
    let (x, bias) = (leaf([2, 40, 16], 1), leaf([16], 3));
    let weight = leaf([16, 16], 2);
    let frozen = Tensor::<Graph, 2>::from_inner(weight.clone().inner());
    let layer = |weight: Tensor<Graph, 2>| {
        Graph::linear_layer(
            x.clone(),
            weight,
            Some(bias.clone()),
            Some(Activation::Gelu),
            None,
            Rounding::NONE,
        )
    };
    let (found, expected) = (outcome!(layer(frozen); x, bias), outcome!(layer(weight); x, bias));
    assert_eq!(found, expected);
}

#[test]
fn norms() {
    for (n, t, c) in [(2, 700, 24), (3, 5, 7)] {
        for activation in [None, Some(Activation::Gelu), Some(Activation::Relu)] {
            for with_residual in [false, true] {
                let (x, residual) = (leaf([n, t, c], 1), leaf([n, t, c], 2));
                let (gamma, beta) = (leaf([c], 3), leaf([c], 4));
                let affine = || Affine { gamma: gamma.clone(), beta: beta.clone(), epsilon: 1e-5 };
                let summand = || with_residual.then(|| residual.clone());
                let found = Graph::norm_layer(x.clone(), summand(), affine(), activation, Precision::F32);
                let expected = reference::norm(x.clone(), summand(), affine(), activation, Precision::F32);
                let (found, expected) = match with_residual {
                    true => (
                        outcome!(found; x, residual, gamma, beta),
                        outcome!(expected; x, residual, gamma, beta),
                    ),
                    false => (outcome!(found; x, gamma, beta), outcome!(expected; x, gamma, beta)),
                };
                assert_close(
                    &format!("{n} x {t} x {c}, {activation:?}, {with_residual}"),
                    Precision::F32,
                    found,
                    expected,
                    1e-5,
                );
            }
        }
    }
}

#[test]
fn attention_between_few_and_many() {
    // Few queries, few keys, as many of either; 8 heads have a loop of their own.
    for (queries, keys, heads) in [(7, 1100, 8), (1100, 7, 8), (5, 5, 8), (6, 50, 3), (50, 6, 3)] {
        for precision in PRECISIONS {
            let c = heads * 4;
            let (q, k, v) = (leaf([2, queries, c], 1), leaf([2, keys, c], 2), leaf([2, keys, c], 3));
            let found = Graph::cross_attention(q.clone(), k.clone(), v.clone(), heads, precision);
            let expected = reference::attention(q.clone(), k.clone(), v.clone(), heads, precision);
            let what = format!("{queries} to {keys}, {heads} heads");
            let tolerance = 1e-5;
            assert_close(&what, precision, outcome!(found; q, k, v), outcome!(expected; q, k, v), tolerance);
        }
    }
}

#[test]
fn attention_within_squares() {
    // Windows that reach over the image, windows that do not, and global attention in several blocks of queries and keys.
    for (grid, window) in [(7, Some(4)), (6, Some(3)), (5, None), (20, None)] {
        for precision in PRECISIONS {
            let squares = Squares { images: 2, grid, window, heads: 2, head: 6 };
            let (c, side) = (squares.channels(), squares.side());
            let (qkv, outside) = (leaf([2, grid * grid, 3 * c], 1), leaf([3 * c], 2));
            let tables = [leaf([2 * side - 1, 6], 3), leaf([2 * side - 1, 6], 4)];
            let beyond = || Some(outside.clone());
            // Both take operands that are rounded.
            let rounded = |x: Tensor<Graph, 3>| match reference::narrow(precision) {
                Some(format) => x.cast(format).cast(burn::tensor::FloatDType::F32),
                None => x,
            };
            let found = Graph::square_attention(
                rounded(qkv.clone()),
                beyond(),
                Some(tables.clone()),
                squares,
                precision,
            );
            let windowed = reference::windowed(rounded(qkv.clone()), beyond(), squares);
            let attended = reference::attention_in_squares(
                windowed,
                Some(tables.clone()),
                squares,
                precision,
                usize::MAX,
            );
            let expected = reference::unwindowed(attended, squares).cast(burn::tensor::FloatDType::F32);
            let what = format!("grid {grid}, window {window:?}");
            let tolerance = 1e-5;
            let [rows, columns] = &tables;
            // Every token is inside where windows divide the grid.
            match window.is_some_and(|window| grid % window > 0) {
                true => assert_close(
                    &what,
                    precision,
                    outcome!(found; qkv, outside, rows, columns),
                    outcome!(expected; qkv, outside, rows, columns),
                    tolerance,
                ),
                false => assert_close(
                    &what,
                    precision,
                    outcome!(found; qkv, rows, columns),
                    outcome!(expected; qkv, rows, columns),
                    tolerance,
                ),
            }
        }
    }
}

#[test]
fn sums_rows_neighbourhoods_and_masks() {
    let (x, y, shared) = (leaf([3, 40, 8], 1), leaf([3, 40, 8], 2), leaf([1, 40, 8], 3));
    let found = Graph::add(Graph::add(x.clone(), y.clone()), shared.clone()) * x.clone();
    let expected = (x.clone() + y.clone() + shared.clone()) * x.clone();
    assert_close(
        "sums",
        Precision::F32,
        outcome!(found; x, y, shared),
        outcome!(expected; x, y, shared),
        1e-6,
    );

    let (image, summand) = (leaf([2, 6, 5, 7], 1), leaf([2, 6, 5, 7], 2));
    let found = Graph::to_rows(image.clone(), Some(summand.clone()));
    let expected = reference::to_rows(image.clone(), Some(summand.clone()));
    assert_close(
        "rows",
        Precision::F32,
        outcome!(found; image, summand),
        outcome!(expected; image, summand),
        0.0,
    );

    let tokens = leaf([2, 36, 5], 1);
    let found = Graph::neighbourhoods(tokens.clone(), 6);
    let expected = reference::neighbourhoods(tokens.clone(), 6);
    assert_close("neighbourhoods", Precision::F32, outcome!(found; tokens), outcome!(expected; tokens), 1e-6);

    for count in [1, 3] {
        for precision in PRECISIONS {
            let (weights, image) = (leaf([2, count, 8], 1), leaf([2, 16 * 12, 8], 2));
            let found = Graph::masks(weights.clone(), image.clone(), [3, 4], precision);
            let expected = reference::masks(weights.clone(), image.clone(), [3, 4], precision);
            let what = format!("{count} masks");
            let tolerance = 2e-6;
            assert_close(
                &what,
                precision,
                outcome!(found; weights, image),
                outcome!(expected; weights, image),
                tolerance,
            );
        }
    }
}

/// All layers once, with a graph and without.
fn every_layer() -> Vec<Vec<f32>> {
    let x = leaf([2, 900, 64], 1);
    let [wide, back] = [leaf([64, 2 * 96], 2), leaf([2 * 96, 64], 3)];
    let (gamma, beta) = (leaf([64], 4), leaf([64], 5));
    let affine = || Affine { gamma: gamma.clone(), beta: beta.clone(), epsilon: 1e-6 };
    let squares = Squares { images: 2, grid: 30, window: Some(7), heads: 4, head: 16 };
    let outside = leaf([192], 6);
    let tables = [leaf([13, 16], 7), leaf([13, 16], 8)];
    let tokens = leaf([2, 7, 64], 9);

    let normed = Graph::norm_layer(x.clone(), None, affine(), Some(Activation::Gelu), Precision::F32);
    let qkv = Graph::linear_layer(normed, wide.clone(), Some(outside.clone()), None, None, Rounding::NONE);
    let attended =
        Graph::square_attention(qkv, Some(outside.clone()), Some(tables.clone()), squares, Precision::F32);
    let mixed = Graph::cross_attention(attended.clone(), tokens.clone(), tokens.clone(), 8, Precision::F32);
    let around = Graph::add(mixed.clone(), attended);
    let few = Graph::cross_attention(tokens.clone(), around.clone(), mixed, 8, Precision::F32);
    let layers = [(wide.clone(), None), (back.clone(), None)];
    let out = Graph::norm_mlp(around, affine(), layers, Activation::Gelu, Precision::F32);
    let [rows, columns] = &tables;
    let out = Tensor::cat(vec![out, few], 1);
    outcome!(out; x, wide, back, gamma, beta, outside, rows, columns, tokens)
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let bits = pool.install(every_layer);
        bits.into_iter().map(|x| x.into_iter().map(f32::to_bits).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let one = with(1);
    for threads in [2, 3, 5] {
        assert!(with(threads) == one, "{threads} threads");
    }
}

/// What each layer without a graph makes of some samples, sample by sample.
fn predicted(samples: &[usize]) -> Vec<Vec<f32>> {
    let device = Default::default();
    let batch = |shape: [usize; 2], seed: u64| -> Tensor<Cpu, 3> {
        let all = samples.iter().flat_map(|sample| numbers(shape[0] * shape[1], seed + 100 * *sample as u64));
        Tensor::from_data(TensorData::new(all.collect(), [samples.len(), shape[0], shape[1]]), &device)
    };
    let weight = |shape: [usize; 2], seed| {
        Tensor::<Cpu, 2>::from_data(TensorData::new(numbers(shape[0] * shape[1], seed), shape), &device)
    };
    let (x, tokens) = (batch([196, 64], 1), batch([7, 64], 2));
    let affine = || Affine {
        gamma: Tensor::from_data(TensorData::new(numbers(64, 3), [64]), &device),
        beta: Tensor::from_data(TensorData::new(numbers(64, 4), [64]), &device),
        epsilon: 1e-6,
    };
    let squares = Squares { images: samples.len(), grid: 14, window: Some(5), heads: 4, head: 16 };
    let gelu = Some(Activation::Gelu);
    let none = Rounding::NONE;
    let qkv = Cpu::linear_layer(x.clone(), weight([64, 192], 5), None, None, None, none);
    // A sum of 2048 numbers, which products of other sizes may divide otherwise.
    let hidden = Cpu::linear_layer(tokens.clone(), weight([64, 2048], 6), None, gelu, None, none);
    let back = Cpu::linear_layer(hidden, weight([2048, 64], 7), None, None, Some(tokens.clone()), none);
    let first = tokens.clone().slice_dim(1, 0..1).reshape([samples.len(), 64]);
    let network = Cpu::linear_layer(first, weight([64, 64], 8), None, Some(Activation::Relu), None, none);
    let layers = [(weight([64, 600], 9), None), (weight([600, 64], 10), None)];
    let all: Vec<Tensor<Cpu, 3>> = vec![
        Cpu::square_attention(qkv, None, None, squares, Precision::F32),
        back,
        network.clone().unsqueeze_dim(1),
        Cpu::norm_mlp(x.clone(), affine(), layers, Activation::Gelu, Precision::F32),
        Cpu::cross_attention(tokens.clone(), x.clone(), x.clone(), 8, Precision::F32),
        Cpu::cross_attention(x.clone(), tokens.clone(), tokens, 8, Precision::F32),
        Cpu::neighbourhoods(x.clone(), 14),
        Cpu::masks(network.unsqueeze_dim(1), batch([16 * 6, 64], 11), [2, 3], Precision::F32).flatten(2, 3),
    ];
    let of_sample = |sample: usize| {
        let all = all.iter().map(|x| values(x.clone().slice_dim(0, sample..sample + 1)));
        all.flatten().collect()
    };
    (0..samples.len()).map(of_sample).collect()
}

#[test]
fn without_a_graph_a_sample_has_the_same_bits_beside_any_others() {
    let all = predicted(&[0, 1, 2, 3, 4]);
    for (sample, expected) in all.iter().enumerate() {
        assert!(predicted(&[sample])[0] == *expected, "sample {sample} alone");
    }
    let some = predicted(&[3, 0]);
    assert!(some[0] == all[3] && some[1] == all[0], "two samples");
}
