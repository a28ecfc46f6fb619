//! What a person sees of a run: one line a step on standard output, progress and logs on standard error.

// The one module that may: everything it writes goes through `harmless` or the progress bars.
#![allow(clippy::disallowed_methods)]

use crate::plan::Step;
use indicatif::{DecimalBytes, MultiProgress, ProgressBar, ProgressStyle};
use resect_artifact::Outputs;
use resect_stage::{Message, Plain, Progress};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where lines go, and whether progress can live in place.
pub struct Screen {
    json: bool,
    terminal: bool,
    /// The lines that live, one for each step at work.
    bars: MultiProgress,
}

/// A step or a tool at work.
pub struct Working<'a> {
    screen: &'a Screen,
    name: &'static str,
    /// What tells it from others at work, with a colon; or nothing.
    label: String,
    /// Whether notes and a line an epoch are shown: of many runs at a time they are in the records alone.
    notes: bool,
    bar: Option<ProgressBar>,
    last_line: Instant,
    pace: Option<Pace>,
}

/// Without a terminal, progress is a plain line this often.
const PLAIN_INTERVAL: Duration = Duration::from_secs(15);

impl Screen {
    pub fn new(json: bool) -> Self {
        Self { json, terminal: std::io::stderr().is_terminal(), bars: MultiProgress::new() }
    }

    /// Whether standard output belongs to a JSON object.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// A line of the result. With `--json` standard output belongs to the JSON object.
    pub fn line(&self, text: &str) {
        self.bars.suspend(|| if self.json { say(text) } else { print(text) });
    }

    /// The one line of a step that is over.
    pub fn step(&self, step: Step, what: &str, outputs: &Outputs, seconds: Option<f64>) {
        self.row(step.name(), what, outputs, seconds);
    }

    fn row(&self, name: &str, what: &str, outputs: &Outputs, seconds: Option<f64>) {
        let artifacts: Vec<String> =
            outputs.iter().map(|(kind, id)| format!("{kind} {}", id.short())).collect();
        let time = seconds.map(duration).unwrap_or_default();
        let mut first = true;
        // The reason's first line stands with the artifacts; further ones below it.
        for line in what.lines() {
            if first {
                self.line(format!("{name:<9} {line:<34} {time:>7}  {}", artifacts.join("  ")).trim_end());
            } else {
                self.line(&format!("{:<9} {line}", ""));
            }
            first = false;
        }
    }

    /// Begins to show a step or a tool at work.
    /// `label` tells it from others; with `notes`, what it finds worth saying is shown.
    pub fn begin(&self, name: &'static str, label: &str, notes: bool, why: &str) -> Working<'_> {
        let label = if label.is_empty() { String::new() } else { format!("{label}: ") };
        let bar = self.terminal.then(|| {
            let bar = self.bars.add(ProgressBar::new(0));
            bar.set_style(style(WAITING));
            bar.set_prefix(name);
            bar.set_message(
                harmless(&format!("{label}{}", why.lines().next().unwrap_or_default())).into_owned(),
            );
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        if bar.is_none() {
            say!("{name}: {label}{}", why.replace('\n', "; "));
        }
        Working { screen: self, name, label, notes, bar, last_line: Instant::now(), pace: None }
    }
}

const WAITING: &str = "{prefix:<9} {spinner} {msg}  {elapsed}";
/// The message is cut where the line ends, so what matters most stands first in it.
const COUNTED: &str = "{prefix:<9} {bar:6} {pos}/{len} {wide_msg}";
const BYTES: &str =
    "{prefix:<9} {bar:24} {decimal_bytes}/{decimal_total_bytes} {msg}  {decimal_bytes_per_sec}, {eta} left";

fn style(template: &str) -> ProgressStyle {
    // The templates are the literals above; a wrong one would show as the default bar.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// How fast work goes: by what was done since it was first heard of. What an earlier start did says nothing.
struct Pace {
    began: Instant,
    first: u64,
}

impl Pace {
    /// Time until all is done, at the speed so far; none while nothing tells it, or nothing is left.
    fn left(&self, done: u64, total: u64, now: Instant) -> Option<Duration> {
        let (made, rest) = (done.checked_sub(self.first)?, total.checked_sub(done)?);
        let seconds = (now - self.began).as_secs_f64() / made as f64 * rest as f64;
        (made > 0 && rest > 0).then(|| Duration::from_secs_f64(seconds))
    }
}

impl Working<'_> {
    /// Shows what the stage program says.
    pub fn message(&mut self, message: &Message) {
        match message {
            Message::Progress(progress) => self.progress(progress),
            Message::Note(line) if self.notes => self.log(&format!("{:<9} {line}", "")),
            Message::Note(_) | Message::Row(_) | Message::Timing(_) | Message::Done { .. } => {}
        }
    }

    fn progress(&mut self, progress: &Progress) {
        let Progress { phase, done, total, unit, plain } = progress;
        let now = Instant::now();
        let pace = self.pace.get_or_insert(Pace { began: now, first: *done });
        let left = pace.left(*done, *total, now).map(|left| format!("{} left", rough(left)));
        if self.bar.is_some() {
            let words = [Some(unit.clone()), left, Some(phase.clone())];
            let message = words.into_iter().flatten().collect::<Vec<_>>().join(", ");
            self.live(*done, *total, COUNTED, &message);
        } else if *plain == Plain::Always && self.notes {
            let words = [Some(phase.clone()), left];
            let words = words.into_iter().flatten().collect::<Vec<_>>().join(", ");
            say!("{}: {}{words}", self.name, self.label);
        } else if *plain == Plain::Sometimes {
            self.now_and_then(|| format!("{phase}, {done} of {total} {unit}"));
        }
    }

    /// Shows how much of what is being fetched is there.
    pub fn bytes(&mut self, what: &str, done: u64, total: u64) {
        self.live(done, total, BYTES, what);
        self.now_and_then(|| format!("{} of {}, {what}", DecimalBytes(done), DecimalBytes(total)));
    }

    /// The line that lives in place, where there is one.
    fn live(&self, done: u64, total: u64, template: &str, message: &str) {
        let Some(bar) = &self.bar else { return };
        if bar.length() != Some(total) {
            bar.set_length(total);
            bar.set_style(style(template));
            bar.reset_eta();
        }
        bar.set_position(done);
        bar.set_message(harmless(&format!("{}{message}", self.label)).into_owned());
    }

    /// A plain line, where none lives in place and the last one is a while ago.
    fn now_and_then(&mut self, line: impl FnOnce() -> String) {
        if self.bar.is_none() && self.last_line.elapsed() > PLAIN_INTERVAL {
            self.last_line = Instant::now();
            say!("{}: {}{}", self.name, self.label, line());
        }
    }

    /// A line on standard error that does not tear the progress line.
    pub fn log(&self, line: &str) {
        self.screen.bars.suspend(|| say!("{line}"));
    }

    /// Ends with the step's line.
    pub fn end(self, what: &str, outputs: &Outputs, seconds: f64) {
        self.screen.row(self.clear(), what, outputs, Some(seconds));
    }

    /// A line of the result that does not tear the progress line.
    pub fn line(&self, text: &str) {
        self.screen.line(text);
    }

    /// Ends without a line; the name.
    pub fn clear(&self) -> &'static str {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.name
    }
}

/// Prints a line of the result. A reader that has seen enough (`| head`) is no error: the work goes on.
pub fn print(line: impl std::fmt::Display) {
    match writeln!(std::io::stdout(), "{}", harmless(&line.to_string())) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            say(format_args!("cannot write to standard output: {error}"));
        }
        _ => {}
    }
}

/// Prints a line on standard error; the macro `say!` formats its arguments for it.
pub fn say(line: impl std::fmt::Display) {
    // Where nobody listens there is nobody to tell that either.
    let _ = writeln!(std::io::stderr(), "{}", harmless(&line.to_string()));
}

/// Warns about a file that cannot be read while the command goes on without it: once for each message, as several steps may read it.
pub fn warn(error: &(dyn std::error::Error + 'static)) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut message = error.to_string();
    for cause in std::iter::successors(error.source(), |cause| cause.source()) {
        message += &format!(": {cause}");
    }
    if SAID.lock().unwrap_or_else(PoisonError::into_inner).insert(message.clone()) {
        say(format_args!("warning: {message}"));
    }
}

/// A text as a terminal may have it. Names, ids and messages come from data, and a terminal obeys what it finds in a text: it clears,
/// recolours, renames its window, writes from right to left. What would be obeyed is shown as JSON writes it, so that a JSON object
/// stays what it is.
fn harmless(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| {
        let moves = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        moves || (c.is_control() && c != '\n' && c != '\t')
    };
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let shown = text.chars().map(|c| if obeyed(c) { format!("\\u{:04x}", u32::from(c)) } else { c.into() });
    Cow::Owned(shown.collect())
}

/// Seconds as a person reads them.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 0.1 => format!("{:.0} ms", s * 1e3),
        s if s < 100.0 => format!("{s:.1} s"),
        s => format!("{:.0}m{:02.0}s", (s / 60.0).floor(), s % 60.0),
    }
}

/// How long it will take, as far as that can be told.
fn rough(time: Duration) -> String {
    match time.as_secs() {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        s => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
    }
}

#[cfg(test)]
mod tests;
