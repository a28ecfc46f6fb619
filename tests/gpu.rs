//! The code for GPUs, without a GPU: the same kernels, compiled for Vulkan, which Mesa's software driver runs on the CPU.
//!
//! What CUDA alone has is not seen here: matrix units, bf16, and its compiler.

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{FloatDType, Tensor, TensorData};
use burn_autodiff::Autodiff;
use burn_wgpu::WgpuDevice;
use image::{Rgb, RgbImage};
use resect_checkpoint::{NamedTensor, SamConfig, TensorFile, random};
use resect_checkpoint_records::Epoch;
use resect_data::read_json;
use resect_device::Device;
use resect_embed_params::EmbedParams;
use resect_embeddings::Embeddings;
use resect_encoder::ImageEncoder;
use resect_evaluate_params::EvaluateParams;
use resect_evaluation_records::Metrics;
use resect_geometry::{Size, View};
use resect_images::Images;
use resect_layers::{Affine, Cpu, Layers, LoadError, Resident, Rounding, Squares};
use resect_numeric::{Activation, Precision};
use resect_params::Runtime;
use resect_prompts::job::{ImageJob, Job};
use resect_prompts::{Prompt, WrittenPrompt};
use resect_stage::Reporter;
use resect_tables::table;
use resect_tests::Project;
use resect_train::{ModelTrainer, Objective, OnDevice, TrainingBackend};
use resect_train_params::{Loss, Padding, TrainParams};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

type Vulkan = burn_wgpu::Vulkan<f32, i32>;

/// The device that Vulkan finds first.
fn device() -> WgpuDevice {
    first().0.clone()
}

/// Another one for the longest test, which is the first by name and so begins first: a device compiles one kernel at a time. Where
/// the first is a driver for the CPU, that can be opened twice; else the first again.
fn other_device() -> WgpuDevice {
    static DEVICE: OnceLock<WgpuDevice> = OnceLock::new();
    let other = || match first() {
        (_, true) => opened(WgpuDevice::Cpu).0,
        (first, false) => first.clone(),
    };
    DEVICE.get_or_init(other).clone()
}

fn first() -> &'static (WgpuDevice, bool) {
    static FIRST: OnceLock<(WgpuDevice, bool)> = OnceLock::new();
    FIRST.get_or_init(|| opened(WgpuDevice::DefaultDevice))
}

/// A device, and whether it is the CPU.
fn opened(device: WgpuDevice) -> (WgpuDevice, bool) {
    let setup = std::panic::catch_unwind(|| {
        burn_wgpu::init_setup::<burn_wgpu::graphics::Vulkan>(&device, Default::default())
    });
    match setup {
        Ok(setup) => {
            let info = setup.adapter.get_info();
            println!("on {}", info.name);
            (device, format!("{:?}", info.device_type) == "Cpu")
        }
        Err(_) => panic!("Vulkan finds no device; install a driver (Debian: mesa-vulkan-drivers)"),
    }
}

/// Numbers of no particular kind between -2 and 2.
fn drawn<B: Backend, const D: usize>(shape: [usize; D], step: f32, device: &B::Device) -> Tensor<B, D> {
    let values = (0..shape.iter().product()).map(|i| ((i as f32 + 1.0) * step).sin() * 2.0);
    Tensor::from_data(TensorData::new(values.collect::<Vec<f32>>(), shape), device)
}

fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.cast(FloatDType::F32).into_data().to_vec().unwrap()
}

/// The largest difference, as a share of the largest magnitude that is expected.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().all(|x| x.is_finite()));
    let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0f32, |most, x| most.max(x.abs()));
    largest(&mut found.iter().zip(expected).map(|(a, b)| a - b)) / largest(&mut expected.iter().copied())
}

/// What a format may be off where sums are in single precision and the result is rounded once.
fn rounding(precision: Precision) -> f32 {
    if precision == Precision::F16 { 6e-4 } else { 5e-6 }
}

/// A layer norm of rows that are far from 0, as they are after some blocks; and what it should be, in double precision.
fn normed(c: usize, result: Precision, device: &WgpuDevice) -> (Vec<f32>, Vec<f32>) {
    let affine = Affine { gamma: drawn([c], 0.3, device), beta: drawn([c], 1.7, device), epsilon: 1e-6 };
    let (gamma, beta) = (values(affine.gamma.clone()), values(affine.beta.clone()));
    let rows = drawn::<Vulkan, 2>([37, c], 0.7, device) + 30.0;
    let normed = Vulkan::norm_layer(rows.clone(), None, affine, None, result);
    assert_eq!(normed.dtype(), Vulkan::storage(result).into());
    let found = values(normed);
    let mut expected = Vec::new();
    for row in values(rows).chunks(c) {
        let row: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
        let mean = row.iter().sum::<f64>() / c as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / c as f64;
        let scaled = row.iter().map(|x| (x - mean) / (variance + 1e-6).sqrt());
        let placed = scaled.zip(&gamma).zip(&beta).map(|((x, &g), &b)| x * f64::from(g) + f64::from(b));
        expected.extend(placed.map(|x| x as f32));
    }
    (found, expected)
}

#[test]
fn each_kernel_computes_what_tensors_do() {
    /// Rows that pass a product with the unit matrix, which is exact, so that what follows it is seen alone.
    fn linear<B: Layers>(
        c: usize,
        [biased, onto]: [bool; 2],
        activation: Option<Activation>,
        precision: Precision,
        device: &B::Device,
    ) -> Vec<f32> {
        let narrow = resect_layers::reference::narrow(precision).unwrap_or(FloatDType::F32);
        let x = drawn::<B, 2>([300, c], 0.7, device).cast(narrow).cast(B::storage(precision));
        let bias = biased.then(|| drawn([c], 0.3, device));
        let residual = onto.then(|| drawn([300, c], 1.1, device));
        let made =
            B::linear_layer(x, Tensor::eye(c, device), bias, activation, residual, Rounding::all(precision));
        let format = if onto { FloatDType::F32 } else { B::storage(precision) };
        assert_eq!(made.dtype(), format.into());
        values(made)
    }
    let (gpu, cpu) = (device(), Default::default());
    // Widths of ViT-B, of no vector, of less than a plane.
    for c in [768, 100, 7, 3] {
        for precision in [Precision::F32, Precision::F16] {
            let compare = |what: &str, found: &[f32], expected: &[f32]| {
                let difference = difference(found, expected);
                println!("{what}, {c} channels, {precision}: {difference:.1e}");
                assert!(
                    difference < rounding(precision),
                    "{what}, {c} channels, {precision}: {difference:e}"
                );
            };
            let (found, expected) = normed(c, precision, &gpu);
            compare("layer norm", &found, &expected);
            for (parts, activation) in [
                ([true, false], None),
                ([true, false], Some(Activation::Gelu)),
                ([true, false], Some(Activation::Relu)),
                ([false, false], None),
                ([false, false], Some(Activation::Relu)),
                ([true, true], None),
                ([false, true], None),
            ] {
                let found = linear::<Vulkan>(c, parts, activation, precision, &gpu);
                let expected = linear::<Cpu>(c, parts, activation, precision, &cpu);
                compare(&format!("bias, residual {parts:?} and {activation:?}"), &found, &expected);
            }
        }
    }
}

/// Rows `[37, 64]` or many more by a matrix, `[64, 48]` or its transpose, added to a residual where there is one.
#[test]
fn products_of_numbers_in_single_precision_are_not_rounded() {
    fn made<B: Layers>(
        rows: usize,
        [turned, onto]: [bool; 2],
        precision: Precision,
        device: &B::Device,
    ) -> Vec<f32> {
        let weight = match turned {
            true => drawn::<B, 2>([48, 64], 1.3, device).transpose(),
            false => drawn([64, 48], 1.3, device),
        };
        let (x, bias) = (drawn::<B, 3>([1, rows, 64], 0.7, device), drawn([48], 0.3, device));
        let residual = onto.then(|| drawn([1, rows, 48], 1.1, device));
        let rounding = Rounding::operands(precision);
        let made = B::linear_layer(x, weight, Some(bias), None, residual, rounding);
        assert_eq!((made.dims(), made.dtype()), ([1, rows, 48], FloatDType::F32.into()));
        values(made)
    }
    let (gpu, cpu) = (device(), Default::default());
    for rows in [37, 300] {
        for parts in [[false, false], [true, false], [false, true], [true, true]] {
            for precision in [Precision::F32, Precision::F16] {
                let found = made::<Vulkan>(rows, parts, precision, &gpu);
                let difference = difference(&found, &made::<Cpu>(rows, parts, precision, &cpu));
                println!("{rows} rows, transpose, residual {parts:?}, {precision}: {difference:.1e}");
                assert!(difference < 5e-6, "{rows} rows, {parts:?}, {precision}: {difference:e}");
            }
        }
    }
}

/// What attention may be off.
const ATTENTION: [(Precision, f32); 2] = [(Precision::F32, 5e-6), (Precision::F16, 2e-3)];

fn tables<B: Backend>(squares: Squares, device: &B::Device) -> [Tensor<B, 2>; 2] {
    [0.3, 1.9].map(|step| drawn([2 * squares.side() - 1, squares.head], step, device) * 0.3)
}

#[test]
fn attention_without_scores_is_attention_with_them() {
    fn attended<B: Layers>(squares: Squares, precision: Precision, device: &B::Device) -> Vec<f32> {
        let qkv = drawn::<B, 2>([squares.count() * squares.tokens(), 3 * squares.channels()], 0.7, device);
        let qkv = qkv.cast(B::storage(precision));
        values(B::attention_in_squares(qkv, Some(tables(squares, device)), squares, precision))
    }
    let (gpu, cpu) = (device(), Default::default());
    let whole = |images, grid, heads, head| Squares { images, grid, window: None, heads, head };
    for (squares, kind) in [
        (whole(2, 14, 2, 64), "windows of ViT-B"),
        (whole(1, 16, 1, 32), "a whole image of few tokens"),
        (whole(3, 5, 2, 16), "squares that fill no tile"),
        (whole(1, 6, 1, 12), "a head that the kernel does not take"),
    ] {
        for (precision, allowed) in ATTENTION {
            let expected = attended::<Cpu>(squares, Precision::F32, &cpu);
            let difference = difference(&attended::<Vulkan>(squares, precision, &gpu), &expected);
            println!("{kind}, {precision}: {difference:.1e}");
            assert!(difference < allowed, "{kind}, {precision}: {difference:e}");
        }
    }
}

#[test]
fn windows_reach_over_the_image_as_on_the_cpu() {
    fn attended<B: Layers>(
        squares: Squares,
        biased: bool,
        precision: Precision,
        device: &B::Device,
    ) -> Vec<f32> {
        let width = 3 * squares.channels();
        let qkv = drawn::<B, 3>([squares.images, squares.grid * squares.grid, width], 0.7, device);
        // What keys beyond the image hold must count, or leaving it out would not be seen.
        let outside = biased.then(|| drawn([width], 2.3, device) * 2.0);
        let qkv = qkv.cast(B::storage(precision));
        let tables = Some(tables(squares, device));
        let attended = B::square_attention(qkv, outside, tables, squares, precision);
        assert_eq!(attended.dtype(), B::storage(precision).into());
        values(attended)
    }
    let (gpu, cpu) = (device(), Default::default());
    let windows = |grid, side, heads, head| Squares { images: 2, grid, window: Some(side), heads, head };
    for (squares, kind) in [
        (windows(16, 14, 1, 32), "two windows along a side, the second nearly empty"),
        (windows(7, 3, 2, 16), "three windows along a side"),
        (windows(8, 5, 2, 12), "a head that the kernel does not take"),
        (windows(10, 5, 1, 16), "windows that end with the image"),
        (windows(3, 5, 1, 16), "a window larger than the image"),
        (Squares { window: None, ..windows(6, 0, 2, 16) }, "whole images"),
    ] {
        let reference = attended::<Cpu>(squares, false, Precision::F32, &cpu);
        for (precision, allowed) in ATTENTION {
            for biased in [false, true] {
                let expected = attended::<Cpu>(squares, biased, Precision::F32, &cpu);
                let difference = difference(&attended::<Vulkan>(squares, biased, precision, &gpu), &expected);
                println!("{kind}, with a bias {biased}, {precision}: {difference:.1e}");
                assert!(difference < allowed, "{kind}, with a bias {biased}, {precision}: {difference:e}");
            }
        }
        let reaches = squares.across() * squares.side() > squares.grid;
        assert_eq!(reaches, attended::<Cpu>(squares, true, Precision::F32, &cpu) != reference, "{kind}");
    }
}

/// What some inputs make, and the gradient of each of them, of the sum of what is made times numbers of no particular kind.
fn with_gradients<B: AutodiffBackend, const D: usize>(
    inputs: Vec<Tensor<B, D>>,
    make: impl Fn(&[Tensor<B, D>]) -> Tensor<B, D>,
) -> Vec<Vec<f32>> {
    let inputs: Vec<_> = inputs.into_iter().map(Tensor::require_grad).collect();
    let made = make(&inputs);
    let gradients = (made.clone() * drawn(made.dims(), 0.9, &made.device())).sum().backward();
    let gradients = inputs.iter().map(|input| values(input.grad(&gradients).unwrap()));
    std::iter::once(values(made)).chain(gradients).collect()
}

/// Holds what is made, and each gradient, against the CPU's.
fn hold(what: &str, found: Vec<Vec<f32>>, expected: Vec<Vec<f32>>, allowed: f32) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let difference = difference(found, expected);
        println!(
            "{what}, {}: {difference:.1e}",
            if i == 0 { "forward".into() } else { format!("gradient {i}") }
        );
        assert!(difference < allowed, "{what}, {i}: {difference:e}");
    }
}

/// Tolerances in single precision and in half, where what attention rounds between its products may fall to either side.
const LEARNING: [(Precision, f32); 2] = [(Precision::F32, 1e-5), (Precision::F16, 8e-3)];

#[test]
fn linear_layers_and_their_gradients_are_those_of_tensors() {
    fn made<B: AutodiffBackend + Layers>(
        [rows, from, to, channels]: [usize; 4],
        activation: Option<Activation>,
        onto: bool,
        precision: Precision,
        device: &B::Device,
    ) -> Vec<Vec<f32>> {
        let inputs = [([rows, from], 0.7), ([from, to], 1.3), ([1, channels], 0.3), ([rows, to], 1.1)];
        let inputs = inputs.into_iter().take(if onto { 4 } else { 3 });
        with_gradients(inputs.map(|(shape, step)| drawn(shape, step, device)).collect(), |inputs| {
            let [x, weight, bias] = [0, 1, 2].map(|i| inputs[i].clone());
            let (bias, residual) = (bias.reshape([channels]), inputs.get(3).cloned());
            B::linear_layer(x, weight, Some(bias), activation, residual, Rounding::operands(precision))
        })
    }
    let (gpu, cpu) = (device(), Default::default());
    for (shape, activation, onto, kind) in [
        ([28, 32, 48, 48], None, false, "few rows"),
        ([28, 32, 48, 48], Some(Activation::Relu), false, "few rows, rectified"),
        ([28, 32, 48, 48], Some(Activation::Gelu), false, "few rows, GELU"),
        ([28, 32, 48, 48], None, true, "few rows, onto a residual"),
        ([300, 32, 24, 24], None, false, "many rows"),
        ([300, 32, 24, 24], Some(Activation::Relu), false, "many rows, rectified"),
        ([300, 32, 24, 24], None, true, "many rows, onto a residual"),
        ([4096, 16, 32, 8], Some(Activation::Gelu), false, "a fourfold bias, products in parts"),
    ] {
        for (precision, allowed) in LEARNING {
            let found = made::<Autodiff<Vulkan>>(shape, activation, onto, precision, &gpu);
            let expected = made::<Autodiff<Cpu>>(shape, activation, onto, precision, &cpu);
            hold(&format!("{kind}, {precision}"), found, expected, allowed);
        }
    }
}

/// Attention in squares, which has no kernel with a gradient, gives such inputs.
#[test]
fn the_gradient_of_a_narrow_input_of_a_linear_layer_is_narrow() {
    fn made<B: AutodiffBackend + Layers>(rows: usize, device: &B::Device) -> Vec<Vec<f32>> {
        let inputs = [([rows, 32], 0.7), ([32, 48], 1.3)].map(|(shape, step)| drawn(shape, step, device));
        with_gradients(inputs.into(), |inputs: &[Tensor<B, 2>]| {
            let x = (inputs[0].clone() * 0.9).cast(B::storage(Precision::F16));
            let rounding = Rounding::operands(Precision::F16);
            B::linear_layer(x, inputs[1].clone(), None, None, None, rounding)
        })
    }
    for rows in [28, 300] {
        let expected = made::<Autodiff<Cpu>>(rows, &Default::default());
        hold(&format!("{rows} rows"), made::<Autodiff<Vulkan>>(rows, &device()), expected, 1e-3);
    }
}

#[test]
fn pieces_of_a_vector_come_to_their_places() {
    fn joined<B: TrainingBackend>(device: &B::Device) -> Vec<f32> {
        // More than are placed at once, in no order, of sizes from 1 to some thousands, with gaps.
        let piece = |i: usize| (5000 * (i * 7 % 37), drawn([1 + i * i * 3], 0.1 + i as f32, device));
        values(B::join((0..37).map(piece).collect(), 37 * 5000 + 3, device))
    }
    assert_eq!(joined::<Vulkan>(&device()), joined::<Cpu>(&Default::default()));
}

#[test]
fn norms_and_their_gradients_are_those_of_tensors() {
    fn made<B: AutodiffBackend + Layers>(
        [rows, channels]: [usize; 2],
        activation: Option<Activation>,
        onto: bool,
        device: &B::Device,
    ) -> Vec<Vec<f32>> {
        let whole = [rows, channels];
        let inputs = [(whole, 0.7), ([1, channels], 1.3), ([1, channels], 0.3), (whole, 1.1)];
        let inputs = inputs.into_iter().take(if onto { 4 } else { 3 });
        with_gradients(inputs.map(|(shape, step)| drawn(shape, step, device)).collect(), |inputs| {
            let [gamma, beta] = [1, 2].map(|i| inputs[i].clone().reshape([channels]));
            let affine = Affine { gamma, beta, epsilon: 1e-6 };
            let residual = inputs.get(3).cloned();
            B::norm_layer(inputs[0].clone() + 3.0, residual, affine, activation, Precision::F32)
        })
    }
    let (gpu, cpu) = (device(), Default::default());
    for shape in [[28, 256], [700, 100], [5000, 3]] {
        for activation in [None, Some(Activation::Gelu), Some(Activation::Relu)] {
            // Only the sum of two that are normed is asked for without an activation.
            for onto in [false, true].into_iter().take(if activation.is_none() { 2 } else { 1 }) {
                let found = made::<Autodiff<Vulkan>>(shape, activation, onto, &gpu);
                let expected = made::<Autodiff<Cpu>>(shape, activation, onto, &cpu);
                hold(&format!("{shape:?}, {activation:?}, residual {onto}"), found, expected, 2e-5);
            }
        }
    }
}

#[test]
fn attention_and_its_gradients_are_those_of_tensors() {
    fn made<B: AutodiffBackend + Layers>(
        [n, queries, keys, channels]: [usize; 4],
        precision: Precision,
        device: &B::Device,
    ) -> Vec<Vec<f32>> {
        let inputs = [(queries, 0.7), (keys, 1.3), (keys, 0.3)];
        let inputs = inputs.map(|(tokens, step)| drawn([n, tokens, channels], step, device));
        with_gradients(inputs.into(), |inputs| {
            let [queries, keys, values] = [0, 1, 2].map(|i| inputs[i].clone());
            B::cross_attention(queries, keys, values, 4, precision)
        })
    }
    let (gpu, cpu) = (device(), Default::default());
    for shape in [[2, 7, 7, 128], [2, 7, 100, 64], [3, 90, 6, 64], [1, 70, 70, 32]] {
        for (precision, allowed) in LEARNING {
            let found = made::<Autodiff<Vulkan>>(shape, precision, &gpu);
            let expected = made::<Autodiff<Cpu>>(shape, precision, &cpu);
            hold(&format!("{shape:?}, {precision}"), found, expected, allowed);
        }
    }
}

#[test]
fn each_loss_and_its_gradient_are_those_of_tensors() {
    fn made<B: AutodiffBackend + TrainingBackend>(params: &TrainParams, device: &B::Device) -> Vec<Vec<f32>> {
        let (n, side) = (3, 40);
        let masks = drawn::<B, 4>([n, 1, side, side], 0.013, device).greater_elem(0.5).float();
        // As the trainer brings them.
        let masks = masks.cast(FloatDType::F16);
        let images = [Size::new(40, 40), Size::new(29, 40), Size::new(40, 7)];
        let input = drawn::<B, 4>([n, 1, side, side], 0.7, device).require_grad();
        let (loss, terms) = B::loss(Objective::new(params), input.clone() * 9.0, masks, &images, 0.25);
        let gradients = (loss.clone() * 3.0).backward();
        vec![values(loss), values(terms), values(input.grad(&gradients).unwrap())]
    }
    let (gpu, cpu) = (device(), Default::default());
    for loss in [Loss::DiceCe, Loss::DiceFocal, Loss::Dice, Loss::Ce] {
        for padding in [Padding::Counted, Padding::Ignored] {
            let params = TrainParams { loss, padding, ..Default::default() };
            let found = made::<Autodiff<Vulkan>>(&params, &gpu);
            hold(&format!("{loss:?}, {padding:?}"), found, made::<Autodiff<Cpu>>(&params, &cpu), 1e-5);
        }
    }
}

#[test]
fn the_image_encoder_gives_the_embeddings_of_the_cpu() {
    /// Biases and positions matter, too: they are not left at zero.
    fn embeddings<B: Layers>(config: &SamConfig, precision: Precision, device: &B::Device) -> Vec<f32> {
        let perturbed = |(i, tensor): (usize, NamedTensor)| {
            let noise = |at: usize| ((at * 7919 + i * 104_729) % 1013) as f32 / 506.5 - 1.0;
            let data = tensor.data.iter().enumerate().map(|(at, x)| x + 0.02 * noise(at)).collect();
            (tensor.name.clone(), NamedTensor { data, ..tensor })
        };
        let tensors: HashMap<_, _> = random(config, 9).enumerate().map(perturbed).collect();
        let source = &mut |name: &str| tensors.get(name).cloned().ok_or_else(|| LoadError::unknown(name));
        let encoder = ImageEncoder::<B>::from_source(config, source, device).unwrap();
        let side = config.image_size();
        let pixels: Vec<f32> =
            (0..2 * 3 * side * side).map(|i| ((i * i % 1009) as f32 / 504.5) - 1.0).collect();
        let pixels = Tensor::from_data(TensorData::new(pixels, [2, 3, side, side]), device);
        values(encoder.with_precision(precision).forward(pixels))
    }
    let mut config = SamConfig::named("tiny").unwrap();
    config.vision.num_hidden_layers = 3;
    config.vision.global_attn_indexes = vec![1];
    let mut without_bias = config.clone();
    without_bias.vision.qkv_bias = false;
    for (config, kind) in [(config, "with a bias of queries"), (without_bias, "without")] {
        for (precision, allowed) in [(Precision::F32, 1e-5), (Precision::F16, 5e-3)] {
            let expected = embeddings::<Cpu>(&config, precision, &Default::default());
            let found = embeddings::<Vulkan>(&config, precision, &device());
            let difference = difference(&found, &expected);
            println!("{kind}, {precision}: {difference:.1e}");
            assert!(difference < allowed, "{kind}, {precision}: {difference:e}");
        }
    }
}

/// The stages that compute, on what a run of the small pipeline made before them.
struct Stages {
    base: PathBuf,
    images: PathBuf,
    targets: PathBuf,
    embed: EmbedParams,
    train: TrainParams,
}

/// Where one pass through [`Stages`] writes.
struct Out {
    embeddings: PathBuf,
    checkpoint: PathBuf,
    state: PathBuf,
    evaluation: PathBuf,
}

impl Out {
    fn new(dir: &Path) -> Self {
        let folder = |name| {
            let path = dir.join(name);
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let [embeddings, checkpoint, state, evaluation] =
            ["embeddings", "checkpoint", "state", "evaluation"].map(folder);
        Self { embeddings, checkpoint, state, evaluation }
    }
}

impl Stages {
    fn new(project: &Project, precision: Precision) -> Self {
        let run = project.run(&["ingest"]);
        let [base, images, targets] = ["base", "images", "targets"].map(|kind| project.artifact(&run, kind));
        let embed = EmbedParams { precision, ..Default::default() };
        let (learning_rate, min_learning_rate) = (1e-3, 1e-5);
        let train = TrainParams {
            epochs: 3,
            batch_size: 4,
            learning_rate,
            min_learning_rate,
            jitter: 6,
            precision,
            ..Default::default()
        };
        Self { base, images, targets, embed, train }
    }

    fn on_cpu(&self, out: &Out) {
        let (runtime, report) = (Runtime::default(), Reporter::silent());
        resect_embed::run(Device::Cpu, &self.for_embed(), &self.embed, &runtime, &out.embeddings, &report)
            .unwrap();
        let (inputs, checkpoint) = (self.for_train(out), &out.checkpoint);
        resect_train::run(Device::Cpu, &inputs, &self.train, &runtime, checkpoint, &out.state, &report)
            .unwrap();
        let (inputs, params) = (self.for_evaluate(out), few_prompts());
        resect_evaluate::run(Device::Cpu, &inputs, &params, &runtime, &out.evaluation, &self.base, &report)
            .unwrap();
    }

    /// Each stage compares a first batch with the CPU before it starts.
    fn on_gpu(&self, out: &Out) {
        let (runtime, report, gpu) = (Runtime::default(), Reporter::silent(), other_device());
        resect_embed::run_with::<Vulkan>(
            &gpu,
            true,
            &self.for_embed(),
            &self.embed,
            &runtime,
            &out.embeddings,
            &report,
        )
        .unwrap();
        type Trainer = ModelTrainer<Autodiff<Vulkan>>;
        let (inputs, checkpoint, state) = (self.for_train(out), &out.checkpoint, &out.state);
        let place = OnDevice::new(gpu.clone(), usize::MAX, u64::MAX);
        resect_train::run_with::<Trainer>(&place, &inputs, &self.train, &runtime, checkpoint, state, &report)
            .unwrap();
        let (inputs, params) = (self.for_evaluate(out), few_prompts());
        // Some stay and some do not.
        let embeddings = Embeddings::open(&out.embeddings).unwrap();
        let bytes = embeddings.shape().iter().product::<usize>() * embeddings.dtype().bytes();
        let resident = Resident::<Vulkan>::new(gpu, 2 * bytes as u64);
        resect_evaluate::run_with(
            resident.clone(),
            &inputs,
            &params,
            &runtime,
            &out.evaluation,
            &self.base,
            &report,
        )
        .unwrap();
        assert_eq!(resident.len(), 2);
    }

    fn for_embed(&self) -> resect_embed::Inputs<'_> {
        resect_embed::Inputs { images: &self.images, base: &self.base, hints: &[] }
    }

    fn for_train<'a>(&'a self, out: &'a Out) -> resect_train::Inputs<'a> {
        resect_train::Inputs {
            embeddings: Some(&out.embeddings),
            images: None,
            targets: &self.targets,
            base: &self.base,
            adapter: None,
        }
    }

    fn for_evaluate<'a>(&'a self, out: &'a Out) -> resect_evaluate::Inputs<'a> {
        resect_evaluate::Inputs {
            checkpoint: &out.checkpoint,
            images: &self.images,
            embeddings: Some(&out.embeddings),
            targets: &self.targets,
            base: &self.base,
        }
    }

    /// All embeddings, in the order of images.
    fn embeddings(&self, out: &Out) -> Vec<f32> {
        let embeddings = Embeddings::open(&out.embeddings).unwrap();
        let mut values = Vec::new();
        for image in Images::open(&self.images).unwrap().iter() {
            embeddings.append_to(image.pixel_hash, View::Identity, &mut values);
        }
        values
    }

    /// The loss of every epoch, and its Dice on the validation part.
    fn curve(&self, out: &Out) -> Vec<f32> {
        let rows: Vec<Epoch> = table::read(&out.checkpoint.join("epochs.parquet")).unwrap();
        let numbers = rows.into_iter().flat_map(|row| [row.train_loss, row.validation_dice]);
        numbers.flatten().map(|x| x as f32).collect()
    }

    /// The mean Dice of each method on the test part.
    fn dice(&self, out: &Out) -> Vec<f32> {
        let metrics: Metrics = read_json(&out.evaluation.join("metrics.json")).unwrap();
        metrics.methods.iter().map(|method| method.all.original.dice.mean.unwrap() as f32).collect()
    }
}

/// One form of prompt of each kind: what noise does to a box is no matter of devices, and this driver is slow.
fn few_prompts() -> EvaluateParams {
    EvaluateParams { noise_pixels: vec![20], noise_percent: vec![], ..EvaluateParams::default() }
}

#[test]
fn all_stages_give_what_they_give_on_the_cpu() {
    let project = Project::micro();
    for (precision, allowed) in [(Precision::F32, 1e-3), (Precision::F16, 2e-2)] {
        let (dir, stages) = (tempfile::tempdir().unwrap(), Stages::new(&project, precision));
        let (cpu, gpu) = (Out::new(&dir.path().join("cpu")), Out::new(&dir.path().join("gpu")));
        stages.on_cpu(&cpu);
        stages.on_gpu(&gpu);
        for (what, numbers) in [
            ("embeddings", Stages::embeddings as fn(&Stages, &Out) -> Vec<f32>),
            ("losses and validation Dice", Stages::curve),
            ("Dice of the test part", Stages::dice),
        ] {
            let difference = difference(&numbers(&stages, &gpu), &numbers(&stages, &cpu));
            println!("{what}, {precision}: {difference:.1e}");
            assert!(difference < allowed, "{what}, {precision}: {difference:e}");
        }
    }
}

#[test]
fn predict_gives_what_it_gives_on_the_cpu() {
    let project = Project::micro();
    let base = project.artifact(&project.run(&["ingest"]), "base");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("polyp.png");
    RgbImage::from_fn(120, 90, |x, y| Rgb([(x * y % 251) as u8, (2 * x) as u8, (y * y % 256) as u8]))
        .save(&path)
        .unwrap();
    let prompt = |bounds: &str, points: &[&str]| {
        let points = points.iter().map(|point| point.parse().unwrap()).collect();
        let prompt = Prompt { bounds: Some(bounds.parse().unwrap()), points, mask: None };
        WrittenPrompt { prompt, from: "a test".into() }
    };
    let prompts = vec![prompt("10,10,60,50", &[]), prompt("40,30,110,80", &["60,50,1"])];
    let [cpu, gpu] = ["cpu", "gpu"].map(|name| {
        let mut job = Job::new(base.clone(), dir.path().join(name));
        job.images = vec![ImageJob { path: path.clone(), prompts: prompts.clone() }];
        job.logits = true;
        job
    });
    assert!(resect_predict::run(&cpu, drop, || false).unwrap());
    assert!(resect_predict::run_with::<Vulkan>(&device(), true, &gpu, drop, || false).unwrap());
    let [expected, found] = [cpu, gpu].map(|job| {
        let file = TensorFile::open(&job.out.join("polyp.safetensors")).unwrap();
        file.tensor("logits").unwrap().data
    });
    let difference = difference(&found, &expected);
    println!("logits: {difference:.1e}");
    assert!(difference < 1e-4, "{difference:e}");
}
