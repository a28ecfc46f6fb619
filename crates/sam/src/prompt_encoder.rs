//! The prompt encoder: points and boxes become tokens, a mask becomes an image of embeddings.
//!
//! Reference: `transformers`, `models/sam/modeling_sam.py`, `SamPromptEncoder`; `segment_anything/modeling/prompt_encoder.py`.

use std::borrow::Borrow;
use std::f64::consts::PI;

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use resect_checkpoint::SamConfig;
use resect_layers::{Convolution, Embedding, LayerNorm, Layers, unloaded};
use resect_numeric::{Activation, Precision};
use resect_prompt::{Label, ModelPrompt};

use crate::error::Error;

/// Prompts as the mask decoder takes them.
#[derive(Debug, Clone)]
pub struct PromptEmbeddings<B: Backend> {
    /// A token per point and two per box, `[n, t, C]`; none for prompts without points and box.
    pub sparse: Option<Tensor<B, 3>>,
    /// What is added to the image embedding, `[n, C, g, g]`.
    pub dense: Tensor<B, 4>,
}

impl<B: Backend> PromptEmbeddings<B> {
    /// The numbers of all tokens, `n * t * C`; none without tokens.
    pub fn tokens(self) -> Vec<f32> {
        self.sparse.map(|tokens| tokens.into_data().iter::<f32>().collect()).unwrap_or_default()
    }
}

/// Turns prompts into embeddings. (`SamPromptEncoder`)
#[derive(Module, Debug)]
pub struct PromptEncoder<B: Backend> {
    shared_embedding: PositionalEmbedding<B>,
    /// Background, foreground, top left corner, bottom right corner.
    point_embed: Vec<Embedding<B>>,
    not_a_point_embed: Embedding<B>,
    no_mask_embed: Embedding<B>,
    mask_embed: MaskEmbedding<B>,
    /// Side of the model input in pixels.
    image_size: usize,
    /// Side of the image embedding in tokens.
    grid: usize,
}

impl<B: Backend> PromptEncoder<B> {
    /// An encoder of the right shape whose parameters wait to be loaded.
    pub(crate) fn new(config: &SamConfig, device: &B::Device) -> Self {
        let p = &config.prompt;
        let embedding = || Embedding::new(1, p.hidden_size, device);
        Self {
            shared_embedding: PositionalEmbedding {
                positional_embedding: unloaded([2, config.vision.num_pos_feats], device),
            },
            point_embed: (0..p.num_point_embeddings).map(|_| embedding()).collect(),
            not_a_point_embed: embedding(),
            no_mask_embed: embedding(),
            mask_embed: MaskEmbedding::new(config, device),
            image_size: config.image_size(),
            grid: config.grid(),
        }
    }
}

impl<B: Layers> PromptEncoder<B> {
    /// Embeds `n` prompts of one form: all have a box or none has, all have as many points, all have a mask or none has.
    ///
    /// Coordinates are pixels of the model input, masks are logits on the grid of the mask decoder's output. Tokens are in the
    /// order of `transformers`: points, the point that says "no box" where there is none, box corners.
    ///
    /// ```
    /// use resect_checkpoint::SamConfig;
    /// use resect_prompt::{Label, ModelPoint, ModelPrompt};
    /// use resect_layers::Cpu;
    /// use resect_sam::PromptEncoder;
    ///
    /// let config = SamConfig::named("tiny").expect("a size that is offered");
    /// let encoder = PromptEncoder::<Cpu>::random(&config, 1, &Default::default())?;
    /// let point = ModelPoint { x: 40.0, y: 32.0, label: Label::Foreground };
    /// let prompt = ModelPrompt { points: vec![point], ..ModelPrompt::of_box([10.0, 20.0, 80.0, 60.0]) };
    /// let tokens = encoder.forward(&[prompt])?.sparse.expect("a token for the point and one for each corner");
    /// assert_eq!(tokens.dims(), [1, 3, config.embedding_channels()]);
    /// # Ok::<_, resect_sam::Error>(())
    /// ```
    ///
    /// # Errors
    /// No prompt, prompts of several forms, a coordinate or a mask logit that is NaN or infinite, a mask of another size than the
    /// grid.
    pub fn forward<P: Borrow<ModelPrompt>>(&self, prompts: &[P]) -> Result<PromptEmbeddings<B>, Error> {
        let prompts: Vec<&ModelPrompt> = prompts.iter().map(Borrow::borrow).collect();
        self.check(&prompts)?;
        let device = self.no_mask_embed.weight.val().device();
        let count = prompts.len();
        let corners: Vec<f32> = prompts.iter().flat_map(|prompt| prompt.bounds).flatten().collect();
        let boxes = (!corners.is_empty()).then(|| {
            let corners = TensorData::new(corners, [count, 2, 2]);
            self.embed_boxes(Tensor::from_data(corners, &device))
        });
        let points: Vec<_> = prompts.iter().flat_map(|prompt| &prompt.points).collect();
        let points = (!points.is_empty()).then(|| {
            let coords = points.iter().flat_map(|point| [point.x, point.y]).collect::<Vec<f32>>();
            let coords = TensorData::new(coords, [count, points.len() / count, 2]);
            let labels: Vec<Label> = points.iter().map(|point| point.label).collect();
            let tokens = self.embed_points(Tensor::from_data(coords, &device), &labels);
            if boxes.is_some() { tokens } else { self.with_not_a_point(tokens) }
        });
        let tokens: Vec<_> = points.into_iter().chain(boxes).collect();
        let sparse = (!tokens.is_empty()).then(|| Tensor::cat(tokens, 1));
        let masks: Vec<f32> = prompts.iter().flat_map(|prompt| &prompt.mask).flatten().copied().collect();
        let dense = if masks.is_empty() {
            let none = self.no_mask_embed.weight.val();
            let channels = none.dims()[1];
            none.reshape([1, channels, 1, 1]).expand([count, channels, self.grid, self.grid])
        } else {
            let side = 4 * self.grid;
            self.mask_embed
                .forward(Tensor::from_data(TensorData::new(masks, [count, 1, side, side]), &device))
        };
        Ok(PromptEmbeddings { sparse, dense })
    }

    /// Whether the prompts can pass together.
    fn check(&self, prompts: &[&ModelPrompt]) -> Result<(), Error> {
        let expected = prompts.first().ok_or(Error::NoPrompt)?.form();
        for (index, prompt) in prompts.iter().enumerate() {
            let found = prompt.form();
            if found != expected {
                return Err(Error::Form { index, found, expected });
            }
            let points = prompt.points.iter().flat_map(|point| [point.x, point.y]);
            let mut coordinates = prompt.bounds.into_iter().flatten().chain(points);
            if let Some(value) = coordinates.find(|coordinate| !coordinate.is_finite()) {
                return Err(Error::Coordinate { index, value });
            }
            let Some(mask) = &prompt.mask else { continue };
            let side = 4 * self.grid;
            if mask.len() != side * side {
                return Err(Error::MaskSize { index, found: mask.len(), side });
            }
            if let Some(&value) = mask.iter().find(|logit| !logit.is_finite()) {
                return Err(Error::MaskLogit { index, value });
            }
        }
        Ok(())
    }

    /// The encoding of every place of the image embedding, `[1, C, g, g]`. It depends on the weights alone: compute it once.
    /// (`get_image_wide_positional_embeddings`)
    pub fn image_positional_encoding(&self) -> Tensor<B, 4> {
        let g = self.grid;
        let centre = |i: usize| (i as f32 + 0.5) / g as f32;
        let coords: Vec<f32> = (0..g * g).flat_map(|i| [centre(i % g), centre(i / g)]).collect();
        let device = self.no_mask_embed.weight.val().device();
        let coords = Tensor::from_data(TensorData::new(coords, [g * g, 2]), &device);
        let encoding = self.shared_embedding.forward(coords);
        let channels = encoding.dims()[1];
        encoding.swap_dims(0, 1).reshape([1, channels, g, g])
    }

    /// Points `[n, k, 2]` with `n * k` labels to tokens `[n, k, C]`. (`_embed_points`)
    fn embed_points(&self, coords: Tensor<B, 3>, labels: &[Label]) -> Tensor<B, 3> {
        let [n, k, _] = coords.dims();
        let device = coords.device();
        // One where the label is among these, else zero, [n, k, 1]: multiplying by it is exact.
        let among = |wanted: &[Label]| {
            let hot: Vec<f32> =
                labels.iter().map(|label| f32::from(u8::from(wanted.contains(label)))).collect();
            Tensor::<B, 3>::from_data(TensorData::new(hot, [n, k, 1]), &device)
        };
        let embedding = |e: &Embedding<B>| e.weight.val().unsqueeze::<3>();
        let [background, foreground] = [&self.point_embed[0], &self.point_embed[1]];
        self.encode(coords) * among(&[Label::Foreground, Label::Background])
            + embedding(background) * among(&[Label::Background])
            + embedding(foreground) * among(&[Label::Foreground])
            + embedding(&self.not_a_point_embed) * among(&[Label::NotAPoint])
    }

    /// Appends to tokens `[n, k, C]` the one that stands for a box that is not there.
    fn with_not_a_point(&self, tokens: Tensor<B, 3>) -> Tensor<B, 3> {
        let [n, _, channels] = tokens.dims();
        let token = self.not_a_point_embed.weight.val().reshape([1, 1, channels]).expand([n, 1, channels]);
        Tensor::cat(vec![tokens, token], 1)
    }

    /// Corners `[n, 2, 2]` to tokens `[n, 2, C]`. (`_embed_boxes`)
    fn embed_boxes(&self, corners: Tensor<B, 3>) -> Tensor<B, 3> {
        let kinds = Tensor::cat(vec![self.point_embed[2].weight.val(), self.point_embed[3].weight.val()], 0);
        self.encode(corners) + kinds.unsqueeze::<3>()
    }

    /// Encodes pixels `[n, k, 2]` of the model input, a pixel being where its centre is.
    fn encode(&self, pixels: Tensor<B, 3>) -> Tensor<B, 3> {
        let [n, k, _] = pixels.dims();
        let coords = pixels.add_scalar(0.5).div_scalar(self.image_size as f64).reshape([n * k, 2]);
        let encoding = self.shared_embedding.forward(coords);
        let channels = encoding.dims()[1];
        encoding.reshape([n, k, channels])
    }
}

/// Random Fourier features of a position. (`SamPositionalEmbedding`)
#[derive(Module, Debug)]
struct PositionalEmbedding<B: Backend> {
    /// Frequencies, `[2, C / 2]`.
    positional_embedding: Param<Tensor<B, 2>>,
}

impl<B: Backend> PositionalEmbedding<B> {
    /// Coordinates `[m, 2]` in `[0, 1]`, x first, to encodings `[m, C]`.
    fn forward(&self, coords: Tensor<B, 2>) -> Tensor<B, 2> {
        let centred = coords.mul_scalar(2.0).sub_scalar(1.0);
        let angles = centred.matmul(self.positional_embedding.val()).mul_scalar(2.0 * PI);
        Tensor::cat(vec![angles.clone().sin(), angles.cos()], 1)
    }
}

/// Reduces a mask prompt to the image embedding's grid. (`SamMaskEmbedding`)
#[derive(Module, Debug)]
struct MaskEmbedding<B: Backend> {
    conv1: Convolution<B>,
    layer_norm1: LayerNorm<B>,
    conv2: Convolution<B>,
    layer_norm2: LayerNorm<B>,
    conv3: Convolution<B>,
    activation: Activation,
}

impl<B: Backend> MaskEmbedding<B> {
    fn new(config: &SamConfig, device: &B::Device) -> Self {
        let p = &config.prompt;
        let channels = p.mask_input_channels;
        Self {
            conv1: Convolution::new([1, channels / 4], 2, device),
            layer_norm1: LayerNorm::new(channels / 4, p.layer_norm_eps, device),
            conv2: Convolution::new([channels / 4, channels], 2, device),
            layer_norm2: LayerNorm::new(channels, p.layer_norm_eps, device),
            conv3: Convolution::new([channels, p.hidden_size], 1, device),
            activation: p.hidden_act,
        }
    }
}

impl<B: Layers> MaskEmbedding<B> {
    /// Logits `[n, 1, 4g, 4g]` to embeddings `[n, C, g, g]`.
    fn forward(&self, masks: Tensor<B, 4>) -> Tensor<B, 4> {
        let side = masks.dims()[3];
        let halved = |x: Tensor<B, 4>, conv: &Convolution<B>, norm: &LayerNorm<B>| {
            norm.forward_activated(conv.forward_patches(x, Precision::F32), self.activation)
        };
        let x = B::to_planes(halved(masks, &self.conv1, &self.layer_norm1), side / 2);
        let x = halved(x, &self.conv2, &self.layer_norm2);
        B::to_planes(self.conv3.forward_rows(x, Precision::F32), side / 4)
    }
}
