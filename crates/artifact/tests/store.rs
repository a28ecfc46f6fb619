//! The store's promises, each broken on purpose.

use resect_artifact::{Action, Hash, Lock, MANIFEST, Outputs, Pin, Retention, Store};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

fn make(store: &Store, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let dir = store.work_dir("test", &Hash::of(name.as_bytes())).unwrap().join("out");
    for (path, content) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    dir
}

fn unprotect(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }
}

#[test]
fn equal_content_is_one_artifact_and_its_id_is_the_manifests_hash() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let a = store.publish("images", &make(&store, "1", &[("b.txt", "B"), ("a/c.txt", "C")])).unwrap();
    let b = store.publish("images", &make(&store, "2", &[("a/c.txt", "C"), ("b.txt", "B")])).unwrap();
    let other = store.publish("images", &make(&store, "3", &[("b.txt", "B"), ("a/d.txt", "C")])).unwrap();
    assert_eq!(a, b);
    assert_ne!(a, other);
    let dir = store.path("images", &a);
    assert_eq!(Hash::of(&fs::read(dir.join(MANIFEST)).unwrap()), a);
    assert!(fs::metadata(dir.join("b.txt")).unwrap().permissions().readonly());
    store.verify("images", &a).unwrap();
}

#[test]
fn every_kind_of_damage_is_a_miss_with_a_reason() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let files = [("a.txt", "some content"), ("b.txt", "more")];
    type Damage = fn(&Path);
    let cases: [(Damage, &str, bool); 6] = [
        (|d| fs::remove_dir_all(d).unwrap(), "is missing", true),
        (|d| fs::remove_file(d.join("b.txt")).unwrap(), "b.txt is missing", true),
        (|d| fs::write(d.join("a.txt"), "short").unwrap(), "has 5 bytes, not 12", true),
        (|d| fs::write(d.join(MANIFEST), "{}").unwrap(), "damaged manifest", true),
        // Same size, other bytes: the cheap check cannot see it, the full one does.
        (|d| fs::write(d.join("a.txt"), "SOME content").unwrap(), "a.txt has other content", false),
        (|d| fs::write(d.join("c.txt"), "").unwrap(), "files that are not its own", false),
    ];
    for (damage, message, cheap) in cases {
        let id = store.publish("images", &make(&store, "x", &files)).unwrap();
        store.verify("images", &id).unwrap();
        let dir = store.path("images", &id);
        for file in ["a.txt", MANIFEST] {
            unprotect(&dir.join(file));
        }
        damage(&dir);
        let found = store.verify("images", &id).unwrap_err();
        assert!(found.contains(message), "{found}");
        assert_eq!(store.check("images", &id).is_err(), cheap, "{message}");
        // Publishing the same content again repairs it.
        assert_eq!(store.publish("images", &make(&store, "x", &files)).unwrap(), id);
        store.verify("images", &id).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn links_and_the_manifests_own_name_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let dir = make(&store, "link", &[("a.txt", "A")]);
    std::os::unix::fs::symlink("a.txt", dir.join("link")).unwrap();
    assert!(store.publish("images", &dir).unwrap_err().to_string().contains("neither file nor folder"));
    let dir = make(&store, "name", &[(MANIFEST, "{}")]);
    assert!(store.publish("images", &dir).unwrap_err().to_string().contains("manifest's own"));
}

#[test]
fn actions_come_back_and_unreadable_ones_say_why() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let document = json!({"stage": "ingest", "params": {"image_size": 256}});
    let key = Hash::key(&document);
    let action = Action {
        format: Action::FORMAT.into(),
        stage: "ingest".into(),
        key: key.clone(),
        document,
        outputs: Outputs::from([("images".into(), Hash::of(b"x"))]),
        run: "r".into(),
        finished: "2026-01-01T00:00:00Z".into(),
        seconds: 1.5,
        peak_memory: None,
        notes: vec![],
        other_outputs: vec![],
        accepted: None,
    };
    assert!(store.action("ingest", &key).unwrap().is_none());
    store.record(&action).unwrap();
    assert_eq!(store.action("ingest", &key).unwrap().unwrap().outputs, action.outputs);
    let path = root.path().join(format!(".resect/actions/ingest/{key}.json"));
    let whole = fs::read(&path).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    let other_key = text.replace(key.as_str(), Hash::of(b"y").as_str());
    let other_format = text.replace(Action::FORMAT, "resect-action/2.0");
    let cases =
        [(text[..text.len() / 2].to_owned(), "EOF"), (other_key, "belongs to key"), (other_format, "2.0")];
    for (damaged, reason) in cases {
        fs::write(&path, damaged).unwrap();
        let error = store.action("ingest", &key).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()) && error.contains(reason), "{error}");
        let listed = store.actions("ingest");
        assert!(listed.records.is_empty() && listed.unreadable.len() == 1, "{listed:?}");
    }
    let input = json!({"stage": "ingest", "inputs": {"dataset": "somewhere"}});
    let action = Action { key: Hash::key(&input), document: input, ..action };
    store.record(&action).unwrap();
    let error = store.action("ingest", &action.key).unwrap_err().to_string();
    assert!(error.contains("inputs.dataset is not the id of an artifact"), "{error}");
}

#[test]
fn nothing_is_swept_while_a_record_or_pin_cannot_be_read() {
    let sweep = |store: &Store| store.sweep(&[], &Retention::default(), std::time::SystemTime::now());
    let key = Hash::of(b"k");
    let pin = |what: &str| json!({"format": Pin::FORMAT, "what": what, "note": "", "since": ""}).to_string();
    let cases = [
        (format!("actions/ingest/{key}.json"), "{".to_owned()),
        ("latest/pipeline.json".to_owned(), "[1]".to_owned()),
        ("pins/run.json".to_owned(), "{".to_owned()),
        ("pins/images-0.json".to_owned(), pin("images/0")),
        ("pins/newer.json".to_owned(), pin("run").replace(Pin::FORMAT, "resect-pin/2.0")),
    ];
    for (file, content) in cases {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let id = store.publish("images", &make(&store, "1", &[("a.txt", "A")])).unwrap();
        let swept = sweep(&store).unwrap();
        assert_eq!(swept.artifacts.iter().map(|(_, id, _)| id).collect::<Vec<_>>(), [&id]);
        let path = root.path().join(".resect").join(&file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let error = sweep(&store).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
}

#[test]
fn a_second_holder_waits_and_is_told_for_whom() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("k.lock");
    let first = Lock::acquire(&path, "run one", |_| panic!("it is free"), || false).unwrap();
    let waited = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            let waiting = |holder: &str| {
                assert_eq!(holder, "run one");
                waited.store(true, Ordering::SeqCst);
            };
            Lock::acquire(&path, "run two", waiting, || false).unwrap();
        });
        while !waited.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        assert!(!second.is_finished());
        drop(first);
        second.join().unwrap();
    });
    let _held = Lock::acquire(&path, "run three", |_| (), || false).unwrap();
    assert!(Lock::try_acquire(&path, "run four").unwrap().is_none(), "it is not waited for");
    assert!(Lock::acquire(&path, "run four", |_| (), || true).is_err(), "an interrupt ends the wait");
}
