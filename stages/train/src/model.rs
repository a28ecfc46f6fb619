//! The model that learns: the mask decoder, and the image encoder where it is tuned, too.

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use resect_checkpoint::{Checkpoint, NamedTensor, SamConfig};
use resect_encoder::ImageEncoder;
use resect_layers::{Layers, LoadError, LowRank, chosen_tensors, load_parameters};
use resect_numeric::{Place, Precision};
use resect_sam::{MaskDecoder, is_idle, is_operand, repeat_per_prompt};
use resect_tuning::{Adapter, EncoderPart, Tuning};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use crate::TrainError;

/// What the parts of the model are named by, so that each parameter has its Hugging Face name.
#[derive(Module, Debug)]
pub struct Model<B: Backend> {
    /// Only where it is tuned. Blocks before the first tuned one are not loaded.
    vision_encoder: Option<ImageEncoder<B>>,
    mask_decoder: MaskDecoder<B>,
}

/// How a parameter is tuned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is an operand of products, and learns.
    Operand,
    /// It is a summand or a factor, and learns.
    Other,
    /// It only decays.
    Idle,
}

/// Which parameters are tuned, and how.
#[derive(Clone, Debug)]
pub struct Roles {
    tuning: Tuning,
    place: Place,
    /// By name; what is frozen, or stays as it came, is not in it.
    roles: HashMap<String, Role>,
    /// The tensors of a checkpoint, in their order.
    stored: Vec<(String, Vec<usize>)>,
}

impl Roles {
    /// The parameters of a model that `tuning` names.
    ///
    /// # Errors
    /// A choice that does not fit the model.
    pub fn new(config: &SamConfig, tuning: &Tuning) -> Result<Self, TrainError> {
        tuning.check(config)?;
        let stored = tuning.tuned(config)?;
        let role = |(name, _): &(String, _)| Some((name.clone(), role(name)?));
        let roles = stored.iter().filter_map(role).collect();
        Ok(Self { tuning: tuning.clone(), place: tuning.place(config)?, roles, stored })
    }

    /// The same parameters of a model that takes features of another place before the tuned part: what lies between is computed each
    /// time.
    pub fn from_place(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// The place of the features that the model takes.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Name and shape of the tensors of a checkpoint, in their order.
    pub fn stored(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.stored.iter().map(|(name, shape)| (name.as_str(), shape.as_slice()))
    }

    /// How a parameter is tuned, by its name; none where it is frozen.
    pub fn of(&self, name: &str) -> Option<Role> {
        self.roles.get(name).copied()
    }

    /// Whether a parameter, by its name, gets a gradient.
    pub fn learns(&self, name: &str) -> bool {
        matches!(self.of(name), Some(Role::Operand | Role::Other))
    }

    /// The tensors that training begins with: the base's, and low-rank additions, of an adapter or zero.
    ///
    /// # Errors
    /// Tensors that cannot be read; an adapter of other layers than those that are tuned.
    pub fn initial(
        &self,
        base: &Checkpoint,
        adapter: Option<&Path>,
        seed: u64,
    ) -> Result<Vec<NamedTensor>, TrainError> {
        let config = base.config();
        let mut added: BTreeMap<String, NamedTensor> = match adapter {
            Some(dir) => Adapter::read(dir)?.matched(&self.tuning, config)?,
            None => BTreeMap::new(),
        };
        for layer in self.tuning.lora(config)?.iter().filter(|_| adapter.is_none()) {
            let factors = layer.initial(self.tuning.rank(), seed);
            added.extend(factors.map(|tensor| (tensor.name.clone(), tensor)));
        }
        let tensor = |(name, _): &(String, _)| match added.remove(name) {
            Some(tensor) => Ok(tensor),
            None => Ok(base.tensor(name)?),
        };
        self.stored.iter().map(tensor).collect()
    }
}

/// None for the IoU head, which a single mask teaches nothing.
fn role(name: &str) -> Option<Role> {
    match name {
        _ if name.starts_with("mask_decoder.iou_prediction_head.") => None,
        _ if is_idle(name) => Some(Role::Idle),
        _ if is_operand(name) => Some(Role::Operand),
        _ => Some(Role::Other),
    }
}

impl<B: Backend> Model<B> {
    /// A model of the right shape whose parameters are not loaded yet.
    fn unloaded(
        config: &SamConfig,
        tuning: &Tuning,
        place: Place,
        device: &B::Device,
    ) -> Result<Self, TrainError> {
        let mut encoder = match place {
            Place::Neck => None,
            Place::Pixels | Place::Block(_) => Some(ImageEncoder::new(config, device)),
        };
        if let Some(encoder) = &mut encoder {
            for layer in tuning.lora(config)? {
                let addition = LowRank::new([layer.from, layer.to], tuning.rank(), tuning.scale(), device);
                encoder.add_low_rank(layer.block, layer.layer, addition);
            }
        }
        Ok(Self { vision_encoder: encoder, mask_decoder: MaskDecoder::new(config, device) })
    }

    /// The model with the tuned tensors `tensors`, and those of `base` where others are `needed`.
    ///
    /// # Errors
    /// Tensors that are missing, misshapen, or not those that are tuned; others that the base lacks.
    pub fn load(
        config: &SamConfig,
        roles: &Roles,
        tensors: Vec<NamedTensor>,
        base: Option<&Checkpoint>,
        needed: Needed,
        device: &B::Device,
    ) -> Result<Self, TrainError> {
        let mut tensors: BTreeMap<String, NamedTensor> = roles.tuning.matched(config, tensors)?;
        let tuned: HashSet<String> = tensors.keys().cloned().collect();
        let skipped = match roles.place {
            Place::Block(first) => first,
            Place::Pixels | Place::Neck => 0,
        };
        let is_skipped = |name: &str| {
            let Some(part) = EncoderPart::of(name) else { return false };
            match part {
                EncoderPart::Block(block) => block < skipped,
                EncoderPart::Before => skipped > 0,
                EncoderPart::Neck => false,
            }
        };
        let wanted = |name: &str| match needed {
            Needed::All => !is_skipped(name),
            Needed::Tuned => tuned.contains(name),
        };
        let source = &mut |name: &str| match (tensors.remove(name), base) {
            (Some(tensor), _) => Ok(tensor),
            (None, Some(base)) => base.tensor(name).map_err(LoadError::from),
            (None, None) => Err(LoadError::unknown(name)),
        };
        let model = Self::unloaded(config, &roles.tuning, roles.place, device)?;
        Ok(load_parameters(model, "", wanted, source, device).map_err(resect_sam::Error::from)?)
    }

    /// The tensors of a checkpoint.
    pub fn tensors(&self, roles: &Roles) -> Vec<NamedTensor> {
        let stored: HashSet<&str> = roles.stored.iter().map(|(name, _)| name.as_str()).collect();
        chosen_tensors(self, "", |name| stored.contains(name))
    }

    /// Whether the image encoder is part of it.
    pub fn encodes(&self) -> bool {
        self.vision_encoder.is_some()
    }

    /// The mask decoder.
    pub fn decoder(&self) -> &MaskDecoder<B> {
        &self.mask_decoder
    }
}

/// Which parameters of a model are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// All that it computes with.
    All,
    /// Those that are tuned.
    Tuned,
}

impl<B: Layers> Model<B> {
    /// The same model, with the operands of its products rounded to `precision`.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self {
            vision_encoder: self.vision_encoder.map(|encoder| encoder.with_precision(precision)),
            mask_decoder: self.mask_decoder.with_precision(precision),
        }
    }

    /// Features of images at a place, `[m, ...]`, to embeddings of `n` samples, `[n, C, g, g]`. There is an image for each sample, or one
    /// for all.
    pub fn embeddings(&self, place: Place, features: Tensor<B, 4>, samples: usize) -> Tensor<B, 4> {
        let embeddings = match &self.vision_encoder {
            Some(encoder) => encoder.forward_from(place, features),
            None => features,
        };
        match embeddings.dims()[0] {
            images if images == samples => embeddings,
            _ => repeat_per_prompt(embeddings, samples),
        }
    }
}
