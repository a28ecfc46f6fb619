//! Which artifact a name means.

use anyhow::bail;
use resect_artifact::{ArtifactId, Store};
use std::path::Path;

/// The artifact that a name means: the first digits of its id, or its folder in the store.
///
/// # Errors
/// A name that means none, or several.
pub fn artifact(name: &str, store: &Store) -> anyhow::Result<(String, ArtifactId)> {
    if let Some(found) = at(Path::new(name), store) {
        return Ok(found);
    }
    let mut found: Vec<(String, ArtifactId)> = Vec::new();
    for kind in store.kinds()? {
        found.extend(store.ids(&kind, name)?.into_iter().map(|id| (kind.clone(), id)));
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => bail!(
            "there is no run or artifact {name}; expected the name of a run (`cargo xtask runs` lists them), or the first digits of \
             an artifact's id as `cargo xtask run` prints it"
        ),
        several => {
            let names: Vec<_> = several.iter().map(|(kind, id)| format!("{kind} {}", id.short())).collect();
            bail!("{name} can be any of {}; give more digits", names.join(", "))
        }
    }
}

/// The artifact whose folder this is.
fn at(dir: &Path, store: &Store) -> Option<(String, ArtifactId)> {
    let dir = dir.canonicalize().ok()?;
    let inside = dir.strip_prefix(store.root().canonicalize().ok()?).ok()?.to_str()?.to_owned();
    let (kind, id) = inside.split_once('/')?;
    Some((kind.to_owned(), id.to_owned().try_into().ok()?))
}
