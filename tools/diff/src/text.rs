//! What a person reads.

use std::fmt;

use crate::{Field, NotFinite, Numbers, Place, Report, Rows, State, Texts};

/// Lines of one list; the rest is counted.
const LINES: usize = 20;
/// Of the list of files, whose shards say little.
const FILES: usize = 8;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "a  {}", self.a.display())?;
        writeln!(f, "b  {}", self.b.display())?;
        let differing: Vec<_> = self.files.iter().filter(|file| file.state != State::Equal).collect();
        if self.equal {
            return writeln!(f, "equal in every byte, {}", counted(self.files.len(), "file"));
        }
        writeln!(f, "{} of {} differ", differing.len(), counted(self.files.len(), "file"))?;
        let width = differing.iter().take(FILES).map(|file| file.path.len()).max().unwrap_or_default();
        list(f, &differing, FILES, |f, file| {
            let state = match file.state {
                State::Equal | State::Differs => "differs",
                State::OnlyA => "only a has it",
                State::OnlyB => "only b has it",
            };
            writeln!(f, "  {:<width$}  {state}", file.path)
        })?;
        section(f, "metadata", &self.metadata, |f, field| writeln!(f, "  {field}"))?;
        section(f, "rows", &self.rows, |f, rows| writeln!(f, "  {rows}"))?;
        section(f, "text", &self.texts, |f, texts| writeln!(f, "  {texts}"))?;
        self.numbers(f)?;
        section(f, "not compared", &self.notes, |f, note| writeln!(f, "  {note}"))
    }
}

impl Report {
    /// The tensors and columns that differ, file by file, those with the largest relative difference first.
    fn numbers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for of_file in self.numbers.chunk_by(|a, b| a.file == b.file) {
            let mut differing: Vec<&Numbers> = of_file.iter().filter(|numbers| numbers.differ()).collect();
            let share = |numbers: &Numbers| numbers.max_relative.unwrap_or(f64::NEG_INFINITY);
            differing.sort_by(|a, b| share(b).total_cmp(&share(a)));
            writeln!(f, "\n{}: {} of {} differ in numbers", of_file[0].file, differing.len(), of_file.len())?;
            let width =
                differing.iter().take(LINES).map(|numbers| numbers.name.len()).max().unwrap_or_default();
            list(f, &differing, LINES, |f, numbers| writeln!(f, "  {:<width$}  {numbers}", numbers.name))?;
        }
        Ok(())
    }
}

fn section<T>(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    items: &[T],
    line: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{title}")?;
    list(f, items, LINES, line)
}

fn list<T>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    most: usize,
    line: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    items.iter().take(most).try_for_each(|item| line(f, item))?;
    match items.len().saturating_sub(most) {
        0 => Ok(()),
        more => writeln!(f, "  and {more} more (--json has all)"),
    }
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A number in as few digits as tell it from others of its precision.
fn short(number: f64) -> String {
    let single = number as f32;
    if f64::from(single) == number { single.to_string() } else { number.to_string() }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = |value: &Option<serde_json::Value>| match value {
            Some(value) => value.to_string(),
            None => "not there".into(),
        };
        write!(f, "{}  {}: {} → {}", self.file, self.field, said(&self.a), said(&self.b))
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {} in both", self.file, self.both)?;
        for (side, count, first) in
            [("a", self.only_a, &self.first_only_a), ("b", self.only_b, &self.first_only_b)]
        {
            if count > 0 {
                let more = if count > first.len() { ", ..." } else { "" };
                write!(f, "; {count} only in {side}: {}{more}", first.join(", "))?;
            }
        }
        if self.reordered { write!(f, "; in another order") } else { Ok(()) }
    }
}

impl fmt::Display for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, name, rows, differing, first, a, b } = self;
        let said =
            |text: &Option<String>| text.as_ref().map_or("nothing".to_owned(), |text| format!("\"{text}\""));
        write!(f, "{file}  {name}: {differing} of {rows} differ, first at {first}: {} → {}", said(a), said(b))
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { elements, differing, max_abs, max_relative, mean_abs, at, not_finite, .. } = self;
        write!(f, "{differing} of {elements}")?;
        if let (Some(at), Some(max_abs), Some(max_relative), Some(mean_abs)) =
            (at, max_abs, max_relative, mean_abs)
        {
            write!(
                f,
                ", max {max_abs:.2e} ({max_relative:.1e} of the largest), mean {mean_abs:.1e}; largest {at}"
            )?;
        }
        if not_finite.a + not_finite.b > 0 {
            let NotFinite { a, b, differing } = not_finite;
            write!(f, "; not finite: {a} in a, {b} in b, {differing} of them differ")?;
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let index = Some(format!("{:?}", self.index)).filter(|_| !self.index.is_empty());
        let place: Vec<String> = self.row.iter().cloned().chain(index).collect();
        write!(f, "at {}: {} → {}", place.join(" "), short(self.a), short(self.b))
    }
}
