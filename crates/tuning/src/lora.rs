use crate::choice::LoraSizes;
use resect_checkpoint::NamedTensor;
use resect_numeric::BlockLayer;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The layers of a block that get a low-rank addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoraTarget {
    /// The projection to queries, keys and values, as one layer.
    Qkv,
    /// The projection to queries alone.
    Q,
    /// The projection to keys alone.
    K,
    /// The projection to values alone.
    V,
    /// The projection of what was attended to.
    Proj,
    /// Both layers of the MLP.
    Mlp,
}

impl LoraTarget {
    pub(crate) fn layers(self) -> &'static [BlockLayer] {
        match self {
            Self::Qkv => &[BlockLayer::Qkv],
            Self::Q => &[BlockLayer::Q],
            Self::K => &[BlockLayer::K],
            Self::V => &[BlockLayer::V],
            Self::Proj => &[BlockLayer::Proj],
            Self::Mlp => &[BlockLayer::Lin1, BlockLayer::Lin2],
        }
    }
}

impl std::fmt::Display for LoraTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Qkv => "\"qkv\"",
            Self::Q => "\"q\"",
            Self::K => "\"k\"",
            Self::V => "\"v\"",
            Self::Proj => "\"proj\"",
            Self::Mlp => "\"mlp\"",
        })
    }
}

/// A low-rank addition to the weight of a layer, `[to, from]` in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoraLayer {
    /// Of which block, from 0.
    pub block: usize,
    /// To which layer.
    pub layer: BlockLayer,
    /// Inputs of the layer.
    pub from: usize,
    /// Outputs of the addition.
    pub to: usize,
}

impl LoraLayer {
    pub(crate) fn new(block: usize, layer: BlockLayer, LoraSizes { hidden, mlp }: LoraSizes) -> Self {
        let (from, to) = match layer {
            BlockLayer::Qkv => (hidden, 3 * hidden),
            BlockLayer::Q | BlockLayer::K | BlockLayer::V | BlockLayer::Proj => (hidden, hidden),
            BlockLayer::Lin1 => (hidden, mlp),
            BlockLayer::Lin2 => (mlp, hidden),
        };
        Self { block, layer, from, to }
    }

    fn path(&self, layer: &str) -> String {
        format!("vision_encoder.layers.{}.{layer}", self.block)
    }

    /// The name of the weight that it is added to.
    pub fn weight(&self) -> String {
        self.path(match self.layer {
            BlockLayer::Qkv | BlockLayer::Q | BlockLayer::K | BlockLayer::V => "attn.qkv.weight",
            BlockLayer::Proj => "attn.proj.weight",
            BlockLayer::Lin1 => "mlp.lin1.weight",
            BlockLayer::Lin2 => "mlp.lin2.weight",
        })
    }

    /// The rows of that weight that it is added to.
    pub fn rows(&self) -> Range<usize> {
        let start = match self.layer {
            BlockLayer::K => self.to,
            BlockLayer::V => 2 * self.to,
            _ => 0,
        };
        start..start + self.to
    }

    /// The names of the factors `A` `[rank, from]` and `B` `[to, rank]`.
    pub fn factors(&self) -> [String; 2] {
        let path = self.path(match self.layer {
            BlockLayer::Qkv => "attn.qkv",
            BlockLayer::Q => "attn.q",
            BlockLayer::K => "attn.k",
            BlockLayer::V => "attn.v",
            BlockLayer::Proj => "attn.proj",
            BlockLayer::Lin1 => "mlp.lin1",
            BlockLayer::Lin2 => "mlp.lin2",
        });
        ["A", "B"].map(|factor| format!("{path}.lora_{factor}.weight"))
    }

    /// The shapes of the factors.
    pub fn shapes(&self, rank: usize) -> [[usize; 2]; 2] {
        [[rank, self.from], [self.to, rank]]
    }

    /// The factors that training begins with: `A` uniform within `1 / sqrt(from)`, `B` zero, so that the addition is zero.
    /// (peft, `LoraLayer.reset_lora_parameters`: Kaiming's uniform with `a = sqrt(5)`)
    pub fn initial(&self, rank: usize, seed: u64) -> [NamedTensor; 2] {
        let ([a, b], [shape_a, shape_b]) = (self.factors(), self.shapes(rank));
        let mut rng = resect_seed::stream("lora", seed, &[a.as_bytes()]);
        let bound = 1.0 / (self.from as f64).sqrt();
        let numbers =
            (0..rank * self.from).map(|_| ((2.0 * resect_seed::unit(&mut rng) - 1.0) * bound) as f32);
        [
            NamedTensor { name: a, shape: shape_a.to_vec(), data: numbers.collect() },
            NamedTensor { name: b, shape: shape_b.to_vec(), data: vec![0.0; self.to * rank] },
        ]
    }

    /// Adds `scale * B A` to the rows of a weight `[_, from]` that it belongs to.
    pub(crate) fn add_to(&self, weight: &mut [f32], [a, b]: [&[f32]; 2], scale: f64) {
        let rank = a.len() / self.from;
        let rows =
            weight[self.rows().start * self.from..self.rows().end * self.from].chunks_exact_mut(self.from);
        for (row, b) in rows.zip(b.chunks_exact(rank)) {
            let mut sum = vec![0f32; self.from];
            for (b, a) in b.iter().zip(a.chunks_exact(self.from)) {
                sum.iter_mut().zip(a).for_each(|(sum, a)| *sum += b * a);
            }
            row.iter_mut().zip(sum).for_each(|(weight, sum)| *weight += scale as f32 * sum);
        }
    }
}
