//! A checkpoint: a folder, or a single file.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::config::SamConfig;
use crate::error::Error;
use crate::file::{Lazy, NamedTensor, TensorFile, write_views};
use crate::original;
use crate::state_dict;
use crate::table::{POSITIONAL_EMBEDDING, POSITIONAL_EMBEDDING_ALIAS, Part, part_tensors, tensors};

/// The configuration's file name.
pub const CONFIG_FILE: &str = "config.json";
/// The weights' file name.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// The name of the file that says how images are prepared; every version of `transformers` reads this one.
pub const PREPROCESSOR_FILE: &str = "preprocessor_config.json";

/// How weights may be called where [`WEIGHTS_FILE`] is not there.
const WEIGHTS_EXTENSIONS: [&str; 4] = ["safetensors", "pth", "pt", "bin"];

/// Whose names the tensors of a file have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Those of `transformers`.
    Transformers,
    /// Those of the original code.
    Original,
}

/// A SAM checkpoint, opened and found complete. Its tensors go by the names of `transformers`, whatever the file has.
#[derive(Debug)]
pub struct Checkpoint {
    config: SamConfig,
    config_file: Option<PathBuf>,
    layout: Layout,
    file: TensorFile,
}

impl Checkpoint {
    /// Opens the checkpoint in a folder, or a single file of weights, and checks it strictly. Weights are mapped, not read.
    ///
    /// In a folder the weights are [`WEIGHTS_FILE`], else the one file that can be them. The `config.json` beside the weights
    /// says what the model is; without one, a file of the original layout tells by its shapes.
    ///
    /// # Errors
    /// Unreadable or impossible `config.json`, unreadable or truncated weights, sizes that cannot be told, tensors that are
    /// missing, unused or misshapen (all named in one error) or of a type other than F32, F16 and BF16.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let is_file = path.is_file();
        let dir = if is_file { path.parent().unwrap_or(Path::new("")) } else { path };
        let config_file = Some(dir.join(CONFIG_FILE)).filter(|path| path.is_file());
        // What is wrong with a small file is said before a large one is looked for.
        let given = config_file.as_deref().map(read_config).transpose()?;
        let weights = if is_file { Some(path.to_owned()) } else { weights_in(dir)? };
        let weights = match (weights, &config_file) {
            (Some(weights), _) => weights,
            (None, Some(_)) => dir.join(WEIGHTS_FILE),
            (None, None) => return Err(no_config(dir)),
        };
        let file = TensorFile::open(&weights).map_err(|error| with_hint(error, dir))?;
        let layout = if original::is_original(&file) { Layout::Original } else { Layout::Transformers };
        let derived = given.is_none();
        let config = match (given, layout) {
            (Some(config), _) => config,
            (None, Layout::Original) => derived_config(&file)?,
            (None, Layout::Transformers) => return Err(no_config(dir)),
        };
        let file = match layout {
            Layout::Transformers => {
                file.check(&tensors(&config))?;
                file
            }
            Layout::Original => {
                file.check(&original::original_tensors(&config)).map_err(|error| match error {
                    Error::Mismatch { path, mismatch } if derived => Error::NoWholeModel { path, mismatch },
                    other => other,
                })?;
                let ours =
                    original::original_names(&config).into_iter().map(|(ours, original)| (original, ours));
                file.renamed(&ours.collect())
            }
        };
        Ok(Self { config, config_file, layout, file })
    }

    /// Does everything [`Checkpoint::open`] does and keeps nothing: a check to run before any work starts.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn check(path: &Path) -> Result<SamConfig, Error> {
        Self::open(path).map(|checkpoint| checkpoint.config)
    }

    /// The model's sizes.
    pub fn config(&self) -> &SamConfig {
        &self.config
    }

    /// The file that states the sizes, where there is one.
    pub fn config_file(&self) -> Option<&Path> {
        self.config_file.as_deref()
    }

    /// Whose names the file has.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The weights file.
    pub fn file(&self) -> &TensorFile {
        &self.file
    }

    /// Reads a tensor as f32. The positional frequencies are found under either of their names.
    ///
    /// # Errors
    /// A name that is no tensor of the model; a number that is not finite.
    pub fn tensor(&self, name: &str) -> Result<NamedTensor, Error> {
        let other = match name {
            POSITIONAL_EMBEDDING => POSITIONAL_EMBEDDING_ALIAS,
            POSITIONAL_EMBEDDING_ALIAS => POSITIONAL_EMBEDDING,
            _ => return self.file.weights(name),
        };
        let held = if self.file.shape(name).is_some() { name } else { other };
        Ok(NamedTensor { name: name.into(), ..self.file.weights(held)? })
    }

    /// Reads all tensors of a part as f32, in the order of [`part_tensors`].
    ///
    /// # Errors
    /// A tensor that cannot be read.
    pub fn part(&self, part: Part) -> Result<Vec<NamedTensor>, Error> {
        part_tensors(&self.config, part).iter().map(|spec| self.tensor(&spec.name)).collect()
    }

    /// Writes the whole model as a safetensors file of F32, with the names of a layout. Tensors that `tuned` gives take the place of
    /// the checkpoint's. One tensor is in memory at a time.
    ///
    /// # Errors
    /// A tensor of `tuned` that has another shape than the model's, one that cannot be read, a failing disk.
    pub fn write(&self, path: &Path, layout: Layout, tuned: Option<Replaced<'_>>) -> Result<(), Error> {
        // `transformers` asks for this entry before it reads a file.
        self.write_by(layout, tuned, |views| write_views(path, views, Some(("format", "pt"))))
    }

    /// [`Checkpoint::write`], as a PyTorch file: what `torch.load` gives is a dictionary of tensors, and `weights_only` is enough.
    ///
    /// # Errors
    /// As [`Checkpoint::write`].
    pub fn write_state_dict(
        &self,
        path: &Path,
        layout: Layout,
        tuned: Option<Replaced<'_>>,
    ) -> Result<(), Error> {
        self.write_by(layout, tuned, |views| state_dict::write(path, &views))
    }

    /// Writes the checkpoint as a folder in the layout of `transformers`, numbers as they are: what stages read.
    ///
    /// # Errors
    /// A tensor that cannot be read, a failing disk.
    pub fn convert(&self, dir: &Path) -> Result<(), Error> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { action: "write", path, source }
        };
        fs::create_dir_all(dir).map_err(failed(dir))?;
        for (name, text) in
            [(CONFIG_FILE, self.config.to_json()), (PREPROCESSOR_FILE, self.config.to_preprocessor_json())]
        {
            let path = dir.join(name);
            fs::write(&path, text).map_err(failed(&path))?;
        }
        self.write(&dir.join(WEIGHTS_FILE), Layout::Transformers, None)
    }

    fn write_by(
        &self,
        layout: Layout,
        tuned: Option<Replaced<'_>>,
        write: impl for<'v> FnOnce(Vec<(String, Lazy<'v, ReadTensor<'v>>)>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let specs = tensors(&self.config);
        let originals = original::original_names(&self.config);
        // A view cannot fail, so the first error is kept aside and the file is thrown away.
        let failed = RefCell::new(None);
        let named = |spec: &crate::TensorSpec| match layout {
            Layout::Transformers => Ok(spec.name.clone()),
            Layout::Original => originals.get(&spec.name).cloned().ok_or_else(|| Error::Unwritable {
                name: spec.name.clone(),
                message: "internal error: it has no name in the original layout".into(),
            }),
        };
        let names: Vec<String> = specs.iter().map(named).collect::<Result<_, _>>()?;
        let views = specs.iter().zip(names).map(|(spec, name)| {
            let failed = &failed;
            let read: ReadTensor<'_> = Box::new(move || {
                let tensor = match tuned.and_then(|tuned| tuned(&spec.name)) {
                    Some(tensor) => tensor.and_then(|tensor| match tensor.shape == spec.shape {
                        true => Ok(tensor),
                        false => Err(Error::Unwritable {
                            name: spec.name.clone(),
                            message: format!(
                                "the tuned tensor is {:?}, the model's is {:?}",
                                tensor.shape, spec.shape
                            ),
                        }),
                    }),
                    None => self.tensor(&spec.name),
                };
                Cow::Owned(tensor.map(|tensor| tensor.data).unwrap_or_else(|error| {
                    failed.borrow_mut().get_or_insert(error);
                    vec![0.0; spec.elements()]
                }))
            });
            (name, Lazy { shape: &spec.shape, data: read })
        });
        write(views.collect())?;
        failed.into_inner().map_or(Ok(()), Err)
    }
}

/// The tensor that takes the place of the checkpoint's of a name, where there is one.
pub type Replaced<'a> = &'a dyn Fn(&str) -> Option<Result<NamedTensor, Error>>;

type ReadTensor<'a> = Box<dyn Fn() -> Cow<'a, [f32]> + 'a>;

fn derived_config(file: &TensorFile) -> Result<SamConfig, Error> {
    let config = original::config(file)
        .and_then(|config| config.validate().map(|()| config).map_err(|error| error.to_string()));
    config.map_err(|message| Error::Sizes { path: file.path().into(), message })
}

/// The weights in a folder: [`WEIGHTS_FILE`], or the only file that can be them.
fn weights_in(dir: &Path) -> Result<Option<PathBuf>, Error> {
    let usual = dir.join(WEIGHTS_FILE);
    if usual.exists() || dir.join(SHARDS_FILE).exists() {
        return Ok(Some(usual));
    }
    let is_weights = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| WEIGHTS_EXTENSIONS.contains(&extension)) && path.is_file()
    };
    let failed = |source| Error::Io { action: "list", path: dir.into(), source };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut found: Vec<PathBuf> = paths.collect::<Result<_, _>>().map_err(failed)?;
    found.retain(is_weights);
    found.sort();
    // Of two forms of the same weights the one is taken that cannot be a program.
    if found.iter().any(|path| path.extension().is_some_and(|extension| extension == "safetensors")) {
        found.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    }
    if found.len() > 1 {
        let names = found.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        return Err(Error::SeveralWeights { dir: dir.into(), names: names.collect() });
    }
    Ok(found.pop())
}

const SHARDS_FILE: &str = "model.safetensors.index.json";

fn read_config(path: &Path) -> Result<SamConfig, Error> {
    let text =
        fs::read_to_string(path).map_err(|source| Error::Io { action: "read", path: path.into(), source })?;
    let config =
        SamConfig::from_json(&text).map_err(|message| Error::Config { path: path.into(), message })?;
    config.validate().map_err(|source| Error::Impossible { path: path.into(), source })?;
    Ok(config)
}

fn no_config(dir: &Path) -> Error {
    let path = dir.join(CONFIG_FILE);
    let error = fs::metadata(&path).map_or_else(|error| error, |_| ErrorKind::InvalidInput.into());
    let hint = "a folder with config.json and model.safetensors is expected, or a file of weights in the original layout";
    Error::Io { action: "read", path, source: hinted(error, Some(hint)) }
}

/// Says what to do when the weights are there in another form.
fn with_hint(error: Error, dir: &Path) -> Error {
    let Error::Io { action, path, source } = error else { return error };
    let hint = dir.join(SHARDS_FILE).exists().then_some(
        "the weights are split into shards, which are not read; save it again with \
         `SamModel.from_pretrained(...).save_pretrained(..., max_shard_size=\"100GB\")`",
    );
    Error::Io { action, path, source: hinted(source, hint) }
}

/// The system's answer with a way out after it: a hint in the message before it would stand in the middle of the chain.
fn hinted(error: io::Error, hint: Option<&str>) -> io::Error {
    match hint {
        Some(hint) => io::Error::new(error.kind(), format!("{error}\nhint: {hint}")),
        None => error,
    }
}
