//! The code for GPUs, without a GPU: the same kernels, compiled for Vulkan, which Mesa's software driver runs on the CPU.
//!
//! What CUDA alone has is not seen here: matrix units, bf16, and its compiler.

use burn::module::Param;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{FloatDType, Tensor, TensorData};
use burn_autodiff::Autodiff;
use burn_nn::LayerNormConfig;
use burn_wgpu::WgpuDevice;
use image::{Rgb, RgbImage};
use resect_checkpoint::{Activation, SamConfig, TensorFile};
use resect_data::checkpoint::Epoch;
use resect_data::embeddings::Embeddings;
use resect_data::evaluation::Metrics;
use resect_data::images::Images;
use resect_data::{read_json, table};
use resect_device::Device;
use resect_geometry::{Size, View};
use resect_params::{EmbedParams, EvaluateParams, Loss, Padding, Runtime, TrainParams};
use resect_prompts::job::{ImageJob, Job};
use resect_prompts::{Prompt, WrittenPrompt};
use resect_sam::{Cpu, CpuEncoder, DecoderBackend, EncoderBackend, Precision, Resident, Sam, Squares};
use resect_stage::Reporter;
use resect_tests::Project;
use resect_train::{LossBackend, Objective, OnDevice, TensorTrainer};
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
fn rounding(format: FloatDType) -> f32 {
    if format == FloatDType::F16 { 6e-4 } else { 5e-6 }
}

/// A layer norm of rows that are far from 0, as they are after some blocks; and what it should be, in double precision.
fn normed(c: usize, format: FloatDType, device: &WgpuDevice) -> (Vec<f32>, Vec<f32>) {
    let mut norm = LayerNormConfig::new(c).with_epsilon(1e-6).init::<Vulkan>(device);
    norm.gamma = Param::from_tensor(drawn([c], 0.3, device));
    norm.beta = Some(Param::from_tensor(drawn([c], 1.7, device)));
    let rows = drawn::<Vulkan, 2>([37, c], 0.7, device) + 30.0;
    let found = values(Vulkan::normed(&norm, 1e-6, rows.clone(), format));
    let (gamma, beta) = (values(norm.gamma.val()), values(norm.beta.unwrap().val()));
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
    fn biased<B: EncoderBackend>(
        c: usize,
        activation: Option<Activation>,
        format: FloatDType,
        device: &B::Device,
    ) -> Vec<f32> {
        values(B::biased(drawn([37, c], 0.7, device).cast(format), drawn([c], 0.3, device), activation))
    }
    fn added<B: EncoderBackend>(c: usize, format: FloatDType, device: &B::Device) -> Vec<f32> {
        let product = drawn([37, c], 0.7, device).cast(format);
        values(B::added(drawn([37, c], 1.1, device), product, drawn([c], 0.3, device)))
    }
    let (gpu, cpu) = (device(), Default::default());
    // Widths of ViT-B, of no vector, of less than a plane.
    for c in [768, 100, 7, 3] {
        for format in [FloatDType::F32, FloatDType::F16] {
            let compare = |what: &str, found: &[f32], expected: &[f32]| {
                let difference = difference(found, expected);
                println!("{what}, {c} channels, {format:?}: {difference:.1e}");
                assert!(difference < rounding(format), "{what}, {c} channels, {format:?}: {difference:e}");
            };
            let (found, expected) = normed(c, format, &gpu);
            compare("layer norm", &found, &expected);
            for activation in [None, Some(Activation::Gelu), Some(Activation::Relu)] {
                let what = format!("bias and {activation:?}");
                compare(
                    &what,
                    &biased::<Vulkan>(c, activation, format, &gpu),
                    &biased::<Cpu>(c, activation, format, &cpu),
                );
            }
            compare("bias and rows", &added::<Vulkan>(c, format, &gpu), &added::<Cpu>(c, format, &cpu));
        }
    }
}

#[test]
fn attention_without_scores_is_attention_with_them() {
    fn attended<B: EncoderBackend>(squares: Squares, format: FloatDType, device: &B::Device) -> Vec<f32> {
        let Squares { count, side, heads, head } = squares;
        let qkv = drawn([count * side * side, 3 * heads * head], 0.7, device).cast(format);
        let tables = [0.3, 1.9].map(|step| drawn([2 * side - 1, head], step, device) * 0.3);
        values(B::attended(qkv, squares, Some(tables)))
    }
    let (gpu, cpu) = (device(), Default::default());
    for (squares, kind) in [
        (Squares { count: 2, side: 14, heads: 2, head: 64 }, "windows of ViT-B"),
        (Squares { count: 1, side: 16, heads: 1, head: 32 }, "a whole image of few tokens"),
        (Squares { count: 3, side: 5, heads: 2, head: 16 }, "squares that fill no tile"),
        (Squares { count: 1, side: 6, heads: 1, head: 12 }, "a head that the kernel does not take"),
    ] {
        for (format, allowed) in [(FloatDType::F32, 5e-6), (FloatDType::F16, 2e-3)] {
            let expected = attended::<Cpu>(squares, FloatDType::F32, &cpu);
            let difference = difference(&attended::<Vulkan>(squares, format, &gpu), &expected);
            println!("{kind}, {format:?}: {difference:.1e}");
            assert!(difference < allowed, "{kind}, {format:?}: {difference:e}");
        }
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

/// Tolerances in single precision and in half, where operands are rounded and, on the CPU, products, too, before long sums of which
/// most cancels.
const LEARNING: [(Precision, f32); 2] = [(Precision::F32, 1e-5), (Precision::F16, 2e-2)];

#[test]
fn linear_layers_and_their_gradients_are_those_of_tensors() {
    fn made<B: AutodiffBackend + DecoderBackend>(
        [rows, from, to, channels]: [usize; 4],
        activation: Option<Activation>,
        precision: Precision,
        device: &B::Device,
    ) -> Vec<Vec<f32>> {
        let inputs = [([rows, from], 0.7), ([from, to], 1.3), ([1, channels], 0.3)];
        with_gradients(inputs.map(|(shape, step)| drawn(shape, step, device)).into(), |inputs| {
            let [x, weight, bias] = [0, 1, 2].map(|i| inputs[i].clone());
            B::linear_layer(x, weight, bias.reshape([channels]), activation, precision)
        })
    }
    let (gpu, cpu) = (device(), Default::default());
    for (shape, activation, kind) in [
        ([28, 32, 48, 48], None, "few rows"),
        ([28, 32, 48, 48], Some(Activation::Relu), "few rows, rectified"),
        ([28, 32, 48, 48], Some(Activation::Gelu), "few rows, GELU"),
        ([300, 32, 24, 24], None, "many rows"),
        ([300, 32, 24, 24], Some(Activation::Relu), "many rows, rectified"),
        ([4096, 16, 32, 8], Some(Activation::Gelu), "a fourfold bias, products in parts"),
    ] {
        for (precision, allowed) in LEARNING {
            let found = made::<Autodiff<Vulkan>>(shape, activation, precision, &gpu);
            let expected = made::<Autodiff<Cpu>>(shape, activation, precision, &cpu);
            hold(&format!("{kind}, {precision}"), found, expected, allowed);
        }
    }
}

#[test]
fn pieces_of_a_vector_come_to_their_places() {
    fn joined<B: DecoderBackend>(device: &B::Device) -> Vec<f32> {
        // More than are placed at once, in no order, of sizes from 1 to some thousands, with gaps.
        let piece = |i: usize| (5000 * (i * 7 % 37), drawn([1 + i * i * 3], 0.1 + i as f32, device));
        values(B::joined((0..37).map(piece).collect(), 37 * 5000 + 3, device))
    }
    assert_eq!(joined::<Vulkan>(&device()), joined::<Cpu>(&Default::default()));
}

#[test]
fn norms_and_their_gradients_are_those_of_tensors() {
    fn made<B: AutodiffBackend + DecoderBackend>(
        [rows, channels]: [usize; 2],
        activation: Option<Activation>,
        device: &B::Device,
    ) -> Vec<Vec<f32>> {
        let inputs = [([rows, channels], 0.7), ([1, channels], 1.3), ([1, channels], 0.3)];
        with_gradients(inputs.map(|(shape, step)| drawn(shape, step, device)).into(), |inputs| {
            let [gamma, beta] = [1, 2].map(|i| inputs[i].clone().reshape([channels]));
            let mut norm = LayerNormConfig::new(channels).with_epsilon(1e-6).init::<B>(&inputs[0].device());
            // No leaves, which a parameter would make of them.
            norm.gamma = norm.gamma.map(|_| gamma);
            norm.beta = norm.beta.map(|param| param.map(|_| beta));
            B::norm_layer(&norm, 1e-6, inputs[0].clone() + 3.0, activation)
        })
    }
    let (gpu, cpu) = (device(), Default::default());
    for shape in [[28, 256], [700, 100], [5000, 3]] {
        for activation in [None, Some(Activation::Gelu), Some(Activation::Relu)] {
            let found = made::<Autodiff<Vulkan>>(shape, activation, &gpu);
            let expected = made::<Autodiff<Cpu>>(shape, activation, &cpu);
            hold(&format!("{shape:?}, {activation:?}"), found, expected, 2e-5);
        }
    }
}

#[test]
fn attention_and_its_gradients_are_those_of_tensors() {
    fn made<B: AutodiffBackend + DecoderBackend>(
        [n, queries, keys, channels]: [usize; 4],
        precision: Precision,
        device: &B::Device,
    ) -> Vec<Vec<f32>> {
        let inputs = [(queries, 0.7), (keys, 1.3), (keys, 0.3)];
        let inputs = inputs.map(|(tokens, step)| drawn([n, tokens, channels], step, device));
        with_gradients(inputs.into(), |inputs| {
            let [queries, keys, values] = [0, 1, 2].map(|i| inputs[i].clone());
            B::attention_layer(queries, keys, values, 4, precision)
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
    fn made<B: AutodiffBackend + LossBackend>(params: &TrainParams, device: &B::Device) -> Vec<Vec<f32>> {
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
    let mut config = SamConfig::named("tiny").unwrap();
    config.vision.num_hidden_layers = 3;
    config.vision.global_attn_indexes = vec![1];
    let side = config.image_size();
    let pixels: Vec<f32> = (0..2 * 3 * side * side).map(|i| ((i * i % 1009) as f32 / 504.5) - 1.0).collect();
    for (precision, allowed) in [(Precision::F32, 1e-5), (Precision::F16, 5e-3)] {
        let expected = CpuEncoder::random(&config, 9, precision).unwrap().forward(&pixels);
        let encoder = Sam::<Vulkan>::random(&config, 9, &device()).unwrap().vision_encoder;
        let pixels = Tensor::from_data(TensorData::new(pixels.clone(), [2, 3, side, side]), &device());
        let found = values(encoder.with_precision(precision).forward(pixels));
        let difference = difference(&found, &expected);
        println!("{precision}: {difference:.1e}");
        assert!(difference < allowed, "{precision}: {difference:e}");
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
        resect_evaluate::run(Device::Cpu, &inputs, &params, &runtime, &out.evaluation, &report).unwrap();
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
        type Trainer = TensorTrainer<Autodiff<Vulkan>>;
        let (inputs, checkpoint, state) = (self.for_train(out), &out.checkpoint, &out.state);
        let place = OnDevice::new(gpu.clone(), usize::MAX, u64::MAX);
        resect_train::run_with::<Trainer>(&place, &inputs, &self.train, &runtime, checkpoint, state, &report)
            .unwrap();
        let (inputs, params) = (self.for_evaluate(out), few_prompts());
        // Some stay and some do not.
        let embeddings = Embeddings::open(&out.embeddings).unwrap();
        let bytes = embeddings.shape().iter().product::<usize>() * embeddings.dtype().bytes();
        let resident = Resident::<Vulkan>::new(gpu, 2 * bytes as u64);
        resect_evaluate::run_with(resident.clone(), &inputs, &params, &runtime, &out.evaluation, &report)
            .unwrap();
        assert_eq!(resident.len(), 2);
    }

    fn for_embed(&self) -> resect_embed::Inputs<'_> {
        resect_embed::Inputs { images: &self.images, base: &self.base, hints: &[] }
    }

    fn for_train<'a>(&'a self, out: &'a Out) -> resect_train::Inputs<'a> {
        resect_train::Inputs { embeddings: &out.embeddings, targets: &self.targets, base: &self.base }
    }

    fn for_evaluate<'a>(&'a self, out: &'a Out) -> resect_evaluate::Inputs<'a> {
        resect_evaluate::Inputs {
            checkpoint: &out.checkpoint,
            images: &self.images,
            embeddings: &out.embeddings,
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
