//! The image encoder by kernels computes what the one in tensors computes, whatever the configuration, with gradients, and the same bits
//! with any number of threads and images.

use std::collections::HashMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};
use resect_checkpoint::{NamedTensor, SamConfig, random};
use resect_encoder::ImageEncoder;
use resect_layers::{Cpu, Layers, LoadError, Reference};
use resect_numeric::{Activation, Precision};

type Graph = <Reference as AutodiffBackend>::InnerBackend;

/// A small model that takes a fraction of a second.
fn small() -> SamConfig {
    let mut config = SamConfig::named("tiny").unwrap();
    config.vision.num_hidden_layers = 3;
    config.vision.global_attn_indexes = vec![1];
    config
}

/// Random weights, every one of which matters: biases and positions are not left at zero.
fn encoder<B: Layers>(config: &SamConfig) -> ImageEncoder<B> {
    let perturbed = |(i, tensor): (usize, NamedTensor)| {
        let noise = |at: usize| ((at * 7919 + i * 104_729) % 1013) as f32 / 506.5 - 1.0;
        let data = tensor.data.iter().enumerate().map(|(at, x)| x + 0.02 * noise(at)).collect();
        (tensor.name.clone(), NamedTensor { data, ..tensor })
    };
    let tensors: HashMap<_, _> = random(config, 9).enumerate().map(perturbed).collect();
    let source = &mut |name: &str| tensors.get(name).cloned().ok_or_else(|| LoadError::unknown(name));
    ImageEncoder::from_source(config, source, &Default::default()).unwrap()
}

fn pixels<B: Layers>(images: usize, side: usize) -> Tensor<B, 4> {
    let pixels = (0..images * 3 * side * side).map(|i| ((i * i % 1009) as f32 / 504.5) - 1.0).collect();
    Tensor::from_data(TensorData::new(pixels, [images, 3, side, side]), &Default::default())
}

fn embeddings<B: Layers>(config: &SamConfig, precision: Precision) -> Vec<f32> {
    let encoder = encoder::<B>(config).with_precision(precision);
    encoder.forward(pixels(2, config.image_size())).into_data().convert::<f32>().to_vec().unwrap()
}

/// `max|a - b| / max|b|`
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0f32, |a, b| a.max(b.abs()));
    largest(&mut found.iter().zip(expected).map(|(a, b)| a - b)) / largest(&mut expected.iter().copied())
}

/// Configurations that differ in what the encoder computes.
fn configurations() -> Vec<(&'static str, SamConfig)> {
    let config = |change: fn(&mut SamConfig)| {
        let mut config = small();
        change(&mut config);
        config.validate().unwrap();
        config
    };
    vec![
        ("as it is", config(|_| {})),
        ("windows that fit", config(|c| c.vision.window_size = 4)),
        ("windows that reach over the image", config(|c| c.vision.window_size = 7)),
        ("windows of one token", config(|c| c.vision.window_size = 1)),
        ("a window larger than the image", config(|c| c.vision.window_size = 19)),
        ("global attention alone", config(|c| c.vision.window_size = 0)),
        ("no relative positions", config(|c| c.vision.use_rel_pos = false)),
        ("no absolute positions", config(|c| c.vision.use_abs_pos = false)),
        ("no bias of queries, keys and values", config(|c| c.vision.qkv_bias = false)),
        ("a rectifier", config(|c| c.vision.hidden_act = Activation::Relu)),
        (
            "a grid that no vector fits",
            config(|c| {
                c.vision.image_size = 21 * c.vision.patch_size;
                c.prompt.image_size = c.vision.image_size;
            }),
        ),
    ]
}

#[test]
fn any_configuration_gives_what_tensors_give() {
    for (name, config) in configurations() {
        let expected = embeddings::<Reference>(&config, Precision::F32);
        for (backend, found) in [
            ("without a graph", embeddings::<Cpu>(&config, Precision::F32)),
            ("with a graph", embeddings::<Graph>(&config, Precision::F32)),
        ] {
            let difference = difference(&found, &expected);
            println!("{name}, {backend}: {difference:.1e}");
            assert!(difference < 5e-6, "{name}, {backend}: {difference:e}");
        }
    }
}

#[test]
fn narrower_precisions_give_what_tensors_give_to_their_own_error() {
    // Tensors round the results of products, too, and weights of values after they were divided by their sum.
    for (precision, allowed) in [(Precision::Bf16, 2e-2), (Precision::F16, 3e-3)] {
        let expected = embeddings::<Reference>(&small(), precision);
        let difference = difference(&embeddings::<Cpu>(&small(), precision), &expected);
        println!("{precision}: {difference:.1e}");
        assert!(difference > 0.0 && difference < allowed, "{precision}: {difference:e}");
    }
}

/// The gradient of each parameter, in the order in which burn visits them.
struct Gradients<'a, B: AutodiffBackend> {
    gradients: &'a B::Gradients,
    found: Vec<Vec<f32>>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Gradients<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let gradient = param.val().grad(self.gradients).expect("every parameter of the encoder learns");
        self.found.push(gradient.into_data().convert::<f32>().to_vec().unwrap());
    }
}

fn gradients<B: AutodiffBackend + Layers>(config: &SamConfig) -> Vec<Vec<f32>> {
    let encoder = encoder::<B>(config);
    let embeddings = encoder.forward(pixels(2, config.image_size()));
    let dims = embeddings.dims();
    let weights =
        (0..dims.iter().product::<usize>()).map(|i| ((i * 31 % 997) as f32 / 498.5) - 1.0).collect();
    let weights = Tensor::<B, 4>::from_data(TensorData::new(weights, dims), &Default::default());
    let gradients = (embeddings * weights).mean().backward();
    let mut found = Gradients::<B> { gradients: &gradients, found: Vec::new() };
    encoder.visit(&mut found);
    found.found
}

#[test]
fn gradients_are_those_of_tensors() {
    for (name, config) in configurations() {
        let (found, expected) = (gradients::<Graph>(&config), gradients::<Reference>(&config));
        assert_eq!(found.len(), expected.len());
        let largest = found.iter().zip(&expected).map(|(found, expected)| difference(found, expected));
        let largest = largest.fold(0f32, f32::max);
        println!("{name}: {largest:.1e}");
        assert!(largest < 2e-4, "{name}: {largest:e}");
    }
}

fn bits(values: Tensor<Cpu, 4>) -> Vec<u32> {
    values.into_data().to_vec::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

#[test]
fn embeddings_have_the_same_bits_with_any_number_of_threads() {
    let config = small();
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| bits(encoder::<Cpu>(&config).forward(pixels(1, config.image_size()))))
    };
    let one = with_threads(1);
    for threads in [2, 3, 5] {
        assert!(with_threads(threads) == one, "{threads} threads");
    }
}

#[test]
fn an_image_has_the_same_embedding_in_any_batch() {
    for (name, config) in configurations() {
        let encoder = encoder::<Cpu>(&config);
        let batch = pixels::<Cpu>(3, config.image_size());
        let together = bits(encoder.forward(batch.clone()));
        for (i, expected) in together.chunks(together.len() / 3).enumerate() {
            let alone = bits(encoder.forward(batch.clone().slice_dim(0, i..i + 1)));
            assert!(alone == expected, "{name}, image {i}");
        }
    }
}
