//! `embeddings`: the frozen image encoder's output for each distinct image, under one view or several.
//!
//! `embeddings.json`: `format`, `place` (absent for the end of the encoder; `block:N` for the tokens that enter block N), `shape`
//! (`[channels, grid, grid]`, of tokens `[grid, grid, channels]`), `dtype`, `rows`. `index.parquet`: `pixel_hash`, `view`,
//! `shard`, `row`. `embeddings-NNNNN.arrow`, [`SHARD_ROWS`] rows each: `embedding`, a fixed-shape tensor of f16 or f32.

use arrow_array::{Array, ArrayRef, FixedSizeListArray, Float16Array, Float32Array};
use arrow_schema::{DataType, Field, Schema};
use half::f16;
use half::slice::HalfFloatSliceExt;
use resect_data::{DataError, check_format, read_json, write_json};
use resect_geometry::View;
use resect_numeric::{Dtype, Place};
use resect_tables::{ipc, table};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Format of `embeddings.json`.
pub const FORMAT: &str = "resect-embeddings/2.1";
/// Rows in a shard, the last one aside: 32 to 64 MiB for the published models.
pub const SHARD_ROWS: usize = 16;

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    /// Where in the encoder the features were taken. (since 2.1)
    #[serde(default, skip_serializing_if = "Place::is_neck")]
    place: Place,
    shape: [usize; 3],
    dtype: Dtype,
    rows: usize,
}

#[derive(Serialize, Deserialize)]
struct IndexRow {
    pixel_hash: String,
    view: View,
    shard: u32,
    row: u32,
}

/// Writes the artifact shard by shard; finished shards survive a kill.
pub struct Writer {
    dir: PathBuf,
    place: Place,
    shape: [usize; 3],
    dtype: Dtype,
}

impl Writer {
    /// Begins or resumes an artifact in an existing folder.
    pub fn new(dir: &Path, shape: [usize; 3], dtype: Dtype) -> Self {
        Self { dir: dir.into(), place: Place::Neck, shape, dtype }
    }

    /// The same artifact, of features at another place than the end of the encoder.
    pub fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// Whether shard `index` is already written, from an earlier start, with `rows` rows of this shape and format.
    pub fn has_shard(&self, index: usize, rows: usize) -> bool {
        let path = shard_path(&self.dir, index);
        path.exists() && open_shard(&path, self.shape, self.dtype).is_ok_and(|shard| shard.len() == rows)
    }

    /// Writes shard `index`: whole embeddings, one after the other. It appears on disk complete or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_shard(&self, index: usize, embeddings: &[f32]) -> Result<(), DataError> {
        let length = self.shape.iter().product::<usize>();
        let element = match self.dtype {
            Dtype::F16 => DataType::Float16,
            Dtype::F32 => DataType::Float32,
        };
        let values: ArrayRef = match self.dtype {
            Dtype::F16 => {
                let mut halves = vec![f16::ZERO; embeddings.len()];
                halves.convert_from_f32_slice(embeddings);
                Arc::new(Float16Array::from(halves))
            }
            Dtype::F32 => Arc::new(Float32Array::from(embeddings.to_vec())),
        };
        let item = Arc::new(Field::new("item", element.clone(), false));
        let list = FixedSizeListArray::new(item, length as i32, values, None);
        let schema = Schema::new(vec![ipc::tensor_field("embedding", element, &self.shape)]);
        let mut writer = ipc::IpcWriter::create(&shard_path(&self.dir, index), schema)?;
        writer.write(vec![Arc::new(list)])?;
        writer.finish()
    }

    /// Completes the artifact: pixel hash and view of all rows, shard after shard.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish(self, rows: &[(&str, View)]) -> Result<(), DataError> {
        let index: Vec<IndexRow> = rows
            .iter()
            .enumerate()
            .map(|(i, (hash, view))| IndexRow {
                pixel_hash: (*hash).to_owned(),
                view: *view,
                shard: (i / SHARD_ROWS) as u32,
                row: (i % SHARD_ROWS) as u32,
            })
            .collect();
        table::write(&self.dir.join("index.parquet"), &index)?;
        let Self { place, shape, dtype, .. } = self;
        let header = Header { format: FORMAT.into(), place, shape, dtype, rows: index.len() };
        write_json(&self.dir.join("embeddings.json"), &header)
    }
}

fn shard_path(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("embeddings-{index:05}.arrow"))
}

enum Shard {
    F16(Float16Array),
    F32(Float32Array),
}

impl Shard {
    fn values(&self) -> usize {
        match self {
            Self::F16(values) => values.len(),
            Self::F32(values) => values.len(),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::F16(values) => values.values().inner(),
            Self::F32(values) => values.values().inner(),
        }
    }
}

struct OpenShard {
    values: Shard,
    length: usize,
    map: ipc::Map,
}

impl OpenShard {
    fn len(&self) -> usize {
        self.values.values() / self.length
    }
}

fn open_shard(path: &Path, shape: [usize; 3], dtype: Dtype) -> Result<OpenShard, DataError> {
    let length = shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
    let length =
        length.ok_or_else(|| DataError::damaged(path, format!("its shape {shape:?} is too large")))?;
    let (batches, map) = ipc::open(path)?;
    let [batch] = batches.as_slice() else {
        return Err(DataError::damaged(path, format!("it holds {} batches, not one", batches.len())));
    };
    let list = ipc::column::<FixedSizeListArray>(path, batch, "embedding")?;
    let values = list.values().as_any();
    let values = match dtype {
        Dtype::F16 => values.downcast_ref().cloned().map(Shard::F16),
        Dtype::F32 => values.downcast_ref().cloned().map(Shard::F32),
    };
    match values.filter(|values| length > 0 && Some(values.values()) == list.len().checked_mul(length)) {
        Some(values) => {
            // Of what was read to open it.
            map.release(map.as_ref());
            Ok(OpenShard { values, length, map })
        }
        None => Err(DataError::damaged(path, format!("its embeddings are not {dtype:?} of shape {shape:?}"))),
    }
}

/// A published `embeddings` artifact.
pub struct Embeddings {
    place: Place,
    shape: [usize; 3],
    dtype: Dtype,
    /// Shard and row by pixel hash, for each view.
    by_view: HashMap<View, HashMap<String, (usize, usize)>>,
    shards: Vec<OpenShard>,
}

impl Embeddings {
    /// Maps the artifact in `dir`.
    ///
    /// # Errors
    /// When a file is missing, damaged or of another version.
    pub fn open(dir: &Path) -> Result<Self, DataError> {
        let path = dir.join("embeddings.json");
        let header: Header = read_json(&path)?;
        check_format(&path, &header.format, FORMAT)?;
        let shards: Vec<OpenShard> = (0..header.rows.div_ceil(SHARD_ROWS))
            .map(|index| open_shard(&shard_path(dir, index), header.shape, header.dtype))
            .collect::<Result<_, _>>()?;
        let mut by_view: HashMap<View, HashMap<_, _>> = HashMap::new();
        for IndexRow { pixel_hash, view, shard, row } in table::read::<IndexRow>(&dir.join("index.parquet"))?
        {
            let (shard, row) = (shard as usize, row as usize);
            if shards.get(shard).is_none_or(|shard| row >= shard.len()) {
                let message = format!("row {row} of shard {shard} does not exist");
                return Err(DataError::damaged(&dir.join("index.parquet"), message));
            }
            by_view.entry(view).or_default().insert(pixel_hash, (shard, row));
        }
        Ok(Self { place: header.place, shape: header.shape, dtype: header.dtype, by_view, shards })
    }

    /// Where in the encoder the features were taken.
    pub fn place(&self) -> Place {
        self.place
    }

    /// `[channels, grid, grid]`; of the tokens that enter a block, `[grid, grid, channels]`.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Number format on disk.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Number of embeddings, those of all views.
    pub fn len(&self) -> usize {
        self.by_view.values().map(HashMap::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pixel hash and view of all embeddings, shard after shard.
    pub fn rows(&self) -> Vec<(&str, View)> {
        let views = self.by_view.iter();
        let rows = views.flat_map(|(view, rows)| rows.iter().map(move |(hash, place)| (place, hash, view)));
        let mut rows: Vec<_> = rows.collect();
        rows.sort_unstable_by_key(|(place, ..)| *place);
        rows.into_iter().map(|(_, hash, view)| (hash.as_str(), *view)).collect()
    }

    /// Whether an image has an embedding under a view.
    pub fn contains(&self, pixel_hash: &str, view: View) -> bool {
        self.location(pixel_hash, view).is_some()
    }

    fn location(&self, pixel_hash: &str, view: View) -> Option<(usize, usize)> {
        self.by_view.get(&view)?.get(pixel_hash).copied()
    }

    /// The embedding of an image under a view, where it has one.
    pub fn get(&self, pixel_hash: &str, view: View) -> Option<Embedding<'_>> {
        let (shard, row) = self.location(pixel_hash, view)?;
        let length = self.shape.iter().product::<usize>();
        let part = row * length..(row + 1) * length;
        Some(match &self.shards[shard].values {
            Shard::F16(values) => Embedding::F16(&values.values()[part]),
            Shard::F32(values) => Embedding::F32(&values.values()[part]),
        })
    }

    /// The number of an image's embedding under a view among all, where it has one.
    pub fn row(&self, pixel_hash: &str, view: View) -> Option<usize> {
        let (shard, row) = self.location(pixel_hash, view)?;
        Some(shard * SHARD_ROWS + row)
    }

    /// Has the system begin to read an image's embedding under a view, which is needed soon.
    pub fn fetch(&self, pixel_hash: &str, view: View) {
        if let Some((map, bytes)) = self.mapped(pixel_hash, view) {
            map.fetch(bytes);
        }
    }

    /// Gives the memory of the shard that an image's embedding under a view lies in back to the system, so that memory does not grow
    /// with what has been read. (Of the whole shard, because reading maps pages around what is read.) It can be read again at any time.
    pub fn release(&self, pixel_hash: &str, view: View) {
        if let Some((map, _)) = self.mapped(pixel_hash, view) {
            map.release(map.as_ref());
        }
    }

    /// Where an embedding is mapped.
    fn mapped(&self, pixel_hash: &str, view: View) -> Option<(&ipc::Map, &[u8])> {
        let (shard, row) = self.location(pixel_hash, view)?;
        let OpenShard { values, length, map } = &self.shards[shard];
        let bytes = length * self.dtype.bytes();
        Some((map, &values.bytes()[row * bytes..(row + 1) * bytes]))
    }

    /// Appends the embedding of an image under a view, as f32, to `out`; `false` and nothing appended when it has none.
    pub fn append_to(&self, pixel_hash: &str, view: View, out: &mut Vec<f32>) -> bool {
        self.get(pixel_hash, view).map(|embedding| embedding.append_to(out)).is_some()
    }
}

/// One image's embedding under one view, where it is mapped.
#[derive(Clone, Copy, Debug)]
pub enum Embedding<'a> {
    /// In half precision.
    F16(&'a [f16]),
    /// In single precision.
    F32(&'a [f32]),
}

impl Embedding<'_> {
    /// How many numbers it has.
    pub fn len(self) -> usize {
        match self {
            Self::F16(values) => values.len(),
            Self::F32(values) => values.len(),
        }
    }

    /// Whether it has no numbers.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Copies the numbers from `start` on, as f32, to `out`, as many as that has.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn copy_part(self, start: usize, out: &mut [f32]) {
        let part = start..start + out.len();
        match self {
            Self::F16(values) => values[part].convert_to_f32_slice(out),
            Self::F32(values) => out.copy_from_slice(&values[part]),
        }
    }

    /// Appends it, as f32, to `out`.
    pub fn append_to(self, out: &mut Vec<f32>) {
        match self {
            Self::F16(values) => {
                let start = out.len();
                out.resize(start + values.len(), 0.0);
                values.convert_to_f32_slice(&mut out[start..]);
            }
            Self::F32(values) => out.extend_from_slice(values),
        }
    }
}
