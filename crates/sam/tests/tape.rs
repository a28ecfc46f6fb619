//! The decoder on a tape against the one on tensors, and against itself with other numbers of threads.

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};
use burn_autodiff::Autodiff;
use resect_checkpoint::{Checkpoint, Part, SamConfig, part_tensors, random};
use resect_sam::{
    Cpu, MaskDecoder, ModelPrompt, NamedTensor, Precision, PromptEmbeddings, PromptEncoder, Run, Sam,
    TapeDecoder,
};

type B = Autodiff<Cpu>;

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
        let sam = Sam::<Cpu>::random(&config, 5, &Default::default()).unwrap();
        let names: Vec<_> = part_tensors(&config, Part::MaskDecoder).into_iter().map(|s| s.name).collect();
        let mut decoder: Vec<_> = random(&config, 5).filter(|t| names.contains(&t.name)).collect();
        // Norms start as ones and zeros, which would hide a weight that is left out.
        for (t, tensor) in decoder.iter_mut().enumerate() {
            let noise = noise(tensor.data.len(), t as u64);
            tensor.data.iter_mut().zip(noise).for_each(|(x, noise)| *x += 0.1 * noise);
        }
        Self::new(config, decoder, sam.prompt_encoder)
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

    /// Logits, and gradients by parameter, with a graph of tensors over the whole batch.
    fn on_tensors(&self, precision: Precision) -> (Vec<f32>, BTreeMap<String, Vec<f32>>) {
        let device = Default::default();
        let (c, g) = (self.config.embedding_channels(), self.config.grid());
        let decoder = MaskDecoder::<B>::from_tensors(&self.config, self.decoder.clone(), &device).unwrap();
        let decoder = decoder.with_precision(precision);
        let frozen = self.prompts.forward(&BOXES.map(ModelPrompt::of_box)).unwrap();
        let prompts = PromptEmbeddings {
            sparse: frozen.sparse.map(Tensor::from_inner),
            dense: Tensor::from_inner(frozen.dense),
        };
        let embeddings = Tensor::from_data(TensorData::new(self.embeddings.concat(), [2, c, g, g]), &device);
        let position = Tensor::from_inner(self.prompts.image_positional_encoding());
        let logits = decoder.forward_single_mask(embeddings, position, &prompts);
        let gradients =
            Tensor::from_data(TensorData::new(self.gradients.concat(), [2, 1, 4 * g, 4 * g]), &device);
        let gradients = (logits.clone() * gradients).sum().backward();
        let mut found = Found { gradients: &gradients, by_id: BTreeMap::new() };
        decoder.visit(&mut found);
        let names = decoder.parameter_names().into_iter().map(|(name, id)| (name, id.serialize()));
        let by_name =
            names.filter_map(|(name, id)| found.by_id.remove(&id).map(|found| (name, found))).collect();
        (logits.into_data().to_vec().unwrap(), by_name)
    }

    /// The same on tapes; gradients as the checkpoint has their parameters.
    fn on_tapes(&self, precision: Precision) -> (Vec<f32>, Vec<NamedTensor>) {
        let decoder = TapeDecoder::from_tensors(&self.config, self.decoder.clone(), &self.prompts).unwrap();
        let tokens = self.prompts.forward(&BOXES.map(ModelPrompt::of_box)).unwrap().sparse.unwrap();
        let tokens: Vec<f32> = tokens.into_data().to_vec().unwrap();
        let tokens = tokens.chunks(tokens.len() / 2);
        let mut runs = [Run::default(), Run::default()];
        let samples = self.embeddings.iter().zip(&self.gradients).zip(tokens);
        let logits = runs.iter_mut().zip(samples).flat_map(|(run, ((embedding, gradient), tokens))| {
            // Twice, because the second time memory is used again.
            for _ in 0..2 {
                decoder.forward(embedding, tokens, precision, run);
                decoder.backward(gradient, run);
            }
            run.logits().to_vec()
        });
        let logits = logits.collect();
        let mut sums = decoder.zeros();
        decoder.gradients(runs.iter(), &mut sums);
        (logits, decoder.named(&sums).collect())
    }

    fn compare(&self) {
        let (expected_logits, expected) = self.on_tensors(Precision::F32);
        let (logits, gradients) = self.on_tapes(Precision::F32);
        let mut errors = vec![("logits".to_owned(), error(&logits, &expected_logits))];
        assert_eq!(gradients.len(), expected.len(), "number of parameters that learn");
        for gradient in gradients {
            let name = gradient.name.clone();
            let linear =
                gradient.shape.len() == 2 && !name.contains("iou_token") && !name.contains("mask_tokens");
            let found = if linear { transposed(&gradient) } else { gradient.data };
            // A softmax does not change when all keys move alike: this gradient is 0, and both paths have their noise of it.
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

fn transposed(t: &NamedTensor) -> Vec<f32> {
    let (rows, cols) = (t.shape[0], t.shape[1]);
    (0..cols).flat_map(|col| (0..rows).map(move |row| t.data[row * cols + col])).collect()
}

struct Found<'a> {
    gradients: &'a <B as AutodiffBackend>::Gradients,
    by_id: BTreeMap<String, Vec<f32>>,
}

impl ModuleVisitor<B> for Found<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            self.by_id.insert(param.id.serialize(), gradient.into_data().to_vec().unwrap());
        }
    }
}

/// All masks and their IoU scores, of tensors and of tapes.
#[test]
fn the_tapes_masks_and_scores_are_those_of_tensors() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/sam-tiny");
    let checkpoint = Checkpoint::open(&dir).unwrap();
    let device = Default::default();
    let prompts = PromptEncoder::<Cpu>::load(&checkpoint, &device).unwrap();
    let case = Case::new(checkpoint.config().clone(), checkpoint.part(Part::MaskDecoder).unwrap(), prompts);
    let (c, g) = (case.config.embedding_channels(), case.config.grid());
    let on_tensors = MaskDecoder::<Cpu>::load(&checkpoint, &device).unwrap();
    let on_tapes = TapeDecoder::from_tensors(&case.config, case.decoder.clone(), &case.prompts).unwrap();
    let (heads, mut run) = (on_tapes.heads().unwrap(), Run::default());
    for (embedding, bounds) in case.embeddings.iter().zip(BOXES) {
        let embedded = case.prompts.forward(&[ModelPrompt::of_box(bounds)]).unwrap();
        let tokens = embedded.clone().tokens();
        let position = case.prompts.image_positional_encoding();
        let image = Tensor::from_data(TensorData::new(embedding.clone(), [1, c, g, g]), &device);
        for (masks, multimask) in [(1..4, true), (0..1, false)] {
            let expected = on_tensors.forward(image.clone(), position.clone(), &embedded, multimask);
            on_tapes.predict_masks(&heads, embedding, &tokens, masks, &mut run);
            let logits: Vec<f32> = expected.low_res_logits.into_data().to_vec().unwrap();
            let scores: Vec<f32> = expected.iou_scores.into_data().to_vec().unwrap();
            let errors = [error(run.logits(), &logits), error(run.iou_scores(), &scores)];
            assert!(errors.iter().all(|error| *error <= TOLERANCE), "multimask {multimask}: {errors:?}");
        }
        // The single mask is that of the shorter way, to the bit.
        let logits = run.logits().to_vec();
        on_tapes.predict(embedding, &tokens, &mut run);
        assert_eq!(run.logits(), logits);
    }
}

#[test]
fn the_tape_agrees_with_tensors_for_the_demonstrations_model() {
    Case::random(SamConfig::named("tiny").unwrap()).compare();
}

#[test]
fn the_tape_agrees_with_tensors_for_other_heads_depths_activations_and_several_blocks_of_rows() {
    let mut config = SamConfig::named("small").unwrap();
    (config.decoder.num_attention_heads, config.decoder.num_hidden_layers) = (4, 3);
    (config.decoder.attention_downsample_rate, config.decoder.mlp_dim) = (4, 96);
    config.decoder.hidden_act = resect_checkpoint::Activation::Gelu;
    Case::random(config).compare();
}

#[test]
fn the_tape_agrees_with_tensors_for_a_perturbed_checkpoint() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/sam-tiny");
    let checkpoint = Checkpoint::open(&dir).unwrap();
    let prompts = PromptEncoder::<Cpu>::load(&checkpoint, &Default::default()).unwrap();
    let decoder = checkpoint.part(Part::MaskDecoder).unwrap();
    Case::new(checkpoint.config().clone(), decoder, prompts).compare();
}

#[test]
fn the_tape_has_the_same_bits_with_any_number_of_threads() {
    let case = Case::random(SamConfig::named("small").unwrap());
    let run = |threads: usize, precision: Precision| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (logits, gradients) = pool.install(|| case.on_tapes(precision));
        let all = logits.into_iter().chain(gradients.into_iter().flat_map(|t| t.data));
        all.map(f32::to_bits).collect::<Vec<_>>()
    };
    for precision in [Precision::F32, Precision::Bf16, Precision::F16] {
        let one = run(1, precision);
        for threads in [2, 3] {
            assert!(run(threads, precision) == one, "{precision}, {threads} threads");
        }
    }
}

#[test]
fn the_tape_agrees_with_tensors_in_narrower_precisions() {
    let case = Case::random(SamConfig::named("tiny").unwrap());
    let (logits, gradients) = case.on_tapes(Precision::F32);
    // All gradients as one, because those of single parameters are in part what remains of larger numbers.
    let joined = |gradients: Vec<NamedTensor>| gradients.into_iter().flat_map(|t| t.data).collect::<Vec<_>>();
    let gradients = joined(gradients);
    // Tensors also round results, so the two paths are as far from each other as from single precision.
    for (precision, unit) in [(Precision::Bf16, 2f64.powi(-8)), (Precision::F16, 2f64.powi(-11))] {
        let (tape_logits, tape_gradients) = case.on_tapes(precision);
        let (tensor_logits, by_name) = case.on_tensors(precision);
        let tensor_gradients = tape_gradients.iter().flat_map(|t| {
            let found = &by_name[&t.name];
            let linear =
                t.shape.len() == 2 && !t.name.contains("iou_token") && !t.name.contains("mask_tokens");
            match linear {
                true => transposed(&NamedTensor {
                    name: String::new(),
                    shape: vec![t.shape[1], t.shape[0]],
                    data: found.clone(),
                }),
                false => found.clone(),
            }
        });
        let tensor_gradients: Vec<f32> = tensor_gradients.collect();
        let tape_gradients = joined(tape_gradients);
        for (what, tape, tensors, single) in [
            ("logits", &tape_logits, &tensor_logits, &logits),
            ("gradients", &tape_gradients, &tensor_gradients, &gradients),
        ] {
            let (apart, lost) = (distance(tape, tensors), distance(tape, single));
            println!(
                "{precision} {what}: tape and tensors {apart:.1e} apart, {lost:.1e} from single precision"
            );
            assert!(apart <= 20.0 * unit, "{precision} {what}: {apart:.1e}");
            assert!((0.1 * unit..20.0 * unit).contains(&lost), "{precision} {what}: {lost:.1e}");
        }
    }
}

#[test]
fn gradients_that_half_precision_cannot_hold_are_lost_unless_they_are_scaled() {
    let mut case = Case::random(SamConfig::named("tiny").unwrap());
    let relative = |case: &Case, scale: f32, precision: Precision| {
        let (_, gradients) = case.on_tapes(precision);
        gradients.into_iter().flat_map(|t| t.data).map(|x| x / scale).collect::<Vec<_>>()
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

#[test]
fn a_prediction_without_a_way_back_has_the_same_bits_and_leaves_none() {
    let case = Case::random(SamConfig::named("tiny").unwrap());
    let decoder = TapeDecoder::from_tensors(&case.config, case.decoder.clone(), &case.prompts).unwrap();
    let prompts = [ModelPrompt::of_box(BOXES[0])];
    let tokens: Vec<f32> =
        case.prompts.forward(&prompts).unwrap().sparse.unwrap().into_data().to_vec().unwrap();
    let (embedding, tokens) = (&case.embeddings[0], tokens.as_slice());
    let mut run = Run::default();
    decoder.forward(embedding, tokens, Precision::F32, &mut run);
    let bits = |run: &Run| run.logits().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let expected = bits(&run);
    // In memory that a way back has left its numbers in, and once more.
    decoder.backward(&case.gradients[0], &mut run);
    for _ in 0..2 {
        decoder.predict(embedding, tokens, &mut run);
        assert!(bits(&run) == expected);
    }
    decoder.backward(&case.gradients[0], &mut run);
    let mut sums = decoder.zeros();
    decoder.gradients([&run].into_iter(), &mut sums);
    assert!(sums.iter().flatten().all(|x| *x == 0.0), "gradients of a sample that did not go back");
    // And what learns after it does so as ever.
    let gradients = |run: &mut Run| {
        decoder.forward(embedding, tokens, Precision::F32, run);
        decoder.backward(&case.gradients[0], run);
        let mut sums = decoder.zeros();
        decoder.gradients([&*run].into_iter(), &mut sums);
        sums
    };
    assert!(gradients(&mut run) == gradients(&mut Run::default()));
}

#[test]
fn tensors_come_back_as_they_were() {
    let case = Case::random(SamConfig::named("tiny").unwrap());
    let decoder = TapeDecoder::from_tensors(&case.config, case.decoder.clone(), &case.prompts).unwrap();
    let by_name = |mut t: Vec<NamedTensor>| {
        t.sort_by(|a, b| a.name.cmp(&b.name));
        t
    };
    assert_eq!(by_name(decoder.tensors()), by_name(case.decoder));
}
