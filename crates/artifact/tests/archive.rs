//! Archives that lie: nothing of them comes into a store.

use resect_artifact::{Action, ArtifactId, Contents, FileEntry, Hash, Manifest, Named, Records, Store};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// A store with one artifact of two files and the record that made it.
fn stored(dir: &Path) -> (Store, Named, Action) {
    let store = Store::open(dir).unwrap();
    let document = json!({ "stage": "ingest", "inputs": {} });
    let key = Hash::key(&document);
    let out = store.work_dir("ingest", &key).unwrap().join("out");
    fs::create_dir_all(out.join("below")).unwrap();
    fs::write(out.join("a.txt"), "first").unwrap();
    fs::write(out.join("below/b.txt"), "second").unwrap();
    let id = store.publish("images", &out).unwrap();
    let action = Action {
        format: Action::FORMAT.into(),
        stage: "ingest".into(),
        key,
        document,
        outputs: [("images".to_owned(), id.clone())].into(),
        run: "run".into(),
        finished: "2026".into(),
        seconds: 1.0,
        peak_memory: None,
        notes: Vec::new(),
        other_outputs: Vec::new(),
        accepted: None,
    };
    store.record(&action).unwrap();
    (store, ("images".into(), id), action)
}

struct Entry {
    name: String,
    kind: EntryType,
    content: Vec<u8>,
}

fn entry(name: &str, content: impl Into<Vec<u8>>) -> Entry {
    Entry { name: name.into(), kind: EntryType::Regular, content: content.into() }
}

/// Writes an archive of any names: those that a well-meaning writer refuses, too.
fn write(path: &Path, entries: Vec<Entry>) {
    let mut tar = Builder::new(fs::File::create(path).unwrap());
    for Entry { name, kind, content } in entries {
        let mut header = Header::new_gnu();
        let field = &mut header.as_gnu_mut().unwrap().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, content.as_slice()).unwrap();
    }
    tar.finish().unwrap();
}

fn contents(artifacts: &[(&str, &ArtifactId)]) -> Entry {
    let artifacts: Vec<_> =
        artifacts.iter().map(|(kind, id)| ((*kind).to_owned(), (*id).clone(), 1)).collect();
    let contents =
        Contents { format: Contents::FORMAT.into(), wanted: Vec::new(), artifacts, left_out: Vec::new() };
    entry("resect-archive.json", serde_json::to_vec(&contents).unwrap())
}

/// A manifest of one file of five bytes under some name.
fn manifest(path: &str) -> (ArtifactId, Vec<u8>) {
    let manifest = Manifest::new(vec![FileEntry { path: path.into(), size: 5, blake3: Hash::of(b"first") }]);
    (manifest.id().unwrap(), manifest.to_json().unwrap().into_bytes())
}

#[test]
fn what_is_exported_comes_back_with_its_record() {
    let [from, to] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (store, named, action) = stored(from.path());
    let tar = from.path().join("images.tar");
    let ancestry = Records::read(&store).unwrap().ancestry([named.clone()]);
    let written = store.export(std::slice::from_ref(&named), &ancestry, &[], &tar).unwrap();
    assert_eq!(written.bytes(), 11);
    let other = Store::open(to.path()).unwrap();
    let imported = other.import(&tar).unwrap();
    assert_eq!((imported.new, imported.records), (vec![named.clone()], 1));
    other.verify(&named.0, &named.1).unwrap();
    assert_eq!(other.action("ingest", &action.key).unwrap().unwrap().outputs, action.outputs);
    let again = other.import(&tar).unwrap();
    assert_eq!((again.known, again.records), (vec![named], 0));
}

#[test]
fn archives_that_lie_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let tar = dir.path().join("hostile.tar");
    let refused = |what: &str, entries: Vec<Entry>, expected: &str| {
        write(&tar, entries);
        let root = dir.path().join("store");
        let store = Store::open(&root).unwrap();
        let said = store.import(&tar).map(drop).unwrap_err().to_string();
        assert!(said.contains(expected), "{what}: {said}");
        let found: Vec<PathBuf> = walk(&root).into_iter().filter(|path| path.is_file()).collect();
        assert!(found.is_empty(), "{what}: {found:?}");
        assert!(!dir.path().join("escaped").exists(), "{what}");
    };
    let (id, good) = manifest("a.txt");
    let place = |rest: &str| format!("images/{id}/{rest}");
    let whole = |more: Vec<Entry>| {
        let mut all = vec![contents(&[("images", &id)]), entry(&place("manifest.json"), good.clone())];
        all.extend(more);
        all
    };
    write(&tar, whole(vec![entry(&place("a.txt"), "first")]));
    Store::open(&dir.path().join("good")).unwrap().import(&tar).unwrap();

    let second = dir.path().join("store/images");
    assert!(!second.exists());
    refused("other bytes", whole(vec![entry(&place("a.txt"), "fxrst")]), "are not those of its manifest");
    refused("more bytes", whole(vec![entry(&place("a.txt"), "first!")]), "has 6 bytes, its manifest says 5");
    refused("no file", whole(vec![]), "a.txt of images ");
    let twice = vec![entry(&place("a.txt"), "first"), entry(&place("a.txt"), "first")];
    refused("a file twice", whole(twice), "is in no manifest, or twice");
    refused("a file of its own", whole(vec![entry(&place("b.txt"), "first")]), "is in no manifest");
    let above = whole(vec![entry(&place("../../../escaped"), "first")]);
    refused("a path above", above, "is in no manifest");
    refused("another artifact", whole(vec![entry("images/0123/a.txt", "first")]), "is of no artifact");
    let link = Entry { name: place("a.txt"), kind: EntryType::Symlink, content: Vec::new() };
    refused("a link", whole(vec![link]), "is no regular file");
    let other = Hash::of(b"other");
    let unlisted = whole(vec![entry(&format!("images/{other}/manifest.json"), "{}")]);
    refused("an artifact that is not listed", unlisted, "does not list");
    refused("no manifest", vec![contents(&[("images", &id)])], "does not hold it");
    let before = vec![contents(&[("images", &id)]), entry(&place("a.txt"), "first")];
    refused("a file before its manifest", before, "comes before its manifest");
    for name in ["../../escaped", "/tmp/escaped", "a/../../escaped"] {
        let (id, text) = manifest(name);
        let entries = vec![contents(&[("images", &id)]), entry(&format!("images/{id}/manifest.json"), text)];
        refused(name, entries, "names a file outside of its artifact");
    }
    refused("a kind that is a path", vec![contents(&[("../escaped", &id)])], "of a kind that cannot be");
    refused("no list", vec![entry("a.txt", "x")], "does not begin with resect-archive.json");
    let newer = r#"{"format": "resect-archive/2.0", "wanted": [], "artifacts": [], "left_out": []}"#;
    refused("another version", vec![entry("resect-archive.json", newer)], "has format resect-archive/2.0");

    let (_, _, mut action) = stored(&dir.path().join("other"));
    let name = format!("actions/ingest/{}.json", action.key);
    action.document["inputs"] = json!({ "dataset": "another" });
    let record = entry(&name, serde_json::to_vec(&action).unwrap());
    refused(
        "a record of another document",
        vec![contents(&[]), record],
        "has a key that is not that of its document",
    );
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path);
        }
    }
    found
}
