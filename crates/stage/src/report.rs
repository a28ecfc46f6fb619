use serde::{Deserialize, Serialize};
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a stage program says while it works, one JSON object a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// How far it is.
    Progress(Progress),
    /// A line worth keeping: a finding of the audit, the kept epoch, a total.
    Note(String),
    /// A row of a table that grows while the stage works.
    Row(Row),
    /// Durations in seconds, rates by the second and what they are made of, by name. The runner keeps them in the run
    /// record; no artifact holds them.
    Timing(serde_json::Value),
    /// The last message of a stage that succeeded.
    Done {
        /// Largest resident memory of the process, in bytes, where the system tells.
        peak_memory: Option<u64>,
    },
}

/// How far a stage is. How fast it is follows from the messages of one start: the first says where that began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done, such as "epoch 3/30, loss 0.412".
    pub phase: String,
    /// Units done.
    pub done: u64,
    /// Units in all.
    pub total: u64,
    /// What a unit is: images, steps, samples.
    pub unit: String,
    /// What becomes of it where no line can live in place.
    #[serde(default)]
    pub plain: Plain,
}

/// What becomes of a [`Progress`] where no line can live in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plain {
    /// A line now and then.
    #[default]
    Sometimes,
    /// None: the stage says itself what is worth a line.
    Never,
    /// A line.
    Always,
}

/// A row of a table: its cells in the order of the columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the table, such as "steps".
    pub table: String,
    /// Column and number; none where the row has no number for it.
    pub cells: Vec<(String, Option<f64>)>,
}

/// Passes messages on. Shared by threads.
pub struct Reporter {
    sink: Mutex<Sink>,
}

struct Sink {
    out: Box<dyn Write + Send>,
    last_progress: Option<Instant>,
}

/// More frequent progress than this is dropped: nobody reads it and the pipe costs time.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

impl Reporter {
    /// Writes messages to `out`.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        Self { sink: Mutex::new(Sink { out: Box::new(out), last_progress: None }) }
    }

    /// Drops every message: for tests and library use.
    pub fn silent() -> Self {
        Self::new(std::io::sink())
    }

    /// `done` of `total` units are done; the last unit is always passed on, others at most ten times a second.
    pub fn progress(&self, phase: &str, done: u64, total: u64, unit: &str) {
        let (phase, unit) = (phase.into(), unit.into());
        self.advance(Progress { phase, done, total, unit, plain: Plain::default() });
    }

    /// The same for a stage that says which of its messages are worth a line; those are always passed on.
    pub fn advance(&self, progress: Progress) {
        let now = Instant::now();
        {
            let mut sink = self.sink();
            let soon = sink.last_progress.is_some_and(|last| now - last < PROGRESS_INTERVAL);
            if soon && progress.done < progress.total && progress.plain != Plain::Always {
                return;
            }
            sink.last_progress = Some(now);
        }
        self.send(&Message::Progress(progress));
    }

    /// A line worth keeping.
    pub fn note(&self, line: impl Into<String>) {
        self.send(&Message::Note(line.into()));
    }

    /// A row of a table that grows.
    pub fn row(&self, table: &str, cells: Vec<(String, Option<f64>)>) {
        self.send(&Message::Row(Row { table: table.into(), cells }));
    }

    /// Where the time of this start went.
    pub fn timing(&self, timing: &impl Serialize) {
        match serde_json::to_value(timing) {
            Ok(timing) => self.send(&Message::Timing(timing)),
            Err(error) => tracing::error!("internal error: the timing cannot be encoded: {error}"),
        }
    }

    pub(crate) fn send(&self, message: &Message) {
        let mut line = match serde_json::to_vec(message) {
            Ok(line) => line,
            Err(error) => {
                tracing::error!("internal error: a message cannot be encoded: {error}");
                return;
            }
        };
        line.push(b'\n');
        let mut sink = self.sink();
        // A runner that went away is noticed on standard input; here there is nobody left to tell.
        let _ = sink.out.write_all(&line).and_then(|()| sink.out.flush());
    }

    /// A thread that panicked while it wrote leaves a line cut off at worst; the others go on.
    fn sink(&self) -> MutexGuard<'_, Sink> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
