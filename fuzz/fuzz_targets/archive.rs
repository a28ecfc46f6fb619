//! Archives of artifacts, taken into an empty store; and the records and lists in them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resect_artifact::{Action, Contents, Hash, Manifest, Records, Store};
use resect_fuzz::{begin, folder};
use serde_json::json;

fn seeds() -> Vec<Vec<u8>> {
    let dir = folder();
    let store = Store::open(&dir.path().join("store")).expect("a store");
    let document = json!({ "stage": "ingest", "inputs": {} });
    let key = Hash::key(&document);
    let out = store.work_dir("ingest", &key).expect("a work folder").join("out");
    std::fs::create_dir_all(out.join("below")).expect("a folder");
    std::fs::write(out.join("below/b.txt"), "second").expect("a file");
    let id = store.publish("images", &out).expect("an artifact");
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
    store.record(&action).expect("a record");
    let wanted = ("images".to_owned(), id);
    let ancestry = Records::read(&store).expect("records").ancestry([wanted.clone()]);
    let path = dir.path().join("archive.tar");
    store.export(&[wanted], &ancestry, &[], &path).expect("an archive");
    vec![std::fs::read(&path).expect("it is there"), serde_json::to_vec(&action).expect("a record is JSON")]
}

fuzz_target!(init: begin("archive", seeds()), |bytes: &[u8]| {
    if let Ok(action) = serde_json::from_slice::<Action>(bytes) {
        let _ = (action.has_plain_names(), action.inputs(), Hash::key(&action.document));
    }
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) {
        let _ = (manifest.id().expect("an id"), manifest.bytes());
    }
    if let Ok(contents) = serde_json::from_slice::<Contents>(bytes) {
        contents.bytes();
    }
    let dir = folder();
    let path = dir.path().join("archive.tar");
    std::fs::write(&path, bytes).expect("a file");
    let store = Store::open(&dir.path().join("store")).expect("a store");
    let imported = store.import(&path);
    let kinds = store.kinds().expect("kinds");
    let ids: usize = kinds.iter().map(|kind| store.ids(kind, "").expect("ids").len()).sum();
    match imported {
        Ok(imported) => assert_eq!(ids, imported.new.len()),
        Err(_) => assert_eq!(ids, 0, "nothing of what is refused is in the store"),
    }
});
