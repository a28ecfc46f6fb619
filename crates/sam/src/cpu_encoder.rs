//! The image encoder on the CPU, without tensors: what [`ImageEncoder`] computes, on slices and in few passes over memory.
//!
//! It is frozen, so nothing is kept for a way back. A block is three passes: rows of tokens to queries, keys and values; heads of
//! windows or of blocks of queries to what they attend to; rows of tokens through all that is left of the block. Each is spread
//! over threads by sizes alone, so their number changes no bit. `tests/cpu_encoder.rs` holds it to [`ImageEncoder`], which other
//! devices run, and `tests/parity.rs` to `transformers`.
//!
//! [`ImageEncoder`]: crate::ImageEncoder

use std::ops::Range;

use rayon::prelude::*;
use resect_checkpoint::{Checkpoint, NamedTensor, SamConfig};
use resect_kernels::{
    Into, Matrix, Positions, Scratch, Square, attend, each, gelu_in_place, matmul, normalise_rows,
    relu_in_place, round, transpose, vectorised,
};
use resect_numeric::{Activation, Precision};

use crate::Error;
use crate::layers::CHANNEL_NORM_EPS;

/// Tokens that one thread takes through a pass: their rows are the smallest products that are fast, and the more there are of
/// them the more threads have work.
const ROWS: usize = 256;
/// Window rows are stretched to a multiple of so many tokens, which vectors are then filled by.
const PITCH: usize = 16;

/// Turns images into embeddings, on the CPU. (`SamVisionEncoder`)
#[derive(Debug)]
pub struct CpuEncoder {
    patch: Linear,
    /// Channels of the image, and sides of a patch and of the image in pixels.
    pixels: [usize; 3],
    /// `[g * g, hidden]`
    position: Option<Vec<f32>>,
    layers: Vec<Layer>,
    neck: Neck,
    grid: usize,
    precision: Precision,
}

impl CpuEncoder {
    /// Loads the image encoder, whose products have operands rounded to `precision`.
    ///
    /// # Errors
    /// A tensor that cannot be read.
    pub fn load(checkpoint: &Checkpoint, precision: Precision) -> Result<Self, Error> {
        let source = &mut |name: &str| Ok(checkpoint.tensor(name)?);
        Loader { source, precision }.encoder(checkpoint.config())
    }

    /// An encoder with the random weights of [`resect_checkpoint::random`].
    ///
    /// # Errors
    /// A configuration of which no model can be built.
    pub fn random(config: &SamConfig, seed: u64, precision: Precision) -> Result<Self, Error> {
        config.validate()?;
        Loader { source: &mut crate::load::random_source(config, seed), precision }.encoder(config)
    }

    /// Pixels `[b, 3, S, S]`, normalised and padded ([`crate::normalise`]), to embeddings `[b, C, g, g]`.
    ///
    /// Images are independent of one another: those of a batch run side by side where there are threads, and each takes some
    /// 70 MB for itself in ViT-B.
    ///
    /// # Panics
    /// When there is no whole number of images.
    pub fn forward(&self, pixels: &[f32]) -> Vec<f32> {
        let [channels, _, side] = self.pixels;
        let image = channels * side * side;
        assert!(pixels.len().is_multiple_of(image), "{} values in images of {image}", pixels.len());
        let embedding = self.neck.conv1.outer() * self.grid * self.grid;
        let mut embeddings = vec![0.0; pixels.len() / image * embedding];
        let images = embeddings.par_chunks_mut(embedding).zip(pixels.par_chunks(image));
        images.for_each(|(embedding, pixels)| self.embed(pixels, embedding));
        embeddings
    }

    /// One image, `[3, S, S]`, to its embedding `[C, g, g]`.
    fn embed(&self, pixels: &[f32], embedding: &mut [f32]) {
        let hidden = self.patch.outer();
        let mut x = vec![0.0; self.grid * self.grid * hidden];
        x.par_chunks_mut(ROWS * hidden).enumerate().for_each_init(Vec::new, |patches, (block, x)| {
            let tokens = block * ROWS..block * ROWS + x.len() / hidden;
            self.patches(pixels, tokens.clone(), patches);
            round(self.precision, patches);
            match &self.position {
                Some(position) => x.copy_from_slice(&position[tokens.start * hidden..tokens.end * hidden]),
                None => x.fill(0.0),
            }
            self.patch.add_to(x, patches);
        });
        let mut buffers = Buffers::default();
        for layer in &self.layers {
            layer.forward(&mut x, self.grid, self.precision, &mut buffers);
        }
        drop(buffers);
        self.neck.forward(&x, self.grid, self.precision, embedding);
    }

    /// The pixels of each token, `[tokens, channels * patch * patch]`.
    fn patches(&self, pixels: &[f32], tokens: Range<usize>, out: &mut Vec<f32>) {
        let [channels, patch, side] = self.pixels;
        out.clear();
        for token in tokens {
            let (top, left) = (token / self.grid * patch, token % self.grid * patch);
            for plane in pixels.chunks_exact(side * side).take(channels) {
                for row in top..top + patch {
                    out.extend_from_slice(&plane[row * side + left..][..patch]);
                }
            }
        }
    }
}

/// A linear layer.
#[derive(Debug)]
struct Linear {
    /// `[in, out]`, rounded as an operand.
    weight: Vec<f32>,
    /// `[out]`
    bias: Vec<f32>,
}

impl Linear {
    fn outer(&self) -> usize {
        self.bias.len()
    }

    fn inner(&self) -> usize {
        self.weight.len() / self.outer()
    }

    /// `y = x W + b`, row by row.
    fn apply(&self, x: &[f32], y: &mut [f32]) {
        y.chunks_exact_mut(self.outer()).for_each(|y| y.copy_from_slice(&self.bias));
        self.multiply(y, x);
    }

    /// `y += x W + b`, row by row.
    fn add_to(&self, y: &mut [f32], x: &[f32]) {
        vectorised(
            #[inline(always)]
            || y.chunks_exact_mut(self.outer()).for_each(|y| each(y, &self.bias, |y, bias| *y += bias)),
        );
        self.multiply(y, x);
    }

    fn multiply(&self, y: &mut [f32], x: &[f32]) {
        matmul(y, Matrix::new(x, self.inner()), Matrix::new(&self.weight, self.outer()), Into::Add);
    }
}

/// A layer norm.
#[derive(Debug)]
struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl Norm {
    /// The normalised rows as an operand.
    fn apply(&self, x: &[f32], y: &mut [f32], precision: Precision) {
        normalise_rows(x, &self.weight, &self.bias, self.epsilon, y);
        round(precision, y);
    }
}

/// A transformer block. (`SamVisionLayer`)
#[derive(Debug)]
struct Layer {
    norm1: Norm,
    qkv: Linear,
    positions: Option<Positions>,
    proj: Linear,
    norm2: Norm,
    mlp: [Linear; 2],
    activation: Activation,
    heads: usize,
    /// Side of the attention windows in tokens; none where attention is global.
    window: Option<usize>,
}

/// What a block hands from pass to pass.
#[derive(Debug, Default)]
struct Buffers {
    /// Queries, keys and values, `[tokens, 3 * hidden]`.
    qkv: Vec<f32>,
    /// What is attended to, `[units, heads, rows, head]`; see [`Units`].
    attended: Vec<f32>,
}

impl Layer {
    /// Tokens `[g * g, hidden]` to tokens, in place.
    fn forward(&self, x: &mut [f32], grid: usize, precision: Precision, buffers: &mut Buffers) {
        let hidden = self.proj.outer();
        let units = Units { grid, window: self.window };
        buffers.qkv.resize(3 * x.len(), 0.0);
        buffers.attended.resize(units.count() * units.rows() * hidden, 0.0);

        let rows = buffers.qkv.par_chunks_mut(ROWS * 3 * hidden).zip(x.par_chunks(ROWS * hidden));
        rows.for_each_init(Vec::new, |normed, (qkv, x)| {
            normed.resize(x.len(), 0.0);
            self.norm1.apply(x, normed, precision);
            self.qkv.apply(normed, qkv);
            round(precision, qkv);
        });

        let qkv = Matrix::new(&buffers.qkv, 3 * hidden);
        let parts = buffers.attended.par_chunks_mut(units.rows() * hidden / self.heads).enumerate();
        parts.for_each_init(Default::default, |(scratch, window), (part, out)| {
            let (unit, head) = (part / self.heads, part % self.heads);
            match self.window {
                Some(_) => self.attend_in_window(qkv, units, unit, head, precision, window, scratch, out),
                None => self.attend_everywhere(qkv, units, unit, head, precision, scratch, out),
            }
        });

        let attended = &buffers.attended;
        let rows = x.par_chunks_mut(ROWS * hidden).enumerate();
        rows.for_each_init(Default::default, |(narrow, wide): &mut (Vec<f32>, Vec<f32>), (block, x)| {
            narrow.resize(x.len(), 0.0);
            for (token, merged) in (block * ROWS..).zip(narrow.chunks_exact_mut(hidden)) {
                let (unit, row) = units.place(token);
                for (head, merged) in merged.chunks_exact_mut(hidden / self.heads).enumerate() {
                    let start = ((unit * self.heads + head) * units.rows() + row) * merged.len();
                    merged.copy_from_slice(&attended[start..][..merged.len()]);
                }
            }
            round(precision, narrow);
            self.proj.add_to(x, narrow);

            let [lin1, lin2] = &self.mlp;
            self.norm2.apply(x, narrow, precision);
            wide.resize(x.len() / hidden * lin1.outer(), 0.0);
            lin1.apply(narrow, wide);
            match self.activation {
                Activation::Gelu => gelu_in_place(wide),
                Activation::Relu => relu_in_place(wide),
            }
            round(precision, wide);
            lin2.add_to(x, wide);
        });
    }

    /// The channels of a head in the `part`th of queries, keys and values.
    fn channels(&self, part: usize, head: usize) -> Range<usize> {
        let (hidden, channels) = (self.proj.outer(), self.proj.outer() / self.heads);
        let start = part * hidden + head * channels;
        start..start + channels
    }

    fn scale(&self) -> f32 {
        ((self.proj.outer() / self.heads) as f32).powf(-0.5)
    }

    /// A block of queries among all keys.
    #[expect(clippy::too_many_arguments, reason = "as `attend`")]
    fn attend_everywhere(
        &self,
        qkv: Matrix<'_>,
        units: Units,
        unit: usize,
        head: usize,
        precision: Precision,
        scratch: &mut Scratch,
        out: &mut [f32],
    ) {
        let [q, keys, values] = [0, 1, 2].map(|part| qkv.columns(self.channels(part, head)));
        let first = unit * units.rows();
        let queries = q.rows(first..(first + units.rows()).min(units.grid * units.grid));
        let square = Square { keys, values, side: units.grid, pitch: units.grid };
        let out = &mut out[..queries.shape()[0] * queries.shape()[1]];
        let place = [first, units.grid];
        attend(queries, place, square, self.positions.as_ref(), self.scale(), precision, scratch, out);
    }

    /// The queries of a window among its keys.
    ///
    /// Where a window reaches over the image, there are zeros instead of normalised tokens: their keys and values are the biases,
    /// keys and values like any other, because checkpoints were trained so. Nobody asks what they attend to.
    #[expect(clippy::too_many_arguments, reason = "as `attend`")]
    fn attend_in_window(
        &self,
        qkv: Matrix<'_>,
        units: Units,
        unit: usize,
        head: usize,
        precision: Precision,
        window: &mut Window,
        scratch: &mut Scratch,
        out: &mut [f32],
    ) {
        let (side, [top, left], [height, width]) = (units.side(), units.corner(unit), units.size(unit));
        let [q, k, v] = [0, 1, 2].map(|part| self.channels(part, head));
        let (pitch, d) = (side.next_multiple_of(PITCH), q.len());
        let Window { queries, keys, values, outside } = window;
        queries.clear();
        for (part, out) in [(k, &mut *keys), (v, &mut *values)] {
            outside.clear();
            outside.extend_from_slice(&self.qkv.bias[part.clone()]);
            round(precision, outside);
            out.clear();
            for row in 0..side {
                for column in 0..side {
                    let token = (top + row) * units.grid + left + column;
                    let inside = row < height && column < width;
                    out.extend_from_slice(if inside { &qkv.row(token)[part.clone()] } else { outside });
                }
                out.resize((row + 1) * pitch * d, 0.0);
            }
        }
        for row in top..top + height {
            for column in left..left + width {
                queries.extend_from_slice(&qkv.row(row * units.grid + column)[q.clone()]);
            }
        }
        let out = &mut out[..queries.len()];
        let square = Square { keys: Matrix::new(keys, d), values: Matrix::new(values, d), side, pitch };
        let (queries, place) = (Matrix::new(queries, d), [0, width]);
        attend(queries, place, square, self.positions.as_ref(), self.scale(), precision, scratch, out);
    }
}

/// What of a window is gathered, for one head.
#[derive(Debug, Default)]
struct Window {
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    outside: Vec<f32>,
}

/// What attention is divided into beside heads: windows, or blocks of [`ROWS`] queries where it is global.
#[derive(Clone, Copy)]
struct Units {
    grid: usize,
    window: Option<usize>,
}

impl Units {
    fn side(self) -> usize {
        self.window.unwrap_or(self.grid)
    }

    /// Windows beside one another.
    fn across(self) -> usize {
        self.grid.div_ceil(self.side())
    }

    fn count(self) -> usize {
        match self.window {
            Some(_) => self.across() * self.across(),
            None => (self.grid * self.grid).div_ceil(ROWS),
        }
    }

    /// Room for queries that each unit has.
    fn rows(self) -> usize {
        self.window.map_or(ROWS, |side| side * side)
    }

    /// The first row and column of a window, in tokens.
    fn corner(self, unit: usize) -> [usize; 2] {
        [unit / self.across(), unit % self.across()].map(|place| place * self.side())
    }

    /// Rows and columns of a window that lie within the image.
    fn size(self, unit: usize) -> [usize; 2] {
        self.corner(unit).map(|start| self.side().min(self.grid - start))
    }

    /// The unit and the row within it of a token.
    fn place(self, token: usize) -> (usize, usize) {
        match self.window {
            Some(side) => {
                let (y, x) = (token / self.grid, token % self.grid);
                let unit = y / side * self.across() + x / side;
                (unit, y % side * self.size(unit)[1] + x % side)
            }
            None => (token / ROWS, token % ROWS),
        }
    }
}

/// Reduces the channels. (`SamVisionNeck`)
#[derive(Debug)]
struct Neck {
    /// Each place by itself.
    conv1: Linear,
    norm1: Norm,
    /// Each place with its eight neighbours, `[3 * 3 * C, C]`.
    conv2: Linear,
    norm2: Norm,
}

impl Neck {
    /// Tokens `[g * g, hidden]` to an embedding `[C, g, g]`.
    fn forward(&self, x: &[f32], grid: usize, precision: Precision, embedding: &mut [f32]) {
        let (hidden, channels) = (self.conv1.inner(), self.conv1.outer());
        let mut reduced = vec![0.0; grid * grid * channels];
        let rows = reduced.par_chunks_mut(ROWS * channels).zip(x.par_chunks(ROWS * hidden));
        rows.for_each_init(Default::default, |(operand, y): &mut (Vec<f32>, Vec<f32>), (reduced, x)| {
            operand.clear();
            operand.extend_from_slice(x);
            round(precision, operand);
            y.resize(reduced.len(), 0.0);
            self.conv1.apply(operand, y);
            self.norm1.apply(y, reduced, precision);
        });

        let mut y = vec![0.0; reduced.len()];
        let rows = y.par_chunks_mut(ROWS * channels).enumerate();
        rows.for_each_init(Default::default, |(around, z): &mut (Vec<f32>, Vec<f32>), (block, y)| {
            around.clear();
            for token in (block * ROWS..).take(y.len() / channels) {
                for neighbour in neighbours(token, grid) {
                    match neighbour {
                        Some(place) => around.extend_from_slice(&reduced[place * channels..][..channels]),
                        None => around.resize(around.len() + channels, 0.0),
                    }
                }
            }
            z.resize(y.len(), 0.0);
            self.conv2.apply(around, z);
            // The embedding itself is no operand.
            self.norm2.apply(z, y, Precision::F32);
        });
        transpose(&y, [grid * grid, channels], embedding);
    }
}

/// The places of a kernel of three by three around a token, row by row; none beyond the image.
fn neighbours(token: usize, grid: usize) -> impl Iterator<Item = Option<usize>> {
    let (y, x) = (token / grid, token % grid);
    let along = move |at: usize| (0..3).map(move |step| (at + step).checked_sub(1).filter(|at| *at < grid));
    along(y).flat_map(move |y| along(x).map(move |x| Some(y? * grid + x?)))
}

/// Takes the tensors of the layers by their names.
struct Loader<'a> {
    source: &'a mut dyn FnMut(&str) -> Result<NamedTensor, Error>,
    precision: Precision,
}

impl Loader<'_> {
    fn encoder(&mut self, config: &SamConfig) -> Result<CpuEncoder, Error> {
        let (v, grid) = (&config.vision, config.grid());
        let position = match v.use_abs_pos {
            true => Some(self.take("pos_embed", &[1, grid, grid, v.hidden_size])?),
            false => None,
        };
        Ok(CpuEncoder {
            patch: self.linear(
                "patch_embed.projection",
                &[v.hidden_size, v.num_channels, v.patch_size, v.patch_size],
                true,
            )?,
            pixels: [v.num_channels, v.patch_size, config.image_size()],
            position,
            layers: (0..v.num_hidden_layers)
                .map(|layer| self.layer(layer, config))
                .collect::<Result<_, _>>()?,
            neck: Neck {
                conv1: self.linear("neck.conv1", &[v.output_channels, v.hidden_size, 1, 1], false)?,
                norm1: self.norm("neck.layer_norm1", v.output_channels, CHANNEL_NORM_EPS)?,
                conv2: self.neighbourhood("neck.conv2", v.output_channels)?,
                norm2: self.norm("neck.layer_norm2", v.output_channels, CHANNEL_NORM_EPS)?,
            },
            grid,
            precision: self.precision,
        })
    }

    fn layer(&mut self, layer: usize, config: &SamConfig) -> Result<Layer, Error> {
        let v = &config.vision;
        let name = |part: &str| format!("layers.{layer}.{part}");
        let side = config.window(layer).unwrap_or(config.grid());
        let positions = match v.use_rel_pos {
            true => {
                let shape = [2 * side - 1, v.hidden_size / v.num_attention_heads];
                let by_row = self.take(&name("attn.rel_pos_h"), &shape)?;
                let by_column = self.take(&name("attn.rel_pos_w"), &shape)?;
                Some(Positions::new(&by_row, &by_column, side, self.precision))
            }
            false => None,
        };
        Ok(Layer {
            norm1: self.norm(&name("layer_norm1"), v.hidden_size, v.layer_norm_eps)?,
            qkv: self.linear(&name("attn.qkv"), &[3 * v.hidden_size, v.hidden_size], v.qkv_bias)?,
            positions,
            proj: self.linear(&name("attn.proj"), &[v.hidden_size, v.hidden_size], true)?,
            norm2: self.norm(&name("layer_norm2"), v.hidden_size, v.layer_norm_eps)?,
            mlp: [
                self.linear(&name("mlp.lin1"), &[v.mlp_dim, v.hidden_size], true)?,
                self.linear(&name("mlp.lin2"), &[v.hidden_size, v.mlp_dim], true)?,
            ],
            activation: v.hidden_act,
            heads: v.num_attention_heads,
            window: config.window(layer),
        })
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let name = format!("vision_encoder.{name}");
        let tensor = (self.source)(&name)?;
        if tensor.shape != shape {
            let message = format!("the model has the shape {shape:?}, the tensor {:?}", tensor.shape);
            return Err(Error::Parameter { name, message });
        }
        Ok(tensor.data)
    }

    fn norm(&mut self, name: &str, size: usize, epsilon: f64) -> Result<Norm, Error> {
        Ok(Norm {
            weight: self.take(&format!("{name}.weight"), &[size])?,
            bias: self.take(&format!("{name}.bias"), &[size])?,
            epsilon: epsilon as f32,
        })
    }

    /// A layer of weights `[out, ...]`, all other axes being one.
    fn linear(&mut self, name: &str, shape: &[usize], bias: bool) -> Result<Linear, Error> {
        let weight = self.take(&format!("{name}.weight"), shape)?;
        let (outer, inner) = (shape[0], weight.len() / shape[0]);
        let bias = if bias { self.take(&format!("{name}.bias"), &shape[..1])? } else { vec![0.0; outer] };
        let mut by_input = vec![0.0; weight.len()];
        transpose(&weight, [outer, inner], &mut by_input);
        round(self.precision, &mut by_input);
        Ok(Linear { weight: by_input, bias })
    }

    /// A convolution of three by three as a layer that takes the channels of one neighbour after the other.
    fn neighbourhood(&mut self, name: &str, channels: usize) -> Result<Linear, Error> {
        let Linear { weight, bias } = self.linear(name, &[channels, channels, 3, 3], false)?;
        let rows = (0..9).flat_map(|neighbour| (0..channels).map(move |channel| channel * 9 + neighbour));
        let weight = rows.flat_map(|row| &weight[row * channels..][..channels]).copied().collect();
        Ok(Linear { weight, bias })
    }
}
