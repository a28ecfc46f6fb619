//! What a person sees of a run: one line a step on standard output, progress and logs on standard error.

use crate::plan::Step;
use indicatif::{DecimalBytes, ProgressBar, ProgressStyle};
use resect_artifact::Outputs;
use resect_stage::Message;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Where lines go, and whether progress can live in place.
pub struct Screen {
    json: bool,
    terminal: bool,
}

/// A step or a tool at work.
pub struct Working<'a> {
    screen: &'a Screen,
    name: &'static str,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

/// Without a terminal, progress is a plain line this often.
const PLAIN_INTERVAL: Duration = Duration::from_secs(15);

impl Screen {
    pub fn new(json: bool) -> Self {
        Self { json, terminal: std::io::stderr().is_terminal() }
    }

    /// Whether standard output belongs to a JSON object.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// A line of the result. With `--json` standard output belongs to the JSON object.
    pub fn line(&self, text: &str) {
        if self.json { eprintln!("{text}") } else { print(text) }
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
    pub fn begin(&self, name: &'static str, why: &str) -> Working<'_> {
        let bar = self.terminal.then(|| {
            let bar = ProgressBar::new(0);
            bar.set_style(style(WAITING));
            bar.set_prefix(name);
            bar.set_message(why.lines().next().unwrap_or_default().to_owned());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        if bar.is_none() {
            eprintln!("{name}: {}", why.replace('\n', "; "));
        }
        Working { screen: self, name, bar, last_line: Instant::now() }
    }
}

const WAITING: &str = "{prefix:<9} {spinner} {msg}  {elapsed}";
const COUNTED: &str = "{prefix:<9} {bar:24} {pos}/{len} {msg}  {per_sec}, {eta} left";
const BYTES: &str =
    "{prefix:<9} {bar:24} {decimal_bytes}/{decimal_total_bytes} {msg}  {decimal_bytes_per_sec}, {eta} left";

fn style(template: &str) -> ProgressStyle {
    // The templates are the literals above; a wrong one would show as the default bar.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Working<'_> {
    /// Shows what the stage program says.
    pub fn message(&mut self, message: &Message) {
        match message {
            Message::Progress { phase, done, total, unit } => {
                let line = || format!("{phase}, {done} of {total} {unit}");
                self.advance(*done, *total, COUNTED, &format!("{unit}, {phase}"), line);
            }
            Message::Note(line) => self.log(&format!("{:<9} {line}", "")),
            Message::Done { .. } => {}
        }
    }

    /// Shows how much of what is being fetched is there.
    pub fn bytes(&mut self, what: &str, done: u64, total: u64) {
        let line = || format!("{} of {}, {what}", DecimalBytes(done), DecimalBytes(total));
        self.advance(done, total, BYTES, what, line);
    }

    fn advance(
        &mut self,
        done: u64,
        total: u64,
        template: &str,
        message: &str,
        line: impl FnOnce() -> String,
    ) {
        if let Some(bar) = &self.bar {
            if bar.length() != Some(total) {
                bar.set_length(total);
                bar.set_style(style(template));
                bar.reset_eta();
            }
            bar.set_position(done);
            bar.set_message(message.to_owned());
        } else if self.last_line.elapsed() > PLAIN_INTERVAL {
            self.last_line = Instant::now();
            eprintln!("{}: {}", self.name, line());
        }
    }

    /// A line on standard error that does not tear the progress line.
    pub fn log(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Ends with the step's line.
    pub fn end(self, what: &str, outputs: &Outputs, seconds: f64) {
        self.screen.row(self.clear(), what, outputs, Some(seconds));
    }

    /// A line of the result that does not tear the progress line.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.screen.line(text)),
            None => self.screen.line(text),
        }
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
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("cannot write to standard output: {error}");
        }
        _ => {}
    }
}

/// Seconds as a person reads them.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 0.1 => format!("{:.0} ms", s * 1e3),
        s if s < 100.0 => format!("{s:.1} s"),
        s => format!("{:.0}m{:02.0}s", (s / 60.0).floor(), s % 60.0),
    }
}
