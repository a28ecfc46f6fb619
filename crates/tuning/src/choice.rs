use crate::{Blocks, LoraLayer, LoraTarget, TuningError};
use resect_checkpoint::SamConfig;
use resect_numeric::Place;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::marker::PhantomData;

/// What the names of the image encoder's tensors begin with.
const ENCODER: &str = "vision_encoder.";
/// What the names of the mask decoder's tensors begin with.
const DECODER: &str = "mask_decoder.";

/// What is tuned of a model. The prompt encoder is always frozen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tuning {
    /// What is tuned of the image encoder.
    #[serde(deserialize_with = "table")]
    pub encoder: EncoderTuning,
    /// What is tuned of the mask decoder.
    #[serde(deserialize_with = "table")]
    pub decoder: DecoderTuning,
}

/// Reads settings that stand in a table. serde would take a list for one, too.
///
/// # Errors
/// Anything but a table of these settings.
pub fn table<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Table<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Table<T> {
        type Value = T;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a table of settings")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }
    deserializer.deserialize_map(Table(PhantomData))
}

/// What is tuned of the image encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EncoderTuning {
    /// How it is tuned.
    pub tune: EncoderTune,
    /// The blocks that are tuned.
    pub blocks: Blocks,
    /// With `tune = "lora"`: the layers of these blocks that get a low-rank addition.
    pub targets: Vec<LoraTarget>,
    /// With `tune = "lora"`: the rank of each addition.
    pub rank: u32,
    /// With `tune = "lora"`: each addition is multiplied by `alpha / rank`.
    pub alpha: f64,
}

impl Default for EncoderTuning {
    fn default() -> Self {
        Self {
            tune: EncoderTune::None,
            blocks: Blocks::All,
            targets: vec![LoraTarget::Qkv],
            rank: 8,
            alpha: 8.0,
        }
    }
}

impl EncoderTuning {
    /// What a strategy tunes of the image encoder, by its name in `train.strategy` ([`STRATEGIES`]).
    pub fn of_strategy(name: &str) -> Option<Self> {
        let lora = Self { tune: EncoderTune::Lora, ..Self::default() };
        Some(match name {
            "decoder" => Self::default(),
            "lora" => lora,
            "late-lora" => Self {
                blocks: Blocks::Late,
                targets: vec![LoraTarget::Qkv, LoraTarget::Mlp],
                rank: 16,
                alpha: 16.0,
                ..lora
            },
            "full" => Self { tune: EncoderTune::Full, ..Self::default() },
            _ => return None,
        })
    }
}

/// The names of the strategies.
pub const STRATEGIES: [&str; 4] = ["decoder", "lora", "late-lora", "full"];

/// How the image encoder is tuned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EncoderTune {
    /// It is frozen, and each image is encoded once for all.
    #[default]
    None,
    /// Low-rank additions to the weights of some layers. (Hu et al., 2021)
    Lora,
    /// All parameters of the chosen blocks and of the neck; with all blocks also the patch embedding and the positions.
    Full,
}

/// What is tuned of the mask decoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecoderTuning {
    /// How it is tuned.
    pub tune: DecoderTune,
}

/// How the mask decoder is tuned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecoderTune {
    /// All parameters that the loss depends on.
    #[default]
    Full,
    /// It is frozen.
    None,
}

impl Tuning {
    /// Checks that the choice fits a model, and that something is tuned.
    ///
    /// # Errors
    /// The first setting that the model cannot have.
    pub fn check(&self, config: &SamConfig) -> Result<(), TuningError> {
        let refused = |setting, message: String| Err(TuningError::Setting { setting, message });
        let encoder = &self.encoder;
        match encoder.tune {
            EncoderTune::None if self.decoder.tune == DecoderTune::None => {
                return refused(
                    "train.decoder.tune",
                    "must be \"full\" where train.encoder.tune = \"none\": nothing would be tuned".into(),
                );
            }
            EncoderTune::None => return Ok(()),
            EncoderTune::Full => {}
            EncoderTune::Lora => {
                let LoraSizes { hidden, .. } = LoraSizes::of(config);
                if encoder.rank == 0 || encoder.rank as usize > hidden {
                    return refused(
                        "train.encoder.rank",
                        format!("must be from 1 to the encoder's {hidden} channels, is {}", encoder.rank),
                    );
                }
                if !(encoder.alpha.is_finite() && encoder.alpha > 0.0) {
                    return refused(
                        "train.encoder.alpha",
                        format!("must be above 0 and finite, is {}", encoder.alpha),
                    );
                }
                if encoder.targets.is_empty() {
                    return refused("train.encoder.targets", "must name a layer, such as \"qkv\"".into());
                }
                let mut seen = Vec::new();
                for target in &encoder.targets {
                    if seen.contains(target) {
                        return refused("train.encoder.targets", format!("names {target} twice"));
                    }
                    seen.push(*target);
                }
            }
        }
        self.blocks(config).map(drop)
    }

    /// The tuned blocks of the image encoder, in ascending order; none where it is frozen.
    ///
    /// # Errors
    /// Blocks that the model does not have.
    pub fn blocks(&self, config: &SamConfig) -> Result<Vec<usize>, TuningError> {
        if self.encoder.tune == EncoderTune::None {
            return Ok(Vec::new());
        }
        let blocks = self.encoder.blocks.of(config.vision.num_hidden_layers);
        blocks.map_err(|message| TuningError::Setting { setting: "train.encoder.blocks", message })
    }

    /// Where the part of the model that is tuned begins: what comes before it is frozen, so the features there are computed once.
    ///
    /// # Errors
    /// Blocks that the model does not have.
    pub fn place(&self, config: &SamConfig) -> Result<Place, TuningError> {
        Ok(match self.blocks(config)?.first() {
            None => Place::Neck,
            Some(0) => Place::Pixels,
            Some(first) => Place::Block(*first),
        })
    }

    /// The low-rank additions.
    ///
    /// # Errors
    /// Blocks that the model does not have.
    pub fn lora(&self, config: &SamConfig) -> Result<Vec<LoraLayer>, TuningError> {
        if self.encoder.tune != EncoderTune::Lora {
            return Ok(Vec::new());
        }
        let sizes = LoraSizes::of(config);
        let blocks = self.blocks(config)?.into_iter();
        let layers = blocks.flat_map(|block| {
            let layers = self.encoder.targets.iter().flat_map(|target| target.layers());
            layers.map(move |layer| LoraLayer::new(block, *layer, sizes)).collect::<Vec<_>>()
        });
        Ok(layers.collect())
    }

    /// The rank of low-rank additions.
    pub fn rank(&self) -> usize {
        self.encoder.rank as usize
    }

    /// What low-rank additions are multiplied by.
    pub fn scale(&self) -> f64 {
        self.encoder.alpha / f64::from(self.encoder.rank)
    }

    /// Whether a tensor of the base model, by its name, is tuned itself. `blocks` are those of [`Tuning::blocks`].
    pub fn changes(&self, name: &str, blocks: &[usize], config: &SamConfig) -> bool {
        if name.starts_with(DECODER) {
            return self.decoder.tune == DecoderTune::Full;
        }
        if self.encoder.tune != EncoderTune::Full {
            return false;
        }
        match EncoderPart::of(name) {
            Some(EncoderPart::Block(block)) => blocks.contains(&block),
            Some(EncoderPart::Before) => blocks.len() == config.vision.num_hidden_layers,
            Some(EncoderPart::Neck) => true,
            None => false,
        }
    }
}

/// The part of the image encoder that a tensor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncoderPart {
    /// The patch embedding or the positions, before the first block.
    Before,
    /// A block, counted from 0.
    Block(usize),
    /// The neck.
    Neck,
}

impl EncoderPart {
    /// The part of a tensor by its name; none of a tensor that is not the image encoder's.
    pub fn of(name: &str) -> Option<Self> {
        let name = name.strip_prefix(ENCODER)?;
        if name.starts_with("neck.") {
            return Some(Self::Neck);
        }
        let block = name.strip_prefix("layers.").and_then(|name| name.split('.').next()?.parse().ok());
        Some(block.map_or(Self::Before, Self::Block))
    }
}

/// The sizes of the encoder's linear layers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoraSizes {
    pub hidden: usize,
    pub mlp: usize,
}

impl LoraSizes {
    fn of(config: &SamConfig) -> Self {
        Self { hidden: config.vision.hidden_size, mlp: config.vision.mlp_dim }
    }
}

#[cfg(test)]
mod tests;
