use super::*;
use serde_json::json;

fn stored(store: &Store, run: &str) {
    let record = json!({
        "run": run, "pipeline": "p.toml", "settings": { "train": { "seed": 3, "loss": "ce" } }, "started": "x",
        "seconds": 1.0, "sources": [], "stages": [],
    });
    store.record_run(run, &record).unwrap();
}

#[test]
fn a_run_is_found_by_what_is_enough_of_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for run in ["20260101-101010-00001", "20260102-101010-00001-1", "20260102-101010-00001-2"] {
        stored(&store, run);
    }
    let found = |name: &str| RunRecord::find(&store, name).map(|run| run.map(|run| run.run));
    assert_eq!(found("20260101").unwrap().as_deref(), Some("20260101-101010-00001"));
    assert_eq!(found("latest").unwrap().as_deref(), Some("20260102-101010-00001-2"));
    assert_eq!(found("20260102-101010-00001-1").unwrap().as_deref(), Some("20260102-101010-00001-1"));
    assert_eq!(found("2027").unwrap(), None);
    assert_eq!(found("2").unwrap(), None, "the first digit of an artifact");
    let several = found("20260102").unwrap_err().to_string();
    assert!(several.starts_with("20260102 can be any of 2 runs: 20260102-101010-00001-2, "), "{several}");
    assert_eq!(
        RunRecord::read(&store, "20260101-101010-00001").unwrap().unwrap().status(),
        "done",
        "of before 1.5"
    );
}

#[test]
fn a_record_that_cannot_be_read_says_which_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (gone, run) = ("20260101-101010-00001", "20260102-101010-00001");
    assert!(RunRecord::read(&store, gone).unwrap().is_none());
    stored(&store, run);
    let path = store.run_path(run);
    let text = std::fs::read_to_string(&path).unwrap();
    let cases = [
        (text[..text.len() / 2].to_owned(), "EOF"),
        (text.replace("\"started\"", "\"begun\""), "missing field `started`"),
    ];
    for (damaged, reason) in cases {
        std::fs::write(&path, damaged).unwrap();
        let error = RunRecord::find(&store, "20260102").unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()) && error.contains(reason), "{error}");
    }
}

#[test]
fn settings_have_their_full_names_and_seeds_take_the_place_of_the_seed() {
    let settings = json!({ "train": { "seed": 0, "loss": "ce" }, "seeds": [1, 2] });
    let expected = [("train.loss", json!("ce")), ("train.seeds", json!([1, 2]))];
    assert_eq!(flat(&settings), expected.map(|(name, value)| (name.to_owned(), value)).into());
}

#[test]
fn ages_are_round() {
    let now: jiff::Timestamp = "2026-01-03T00:00:00Z".parse().unwrap();
    let ages =
        ["2026-01-02T23:59:30Z", "2026-01-02T23:50:00Z", "2026-01-02T10:00:00Z", "2025-12-24T00:00:00Z", "?"];
    assert_eq!(ages.map(|then| age(then, now)), ["30 s ago", "10 min ago", "14 h ago", "10 days ago", "?"]);
}
