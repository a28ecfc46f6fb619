//! Tables: Parquet files, row by row and column by column.

use std::fs::File;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrowPrimitiveType, RecordBatchReader};
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Serialize;
use serde_json::{Value, json};

use crate::matching::Matched;
use crate::numbers::Tally;
use crate::{Field, Report};

/// The columns that name the rows of the tables that stages write; the rows of others are named by their numbers.
const NAMES: [(&str, &[&str]); 5] = [
    ("index.parquet", &["pixel_hash", "view"]),
    ("targets.parquet", &["id"]),
    ("samples.parquet", &["id", "method"]),
    ("history.parquet", &["step"]),
    ("epochs.parquet", &["epoch"]),
];

/// A column of text in which rows differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Texts {
    /// The table.
    pub file: String,
    /// The column.
    pub name: String,
    /// Rows that both have.
    pub rows: u64,
    /// Those that differ.
    pub differing: u64,
    /// The first of those.
    pub first: String,
    /// What the first side has there; null where it has nothing.
    pub a: Option<String>,
    /// What the second has.
    pub b: Option<String>,
}

/// Compares two tables; each is read whole.
pub(crate) fn compare(file: &str, a: &Path, b: &Path, report: &mut Report) -> Result<(), String> {
    let (a, b) = (Table::read(a)?, Table::read(b)?);
    let name = file.rsplit('/').next().unwrap_or(file);
    let known = NAMES.iter().find(|(table, _)| *table == name).map_or(&[][..], |(_, columns)| *columns);
    let matched = Matched::of(file, &a.names(known), &b.names(known));
    let names = a.names(known);
    for (column, of_a) in &a.columns {
        match (of_a, b.column(column)) {
            (Column::Numbers(of_a), Some(Column::Numbers(of_b))) => {
                let mut tally = Tally::new(file, column);
                for (row, other) in &matched.pairs {
                    tally.add(Some(&names[*row]), &[], std::iter::once((of_a[*row], of_b[*other])));
                }
                report.numbers.push(tally.end());
            }
            (Column::Texts(of_a), Some(Column::Texts(of_b))) => {
                report.texts.extend(texts(file, column, &names, &matched.pairs, of_a, of_b));
            }
            (Column::Unread(kind), Some(Column::Unread(_))) => {
                report.note(file, format!("column {column} of type {kind} is not compared"));
            }
            (of_a, of_b) => report.metadata.push(Field {
                file: file.into(),
                field: column.clone(),
                a: Some(of_a.kind()),
                b: of_b.map(Column::kind),
            }),
        }
    }
    for (column, of_b) in b.columns.iter().filter(|(column, _)| a.column(column).is_none()) {
        let b = Some(of_b.kind());
        report.metadata.push(Field { file: file.into(), field: column.clone(), a: None, b });
    }
    report.rows.extend(Some(matched.rows).filter(|rows| rows.differ()));
    Ok(())
}

fn texts(
    file: &str,
    column: &str,
    names: &[String],
    pairs: &[(usize, usize)],
    a: &[Option<String>],
    b: &[Option<String>],
) -> Option<Texts> {
    let mut differing = pairs.iter().filter(|(row, other)| a[*row] != b[*other]);
    let &(row, other) = differing.next()?;
    Some(Texts {
        file: file.into(),
        name: column.into(),
        rows: pairs.len() as u64,
        differing: 1 + differing.count() as u64,
        first: names[row].clone(),
        a: a[row].clone(),
        b: b[other].clone(),
    })
}

enum Column {
    /// NaN where there is none.
    Numbers(Vec<f64>),
    Texts(Vec<Option<String>>),
    /// Of another type.
    Unread(DataType),
}

impl Column {
    fn of(kind: &DataType) -> Self {
        match kind {
            DataType::Utf8 | DataType::LargeUtf8 => Self::Texts(Vec::new()),
            DataType::Dictionary(_, values) if matches!(**values, DataType::Utf8 | DataType::LargeUtf8) => {
                Self::Texts(Vec::new())
            }
            DataType::Boolean => Self::Numbers(Vec::new()),
            // Whole numbers, and the three formats of floating ones; decimals are numeric, too, and are not read.
            kind if kind.is_integer() || kind.is_floating() => Self::Numbers(Vec::new()),
            other => Self::Unread(other.clone()),
        }
    }

    fn kind(&self) -> Value {
        match self {
            Self::Numbers(_) => json!("a column of numbers"),
            Self::Texts(_) => json!("a column of text"),
            Self::Unread(kind) => json!(format!("a column of type {kind}")),
        }
    }

    fn append(&mut self, array: &dyn Array) {
        match self {
            Self::Numbers(into) => numbers(array, into),
            Self::Texts(into) => texts_of(array, into),
            Self::Unread(_) => {}
        }
    }

    fn text(&self, row: usize) -> String {
        match self {
            Self::Numbers(numbers) => numbers[row].to_string(),
            Self::Texts(texts) => texts[row].clone().unwrap_or_default(),
            Self::Unread(_) => String::new(),
        }
    }
}

fn numbers(array: &dyn Array, into: &mut Vec<f64>) {
    fn primitive<T: ArrowPrimitiveType>(
        array: &dyn Array,
        into: &mut Vec<f64>,
        number: fn(T::Native) -> f64,
    ) {
        into.extend(array.as_primitive::<T>().iter().map(|value| value.map_or(f64::NAN, number)));
    }
    match array.data_type() {
        DataType::Int8 => primitive::<Int8Type>(array, into, f64::from),
        DataType::Int16 => primitive::<Int16Type>(array, into, f64::from),
        DataType::Int32 => primitive::<Int32Type>(array, into, f64::from),
        DataType::Int64 => primitive::<Int64Type>(array, into, |x| x as f64),
        DataType::UInt8 => primitive::<UInt8Type>(array, into, f64::from),
        DataType::UInt16 => primitive::<UInt16Type>(array, into, f64::from),
        DataType::UInt32 => primitive::<UInt32Type>(array, into, f64::from),
        DataType::UInt64 => primitive::<UInt64Type>(array, into, |x| x as f64),
        DataType::Float16 => primitive::<Float16Type>(array, into, f64::from),
        DataType::Float32 => primitive::<Float32Type>(array, into, f64::from),
        DataType::Float64 => primitive::<Float64Type>(array, into, |x| x),
        _ => into.extend(
            array.as_boolean().iter().map(|value| value.map_or(f64::NAN, |v| f64::from(u8::from(v)))),
        ),
    }
}

fn texts_of(array: &dyn Array, into: &mut Vec<Option<String>>) {
    match array.data_type() {
        DataType::Utf8 => into.extend(array.as_string::<i32>().iter().map(|text| text.map(str::to_owned))),
        DataType::LargeUtf8 => {
            into.extend(array.as_string::<i64>().iter().map(|text| text.map(str::to_owned)))
        }
        _ => {
            let dictionary = array.as_any_dictionary();
            let mut values = Vec::new();
            texts_of(dictionary.values().as_ref(), &mut values);
            if values.is_empty() {
                // Keys into nothing, all of them missing.
                return into.extend(vec![None; array.len()]);
            }
            let keys = dictionary.normalized_keys().into_iter().enumerate();
            into.extend(keys.map(|(row, key)| match array.is_null(row) {
                true => None,
                false => values.get(key).cloned().flatten(),
            }));
        }
    }
}

/// A table in memory.
struct Table {
    columns: Vec<(String, Column)>,
    rows: usize,
}

impl Table {
    fn read(path: &Path) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let file = File::open(path).map_err(|error| failed(&error))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .and_then(|builder| builder.build())
            .map_err(|error| failed(&error))?;
        let fields = reader.schema().fields().clone();
        let columns = fields.iter().map(|field| (field.name().clone(), Column::of(field.data_type())));
        let mut table = Self { columns: columns.collect(), rows: 0 };
        for batch in reader {
            let batch = batch.map_err(|error| failed(&error))?;
            table.rows += batch.num_rows();
            table
                .columns
                .iter_mut()
                .zip(batch.columns())
                .for_each(|((_, column), array)| column.append(array));
        }
        Ok(table)
    }

    fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|(column, _)| column == name).map(|(_, column)| column)
    }

    /// What each row is called: the values of these columns, or its number where a column is missing or there are none.
    fn names(&self, columns: &[&str]) -> Vec<String> {
        let columns: Option<Vec<&Column>> = columns.iter().map(|name| self.column(name)).collect();
        let columns = columns.unwrap_or_default();
        let name = |row: usize| match columns.is_empty() {
            true => format!("row {row}"),
            false => columns.iter().map(|column| column.text(row)).collect::<Vec<_>>().join(" "),
        };
        (0..self.rows).map(name).collect()
    }
}
