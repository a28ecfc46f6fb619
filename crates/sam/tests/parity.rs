//! The model against `transformers`, on a very small checkpoint with every parameter perturbed.
//!
//! `tests/reference/sam_parity.py` makes the checkpoint and the references in `tests/fixtures/sam-tiny`.

use std::path::PathBuf;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use resect_checkpoint::{Checkpoint, NamedTensor, TensorFile};
use resect_encoder::{ImageEncoder, normalise};
use resect_layers::{Cpu, Layers, Reference};
use resect_numeric::Precision;
use resect_prompt::{Label, ModelPoint, ModelPrompt};
use resect_sam::{MaskDecoder, PromptEncoder, repeat_per_prompt};

/// Largest error allowed, relative to the largest value of the tensor.
const TOLERANCE: f32 = 1e-4;

const CASES: [&str; 12] = [
    "background_point",
    "box",
    "box_and_mask",
    "box_and_point",
    "mask",
    "not_a_point",
    "nothing",
    "padded_points",
    "point",
    "points",
    "two_boxes",
    "two_prompts",
];

struct Fixture {
    checkpoint: Checkpoint,
    reference: TensorFile,
}

impl Fixture {
    fn open() -> Self {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/sam-tiny");
        Self {
            checkpoint: Checkpoint::open(&dir).unwrap(),
            reference: TensorFile::open(&dir.join("reference.safetensors")).unwrap(),
        }
    }

    fn get(&self, name: &str) -> NamedTensor {
        self.reference.tensor(name).unwrap()
    }

    fn find(&self, name: &str) -> Option<NamedTensor> {
        self.reference.tensor(name).ok()
    }

    /// The prompts of a case, image by image.
    fn prompts(&self, case: &str) -> Vec<ModelPrompt> {
        let points = self.find(&format!("{case}.input_points"));
        let labels = self.find(&format!("{case}.input_labels"));
        let boxes = self.find(&format!("{case}.input_boxes"));
        let count = |t: &NamedTensor| t.shape[0] * t.shape[1];
        let images = self.get("pixel_values").shape[0];
        let number = points.as_ref().or(boxes.as_ref()).map_or(images, count);
        let mut prompts = vec![ModelPrompt::default(); number];
        if let (Some(points), Some(labels)) = (points, labels) {
            let all: Vec<_> =
                points.data.chunks(2).zip(&labels.data).map(|(p, l)| point(p[0], p[1], *l)).collect();
            let lists = all.chunks(points.shape[2]);
            assert_eq!(lists.len(), number, "{case}: a list of points for each prompt");
            prompts.iter_mut().zip(lists).for_each(|(prompt, points)| prompt.points = points.to_vec());
        }
        if let Some(boxes) = boxes {
            let (boxes, _) = boxes.data.as_chunks();
            assert_eq!(boxes.len(), number, "{case}: a box for each prompt");
            prompts.iter_mut().zip(boxes).for_each(|(prompt, bounds)| prompt.bounds = Some(*bounds));
        }
        if let Some(masks) = self.find(&format!("{case}.input_masks")) {
            let masks = masks.data.chunks(masks.data.len() / number);
            prompts.iter_mut().zip(masks).for_each(|(prompt, mask)| prompt.mask = Some(mask.to_vec()));
        }
        prompts
    }
}

fn point(x: f32, y: f32, label: f32) -> ModelPoint {
    let label = match label as i32 {
        1 => Label::Foreground,
        0 => Label::Background,
        -1 => Label::NotAPoint,
        -10 => Label::Padding,
        other => panic!("label {other}"),
    };
    ModelPoint { x, y, label }
}

fn tensor<B: Backend, const D: usize>(t: NamedTensor) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(t.data, t.shape), &Default::default())
}

fn values<B: Backend, const D: usize>(t: Tensor<B, D>) -> Vec<f32> {
    t.into_data().to_vec().unwrap()
}

/// Collects errors, so that a failing test shows all of them.
#[derive(Default)]
struct Comparison(Vec<(String, f32)>);

impl Comparison {
    fn add(&mut self, what: String, found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len(), "{what}: another number of values");
        let largest = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
        let worst = found.iter().zip(expected).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(worst.is_finite() && largest > 0.0, "{what}: not finite, or nothing but zeros");
        self.0.push((what, worst / largest));
    }

    fn assert_close(mut self) {
        self.0.sort_by(|a, b| f32::total_cmp(&b.1, &a.1));
        for (what, error) in &self.0 {
            println!("{error:.1e}  {what}");
        }
        assert!(self.0[0].1 <= TOLERANCE, "{} is off by {:.1e}", self.0[0].0, self.0[0].1);
    }
}

#[test]
fn pixels_are_normalised_and_padded_as_by_the_processor() {
    let fixture = Fixture::open();
    let expected = fixture.get("pixel_values");
    let side = fixture.checkpoint.config().image_size();
    let mut compared = Comparison::default();
    for (image, expected) in expected.data.chunks(3 * side * side).enumerate() {
        let resized = fixture.get(&format!("resized.{image}"));
        let bytes: Vec<u8> = resized.data.iter().map(|&x| x as u8).collect();
        let found = normalise(&bytes, resized.shape[1], resized.shape[2], side).unwrap();
        compared.add(format!("image {image}"), &found, expected);
    }
    compared.assert_close();
}

#[test]
fn image_embeddings_and_positions_agree() {
    let fixture = Fixture::open();
    let device = Default::default();
    let encoder = ImageEncoder::<Cpu>::load(&fixture.checkpoint, &device).unwrap();
    let prompts = PromptEncoder::<Cpu>::load(&fixture.checkpoint, &device).unwrap();
    let mut compared = Comparison::default();
    let embeddings = values(encoder.forward(tensor(fixture.get("pixel_values"))));
    compared.add("embeddings".into(), &embeddings, &fixture.get("image_embeddings").data);
    let encoder = ImageEncoder::<Reference>::load(&fixture.checkpoint, &device).unwrap();
    let embeddings = values(encoder.forward(tensor(fixture.get("pixel_values"))));
    compared.add("embeddings, in tensors".into(), &embeddings, &fixture.get("image_embeddings").data);
    let position = values(prompts.image_positional_encoding());
    compared.add("position".into(), &position, &fixture.get("image_position").data);
    compared.assert_close();
}

fn embeddings<B: Layers>(fixture: &Fixture, precision: Precision) -> Vec<f32> {
    let encoder = ImageEncoder::<B>::load(&fixture.checkpoint, &Default::default()).unwrap();
    values(encoder.with_precision(precision).forward(tensor(fixture.get("pixel_values"))))
}

#[test]
fn image_embeddings_in_narrower_precisions_are_as_far_from_single_precision_as_autocast() {
    let fixture = Fixture::open();
    let half =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/precision/products.safetensors");
    let half = TensorFile::open(&half).unwrap();
    let distance = |a: &[f32], b: &[f32]| {
        let squares = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>();
        (squares(&mut a.iter().zip(b).map(|(a, b)| a - b)) / squares(&mut b.iter().copied())).sqrt()
    };
    let single = fixture.get("image_embeddings").data;
    for precision in [Precision::Bf16, Precision::F16] {
        let by_kernels = embeddings::<Cpu>(&fixture, precision);
        let in_tensors = embeddings::<Reference>(&fixture, precision);
        let autocast = half.tensor(&format!("{precision}.image_embeddings")).unwrap().data;
        let theirs = distance(&autocast, &single);
        for (how, found) in [("in tensors", in_tensors), ("by kernels", by_kernels)] {
            let ours = distance(&found, &single);
            println!(
                "{precision}, {how}: ours {ours:.1e}, autocast {theirs:.1e}, apart {:.1e}",
                distance(&found, &autocast)
            );
            assert!(
                (0.2 * theirs..1.2 * theirs).contains(&ours),
                "{precision}, {how}: {ours:.1e} and {theirs:.1e}"
            );
        }
    }
}

#[test]
fn masks_and_scores_agree_for_every_kind_of_prompt() {
    let fixture = Fixture::open();
    let device = Default::default();
    let prompt_encoder = PromptEncoder::<Cpu>::load(&fixture.checkpoint, &device).unwrap();
    let decoder = MaskDecoder::<Cpu>::load(&fixture.checkpoint, &device).unwrap();
    let embeddings: Tensor<Cpu, 4> = tensor(fixture.get("image_embeddings"));
    let position = prompt_encoder.image_positional_encoding();
    let mut compared = Comparison::default();
    for case in CASES {
        let prompts = fixture.prompts(case);
        let embeddings = repeat_per_prompt(embeddings.clone(), prompts.len() / embeddings.dims()[0]);
        let prompts = prompt_encoder.forward(&prompts).unwrap();
        for (kind, multimask) in [("single", false), ("multi", true)] {
            let output = decoder.forward(embeddings.clone(), position.clone(), &prompts, multimask);
            let logits = values(output.low_res_logits);
            let expected = |what: &str| fixture.get(&format!("{case}.{kind}.{what}")).data;
            compared.add(format!("{case}, {kind}, logits"), &logits, &expected("logits"));
            compared.add(format!("{case}, {kind}, scores"), &values(output.iou_scores), &expected("iou"));
            if !multimask {
                let single = decoder.forward_single_mask(embeddings.clone(), position.clone(), &prompts);
                assert_eq!(values(single), logits, "{case}: the single mask alone is another one");
            }
        }
    }
    compared.assert_close();
}

#[test]
fn the_whole_model_goes_from_pixels_to_masks() {
    let fixture = Fixture::open();
    let device = Default::default();
    let encoder = ImageEncoder::<Cpu>::load(&fixture.checkpoint, &device).unwrap();
    let prompt_encoder = PromptEncoder::<Cpu>::load(&fixture.checkpoint, &device).unwrap();
    let decoder = MaskDecoder::<Cpu>::load(&fixture.checkpoint, &device).unwrap();
    let embeddings = encoder.forward(tensor(fixture.get("pixel_values")));
    let position = prompt_encoder.image_positional_encoding();
    let mut compared = Comparison::default();
    for case in ["two_boxes", "padded_points", "nothing"] {
        let prompts = fixture.prompts(case);
        let embeddings = repeat_per_prompt(embeddings.clone(), prompts.len() / embeddings.dims()[0]);
        let prompts = prompt_encoder.forward(&prompts).unwrap();
        let output = decoder.forward(embeddings, position.clone(), &prompts, true);
        let expected = fixture.get(&format!("{case}.multi.logits"));
        compared.add(format!("{case}, logits"), &values(output.low_res_logits), &expected.data);
    }
    compared.assert_close();
}

#[test]
fn gradients_of_the_decoder_agree() {
    check_gradients::<Reference>();
    check_gradients::<<Reference as AutodiffBackend>::InnerBackend>();
}

fn check_gradients<B: AutodiffBackend + Layers>() {
    let fixture = Fixture::open();
    let device = Default::default();
    let prompt_encoder = PromptEncoder::<Cpu>::load(&fixture.checkpoint, &device).unwrap();
    let frozen = prompt_encoder.forward(&fixture.prompts("box")).unwrap();
    let prompts = resect_sam::PromptEmbeddings::<B> {
        sparse: frozen.sparse.map(|sparse| Tensor::from_data(sparse.into_data(), &Default::default())),
        dense: Tensor::from_data(frozen.dense.into_data(), &Default::default()),
    };
    let decoder = MaskDecoder::<B>::load(&fixture.checkpoint, &Default::default()).unwrap();
    let position = prompt_encoder.image_positional_encoding().into_data();
    let position = Tensor::from_data(position, &Default::default());
    let logits = decoder.forward_single_mask(tensor(fixture.get("image_embeddings")), position, &prompts);
    let weights: Tensor<B, 5> = tensor(fixture.get("gradient.weights"));
    let weights = weights.reshape(logits.dims());
    let gradients = (logits * weights).sum().backward();

    let names = decoder.parameter_names();
    let mut collected = Gradients::<B> { gradients: &gradients, found: Vec::new() };
    decoder.visit(&mut collected);
    let mut compared = Comparison::default();
    let references: Vec<_> =
        fixture.reference.names().filter_map(|n| n.strip_prefix("gradient.mask_")).collect();
    assert_eq!(references.len(), 16);
    for reference in references {
        let name = format!("mask_{reference}");
        let expected = fixture.get(&format!("gradient.{name}"));
        let (_, id) = names.iter().find(|(n, _)| *n == name).unwrap();
        let (_, shape, found) = collected.found.iter().find(|(i, _, _)| i == id).unwrap();
        let linear = shape.len() == 2 && !name.contains("token.") && !name.contains("tokens.");
        let found = if linear { transposed(shape, found) } else { found.clone() };
        compared.add(name, &found, &expected.data);
    }
    compared.assert_close();

    let with_gradient: Vec<_> = collected.found.iter().map(|(id, _, _)| *id).collect();
    for (name, id) in names {
        let unused =
            name.contains("iou_prediction_head") || (1..4).any(|i| name.contains(&format!("mlps.{i}.")));
        assert_eq!(
            !unused,
            with_gradient.contains(&id),
            "{name}: a gradient where none is due, or none where one is"
        );
    }
}

struct Gradients<'a, B: AutodiffBackend> {
    gradients: &'a B::Gradients,
    found: Vec<(ParamId, Vec<usize>, Vec<f32>)>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Gradients<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            self.found.push((param.id, gradient.dims().to_vec(), values(gradient)));
        }
    }
}

fn transposed(shape: &[usize], data: &[f32]) -> Vec<f32> {
    let (rows, cols) = (shape[0], shape[1]);
    (0..cols).flat_map(|col| (0..rows).map(move |row| data[row * cols + col])).collect()
}

#[test]
fn prompts_that_do_not_fit_together_are_refused() {
    let fixture = Fixture::open();
    let encoder = PromptEncoder::<Cpu>::load(&fixture.checkpoint, &Default::default()).unwrap();
    let side = fixture.checkpoint.config().low_res();
    let here = point(1.0, 2.0, 1.0);
    let bounds = ModelPrompt::of_box([0.0, 0.0, 9.0, 9.0]);
    let pointed = |count| ModelPrompt { points: vec![here; count], ..bounds.clone() };
    let masked = |logits: Vec<f32>| ModelPrompt { mask: Some(logits), ..ModelPrompt::default() };
    let spoilt = [vec![0.0; side * side - 1], vec![f32::NAN]].concat();
    for (refused, want) in [
        (vec![], "there is no prompt"),
        (
            vec![bounds.clone(), pointed(1)],
            "prompt 1 has a box, 1 point, no mask, the first one has a box, 0 points, no mask",
        ),
        (vec![pointed(2), pointed(2), pointed(1)], "prompt 2 has a box, 1 point, no mask"),
        (vec![bounds.clone(), ModelPrompt::default()], "prompt 1 has no box, 0 points, no mask"),
        (vec![ModelPrompt::of_box([0.0, f32::NAN, 9.0, 9.0])], "prompt 0 has the coordinate NaN"),
        (vec![ModelPrompt::of_points([point(f32::INFINITY, 0.0, 1.0)])], "prompt 0 has the coordinate inf"),
        (vec![masked(vec![0.0; 16])], "the mask of prompt 0 has 16 logits; the model takes "),
        (vec![masked(vec![0.0; side * side]), masked(spoilt)], "the mask of prompt 1 holds the logit NaN"),
    ] {
        let message = encoder.forward(&refused).unwrap_err().to_string();
        assert!(message.starts_with(want), "{message}");
    }
}
