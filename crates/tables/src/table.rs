//! Tables of plain rows as Parquet files.

use arrow_schema::FieldRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use resect_data::DataError;
use serde::{Serialize, de::DeserializeOwned};
use serde_arrow::schema::{SchemaLike, TracingOptions};
use std::fs::File;
use std::path::Path;

/// Writes rows as a Parquet file (zstd), columns in the order of the struct's fields.
///
/// # Errors
/// When the file cannot be written.
pub fn write<T: Serialize + DeserializeOwned>(path: &Path, rows: &[T]) -> Result<(), DataError> {
    let encode = |e: &dyn std::fmt::Display| DataError::encode(path, e);
    // The schema comes from the type, not from the rows: an empty table has its columns too.
    let fields = fields::<T>().map_err(|e| encode(&e))?;
    let batch = serde_arrow::to_record_batch(&fields, &rows).map_err(|e| encode(&e))?;
    let properties = WriterProperties::builder()
        // The default names the library and its version, which is not content.
        .set_created_by("resect".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let aside = path.with_extension("parquet.tmp");
    let file = File::create(&aside).map_err(|e| DataError::io("write", &aside, e))?;
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).map_err(|e| encode(&e))?;
    writer.write(&batch).map_err(|e| encode(&e))?;
    writer.close().map_err(|e| encode(&e))?;
    std::fs::rename(&aside, path).map_err(|e| DataError::io("write", path, e))
}

fn fields<T: DeserializeOwned>() -> serde_arrow::Result<Vec<FieldRef>> {
    let options = TracingOptions::default().enums_without_data_as_strings(true).allow_null_fields(true);
    Vec::<FieldRef>::from_type::<T>(options)
}

/// The columns and numbers of one row, in the order in which [`write()`] puts them into a file; none where the row has no
/// number.
///
/// # Errors
/// A type that is no row of a table.
pub fn cells<T: Serialize + DeserializeOwned>(row: &T) -> Result<Vec<(String, Option<f64>)>, NotARow> {
    let refused = |e: &dyn std::fmt::Display| NotARow(e.to_string());
    let values = serde_json::to_value(row).map_err(|e| refused(&e))?;
    let fields = fields::<T>().map_err(|e| refused(&e))?;
    Ok(fields.iter().map(|field| (field.name().clone(), values[field.name()].as_f64())).collect())
}

/// A value that is no row of a table.
#[derive(Debug, thiserror::Error)]
#[error("this cannot be a row of a table: {0}")]
pub struct NotARow(String);

/// Reads all rows of a Parquet file.
///
/// # Errors
/// When the file cannot be read or its columns are not the struct's.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, DataError> {
    crate::guarded(path, || read_unguarded(path))
}

fn read_unguarded<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, DataError> {
    let file = File::open(path).map_err(|e| DataError::io("read", path, e))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(|builder| builder.build())
        .map_err(|e| DataError::damaged(path, e))?;
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|e| DataError::damaged(path, e))?;
        let mut part: Vec<T> =
            serde_arrow::from_record_batch(&batch).map_err(|e| DataError::damaged(path, e))?;
        rows.append(&mut part);
    }
    Ok(rows)
}
