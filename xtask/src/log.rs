//! What `train` says of its steps and epochs, as files for other tools while it works: `--log csv`, `--log tensorboard`.
//!
//! They lie in `artifacts/runs/<run>/train/`, or `train-seed-<seed>/` where there are several, and are no artifacts:
//! `history.parquet` and `epochs.parquet` of the checkpoint hold the same numbers for good. Each row is written through at once, so
//! a killed run leaves whole rows. A run that resumes another begins where that one was saved.

mod events;

use clap::ValueEnum;
use events::Events;
use resect_stage::Row;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A kind of log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// steps.csv and epochs.csv, with the columns of history.parquet and epochs.parquet.
    Csv,
    /// An event file of TensorBoard.
    Tensorboard,
}

/// The logs of a stage at work. Files appear with the first row.
pub struct Log<'a> {
    formats: &'a [LogFormat],
    dir: PathBuf,
    tables: BTreeMap<String, File>,
    events: Option<Events>,
    /// Optimiser steps taken so far.
    step: f64,
}

impl<'a> Log<'a> {
    /// Logs into a folder, which need not exist.
    pub fn new(formats: &'a [LogFormat], dir: PathBuf) -> Self {
        Self { formats, dir, tables: BTreeMap::new(), events: None, step: 0.0 }
    }

    /// The folder, once there is something in it.
    pub fn dir(&self) -> Option<&Path> {
        let is_empty = self.tables.is_empty() && self.events.is_none();
        (!is_empty).then_some(&self.dir)
    }

    /// Writes a row, and returns a line that the user should see: where the logs are, or why there are none. After an error
    /// nothing further is written, so that whatever is missing is missing at the end.
    pub fn row(&mut self, row: &Row) -> Option<String> {
        if self.formats.is_empty() {
            return None;
        }
        let is_first = self.dir().is_none();
        match std::fs::create_dir_all(&self.dir).and_then(|()| self.write(row)) {
            Ok(()) => is_first.then(|| format!("{:<9} logs in {}", "", crate::workspace::display(&self.dir))),
            Err(error) => {
                self.formats = &[];
                Some(format!(
                    "cannot write logs to {}: {error}; training goes on without",
                    self.dir.display()
                ))
            }
        }
    }

    fn write(&mut self, row: &Row) -> std::io::Result<()> {
        if self.formats.contains(&LogFormat::Csv) {
            if !self.tables.contains_key(&row.table) {
                let mut file = File::create(self.dir.join(format!("{}.csv", row.table)))?;
                write_line(&mut file, row.cells.iter().map(|(column, _)| column.clone()))?;
                self.tables.insert(row.table.clone(), file);
            }
            if let Some(file) = self.tables.get_mut(&row.table) {
                let number = |cell: &Option<f64>| cell.map(|x| x.to_string()).unwrap_or_default();
                write_line(file, row.cells.iter().map(|(_, cell)| number(cell)))?;
            }
        }
        if let Some((_, Some(step))) = row.cells.iter().find(|(column, _)| column == "step") {
            self.step = *step;
        }
        if self.formats.contains(&LogFormat::Tensorboard) {
            let events = match &mut self.events {
                Some(events) => events,
                none => none.insert(Events::create(&self.dir)?),
            };
            let scalars =
                row.cells.iter().filter_map(|(column, cell)| Some((tag(&row.table, column)?, (*cell)?)));
            events.write(self.step as i64, scalars)?;
        }
        Ok(())
    }
}

/// A line of a CSV file, in one piece. Neither numbers nor names of columns need quotes.
fn write_line(file: &mut File, cells: impl Iterator<Item = String>) -> std::io::Result<()> {
    file.write_all(format!("{}\n", cells.collect::<Vec<_>>().join(",")).as_bytes())
}

/// Under which name TensorBoard shows a column: `train/loss` of a step, `validation/dice` of an epoch. What an epoch says of
/// training is seen in its steps.
fn tag(table: &str, column: &str) -> Option<String> {
    match (table, column.strip_prefix("validation_")) {
        ("steps", _) if column != "step" && column != "epoch" => Some(format!("train/{column}")),
        ("epochs", Some(what)) => Some(format!("validation/{what}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
