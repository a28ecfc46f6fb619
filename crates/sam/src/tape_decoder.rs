//! The mask decoder on the CPU, sample by sample, for training: [`MaskDecoder::forward_single_mask`] and its gradients on a
//! [`Tape`] of fused layers.
//!
//! It computes what `mask_decoder.rs` and `transformer.rs` compute and is many times faster than their gradient graph.
//! `tests/tape.rs` holds it to them. Other devices train with those.
//!
//! [`MaskDecoder::forward_single_mask`]: crate::MaskDecoder::forward_single_mask

use std::collections::BTreeMap;
use std::ops::Range;

use burn::tensor::Tensor;
use rayon::prelude::*;
use resect_checkpoint::{NamedTensor, Part, SamConfig, check_tensors, part_tensors};
use resect_kernels::transpose;
use resect_params::Precision;
use resect_tape::{Activation, Linear, Norm, Tape, Value};

use crate::layers::CHANNEL_NORM_EPS;
use crate::mask_decoder::is_idle;
use crate::tape_heads::Heads;
use crate::transformer::FINAL_NORM_EPS;
use crate::{Cpu, Error, ModelPrompt, PromptEncoder};

/// The decoder of a single mask, with box prompts' kind of input: tokens and no mask prompt.
#[derive(Debug)]
pub struct TapeDecoder {
    /// What learns, as the tape wants it.
    parameters: Vec<Vec<f32>>,
    /// What the checkpoint says of each parameter.
    origins: Vec<Origin>,
    /// The other masks' hypernetworks, which no gradient reaches but weight decay does.
    idle: Vec<NamedTensor>,
    /// What else a single mask needs not: the IoU head. It is handed on as it came.
    unused: Vec<NamedTensor>,
    layers: Layers,
    heads: usize,
    channels: usize,
    grid: usize,
    /// The encoding of each place, `[g * g, C]`.
    position: Vec<f32>,
    /// What the prompt encoder adds to every place where there is no mask prompt, `[C]`.
    no_mask: Vec<f32>,
}

/// A sample's way through the decoder. Its memory serves the next sample.
#[derive(Debug, Default)]
pub struct Run {
    tape: Tape,
    /// Where the logits are, in the order in which the upscaling makes them.
    end: Option<Value>,
    logits: Vec<f32>,
    iou_scores: Vec<f32>,
}

impl Run {
    /// The logits of the mask, `[4g, 4g]`; of the last [`TapeDecoder::forward`], or of all masks, `[m, 4g, 4g]`, of the last
    /// [`TapeDecoder::predict_masks`].
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// The estimated IoU of each of these masks, `[m]`; of the last [`TapeDecoder::predict_masks`].
    pub fn iou_scores(&self) -> &[f32] {
        &self.iou_scores
    }
}

/// A parameter on disk.
#[derive(Debug)]
struct Origin {
    name: String,
    shape: Vec<usize>,
    layout: Layout,
}

/// How a parameter on disk differs from the one in memory.
#[derive(Clone, Copy, Debug)]
enum Layout {
    /// Not at all.
    Same,
    /// A linear weight, `[out, in]` on disk and `[in, out]` in memory.
    Linear,
    /// A transposed convolution of kernel 2, `[in, out, 2, 2]` on disk and `[in, 2, 2, out]` in memory.
    Upscaling,
}

#[derive(Debug)]
struct Layers {
    tokens: [usize; 2],
    blocks: Vec<Block>,
    final_attention: Attention,
    final_norm: Norm,
    upscale1: Linear,
    upscale_norm: Norm,
    upscale2: Linear,
    hypernetwork: Vec<Linear>,
}

#[derive(Debug)]
struct Block {
    self_attention: Attention,
    norm1: Norm,
    token_to_image: Attention,
    norm2: Norm,
    mlp: [Linear; 2],
    activation: Activation,
    norm3: Norm,
    norm4: Norm,
    image_to_token: Attention,
}

#[derive(Debug)]
struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
}

impl TapeDecoder {
    /// Builds a decoder from a checkpoint's tensors, by their Hugging Face names, with what is frozen from the prompt encoder.
    ///
    /// # Errors
    /// A configuration of which no model can be built; tensors that are missing, unused or misshapen, all named.
    pub fn from_tensors(
        config: &SamConfig,
        tensors: Vec<NamedTensor>,
        prompts: &PromptEncoder<Cpu>,
    ) -> Result<Self, Error> {
        config.validate()?;
        let specs = part_tensors(config, Part::MaskDecoder);
        check_tensors(&specs, tensors.iter().map(|t| (t.name.as_str(), t.shape.as_slice())))?;
        let tensors = tensors.into_iter().map(|t| (t.name.clone(), t)).collect();
        let mut loader = Loader { tensors, parameters: Vec::new(), origins: Vec::new() };
        let layers = loader.layers(config)?;
        let (channels, grid) = (config.embedding_channels(), config.grid());
        let position = values(prompts.image_positional_encoding())?;
        let dense = values(prompts.forward(&[ModelPrompt::default()])?.dense)?;
        let (idle, unused) = loader.tensors.into_values().partition(|tensor| is_idle(&tensor.name));
        Ok(Self {
            position: (0..grid * grid * channels)
                .map(|i| position[i % channels * grid * grid + i / channels])
                .collect(),
            no_mask: dense.into_iter().step_by(grid * grid).collect(),
            parameters: loader.parameters,
            origins: loader.origins,
            idle,
            unused,
            layers,
            heads: config.decoder.num_attention_heads,
            channels,
            grid,
        })
    }

    /// Every parameter by its Hugging Face name and in its layout, to be saved; those that do not learn too.
    pub fn tensors(&self) -> Vec<NamedTensor> {
        let rest = self.idle.iter().chain(&self.unused).cloned();
        self.named(&self.parameters).chain(rest).collect()
    }

    /// Anything there is one of per parameter, such as [`TapeDecoder::gradients`], by Hugging Face names and in its layout.
    pub fn named<'a>(&'a self, values: &'a [Vec<f32>]) -> impl Iterator<Item = NamedTensor> + 'a {
        self.origins.iter().zip(values).map(|(origin, values)| NamedTensor {
            name: origin.name.clone(),
            shape: origin.shape.clone(),
            data: origin.layout.to_disk(&origin.shape, values),
        })
    }

    /// Undoes [`TapeDecoder::named`], asking for each parameter by its name; none when one is missing or misshapen.
    pub fn unnamed(&self, mut get: impl FnMut(&str) -> Option<NamedTensor>) -> Option<Vec<Vec<f32>>> {
        let take = |origin: &Origin| {
            let tensor = get(&origin.name).filter(|tensor| tensor.shape == origin.shape)?;
            Some(origin.layout.to_memory(&tensor.shape, &tensor.data))
        };
        self.origins.iter().map(take).collect()
    }

    /// What learns, to be changed in place.
    pub fn parameters_mut(&mut self) -> &mut [Vec<f32>] {
        &mut self.parameters
    }

    /// The parameters of which [`is_idle`] is true, to be changed in place.
    pub fn idle_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.idle.iter_mut().map(|tensor| tensor.data.as_mut_slice())
    }

    /// Zeros for each parameter.
    pub fn zeros(&self) -> Vec<Vec<f32>> {
        self.parameters.iter().map(|parameter| vec![0.0; parameter.len()]).collect()
    }

    /// Predicts one sample's mask from its embedding `[C, g, g]` and its prompt's tokens `[t, C]`; see [`Run::logits`].
    ///
    /// Operands of products are rounded to `precision`, here and on the way back.
    ///
    /// # Panics
    /// When these have other sizes.
    pub fn forward(&self, embedding: &[f32], prompt: &[f32], precision: Precision, run: &mut Run) {
        run.tape.clear(precision);
        run.end = Some(self.logits(embedding, prompt, run));
    }

    /// [`TapeDecoder::forward`] in single precision without a way back, and without the work for one. The logits are the same.
    ///
    /// # Panics
    /// As there.
    pub fn predict(&self, embedding: &[f32], prompt: &[f32], run: &mut Run) {
        run.tape.clear_forward_only(Precision::F32);
        self.logits(embedding, prompt, run);
        run.end = None;
    }

    /// The networks of the masks 1 to 3 and of the IoU, for [`TapeDecoder::predict_masks`].
    ///
    /// # Errors
    /// A tensor that is missing.
    pub fn heads(&self) -> Result<Heads, Error> {
        Heads::from_tensors(self.idle.iter().chain(&self.unused))
    }

    /// As [`TapeDecoder::predict`], all of the `masks` and their estimated IoU; see [`Run::logits`] and [`Run::iou_scores`]. Mask 0 is
    /// the single one, the others are those of `multimask`.
    ///
    /// # Panics
    /// As there, and for a mask that does not exist.
    pub fn predict_masks(
        &self,
        heads: &Heads,
        embedding: &[f32],
        prompt: &[f32],
        masks: Range<usize>,
        run: &mut Run,
    ) {
        run.end = None;
        run.tape.clear_forward_only(Precision::F32);
        let (tokens, image) = self.transformed(embedding, prompt, &mut run.tape);
        let token = |tape: &Tape, i: usize| tape.value(tokens)[i * self.channels..][..self.channels].to_vec();
        let iou_scores = heads.iou(&token(&run.tape, 0));
        run.iou_scores.clear();
        run.iou_scores.extend_from_slice(&iou_scores[masks.clone()]);
        let image = self.upscaled(&mut run.tape, image);
        let cells = 16 * self.grid * self.grid;
        run.logits.resize(masks.len() * cells, 0.0);
        for (mask, out) in masks.zip(run.logits.chunks_exact_mut(cells)) {
            let weight = match mask {
                0 => self.hypernetwork(&mut run.tape, tokens),
                _ => {
                    let weight = heads.hypernetwork(mask, &token(&run.tape, 1 + mask));
                    run.tape.constant(weight.len(), &weight)
                }
            };
            let logits = run.tape.product(image, weight);
            in_place(self.grid, run.tape.value(logits), out);
        }
    }

    /// Runs all layers on a cleared tape; where the logits are on it.
    fn logits(&self, embedding: &[f32], prompt: &[f32], run: &mut Run) -> Value {
        let (tokens, image) = self.transformed(embedding, prompt, &mut run.tape);
        let weight = self.hypernetwork(&mut run.tape, tokens);
        let image = self.upscaled(&mut run.tape, image);
        let logits = run.tape.product(image, weight);
        run.logits.resize(16 * self.grid * self.grid, 0.0);
        in_place(self.grid, run.tape.value(logits), &mut run.logits);
        logits
    }

    /// Tokens and image after the transformer.
    fn transformed(&self, embedding: &[f32], prompt: &[f32], tape: &mut Tape) -> (Value, Value) {
        let c = self.channels;
        let tokens = tape.stack(&self.parameters, self.layers.tokens, prompt, c);
        let add = |image: &mut [f32]| transpose_add(embedding, &self.no_mask, image);
        let image = tape.filled(self.grid * self.grid, c, add);
        self.transform(tape, tokens, image)
    }

    /// What the single mask's network makes of its token. The first token is the IoU's, the second that of the single mask.
    fn hypernetwork(&self, tape: &mut Tape, tokens: Value) -> Value {
        let mut weight = tape.row(tokens, 1);
        let last = self.layers.hypernetwork.len() - 1;
        for (i, layer) in self.layers.hypernetwork.iter().enumerate() {
            let activation = if i < last { Activation::Relu } else { Activation::None };
            weight = tape.linear(&self.parameters, *layer, weight, activation);
        }
        weight
    }

    /// The image, four times as fine.
    fn upscaled(&self, tape: &mut Tape, image: Value) -> Value {
        let (weights, layers) = (self.parameters.as_slice(), &self.layers);
        let x = tape.linear(weights, layers.upscale1, image, Activation::None);
        let x = tape.norm(weights, layers.upscale_norm, x, None, Activation::Gelu);
        tape.linear(weights, layers.upscale2, x, Activation::Gelu)
    }

    /// Goes back through [`TapeDecoder::forward`] from the gradient by its logits.
    pub fn backward(&self, gradient: &[f32], run: &mut Run) {
        let Some(end) = run.end else { return };
        run.tape.backward(&self.parameters, end, places(self.grid).map(|place| gradient[place]));
    }

    /// Adds to `sums`, one for each parameter, the gradients of the runs that went back, in their order.
    pub fn gradients<'a>(&self, runs: impl Iterator<Item = &'a Run>, sums: &mut [Vec<f32>]) {
        let tapes: Vec<&Tape> = runs.map(|run| &run.tape).collect();
        resect_tape::gradients(&tapes, sums);
    }

    /// The two-way transformer.
    fn transform(&self, tape: &mut Tape, tokens: Value, image: Value) -> (Value, Value) {
        let weights = self.parameters.as_slice();
        let attend = |tape: &mut Tape, layer: &Attention, q, k, v| {
            let q = tape.linear(weights, layer.q, q, Activation::None);
            let k = tape.linear(weights, layer.k, k, Activation::None);
            let v = tape.linear(weights, layer.v, v, Activation::None);
            let attended = tape.attention(q, k, v, self.heads);
            tape.linear(weights, layer.out, attended, Activation::None)
        };
        let (mut queries, mut keys) = (tokens, image);
        for (i, block) in self.layers.blocks.iter().enumerate() {
            // The first block's tokens are still their own positions: its self-attention adds none, and replaces its input.
            queries = if i == 0 {
                let attended = attend(tape, &block.self_attention, queries, queries, queries);
                tape.norm(weights, block.norm1, attended, None, Activation::None)
            } else {
                let placed = tape.add(queries, tokens);
                let attended = attend(tape, &block.self_attention, placed, placed, queries);
                tape.norm(weights, block.norm1, queries, Some(attended), Activation::None)
            };
            let (placed, placed_keys) = (tape.add(queries, tokens), tape.add_constant(keys, &self.position));
            let attended = attend(tape, &block.token_to_image, placed, placed_keys, keys);
            queries = tape.norm(weights, block.norm2, queries, Some(attended), Activation::None);

            let hidden = tape.linear(weights, block.mlp[0], queries, block.activation);
            let hidden = tape.linear(weights, block.mlp[1], hidden, Activation::None);
            queries = tape.norm(weights, block.norm3, queries, Some(hidden), Activation::None);

            let placed = tape.add(queries, tokens);
            let attended = attend(tape, &block.image_to_token, placed_keys, placed, queries);
            keys = tape.norm(weights, block.norm4, keys, Some(attended), Activation::None);
        }
        let (placed, placed_keys) = (tape.add(queries, tokens), tape.add_constant(keys, &self.position));
        let attended = attend(tape, &self.layers.final_attention, placed, placed_keys, keys);
        let queries = tape.norm(weights, self.layers.final_norm, queries, Some(attended), Activation::None);
        (queries, keys)
    }
}

/// Where in the mask `[4g, 4g]` each logit of the upscaling belongs: places of the grid, quads in them, quads in those.
fn places(grid: usize) -> impl Iterator<Item = usize> {
    (0..grid * grid).flat_map(move |i| {
        let corner = i / grid * 16 * grid + i % grid * 4;
        (0..16).map(move |j| {
            let (row, column) = ((j >> 3 & 1) * 2 + (j >> 1 & 1), (j >> 2 & 1) * 2 + (j & 1));
            corner + row * 4 * grid + column
        })
    })
}

/// Logits in the order of the upscaling, put in their places in a mask.
fn in_place(grid: usize, logits: &[f32], mask: &mut [f32]) {
    for (place, logit) in places(grid).zip(logits) {
        mask[place] = *logit;
    }
}

/// `[c, n]` to `[n, c]`, and a row added to each row.
fn transpose_add(x: &[f32], row: &[f32], out: &mut [f32]) {
    /// Rows of the result written together: their lines stay in the first cache.
    const TOGETHER: usize = 16;
    let (c, n) = (row.len(), x.len() / row.len());
    for (block, out) in out.chunks_mut(TOGETHER * c).enumerate() {
        let rows = out.len() / c;
        for (channel, added) in row.iter().enumerate() {
            let x = &x[channel * n + block * TOGETHER..][..rows];
            for (i, x) in x.iter().enumerate() {
                out[i * c + channel] = x + added;
            }
        }
    }
}

fn values<const D: usize>(tensor: Tensor<Cpu, D>) -> Result<Vec<f32>, Error> {
    tensor
        .into_data()
        .into_vec()
        .map_err(|e| Error::Parameter { name: "prompt_encoder".into(), message: format!("{e:?}") })
}

impl Layout {
    /// A tensor on disk as matrices, one after the other: their rows and columns. In memory each is transposed.
    fn matrices(self, shape: &[usize]) -> Option<[usize; 2]> {
        match (self, shape) {
            (Self::Linear, &[out, inner]) => Some([out, inner]),
            (Self::Upscaling, &[_, out, ..]) => Some([out, 4]),
            _ => None,
        }
    }

    fn to_disk(self, shape: &[usize], values: &[f32]) -> Vec<f32> {
        let matrices = self.matrices(shape);
        matrices.map_or_else(|| values.to_vec(), |[rows, cols]| transposed(values, [cols, rows]))
    }

    fn to_memory(self, shape: &[usize], values: &[f32]) -> Vec<f32> {
        self.matrices(shape).map_or_else(|| values.to_vec(), |matrices| transposed(values, matrices))
    }
}

/// Matrices, one after the other, each transposed.
fn transposed(x: &[f32], [rows, cols]: [usize; 2]) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    let matrices = x.par_chunks_exact(rows * cols).zip(out.par_chunks_exact_mut(rows * cols));
    matrices.for_each(|(x, out)| transpose(x, [rows, cols], out));
    out
}

/// Takes the tensors of the layers by their names.
struct Loader {
    tensors: BTreeMap<String, NamedTensor>,
    parameters: Vec<Vec<f32>>,
    origins: Vec<Origin>,
}

impl Loader {
    /// The place of a parameter that is taken.
    fn take(&mut self, name: &str, layout: Layout) -> Result<usize, Error> {
        let name = format!("mask_decoder.{name}");
        let Some(tensor) = self.tensors.remove(&name) else {
            return Err(Error::Parameter { name, message: "no tensor of this name".into() });
        };
        self.parameters.push(layout.to_memory(&tensor.shape, &tensor.data));
        self.origins.push(Origin { name, shape: tensor.shape, layout });
        Ok(self.parameters.len() - 1)
    }

    fn linear(&mut self, name: &str, layout: Layout) -> Result<Linear, Error> {
        Ok(Linear {
            weight: self.take(&format!("{name}.weight"), layout)?,
            bias: self.take(&format!("{name}.bias"), Layout::Same)?,
        })
    }

    fn norm(&mut self, name: &str, epsilon: f64) -> Result<Norm, Error> {
        Ok(Norm {
            weight: self.take(&format!("{name}.weight"), Layout::Same)?,
            bias: self.take(&format!("{name}.bias"), Layout::Same)?,
            epsilon: epsilon as f32,
        })
    }

    fn attention(&mut self, name: &str) -> Result<Attention, Error> {
        let mut part = |part: &str| self.linear(&format!("{name}.{part}"), Layout::Linear);
        Ok(Attention { q: part("q_proj")?, k: part("k_proj")?, v: part("v_proj")?, out: part("out_proj")? })
    }

    fn block(&mut self, layer: usize, config: &SamConfig) -> Result<Block, Error> {
        let name = |part: &str| format!("transformer.layers.{layer}.{part}");
        let epsilon = config.decoder.layer_norm_eps;
        Ok(Block {
            self_attention: self.attention(&name("self_attn"))?,
            norm1: self.norm(&name("layer_norm1"), epsilon)?,
            token_to_image: self.attention(&name("cross_attn_token_to_image"))?,
            norm2: self.norm(&name("layer_norm2"), epsilon)?,
            mlp: [
                self.linear(&name("mlp.lin1"), Layout::Linear)?,
                self.linear(&name("mlp.lin2"), Layout::Linear)?,
            ],
            activation: match config.decoder.hidden_act {
                resect_checkpoint::Activation::Relu => Activation::Relu,
                resect_checkpoint::Activation::Gelu => Activation::Gelu,
            },
            norm3: self.norm(&name("layer_norm3"), epsilon)?,
            norm4: self.norm(&name("layer_norm4"), epsilon)?,
            image_to_token: self.attention(&name("cross_attn_image_to_token"))?,
        })
    }

    fn layers(&mut self, config: &SamConfig) -> Result<Layers, Error> {
        let blocks = (0..config.decoder.num_hidden_layers).map(|layer| self.block(layer, config));
        let blocks = blocks.collect::<Result<_, _>>()?;
        let hypernetwork = ["proj_in", "layers.0", "proj_out"];
        Ok(Layers {
            blocks,
            tokens: [
                self.take("iou_token.weight", Layout::Same)?,
                self.take("mask_tokens.weight", Layout::Same)?,
            ],
            final_attention: self.attention("transformer.final_attn_token_to_image")?,
            final_norm: self.norm("transformer.layer_norm_final_attn", FINAL_NORM_EPS)?,
            upscale1: self.linear("upscale_conv1", Layout::Upscaling)?,
            upscale_norm: self.norm("upscale_layer_norm", CHANNEL_NORM_EPS)?,
            upscale2: self.linear("upscale_conv2", Layout::Upscaling)?,
            hypernetwork: hypernetwork
                .iter()
                .map(|part| self.linear(&format!("output_hypernetworks_mlps.0.{part}"), Layout::Linear))
                .collect::<Result<_, _>>()?,
        })
    }
}
