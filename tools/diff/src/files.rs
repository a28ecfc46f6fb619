//! Which files there are, and whether their bytes are equal.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;
use walkdir::WalkDir;

use crate::DiffError;

/// Says of an artifact's files what they themselves say: it is left out.
const MANIFEST: &str = "manifest.json";

/// A file of either side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileState {
    /// Its path below the folder, `/` between its parts.
    pub path: String,
    /// How it compares.
    pub state: State,
}

/// How the two files of one path compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Every byte is equal.
    Equal,
    /// Some are not.
    Differs,
    /// Only the first has it.
    OnlyA,
    /// Only the second has it.
    OnlyB,
}

/// Compares the files below two folders, sorted by path.
pub(crate) fn compare(a: &Path, b: &Path) -> Result<Vec<FileState>, DiffError> {
    let (of_a, mut of_b) = (below(a)?, below(b)?);
    let mut states = BTreeMap::new();
    for (name, path) in of_a {
        let state = match of_b.remove(&name) {
            Some(other) => state(&path, &other)?,
            None => State::OnlyA,
        };
        states.insert(name, state);
    }
    states.extend(of_b.into_keys().map(|name| (name, State::OnlyB)));
    Ok(states.into_iter().map(|(path, state)| FileState { path, state }).collect())
}

fn below(dir: &Path) -> Result<BTreeMap<String, PathBuf>, DiffError> {
    let mut files = BTreeMap::new();
    for entry in WalkDir::new(dir).follow_links(true) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(dir).to_owned();
            DiffError::Read { path, source: error.into() }
        })?;
        if !entry.file_type().is_file() {
            continue;
        }
        // Files are matched by name, so each must have one of its own.
        let name = entry.path().strip_prefix(dir).ok().and_then(Path::to_str);
        let name = name.ok_or_else(|| DiffError::Name(entry.path().to_owned()))?.replace('\\', "/");
        if name != MANIFEST {
            files.insert(name, entry.into_path());
        }
    }
    Ok(files)
}

/// Whether two files are equal in every byte, read a piece at a time.
pub(crate) fn state(a: &Path, b: &Path) -> Result<State, DiffError> {
    const PIECE: usize = 1 << 20;
    let open = |path: &Path| {
        let failed = |source| DiffError::Read { path: path.into(), source };
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Ok((file, length))
    };
    let ((mut file_a, length), (mut file_b, other)) = (open(a)?, open(b)?);
    if length != other {
        return Ok(State::Differs);
    }
    let (mut piece_a, mut piece_b) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let read = file_a.read(&mut piece_a).map_err(|source| DiffError::Read { path: a.into(), source })?;
        if read == 0 {
            return Ok(State::Equal);
        }
        let (piece_a, piece_b) = (&piece_a[..read], &mut piece_b[..read]);
        file_b.read_exact(piece_b).map_err(|source| DiffError::Read { path: b.into(), source })?;
        if piece_a != piece_b {
            return Ok(State::Differs);
        }
    }
}

#[cfg(test)]
mod tests;
