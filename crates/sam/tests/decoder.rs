//! The decoder by kernels against the one in tensors, and against itself with other numbers of threads and prompts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use resect_checkpoint::{Checkpoint, NamedTensor, Part, SamConfig, part_tensors, random};
use resect_layers::{Cpu, Layers, Reference};
use resect_numeric::Precision;
use resect_prompt::ModelPrompt;
use resect_sam::{MaskDecoder, PromptEmbeddings, PromptEncoder};

/// The backend of the kernels, with gradients.
type Graph = <Reference as AutodiffBackend>::InnerBackend;

/// Largest difference allowed, relative to the largest value of the tensor.
const TOLERANCE: f32 = 1e-5;

/// The same for the gradients of query and key projections: they are what remains of larger numbers when attention is
/// nearly even, as it is with random weights, and neither path has more digits of them.
const SCORE_TOLERANCE: f32 = 1e-4;

const BOXES: [[f32; 4]; 2] = [[10.0, 20.0, 99.0, 120.0], [40.0, 4.0, 60.0, 44.0]];

/// A model and two samples for it.
struct Case {
    config: SamConfig,
    decoder: Vec<NamedTensor>,
    prompts: PromptEncoder<Cpu>,
    /// `[C, g, g]` each.
    embeddings: Vec<Vec<f32>>,
    /// By the logits of each sample, `[4g, 4g]`.
    gradients: Vec<Vec<f32>>,
}

impl Case {
    fn random(config: SamConfig) -> Self {
        let prompts = PromptEncoder::random(&config, 5, &Default::default()).unwrap();
        let names: Vec<_> = part_tensors(&config, Part::MaskDecoder).into_iter().map(|s| s.name).collect();
        let mut decoder: Vec<_> = random(&config, 5).filter(|t| names.contains(&t.name)).collect();
        // Norms start as ones and zeros, which would hide a weight that is left out.
        for (t, tensor) in decoder.iter_mut().enumerate() {
            let noise = noise(tensor.data.len(), t as u64);
            tensor.data.iter_mut().zip(noise).for_each(|(x, noise)| *x += 0.1 * noise);
        }
        Self::new(config, decoder, prompts)
    }

    fn new(config: SamConfig, decoder: Vec<NamedTensor>, prompts: PromptEncoder<Cpu>) -> Self {
        let (c, g) = (config.embedding_channels(), config.grid());
        Self {
            embeddings: (0..2).map(|i| noise(c * g * g, 100 + i)).collect(),
            gradients: (0..2).map(|i| noise(16 * g * g, 200 + i)).collect(),
            config,
            decoder,
            prompts,
        }
    }

    /// Logits, and gradients by parameter.
    fn run<B: AutodiffBackend + Layers>(
        &self,
        precision: Precision,
    ) -> (Vec<f32>, BTreeMap<String, Vec<f32>>) {
        let device = Default::default();
        let (c, g) = (self.config.embedding_channels(), self.config.grid());
        let decoder = MaskDecoder::<B>::from_tensors(&self.config, self.decoder.clone(), &device).unwrap();
        let decoder = decoder.with_precision(precision);
        let (prompts, position) = self.prompted::<B>();
        let embeddings = Tensor::from_data(TensorData::new(self.embeddings.concat(), [2, c, g, g]), &device);
        let logits = decoder.forward_single_mask(embeddings, position, &prompts);
        let gradients =
            Tensor::from_data(TensorData::new(self.gradients.concat(), [2, 1, 4 * g, 4 * g]), &device);
        let gradients = (logits.clone() * gradients).sum().backward();
        let mut found = Found::<B> { gradients: &gradients, by_id: BTreeMap::new() };
        decoder.visit(&mut found);
        let names = decoder.parameter_names().into_iter().map(|(name, id)| (name, id.serialize()));
        let by_name =
            names.filter_map(|(name, id)| found.by_id.remove(&id).map(|found| (name, found))).collect();
        (values(logits), by_name)
    }

    /// The two boxes, and the encoding of places, as a backend's.
    fn prompted<B: Backend>(&self) -> (PromptEmbeddings<B>, Tensor<B, 4>) {
        let frozen = self.prompts.forward(&BOXES.map(ModelPrompt::of_box)).unwrap();
        let device = Default::default();
        let prompts = PromptEmbeddings {
            sparse: frozen.sparse.map(|sparse| Tensor::from_data(sparse.into_data(), &device)),
            dense: Tensor::from_data(frozen.dense.into_data(), &device),
        };
        let position = self.prompts.image_positional_encoding();
        (prompts, Tensor::from_data(position.into_data(), &device))
    }

    fn compare(&self) {
        let (expected_logits, expected) = self.run::<Reference>(Precision::F32);
        let (logits, gradients) = self.run::<Graph>(Precision::F32);
        let mut errors = vec![("logits".to_owned(), error(&logits, &expected_logits))];
        assert_eq!(gradients.len(), expected.len(), "number of parameters that learn");
        for (name, found) in gradients {
            // A softmax does not change when all keys move alike: this gradient is 0, and both have their noise of it.
            let noise = name.contains("k_proj.bias");
            let error = if noise {
                largest(&found) / largest(&expected[&name.replace("k_proj", "q_proj")])
            } else {
                error(&found, &expected[&name])
            };
            errors.push((name, error));
        }
        errors.sort_by(|a, b| f32::total_cmp(&b.1, &a.1));
        errors.iter().for_each(|(name, error)| println!("{error:.1e}  {name}"));
        for (name, error) in errors {
            let score = name.contains("q_proj") || name.contains("k_proj");
            let tolerance = if score { SCORE_TOLERANCE } else { TOLERANCE };
            assert!(error <= tolerance, "{name} differs by {error:.1e}");
        }
    }
}

fn values<B: Backend, const D: usize>(x: Tensor<B, D>) -> Vec<f32> {
    x.into_data().convert::<f32>().to_vec().unwrap()
}

/// Numbers between -1 and 1.
fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = largest(expected);
    let worst = found.iter().zip(expected).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(worst.is_finite() && largest > 0.0);
    worst / largest
}

fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0f32, |m, x| m.max(x.abs()))
}

struct Found<'a, B: AutodiffBackend> {
    gradients: &'a B::Gradients,
    by_id: BTreeMap<String, Vec<f32>>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Found<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            self.by_id.insert(param.id.serialize(), values(gradient));
        }
    }
}

/// The model of `transformers`' fixture, in which every parameter matters.
fn perturbed() -> (Checkpoint, Case) {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/sam-tiny");
    let checkpoint = Checkpoint::open(&dir).unwrap();
    let prompts = PromptEncoder::<Cpu>::load(&checkpoint, &Default::default()).unwrap();
    let decoder = checkpoint.part(Part::MaskDecoder).unwrap();
    let case = Case::new(checkpoint.config().clone(), decoder, prompts);
    (checkpoint, case)
}

/// Logits and IoU scores of some of a case's prompts.
fn masks<B: Layers>(
    checkpoint: &Checkpoint,
    case: &Case,
    samples: &[usize],
    multimask: bool,
) -> [Vec<f32>; 2] {
    let device = Default::default();
    let decoder = MaskDecoder::<B>::load(checkpoint, &device).unwrap();
    let (c, g) = (case.config.embedding_channels(), case.config.grid());
    let image: Vec<f32> = samples.iter().flat_map(|sample| case.embeddings[*sample].clone()).collect();
    let image = Tensor::from_data(TensorData::new(image, [samples.len(), c, g, g]), &device);
    let (all, position) = case.prompted::<B>();
    let some = |x: Tensor<B, 3>| {
        Tensor::cat(samples.iter().map(|sample| x.clone().slice_dim(0, *sample..sample + 1)).collect(), 0)
    };
    let prompts =
        PromptEmbeddings { sparse: all.sparse.map(some), dense: all.dense.slice_dim(0, 0..samples.len()) };
    let output = decoder.forward(image, position, &prompts, multimask);
    [values(output.low_res_logits), values(output.iou_scores)]
}

#[test]
fn masks_and_scores_are_those_of_tensors() {
    let (checkpoint, case) = perturbed();
    for multimask in [false, true] {
        let found = masks::<Cpu>(&checkpoint, &case, &[0, 1], multimask);
        let expected = masks::<Reference>(&checkpoint, &case, &[0, 1], multimask);
        for (found, expected) in found.iter().zip(&expected) {
            let error = error(found, expected);
            assert!(error <= TOLERANCE, "multimask {multimask}: {error:.1e}");
        }
    }
}

#[test]
fn a_prompt_has_the_same_masks_beside_any_others() {
    let (checkpoint, case) = perturbed();
    for multimask in [false, true] {
        let together = masks::<Cpu>(&checkpoint, &case, &[0, 1, 1, 0, 1], multimask);
        for (place, sample) in [(0, 0), (1, 1), (3, 0), (4, 1)] {
            let alone = masks::<Cpu>(&checkpoint, &case, &[sample], multimask);
            for (together, alone) in together.iter().zip(&alone) {
                assert!(together[place * alone.len()..][..alone.len()] == *alone, "{place}, {multimask}");
            }
        }
    }
}

#[test]
fn gradients_are_those_of_tensors_for_the_demonstrations_model() {
    Case::random(SamConfig::named("tiny").unwrap()).compare();
}

#[test]
fn gradients_are_those_of_tensors_for_other_heads_depths_activations_and_several_blocks_of_rows() {
    let mut config = SamConfig::named("small").unwrap();
    (config.decoder.num_attention_heads, config.decoder.num_hidden_layers) = (4, 3);
    (config.decoder.attention_downsample_rate, config.decoder.mlp_dim) = (4, 96);
    config.decoder.hidden_act = resect_numeric::Activation::Gelu;
    Case::random(config).compare();
}

#[test]
fn gradients_are_those_of_tensors_for_a_perturbed_checkpoint() {
    perturbed().1.compare();
}

#[test]
fn gradients_have_the_same_bits_with_any_number_of_threads() {
    let case = Case::random(SamConfig::named("small").unwrap());
    let run = |threads: usize, precision: Precision| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (logits, gradients) = pool.install(|| case.run::<Graph>(precision));
        let all = logits.into_iter().chain(gradients.into_values().flatten());
        all.map(f32::to_bits).collect::<Vec<_>>()
    };
    for precision in [Precision::F32, Precision::Bf16, Precision::F16] {
        let one = run(1, precision);
        for threads in [2, 3] {
            assert!(run(threads, precision) == one, "{precision}, {threads} threads");
        }
    }
}

/// All gradients as one, because those of single parameters are in part what remains of larger numbers.
fn joined(gradients: BTreeMap<String, Vec<f32>>) -> Vec<f32> {
    gradients.into_values().flatten().collect()
}

#[test]
fn narrower_precisions_are_as_near_to_tensors_as_to_single_precision() {
    let case = Case::random(SamConfig::named("tiny").unwrap());
    let (logits, gradients) = case.run::<Graph>(Precision::F32);
    let gradients = joined(gradients);
    // Tensors also round results, so the two are as far from each other as from single precision.
    for (precision, unit) in [(Precision::Bf16, 2f64.powi(-8)), (Precision::F16, 2f64.powi(-11))] {
        let (by_kernels, kernels_gradients) = case.run::<Graph>(precision);
        let (in_tensors, tensors_gradients) = case.run::<Reference>(precision);
        for (what, kernels, tensors, single) in [
            ("logits", &by_kernels, &in_tensors, &logits),
            ("gradients", &joined(kernels_gradients), &joined(tensors_gradients), &gradients),
        ] {
            let (apart, lost) = (distance(kernels, tensors), distance(kernels, single));
            println!("{precision} {what}: {apart:.1e} apart, {lost:.1e} from single precision");
            assert!(apart <= 20.0 * unit, "{precision} {what}: {apart:.1e}");
            assert!((0.1 * unit..20.0 * unit).contains(&lost), "{precision} {what}: {lost:.1e}");
        }
    }
}

#[test]
fn gradients_that_half_precision_cannot_hold_are_lost_unless_they_are_scaled() {
    let mut case = Case::random(SamConfig::named("tiny").unwrap());
    let relative = |case: &Case, scale: f32, precision: Precision| {
        let (_, gradients) = case.run::<Graph>(precision);
        // Biases and norms are no operands: their gradients are not rounded.
        let products = gradients.into_iter().filter(|(name, _)| resect_sam::is_operand(name));
        products.flat_map(|(_, x)| x).map(|x| x / scale).collect::<Vec<_>>()
    };
    let shrink = |case: &mut Case, by: f32| {
        case.gradients.iter_mut().flatten().for_each(|x| *x *= by);
    };
    // Half of the least number of half precision, 2^-24, and below.
    shrink(&mut case, 2f32.powi(-25));
    let expected = relative(&case, 1.0, Precision::F32);
    let lost = relative(&case, 1.0, Precision::F16);
    assert!(largest(&lost) == 0.0, "{:e} of {:e}", largest(&lost), largest(&expected));
    shrink(&mut case, 65536.0);
    let kept = relative(&case, 65536.0, Precision::F16);
    assert!(distance(&kept, &expected) < 5e-3, "{}", distance(&kept, &expected));
    // And too large a scale makes them infinite.
    shrink(&mut case, 2f32.powi(30));
    assert!(relative(&case, 1.0, Precision::F16).iter().any(|x| !x.is_finite()));
}

/// Euclidean distance, relative to the second.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |x: f32| f64::from(x) * f64::from(x);
    let squares: f64 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
    (squares / b.iter().map(|b| square(*b)).sum::<f64>()).sqrt()
}
