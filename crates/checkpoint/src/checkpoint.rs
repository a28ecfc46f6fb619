//! A checkpoint folder.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::config::SamConfig;
use crate::error::Error;
use crate::file::{NamedTensor, TensorFile};
use crate::table::{POSITIONAL_EMBEDDING, POSITIONAL_EMBEDDING_ALIAS, tensors};

/// The configuration's file name.
pub const CONFIG_FILE: &str = "config.json";
/// The weights' file name.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// The name of the file that says how images are prepared; every version of `transformers` reads this one.
pub const PREPROCESSOR_FILE: &str = "preprocessor_config.json";

/// A Hugging Face SAM checkpoint, opened and found complete.
#[derive(Debug)]
pub struct Checkpoint {
    config: SamConfig,
    file: TensorFile,
}

impl Checkpoint {
    /// Opens the checkpoint in a folder and checks it strictly. Weights are mapped, not read.
    ///
    /// # Errors
    /// Unreadable or impossible `config.json`, unreadable or truncated `model.safetensors`, tensors that are missing, unused or
    /// misshapen (all named in one error) or of a type other than F32, F16 and BF16.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let config = read_config(dir)?;
        let path = dir.join(WEIGHTS_FILE);
        let file = TensorFile::open(&path).map_err(|error| with_hint(error, dir))?;
        file.check(&tensors(&config))?;
        Ok(Self { config, file })
    }

    /// Does everything [`Checkpoint::open`] does and keeps nothing: a check to run before any work starts.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn check(dir: &Path) -> Result<SamConfig, Error> {
        Self::open(dir).map(|checkpoint| checkpoint.config)
    }

    /// The model's sizes.
    pub fn config(&self) -> &SamConfig {
        &self.config
    }

    /// The weights file.
    pub fn file(&self) -> &TensorFile {
        &self.file
    }

    /// Reads a tensor as f32. The positional frequencies are found under either of their names.
    ///
    /// # Errors
    /// A name that is no tensor of the model.
    pub fn tensor(&self, name: &str) -> Result<NamedTensor, Error> {
        let other = match name {
            POSITIONAL_EMBEDDING => POSITIONAL_EMBEDDING_ALIAS,
            POSITIONAL_EMBEDDING_ALIAS => POSITIONAL_EMBEDDING,
            _ => return self.file.tensor(name),
        };
        let held = if self.file.shape(name).is_some() { name } else { other };
        Ok(NamedTensor { name: name.into(), ..self.file.tensor(held)? })
    }
}

fn read_config(dir: &Path) -> Result<SamConfig, Error> {
    let path = dir.join(CONFIG_FILE);
    let text = fs::read_to_string(&path).map_err(|error| {
        let expected = "a folder with config.json and model.safetensors is expected";
        let hint = (error.kind() == ErrorKind::NotFound).then_some(expected);
        Error::Io { action: "read", path: path.clone(), source: hinted(error, hint) }
    })?;
    let config =
        SamConfig::from_json(&text).map_err(|message| Error::Config { path: path.clone(), message })?;
    config.validate().map_err(|source| Error::Impossible { path, source })?;
    Ok(config)
}

/// Says what to do when the weights are there in another form.
fn with_hint(error: Error, dir: &Path) -> Error {
    let Error::Io { action, path, source } = error else { return error };
    let beside = |name: &str| dir.join(name).exists();
    let form = if beside("model.safetensors.index.json") {
        Some("the weights are split into shards, which are not read")
    } else if beside("pytorch_model.bin") {
        Some("the weights are a pickle, which is not read")
    } else {
        None
    };
    let resave =
        "save it again with `SamModel.from_pretrained(...).save_pretrained(..., max_shard_size=\"100GB\")`";
    let hint = form.map(|form| format!("{form}; {resave}"));
    Error::Io { action, path, source: hinted(source, hint.as_deref()) }
}

/// The system's answer with a way out after it: a hint in the message before it would stand in the middle of the chain.
fn hinted(error: io::Error, hint: Option<&str>) -> io::Error {
    match hint {
        Some(hint) => io::Error::new(error.kind(), format!("{error}\nhint: {hint}")),
        None => error,
    }
}
