//! LoRA in peft's format: a folder with `adapter_config.json` and `adapter_model.safetensors`.
//!
//! Reference: peft 0.21, `src/peft/tuners/lora/config.py`, `src/peft/utils/save_and_load.py`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use resect_checkpoint::{Mismatch, NamedTensor, SamConfig, TensorFile, write_safetensors};
use resect_numeric::BlockLayer;
use serde_json::{Value, json};

use crate::{DecoderTune, EncoderTune, LoraLayer, Tuned, Tuning, TuningError};

/// The settings of an adapter.
pub const CONFIG: &str = "adapter_config.json";
/// The weights of an adapter.
pub const WEIGHTS: &str = "adapter_model.safetensors";
/// What peft puts before the names of the model's layers.
const PREFIX: &str = "base_model.model.";

/// Settings of peft that change what an adapter computes, and what they must be to be plain LoRA.
const PLAIN: [(&str, bool); 3] = [("use_dora", false), ("use_rslora", false), ("fan_in_fan_out", false)];

/// Low-rank additions to a base model, read from a folder of peft.
#[derive(Debug)]
pub struct Adapter {
    dir: PathBuf,
    rank: usize,
    alpha: f64,
    tensors: BTreeMap<String, NamedTensor>,
}

impl Adapter {
    /// Reads an adapter.
    ///
    /// # Errors
    /// Files that cannot be read; an adapter that is not plain LoRA of one rank.
    pub fn read(dir: &Path) -> Result<Self, TuningError> {
        let path = dir.join(CONFIG);
        let refused = |message: String| TuningError::Adapter { path: path.clone(), message };
        let text = std::fs::read_to_string(&path).map_err(|e| refused(format!("cannot be read: {e}")))?;
        let config: Value = serde_json::from_str(&text).map_err(|e| refused(format!("is not JSON: {e}")))?;
        if config["peft_type"] != "LORA" {
            return Err(refused(format!("has peft_type {}; only \"LORA\" is read", config["peft_type"])));
        }
        for (field, expected) in PLAIN {
            if config[field].as_bool().unwrap_or(expected) != expected {
                return Err(refused(format!("has {field} = {}; only {expected} is read", config[field])));
            }
        }
        for field in ["rank_pattern", "alpha_pattern"] {
            if config[field].as_object().is_some_and(|pattern| !pattern.is_empty()) {
                return Err(refused(format!(
                    "has a {field}; only one rank and one alpha for all layers are read"
                )));
            }
        }
        let rank = config["r"].as_u64().filter(|rank| *rank > 0);
        let rank = rank.ok_or_else(|| refused(format!("has r = {}; a rank is expected", config["r"])))?;
        let alpha = config["lora_alpha"].as_f64();
        let alpha = alpha.ok_or_else(|| {
            refused(format!("has lora_alpha = {}; a number is expected", config["lora_alpha"]))
        })?;
        let tensors = TensorFile::open(&dir.join(WEIGHTS))?.read_weights()?.into_iter().map(|tensor| {
            let name = tensor.name.strip_prefix(PREFIX).unwrap_or(&tensor.name).to_owned();
            (name.clone(), NamedTensor { name, ..tensor })
        });
        Ok(Self { dir: dir.into(), rank: rank as usize, alpha, tensors: tensors.collect() })
    }

    /// Its tensors by the names of [`LoraLayer::factors`], when they are those that `tuning` adds.
    ///
    /// # Errors
    /// Another rank or another alpha; layers that `tuning` does not add to, or that the adapter lacks.
    pub fn matched(
        self,
        tuning: &Tuning,
        config: &SamConfig,
    ) -> Result<BTreeMap<String, NamedTensor>, TuningError> {
        let Self { dir, rank, alpha, tensors } = self;
        let refused = |file: &str, message: String| TuningError::Adapter { path: dir.join(file), message };
        let encoder = &tuning.encoder;
        if (rank, alpha) != (tuning.rank(), encoder.alpha) {
            return Err(refused(
                CONFIG,
                format!(
                    "has r = {rank} and lora_alpha = {alpha}; train.encoder.rank is {} and train.encoder.alpha is {}, and they \
                     must be equal",
                    encoder.rank, encoder.alpha
                ),
            ));
        }
        let expected: BTreeMap<String, [usize; 2]> = tuning
            .lora(config)?
            .iter()
            .flat_map(|layer| layer.factors().into_iter().zip(layer.shapes(rank)))
            .collect();
        for (name, shape) in &expected {
            match tensors.get(name) {
                Some(tensor) if tensor.shape == *shape => {}
                Some(tensor) => {
                    let found = &tensor.shape;
                    return Err(refused(
                        WEIGHTS,
                        format!("has `{name}` of shape {found:?}; the model's is {shape:?}"),
                    ));
                }
                None => {
                    let message = format!(
                        "lacks `{name}`, which train.encoder.blocks and train.encoder.targets name; set them as the adapter has \
                         them"
                    );
                    return Err(refused(WEIGHTS, message));
                }
            }
        }
        let saved: BTreeSet<String> = tuning.tuned(config)?.into_iter().map(|(name, _)| name).collect();
        match tensors.keys().find(|name| !saved.contains(*name)) {
            Some(name) => Err(refused(
                WEIGHTS,
                format!("has `{name}`, which train.encoder and train.decoder do not tune"),
            )),
            None => Ok(tensors),
        }
    }
}

/// Writes what was tuned as a folder that `PeftModel.from_pretrained` opens: LoRA unmerged, and the mask decoder as a module that is
/// saved beside it. `base` names the base model in it.
///
/// peft knows no addition to a part of a layer. Additions to queries, keys and values of their own become one of the layer, of a rank
/// that is the sum of theirs and with zeros where none of them adds; it computes the same.
///
/// # Errors
/// Tuning that is not LoRA; a folder that cannot be written.
pub fn write_peft(dir: &Path, tuned: &Tuned<'_>, base: &str) -> Result<(), TuningError> {
    let (tuning, config, tensors) = (tuned.tuning(), tuned.base().config(), tuned.tensors());
    if tuning.encoder.tune != EncoderTune::Lora {
        return Err(TuningError::NoAdapter);
    }
    let layers = tuning.lora(config)?;
    let mut by_weight: BTreeMap<String, Vec<&LoraLayer>> = BTreeMap::new();
    for layer in &layers {
        by_weight.entry(layer.weight()).or_default().push(layer);
    }
    let parts = by_weight.values().map(Vec::len).max().unwrap_or(1);
    let rank = tuning.rank() * parts;
    let mut written = Vec::new();
    for (weight, layers) in &by_weight {
        let from = layers[0].from;
        let to = if layers.iter().any(|layer| is_part(layer.layer)) { 3 * from } else { layers[0].to };
        let (mut a, mut b) = (vec![0f32; rank * from], vec![0f32; to * rank]);
        for (i, layer) in layers.iter().enumerate() {
            let [of_a, of_b] = layer.factors().map(|name| {
                let missing = || Mismatch { missing: vec![name.clone()], ..Mismatch::default() };
                tensors.get(&name).ok_or_else(missing)
            });
            let (of_a, of_b, start) = (of_a?, of_b?, i * tuning.rank());
            a[start * from..][..of_a.data.len()].copy_from_slice(&of_a.data);
            for (row, values) in layer.rows().zip(of_b.data.chunks_exact(tuning.rank())) {
                b[row * rank + start..][..values.len()].copy_from_slice(values);
            }
        }
        let layer = weight.strip_suffix(".weight").unwrap_or(weight);
        for (factor, shape, data) in [("A", vec![rank, from], a), ("B", vec![to, rank], b)] {
            written.push(NamedTensor { name: format!("{PREFIX}{layer}.lora_{factor}.weight"), shape, data });
        }
    }
    let targets: Vec<&str> = by_weight.keys().filter_map(|name| name.strip_suffix(".weight")).collect();
    let decoder = tensors.iter().filter(|(name, _)| !name.contains(".lora_"));
    written.extend(
        decoder.map(|(name, tensor)| NamedTensor { name: format!("{PREFIX}{name}"), ..tensor.clone() }),
    );
    let saved = (tuning.decoder.tune == DecoderTune::Full).then(|| vec!["mask_decoder"]);
    let written_config = json!({
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "lora_alpha": tuning.scale() * rank as f64,
        "lora_dropout": 0.0,
        "modules_to_save": saved,
        "peft_type": "LORA",
        "r": rank,
        "target_modules": targets,
        "task_type": null,
        "use_dora": false,
        "use_rslora": false,
    });
    let path = dir.join(CONFIG);
    let failed = |e: std::io::Error| TuningError::Adapter {
        path: path.clone(),
        message: format!("cannot be written: {e}"),
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    write_safetensors(&dir.join(WEIGHTS), written, None)?;
    std::fs::write(&path, format!("{written_config:#}\n")).map_err(failed)
}

fn is_part(layer: BlockLayer) -> bool {
    matches!(layer, BlockLayer::Q | BlockLayer::K | BlockLayer::V)
}
