//! Parquet files in the layout of Hugging Face `datasets`.

use super::{At, Batches, Dataset, Raw, Sample, below, entries};
use crate::error::IngestError;
use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, downcast_integer_array};
use arrow_schema::{DataType, Schema};
use resect_params::split_of_file;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The columns that the settings name.
pub struct Columns<'a> {
    pub image_column: &'a str,
    pub mask_column: &'a str,
    pub id_column: &'a str,
    pub group_column: &'a str,
}

/// The files of a dataset and the columns that hold its pictures.
pub struct Tables {
    files: Vec<PathBuf>,
    image_column: String,
    mask_column: String,
}

/// Names are listed so many rows at a time.
const NAME_ROWS: usize = 8192;

pub fn open(dir: &Path, columns: Columns) -> Result<Dataset, IngestError> {
    let mut files = Vec::new();
    find(dir, &mut files)?;
    if files.is_empty() {
        return Err(IngestError::layout(dir, "holds no .parquet file"));
    }
    let stems: Vec<String> = files
        .iter()
        .map(|file| file.file_stem().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    // `train/0000.parquet` and `test/0000.parquet`: stems that repeat do not name a row, paths do.
    let repeat = stems.iter().collect::<BTreeSet<_>>().len() < stems.len();
    let mut samples = Vec::new();
    for (file, path) in files.iter().enumerate() {
        let place = below(dir, path);
        let given_split = split_of_file(&place).to_owned();
        let prefix =
            if repeat { place.trim_end_matches(".parquet").replace('/', "-") } else { stems[file].clone() };
        for (row, name) in names(path, &columns)?.into_iter().enumerate() {
            let mut sample = Sample {
                place: format!("{place} row {row}"),
                id: name.id.unwrap_or_default(),
                given_split: given_split.clone(),
                group: name.group.clone().unwrap_or_default(),
                flaw: None,
                at: At::Row { file, row },
            };
            if columns.id_column.is_empty() {
                sample.id = format!("{prefix}-{row}");
            }
            let grouped = columns.group_column.is_empty() || !sample.group.is_empty();
            sample.flaw_unless(grouped, || format!("its {} is empty", columns.group_column));
            samples.push(sample);
        }
    }
    let tables =
        Tables { files, image_column: columns.image_column.into(), mask_column: columns.mask_column.into() };
    Ok(Dataset { samples, ignored_files: 0, tables: Some(tables) })
}

fn find(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), IngestError> {
    for path in entries(dir)? {
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            files.push(path);
        }
    }
    Ok(())
}

struct Name {
    id: Option<String>,
    group: Option<String>,
}

/// Names and groups of every row; the pictures are not read, their columns are checked.
fn names(path: &Path, columns: &Columns) -> Result<Vec<Name>, IngestError> {
    let builder = builder(path)?;
    let schema = builder.schema().clone();
    for (setting, column) in [("image_column", columns.image_column), ("mask_column", columns.mask_column)] {
        let data_type = schema.field(index_of(path, &schema, setting, column)?).data_type();
        if !holds_pictures(data_type) {
            let message = format!(
                "holds {data_type} in column \"{column}\" (layout.{setting}): expected binary, or a struct of \
                 binary bytes and path"
            );
            return Err(IngestError::layout(path, message));
        }
    }
    let rows = usize::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
    let mut names: Vec<Name> = Vec::with_capacity(rows);
    let texts = [("id_column", columns.id_column), ("group_column", columns.group_column)];
    let wanted: Vec<usize> = texts
        .iter()
        .filter(|(_, column)| !column.is_empty())
        .map(|(setting, column)| index_of(path, &schema, setting, column))
        .collect::<Result<_, _>>()?;
    if wanted.is_empty() {
        names.resize_with(rows, || Name { id: None, group: None });
        return Ok(names);
    }
    let projection = ProjectionMask::roots(builder.parquet_schema(), wanted);
    for batch in build(path, builder.with_projection(projection).with_batch_size(NAME_ROWS))? {
        let batch = batch.map_err(|e| damaged(path, e))?;
        let [ids, groups] = texts.map(|(_, column)| text_column(path, &batch, column));
        for (id, group) in ids?.into_iter().zip(groups?) {
            names.push(Name { id, group });
        }
    }
    Ok(names)
}

/// A column as text, row by row: names are sometimes numbers. All rows are empty where the column is not wanted.
fn text_column(path: &Path, batch: &RecordBatch, column: &str) -> Result<Vec<Option<String>>, IngestError> {
    let Some(array) = batch.column_by_name(column) else { return Ok(vec![None; batch.num_rows()]) };
    let array = array.as_ref();
    downcast_integer_array!(
        array => Ok(array.iter().map(|number| number.map(|number| number.to_string())).collect()),
        DataType::Utf8 => Ok(array.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()),
        other => Err(IngestError::layout(path, format!("holds {other} in column \"{column}\", not text")))
    )
}

fn holds_pictures(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => {
            fields.find("bytes").is_some_and(|(_, f)| *f.data_type() == DataType::Binary)
        }
        other => *other == DataType::Binary,
    }
}

/// The encoded picture in a row.
fn picture(column: Option<&ArrayRef>, row: usize, kind: &str) -> Result<Vec<u8>, String> {
    let missing = || format!("it has no {kind}");
    let mut column = column.ok_or_else(missing)?;
    if let Some(parts) = column.as_struct_opt() {
        if parts.is_null(row) {
            return Err(missing());
        }
        column = parts.column_by_name("bytes").ok_or_else(missing)?;
        if column.is_null(row) {
            return Err(format!("its {kind} is a path without bytes: embed the files in the dataset"));
        }
    }
    if column.is_null(row) {
        return Err(missing());
    }
    column.as_binary_opt::<i32>().map(|bytes| bytes.value(row).to_vec()).ok_or_else(missing)
}

impl Tables {
    /// Reads the pictures of the samples that are not flawed, row group by row group, at most `size` rows at once.
    pub fn batches<'a>(&'a self, samples: &'a [Sample], size: usize) -> Result<Batches<'a>, IngestError> {
        let mut wanted: Vec<Vec<(usize, usize)>> = vec![Vec::new(); self.files.len()];
        for (index, sample) in samples.iter().enumerate() {
            if let (None, At::Row { file, row }) = (&sample.flaw, &sample.at) {
                wanted[*file].push((*row, index));
            }
        }
        Ok(Box::new(self.files.iter().zip(wanted).flat_map(move |(path, wanted)| {
            match self.batches_of(path, wanted, size) {
                Ok(batches) => batches,
                Err(error) => Box::new(std::iter::once(Err(error))),
            }
        })))
    }

    /// `wanted`: row and sample, by row.
    fn batches_of<'a>(
        &'a self,
        path: &'a Path,
        wanted: Vec<(usize, usize)>,
        size: usize,
    ) -> Result<Batches<'a>, IngestError> {
        let Some(&(last, _)) = wanted.last() else { return Ok(Box::new(std::iter::empty())) };
        let builder = builder(path)?;
        let schema = builder.schema().clone();
        let roots = [
            index_of(path, &schema, "image_column", &self.image_column)?,
            index_of(path, &schema, "mask_column", &self.mask_column)?,
        ];
        let projection = ProjectionMask::roots(builder.parquet_schema(), roots);
        let reader = builder.with_projection(projection).with_batch_size(size).with_limit(last + 1);
        let (mut first, mut wanted) = (0, wanted.into_iter().peekable());
        Ok(Box::new(build(path, reader)?.map(move |batch| {
            let batch = batch.map_err(|e| damaged(path, e))?;
            let image = batch.column_by_name(&self.image_column);
            let mask = batch.column_by_name(&self.mask_column);
            let end = first + batch.num_rows();
            let mut raws = Vec::new();
            while let Some((row, sample)) = wanted.next_if(|&(row, _)| row < end) {
                let row = row - first;
                raws.push(Raw {
                    sample,
                    image: picture(image, row, "image"),
                    mask: picture(mask, row, "mask"),
                });
            }
            first = end;
            Ok(raws)
        })))
    }
}

fn builder(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, IngestError> {
    let file = File::open(path).map_err(|source| IngestError::Read { path: path.into(), source })?;
    // What Parquet itself says of a column is plain: binary, text, numbers. The Arrow types it was written from, which writers
    // note beside it, would add large, view and dictionary forms of the same.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).map_err(|e| damaged(path, e))
}

fn build(
    path: &Path,
    builder: ParquetRecordBatchReaderBuilder<File>,
) -> Result<ParquetRecordBatchReader, IngestError> {
    builder.build().map_err(|e| damaged(path, e))
}

fn damaged(path: &Path, error: impl std::fmt::Display) -> IngestError {
    IngestError::layout(path, format!("cannot be read as Parquet: {error}"))
}

/// The position of a column; or an error that says what there is instead.
fn index_of(path: &Path, schema: &Schema, setting: &'static str, column: &str) -> Result<usize, IngestError> {
    if let Ok(index) = schema.index_of(column) {
        return Ok(index);
    }
    let available: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let likeness = |name: &String| strsim::jaro_winkler(&name.to_lowercase(), &column.to_lowercase());
    let nearest = available.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    Err(IngestError::Column {
        path: path.into(),
        setting,
        column: column.into(),
        nearest: nearest.filter(|name| likeness(name) > 0.7).cloned(),
        available,
    })
}
