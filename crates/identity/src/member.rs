//! A crate of the workspace: its manifest and the sources that count.

use crate::manifest::Manifest;
use crate::{IdentityError, read, source};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub(crate) struct Member {
    pub dir: PathBuf,
    pub manifest: Manifest,
    /// Its build script and sources, unit tests aside, with what they hold.
    pub files: Vec<(PathBuf, Vec<u8>)>,
    /// What cargo must watch, so that a build script notices files that are added.
    pub watched: Vec<PathBuf>,
}

impl Member {
    pub fn read(dir: &Path) -> Result<Self, IdentityError> {
        let manifest = Manifest::read(&dir.join("Cargo.toml"))?;
        let build_script = manifest.build_script().map(|name| dir.join(name)).filter(|path| path.exists());
        let mut watched = vec![manifest.path.clone(), dir.join("src")];
        watched.extend(build_script.clone());
        let mut paths: Vec<PathBuf> = build_script.into_iter().collect();
        files_below(&dir.join("src"), &mut paths)?;

        let counted: BTreeSet<PathBuf> = paths.iter().cloned().collect();
        for root in manifest.roots() {
            if !counted.contains(&source::normalised(&dir.join(root))) {
                let message =
                    format!("\"{root}\" is no source that counts; keep it below src/, outside tests");
                return Err(IdentityError::Parse { path: manifest.path.clone(), message });
            }
        }
        let mut files = Vec::new();
        for path in paths {
            let content = read(&path)?;
            if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::str::from_utf8(&content).map_err(|_| IdentityError::Parse {
                    path: path.clone(),
                    message: "it is not UTF-8".into(),
                })?;
                source::check(&path, text, |file| counted.contains(file)).map_err(|problem| {
                    IdentityError::Source { path: path.clone(), line: problem.line, message: problem.message }
                })?;
            }
            files.push((path, content));
        }
        Ok(Self { dir: dir.into(), manifest, files, watched })
    }
}

/// Adds all files below a folder, those of unit tests aside.
fn files_below(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), IdentityError> {
    let error = |source| IdentityError::Read { path: dir.into(), source };
    let mut entries: Vec<PathBuf> = std::fs::read_dir(dir)
        .map_err(error)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()
        .map_err(error)?;
    entries.sort();
    for path in entries.into_iter().filter(|path| !source::is_test(path)) {
        if path.is_dir() {
            files_below(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
