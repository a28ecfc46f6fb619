use serde::{Deserialize, Serialize};
use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What a stage program says while it works, one JSON object a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// How far it is.
    Progress {
        /// What is being done, such as "epoch 3/30, loss 0.412".
        phase: String,
        /// Units done.
        done: u64,
        /// Units in all.
        total: u64,
        /// What a unit is: images, steps, samples.
        unit: String,
    },
    /// A line worth keeping: a finding of the audit, the kept epoch, a total.
    Note(String),
    /// The last message of a stage that succeeded.
    Done {
        /// Largest resident memory of the process, in bytes, where the system tells.
        peak_memory: Option<u64>,
    },
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
        let now = Instant::now();
        {
            let Ok(mut sink) = self.sink.lock() else { return };
            let soon = sink.last_progress.is_some_and(|last| now - last < PROGRESS_INTERVAL);
            if soon && done < total {
                return;
            }
            sink.last_progress = Some(now);
        }
        self.send(&Message::Progress { phase: phase.into(), done, total, unit: unit.into() });
    }

    /// A line worth keeping.
    pub fn note(&self, line: impl Into<String>) {
        self.send(&Message::Note(line.into()));
    }

    pub(crate) fn send(&self, message: &Message) {
        let Ok(mut sink) = self.sink.lock() else { return };
        if let Ok(mut line) = serde_json::to_vec(message) {
            line.push(b'\n');
            // A runner that went away is noticed on standard input; here there is nobody left to tell.
            let _ = sink.out.write_all(&line).and_then(|()| sink.out.flush());
        }
    }
}
