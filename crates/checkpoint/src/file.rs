//! One file of weights: reading it without trusting it, writing it with the same bytes every time.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::error::{Error, Mismatch, Misshapen};
use crate::state_dict;
use crate::table::TensorSpec;

/// A tensor with its name, its shape and its numbers in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Its Hugging Face name.
    pub name: String,
    /// Its shape, outermost axis first.
    pub shape: Vec<usize>,
    /// Its numbers; as many as the product of the shape.
    pub data: Vec<f32>,
}

/// An open file of tensors, safetensors or PyTorch's. Opening reads the header alone; numbers are read, and converted to f32, on
/// demand.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    bytes: Mmap,
    entries: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// Where the numbers lie in the file, in bytes.
    pub(crate) range: std::ops::Range<usize>,
}

/// The header, read leniently: enough to say how long the file should be.
#[derive(Deserialize)]
struct Offsets {
    data_offsets: (u64, u64),
}

const LENGTH_BYTES: usize = 8;

impl TensorFile {
    /// Opens a file and checks its header. What the file is, its first bytes say, not its name.
    ///
    /// # Errors
    /// No such file, a truncated one, or one that is neither in the safetensors format nor a PyTorch state dict.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Io { action: "read", path: path.into(), source };
        let malformed = |message: String| Error::Malformed { path: path.into(), message };
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        if length < LENGTH_BYTES as u64 {
            // Mapping an empty file is an error of its own on some systems.
            return Err(Error::Truncated {
                path: path.into(),
                expected: LENGTH_BYTES as u128,
                found: length,
            });
        }
        let bytes = map(&file).map_err(failed)?;
        if bytes.starts_with(state_dict::MAGIC) {
            let entries = state_dict::entries(&bytes)
                .map_err(|source| Error::StateDict { path: path.into(), source })?;
            return Ok(Self { path: path.into(), bytes, entries, metadata: BTreeMap::new() });
        }
        if let Some(expected) = implied_length(&bytes)
            && expected != u128::from(length)
        {
            return Err(Error::Truncated { path: path.into(), expected, found: length });
        }
        if let Some(name) = twice(&bytes) {
            return Err(malformed(format!("its header has `{name}` twice")));
        }
        let (header, parsed) = SafeTensors::read_metadata(&bytes).map_err(|e| malformed(e.to_string()))?;
        let start = LENGTH_BYTES + header;
        let mut entries = BTreeMap::new();
        for (name, info) in parsed.tensors() {
            let range = start + info.data_offsets.0..start + info.data_offsets.1;
            entries.insert(name, Entry { dtype: info.dtype, shape: info.shape.clone(), range });
        }
        let metadata = parsed.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        Ok(Self { path: path.into(), bytes, entries, metadata })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of its tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The text metadata of the file.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The shape of a tensor, if the file holds it.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|e| e.shape.as_slice())
    }

    /// The number format of a tensor, such as `F32`, if the file holds it.
    pub fn dtype(&self, name: &str) -> Option<String> {
        self.entries.get(name).map(|e| format!("{:?}", e.dtype))
    }

    /// Reads a tensor as f32.
    ///
    /// # Errors
    /// No such tensor, or one of numbers other than F32, F16 and BF16.
    pub fn tensor(&self, name: &str) -> Result<NamedTensor, Error> {
        let entry = self.entries.get(name);
        let entry = entry.ok_or_else(|| Error::NoTensor { path: self.path.clone(), name: name.into() })?;
        let bytes = self.bytes.get(entry.range.clone()).ok_or_else(|| Error::Malformed {
            path: self.path.clone(),
            message: format!("internal error: `{name}` lies beyond the end of the file"),
        })?;
        let data = match entry.dtype {
            Dtype::F32 => numbers(bytes, f32::from_le_bytes),
            Dtype::F16 => numbers(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => numbers(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            other => return Err(self.unread_dtype(name, other)),
        };
        Ok(NamedTensor { name: name.into(), shape: entry.shape.clone(), data })
    }

    /// Reads a tensor that a model is made of.
    ///
    /// # Errors
    /// As [`TensorFile::tensor`]; a number that is NaN or infinite, with its place: later on every logit would be one.
    pub fn weights(&self, name: &str) -> Result<NamedTensor, Error> {
        let tensor = self.tensor(name)?;
        let Some(place) = tensor.data.iter().position(|number| !number.is_finite()) else {
            return Ok(tensor);
        };
        let index = index_of(place, &tensor.shape);
        Err(Error::NotFinite { path: self.path.clone(), name: name.into(), index, value: tensor.data[place] })
    }

    /// The same file with other names; those that are not in the list stay.
    pub(crate) fn renamed(mut self, names: &BTreeMap<String, String>) -> Self {
        let entries = std::mem::take(&mut self.entries).into_iter();
        self.entries =
            entries.map(|(name, entry)| (names.get(&name).cloned().unwrap_or(name), entry)).collect();
        self
    }

    /// Reads every tensor, sorted by name.
    ///
    /// # Errors
    /// As [`TensorFile::tensor`].
    pub fn read_all(&self) -> Result<Vec<NamedTensor>, Error> {
        self.names().map(|name| self.tensor(name)).collect()
    }

    /// Reads every tensor, sorted by name, as what a model is made of.
    ///
    /// # Errors
    /// As [`TensorFile::weights`].
    pub fn read_weights(&self) -> Result<Vec<NamedTensor>, Error> {
        self.names().map(|name| self.weights(name)).collect()
    }

    /// Checks that the file holds exactly these tensors, in types that can be read. Reads the header alone, and for a tensor
    /// held under both of its names the two copies.
    ///
    /// # Errors
    /// One [`Error::Mismatch`] that names everything missing, unused or misshapen.
    pub fn check(&self, specs: &[TensorSpec]) -> Result<(), Error> {
        let found = self.entries.iter().map(|(name, e)| (name.as_str(), e.shape.as_slice()));
        check_tensors(specs, found)
            .map_err(|mismatch| Error::Mismatch { path: self.path.clone(), mismatch })?;
        for (name, entry) in &self.entries {
            if !matches!(entry.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
                return Err(self.unread_dtype(name, entry.dtype));
            }
        }
        for spec in specs {
            let Some(alias) = spec.alias else { continue };
            if self.entries.contains_key(&spec.name) && self.entries.contains_key(alias) {
                let (a, b) = (self.tensor(&spec.name)?.data, self.tensor(alias)?.data);
                if a.iter().map(|x| x.to_bits()).ne(b.iter().map(|x| x.to_bits())) {
                    let first = crate::table::POSITIONAL_EMBEDDING;
                    return Err(Error::AliasesDiffer { path: self.path.clone(), first, second: alias });
                }
            }
        }
        Ok(())
    }

    fn unread_dtype(&self, name: &str, dtype: Dtype) -> Error {
        Error::DataType { path: self.path.clone(), name: name.into(), dtype: format!("{dtype:?}") }
    }
}

/// Compares tensors found with tensors needed, names and shapes.
///
/// # Errors
/// Everything missing, unused or misshapen, at once.
pub fn check_tensors<'a>(
    specs: &[TensorSpec],
    found: impl IntoIterator<Item = (&'a str, &'a [usize])>,
) -> Result<(), Mismatch> {
    let expected = specs.iter().map(|spec| (spec.name.as_str(), spec.alias, spec.shape.as_slice()));
    check_shapes(expected, found)
}

/// [`check_tensors`] of any tensors: each with its name, another name that it may have, and its shape.
///
/// # Errors
/// As [`check_tensors`].
pub fn check_shapes<'e, 'f>(
    expected: impl IntoIterator<Item = (&'e str, Option<&'e str>, &'e [usize])>,
    found: impl IntoIterator<Item = (&'f str, &'f [usize])>,
) -> Result<(), Mismatch> {
    let mut unused: BTreeMap<&str, &[usize]> = found.into_iter().collect();
    let mut mismatch = Mismatch::default();
    for (name, alias, expected) in expected {
        let held: Vec<_> = [Some(name), alias]
            .into_iter()
            .flatten()
            .filter_map(|name| unused.remove(name).map(|shape| (name, shape)))
            .collect();
        if held.is_empty() {
            mismatch.missing.push(name.into());
        }
        for (name, shape) in held {
            if shape != expected {
                mismatch.misshapen.push(Misshapen {
                    name: name.into(),
                    found: shape.to_vec(),
                    expected: expected.to_vec(),
                });
            }
        }
    }
    mismatch.unused = unused.into_keys().map(String::from).collect();
    mismatch.missing.sort();
    mismatch.misshapen.sort_by(|a, b| a.name.cmp(&b.name));
    if mismatch.is_empty() { Ok(()) } else { Err(mismatch) }
}

/// Writes tensors as F32: same tensors, same bytes, in whatever order they come.
///
/// `metadata` is one entry at most, because the format's library writes several in random order.
///
/// # Errors
/// A name given twice, a length that does not match its shape, or a failing disk.
pub fn write_safetensors(
    path: &Path,
    tensors: impl IntoIterator<Item = NamedTensor>,
    metadata: Option<(&str, &str)>,
) -> Result<(), Error> {
    let tensors: Vec<_> = tensors.into_iter().collect();
    for tensor in &tensors {
        let expected: usize = tensor.shape.iter().product();
        if expected != tensor.data.len() {
            let message =
                format!("shape {:?} asks for {expected} numbers, found {}", tensor.shape, tensor.data.len());
            return Err(Error::Unwritable { name: tensor.name.clone(), message });
        }
    }
    let views = tensors
        .iter()
        .map(|t| (t.name.clone(), Lazy { shape: &t.shape, data: || Cow::Borrowed(&t.data[..]) }));
    write_views(path, views.collect(), metadata)
}

/// A tensor whose numbers are made when they are written, so that a large file needs memory for one tensor at a time.
pub(crate) struct Lazy<'a, F> {
    pub(crate) shape: &'a [usize],
    pub(crate) data: F,
}

impl<'a, F: Fn() -> Cow<'a, [f32]>> View for Lazy<'a, F> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned((self.data)().iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    fn data_len(&self) -> usize {
        4 * self.shape.iter().product::<usize>()
    }
}

pub(crate) fn write_views<V: View>(
    path: &Path,
    views: Vec<(String, V)>,
    metadata: Option<(&str, &str)>,
) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    if let Some((twice, _)) = views.iter().find(|(name, _)| !seen.insert(name.as_str())) {
        return Err(Error::Unwritable { name: twice.clone(), message: "given twice".into() });
    }
    let metadata = metadata.map(|(key, value)| HashMap::from([(key.to_owned(), value.to_owned())]));
    let failed = |source| Error::Io { action: "write", path: path.into(), source };
    // The library sorts by type and then by name; there is one type. It puts a temporary file in the place of this one, which
    // only its owner may read; the file created first has the permissions of any other.
    let permissions = File::create(path).and_then(|file| file.metadata()).map_err(failed)?.permissions();
    safetensors::serialize_to_file(views, metadata, path).map_err(|error| match error {
        safetensors::SafeTensorError::IoError(source) => failed(source),
        other => failed(io::Error::other(other.to_string())),
    })?;
    std::fs::set_permissions(path, permissions).map_err(failed)
}

/// The length of one number.
pub(crate) fn bytes_of(dtype: Dtype) -> usize {
    dtype.bitsize() / 8
}

/// The first name that the header has twice: JSON's readers keep the later one in silence.
fn twice(bytes: &[u8]) -> Option<String> {
    struct Names(Option<String>);
    impl<'de> Deserialize<'de> for Names {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(NamesVisitor)
        }
    }
    struct NamesVisitor;
    impl<'de> Visitor<'de> for NamesVisitor {
        type Value = Names;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
            let (mut seen, mut twice) = (BTreeSet::new(), None);
            while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                if !seen.insert(name.clone()) {
                    twice.get_or_insert(name);
                }
            }
            Ok(Names(twice))
        }
    }
    let length = u64::from_le_bytes(bytes.get(..LENGTH_BYTES)?.try_into().ok()?);
    let end = usize::try_from(length).ok()?.checked_add(LENGTH_BYTES)?;
    serde_json::from_slice::<Names>(bytes.get(LENGTH_BYTES..end)?).ok()?.0
}

/// The length a file should have according to its header, if there is a header to be read.
fn implied_length(bytes: &[u8]) -> Option<u128> {
    let length = u64::from_le_bytes(bytes.get(..LENGTH_BYTES)?.try_into().ok()?);
    let header = u128::from(length) + LENGTH_BYTES as u128;
    let Ok(text) = usize::try_from(header).map_or(Err(()), |end| bytes.get(LENGTH_BYTES..end).ok_or(()))
    else {
        // Not even the header is there. A length beyond any real header is no safetensors file at all.
        return (length < 100_000_000).then_some(header);
    };
    let entries: BTreeMap<String, serde_json::Value> = serde_json::from_slice(text).ok()?;
    let ends = entries.into_iter().filter(|(name, _)| name != "__metadata__");
    let ends = ends.filter_map(|(_, entry)| Some(Offsets::deserialize(entry).ok()?.data_offsets.1));
    Some(header + u128::from(ends.max().unwrap_or(0)))
}

fn numbers<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|chunk| number(*chunk)).collect()
}

/// The index of a place in row-major order.
fn index_of(mut place: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (index, length) in index.iter_mut().zip(shape).rev() {
        (*index, place) = (place % length, place / length);
    }
    index
}

#[allow(unsafe_code)]
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is read-only, and artifacts and Hub snapshots do not change once they are there. Should someone truncate
    // the file while it is open, the process gets a bus error; it never reads outside the map.
    unsafe { Mmap::map(file) }
}
