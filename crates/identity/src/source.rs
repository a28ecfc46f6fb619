//! Checks that a source file reaches no file that the identity leaves out.
//!
//! Unit tests do not count, by the names of their files and folders ([`is_test`]). So a module of that name must be declared for tests
//! alone, and whatever a source includes by name must count. The check reads tokens, not lines: layout, comments and text in quotes
//! do not mislead it.

use std::path::{Component, Path, PathBuf};

/// Whether a file or folder of this name below `src/` holds unit tests.
pub(crate) fn is_test(path: &Path) -> bool {
    let is_named = |name: &str| path.file_name().is_some_and(|found| found == name);
    is_named("tests.rs") || is_named("tests") && path.is_dir()
}

/// `path` without `.` and `..`, as far as its text tells.
pub(crate) fn normalised(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                result.pop();
            }
            other => result.push(other),
        }
    }
    result
}

/// A problem of a source file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where, from 1.
    pub line: usize,
    /// What is wrong and how to mend it.
    pub message: String,
}

/// Checks the text of the source file at `path`; `counts` tells whether a file is part of the identity.
pub(crate) fn check(path: &Path, text: &str, counts: impl Fn(&Path) -> bool) -> Result<(), Problem> {
    let tokens = tokens(text);
    let kinds: Vec<Kind<'_>> = tokens.iter().map(|token| token.kind).collect();
    let problem = |at: usize, message: String| Problem { line: tokens[at].line, message };
    let included = |at: usize, name: &str| {
        let file = normalised(&path.parent().unwrap_or(Path::new("")).join(name));
        if counts(&file) {
            return Ok(());
        }
        Err(problem(at, format!("\"{name}\" is no source that counts; keep it below src/, outside tests")))
    };
    for at in 0..kinds.len() {
        match kinds[at..] {
            [Kind::Word("mod"), Kind::Word("tests"), Kind::Mark(';'), ..] if !is_for_tests(&kinds[..at]) => {
                let message = "files of unit tests do not count, so `mod tests;` needs #[cfg(test)] above it";
                return Err(problem(at, message.into()));
            }
            [Kind::Mark('[' | ','), Kind::Word("path"), Kind::Mark('='), Kind::Text(name), ..] => {
                included(at, name)?;
            }
            [
                Kind::Word("include" | "include_str" | "include_bytes"),
                Kind::Mark('!'),
                Kind::Mark('(' | '[' | '{'),
                argument,
                ..,
            ] => match argument {
                Kind::Text(name) => included(at, name)?,
                _ => return Err(problem(at, "the name of an included file must be plain text".into())),
            },
            [Kind::Text("CARGO_PKG_VERSION"), ..] => {
                return Err(problem(at, "the versions of workspace packages do not count".into()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether the item that begins after these tokens has the attribute `#[cfg(test)]`.
fn is_for_tests(before: &[Kind<'_>]) -> bool {
    let mut rest = match before {
        [rest @ .., Kind::Word("pub")] => rest,
        [.., Kind::Mark(')')] => match opened(before, ['(', ')']) {
            Some([rest @ .., Kind::Word("pub")]) => rest,
            _ => before,
        },
        _ => before,
    };
    while let [.., Kind::Mark(']')] = rest {
        let Some(outside @ [start @ .., Kind::Mark('#')]) = opened(rest, ['[', ']']) else { return false };
        let attribute = &rest[outside.len() + 1..rest.len() - 1];
        if attribute == [Kind::Word("cfg"), Kind::Mark('('), Kind::Word("test"), Kind::Mark(')')] {
            return true;
        }
        rest = start;
    }
    false
}

/// The tokens before the bracket that the last token closes.
fn opened<'a, 't>(tokens: &'a [Kind<'t>], [open, close]: [char; 2]) -> Option<&'a [Kind<'t>]> {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().rev() {
        if *token == Kind::Mark(close) {
            depth += 1;
        } else if *token == Kind::Mark(open) {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return Some(&tokens[..at]);
            }
        }
    }
    None
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind<'a> {
    /// An identifier, a keyword or a number.
    Word(&'a str),
    /// What is between the quotes of a string, escapes as they are written.
    Text(&'a str),
    /// Any other character.
    Mark(char),
}

struct Token<'a> {
    kind: Kind<'a>,
    line: usize,
}

/// The tokens of Rust source text, without comments, characters in quotes and lifetimes.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let (kind, length) = next(rest, first);
        if let Some(kind) = kind {
            tokens.push(Token { kind, line });
        }
        let (read, after) = rest.split_at(length);
        line += read.matches('\n').count();
        rest = after;
    }
    tokens
}

/// The token at the start of `text`, which is not empty, and the bytes it takes; none for what is left out.
fn next(text: &str, first: char) -> (Option<Kind<'_>>, usize) {
    let end_of_word =
        |text: &str| text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    if text.starts_with("//") {
        return (None, text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return (None, comment(text));
    }
    match first {
        '"' => {
            let end = closing(&text[1..], '"').map_or(text.len(), |end| end + 1);
            (Some(Kind::Text(&text[1..end])), (end + 1).min(text.len()))
        }
        '\'' => {
            let inside = &text[1..];
            let mut characters = inside.char_indices();
            match (characters.next(), characters.next()) {
                (Some((_, '\\')), _) => (None, closing(inside, '\'').map_or(text.len(), |end| end + 2)),
                (_, Some((end, '\''))) => (None, end + 2),
                _ => (None, 1 + end_of_word(inside)),
            }
        }
        c if c.is_alphanumeric() || c == '_' => {
            let word = &text[..end_of_word(text)];
            let hashes = text[word.len()..].bytes().take_while(|&byte| byte == b'#').count();
            let opening = word.len() + hashes;
            if matches!(word, "r" | "br" | "cr") && text[opening..].starts_with('"') {
                let (inside, quote) = (&text[opening + 1..], format!("\"{}", "#".repeat(hashes)));
                let end = inside.find(&quote).unwrap_or(inside.len());
                let length = (opening + 1 + end + quote.len()).min(text.len());
                return (Some(Kind::Text(&inside[..end])), length);
            }
            (Some(Kind::Word(word)), word.len())
        }
        c if c.is_whitespace() => (None, c.len_utf8()),
        c => (Some(Kind::Mark(c)), c.len_utf8()),
    }
}

/// The length of a block comment; they nest.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < text.len() {
        let step = match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        at += step;
        if depth == 0 {
            break;
        }
    }
    at
}

/// Where `quote` closes a text that may have escapes.
fn closing(inside: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    inside.char_indices().find_map(|(at, c)| {
        let found = c == quote && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        found.then_some(at)
    })
}

#[cfg(test)]
mod tests;
