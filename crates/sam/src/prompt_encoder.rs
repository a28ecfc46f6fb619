//! The prompt encoder: points and boxes become tokens, a mask becomes an image of embeddings.
//!
//! Reference: `transformers`, `models/sam/modeling_sam.py`, `SamPromptEncoder`; `segment_anything/modeling/prompt_encoder.py`.

use std::f64::consts::PI;

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use burn_nn::LayerNorm;
use burn_nn::conv::{Conv2d, Conv2dConfig};
use resect_checkpoint::SamConfig;
use resect_numeric::Activation;

use crate::error::Error;
use crate::layers::{Embedding, activate, layer_norm, unloaded};

/// What a point says about the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PointLabel {
    /// The object is here (1).
    Foreground,
    /// The object is not here (0).
    Background,
    /// No point at all, which the model has learned to ignore (-1). The encoder adds one to points without a box.
    NotAPoint,
    /// Fills a prompt up to the number of points of its batch (-10): an embedding of zeros, which attention still sees.
    Padding,
}

/// A point prompt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Distance from the left edge in pixels of the model input, that is after resizing; may be fractional.
    pub x: f32,
    /// Distance from the top edge in pixels of the model input.
    pub y: f32,
    /// What the point says.
    pub label: PointLabel,
}

/// A batch of `n` prompts. A prompt is some points, a box and a mask, or any of these; all prompts of a batch have the same
/// parts and the same number of points.
///
/// Coordinates are pixels of the model input: those of the original image, scaled as the image was.
///
/// ```
/// use resect_sam::{Cpu, Point, PointLabel, Prompts};
///
/// let device = Default::default();
/// let point = Point { x: 40.0, y: 32.0, label: PointLabel::Foreground };
/// let prompts = Prompts::<Cpu>::boxes(&[[10.0, 20.0, 80.0, 60.0]], &device)?.with_points(&[vec![point]])?;
/// assert_eq!(prompts.len(), 1);
/// # Ok::<_, resect_sam::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Prompts<B: Backend> {
    count: usize,
    /// Coordinates `[n, k, 2]`, and `n * k` labels.
    points: Option<(Tensor<B, 3>, Vec<PointLabel>)>,
    /// Corners `[n, 2, 2]`.
    boxes: Option<Tensor<B, 3>>,
    /// Logits `[n, 1, 4g, 4g]`.
    masks: Option<Tensor<B, 4>>,
    device: B::Device,
}

impl<B: Backend> Prompts<B> {
    /// `count` prompts that say nothing; the model answers with what it finds most likely.
    pub fn none(count: usize, device: &B::Device) -> Self {
        Self { count, points: None, boxes: None, masks: None, device: device.clone() }
    }

    /// One prompt per box, `[x_min, y_min, x_max, y_max]`; the maxima are those of the last pixel inside.
    ///
    /// # Errors
    /// A coordinate that is not finite.
    pub fn boxes(boxes: &[[f32; 4]], device: &B::Device) -> Result<Self, Error> {
        Self::none(boxes.len(), device).with_boxes(boxes)
    }

    /// One prompt per list of points.
    ///
    /// # Errors
    /// Lists of differing length, or a coordinate that is not finite.
    pub fn points(points: &[Vec<Point>], device: &B::Device) -> Result<Self, Error> {
        Self::none(points.len(), device).with_points(points)
    }

    /// Gives every prompt a box; see [`Prompts::boxes`].
    ///
    /// # Errors
    /// Another number of boxes than prompts, or a coordinate that is not finite.
    pub fn with_boxes(mut self, boxes: &[[f32; 4]]) -> Result<Self, Error> {
        self.expect("boxes", boxes.len())?;
        finite(boxes.iter().enumerate().flat_map(|(i, b)| b.map(|c| (i, c))))?;
        let corners = TensorData::new(boxes.as_flattened().to_vec(), [boxes.len(), 2, 2]);
        self.boxes = (self.count > 0).then(|| Tensor::from_data(corners, &self.device));
        Ok(self)
    }

    /// Gives every prompt its points. Empty lists are as good as no points.
    ///
    /// # Errors
    /// Another number of lists than prompts, lists of differing length, or a coordinate that is not finite.
    pub fn with_points(mut self, points: &[Vec<Point>]) -> Result<Self, Error> {
        self.expect("point lists", points.len())?;
        let expected = points.first().map_or(0, Vec::len);
        if let Some((index, list)) = points.iter().enumerate().find(|(_, list)| list.len() != expected) {
            return Err(Error::PointCount { index, found: list.len(), expected });
        }
        finite(
            points
                .iter()
                .enumerate()
                .flat_map(|(i, list)| list.iter().flat_map(move |p| [(i, p.x), (i, p.y)])),
        )?;
        let coords: Vec<f32> = points.iter().flatten().flat_map(|p| [p.x, p.y]).collect();
        let labels: Vec<PointLabel> = points.iter().flatten().map(|p| p.label).collect();
        self.points = (!labels.is_empty()).then(|| {
            let coords = TensorData::new(coords, [self.count, expected, 2]);
            (Tensor::from_data(coords, &self.device), labels)
        });
        Ok(self)
    }

    /// Gives every prompt a mask of logits, `[n, 1, 4g, 4g]`, on the grid of the mask decoder's output.
    ///
    /// # Errors
    /// Another number of masks than prompts.
    pub fn with_masks(mut self, masks: Tensor<B, 4>) -> Result<Self, Error> {
        self.expect("masks", masks.dims()[0])?;
        self.masks = Some(masks);
        Ok(self)
    }

    /// How many prompts there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no prompts.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn expect(&self, what: &'static str, found: usize) -> Result<(), Error> {
        if found == self.count {
            Ok(())
        } else {
            Err(Error::PromptCount { what, found, expected: self.count })
        }
    }
}

fn finite(coordinates: impl IntoIterator<Item = (usize, f32)>) -> Result<(), Error> {
    match coordinates.into_iter().find(|(_, c)| !c.is_finite()) {
        Some((index, value)) => Err(Error::Coordinate { index, value }),
        None => Ok(()),
    }
}

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

    /// Embeds a batch of prompts.
    ///
    /// Tokens are in the order of `transformers`: points, the point that says "no box" where there is none, box corners.
    ///
    /// # Panics
    /// Where burn does: mask prompts of another size than `[n, 1, 4g, 4g]`, or no prompt at all.
    pub fn forward(&self, prompts: &Prompts<B>) -> PromptEmbeddings<B> {
        let points = prompts.points.as_ref().map(|(coords, labels)| {
            let tokens = self.embed_points(coords.clone(), labels);
            if prompts.boxes.is_some() { tokens } else { self.with_not_a_point(tokens) }
        });
        let boxes = prompts.boxes.as_ref().map(|corners| self.embed_boxes(corners.clone()));
        let tokens: Vec<_> = points.into_iter().chain(boxes).collect();
        let sparse = (!tokens.is_empty()).then(|| Tensor::cat(tokens, 1));
        let dense = match &prompts.masks {
            Some(masks) => self.mask_embed.forward(masks.clone()),
            None => {
                let none = self.no_mask_embed.weight.val();
                let channels = none.dims()[1];
                none.reshape([1, channels, 1, 1]).expand([prompts.count, channels, self.grid, self.grid])
            }
        };
        PromptEmbeddings { sparse, dense }
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
    fn embed_points(&self, coords: Tensor<B, 3>, labels: &[PointLabel]) -> Tensor<B, 3> {
        let [n, k, _] = coords.dims();
        let device = coords.device();
        // One where the label is among these, else zero, [n, k, 1]: multiplying by it is exact.
        let among = |wanted: &[PointLabel]| {
            let hot: Vec<f32> =
                labels.iter().map(|label| f32::from(u8::from(wanted.contains(label)))).collect();
            Tensor::<B, 3>::from_data(TensorData::new(hot, [n, k, 1]), &device)
        };
        let embedding = |e: &Embedding<B>| e.weight.val().unsqueeze::<3>();
        let [background, foreground] = [&self.point_embed[0], &self.point_embed[1]];
        self.encode(coords) * among(&[PointLabel::Foreground, PointLabel::Background])
            + embedding(background) * among(&[PointLabel::Background])
            + embedding(foreground) * among(&[PointLabel::Foreground])
            + embedding(&self.not_a_point_embed) * among(&[PointLabel::NotAPoint])
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
    conv1: Conv2d<B>,
    layer_norm1: LayerNorm<B>,
    conv2: Conv2d<B>,
    layer_norm2: LayerNorm<B>,
    conv3: Conv2d<B>,
    activation: Activation,
}

impl<B: Backend> MaskEmbedding<B> {
    fn new(config: &SamConfig, device: &B::Device) -> Self {
        let p = &config.prompt;
        let channels = p.mask_input_channels;
        let halving =
            |input, output| Conv2dConfig::new([input, output], [2, 2]).with_stride([2, 2]).init(device);
        Self {
            conv1: halving(1, channels / 4),
            layer_norm1: layer_norm(channels / 4, p.layer_norm_eps, device),
            conv2: halving(channels / 4, channels),
            layer_norm2: layer_norm(channels, p.layer_norm_eps, device),
            conv3: Conv2dConfig::new([channels, p.hidden_size], [1, 1]).init(device),
            activation: p.hidden_act,
        }
    }

    /// Logits `[n, 1, 4g, 4g]` to embeddings `[n, C, g, g]`.
    fn forward(&self, masks: Tensor<B, 4>) -> Tensor<B, 4> {
        let x = activate(self.activation, channel_norm(&self.layer_norm1, self.conv1.forward(masks)));
        let x = activate(self.activation, channel_norm(&self.layer_norm2, self.conv2.forward(x)));
        self.conv3.forward(x)
    }
}

/// A layer norm over the channels of `[b, c, h, w]`. (`SamLayerNorm`, channels first)
fn channel_norm<B: Backend>(norm: &LayerNorm<B>, x: Tensor<B, 4>) -> Tensor<B, 4> {
    norm.forward(x.permute([0, 2, 3, 1])).permute([0, 3, 1, 2])
}
