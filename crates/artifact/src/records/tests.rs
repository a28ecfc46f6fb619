use super::*;
use crate::{Accepted, Hash};
use serde_json::json;

fn action(stage: &str, inputs: &[(&str, &str)], outputs: &[(&str, &str)], finished: &str) -> Action {
    let id = |name: &str| Hash::of(name.as_bytes());
    let inputs: serde_json::Map<_, _> =
        inputs.iter().map(|(kind, name)| ((*kind).to_owned(), json!(id(name)))).collect();
    let document = json!({ "stage": stage, "inputs": inputs, "finished": finished });
    Action {
        format: Action::FORMAT.into(),
        stage: stage.into(),
        key: Hash::key(&document),
        document,
        outputs: outputs.iter().map(|(kind, name)| ((*kind).to_owned(), id(name))).collect(),
        run: "run".into(),
        finished: finished.into(),
        seconds: 1.0,
        peak_memory: None,
        notes: Vec::new(),
        other_outputs: Vec::new(),
        accepted: None,
    }
}

#[test]
fn ancestry_follows_the_records_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let ingest = action("ingest", &[("dataset", "d")], &[("images", "i"), ("targets", "t")], "1");
    let embed = action("embed", &[("images", "i"), ("base", "b")], &[("embeddings", "e")], "2");
    let other = action("embed", &[("images", "j"), ("base", "b")], &[("embeddings", "f")], "3");
    let train = action("train", &[("embeddings", "e"), ("targets", "t")], &[("checkpoint", "c")], "4");
    let mut accepted = action("embed", &[("images", "k")], &[("embeddings", "e")], "5");
    accepted.accepted = Some(Accepted { key: embed.key.clone(), reason: "code".into(), run: "r".into() });
    for action in [&ingest, &embed, &other, &train, &accepted] {
        store.record(action).unwrap();
    }
    let records = Records::read(&store).unwrap();
    assert_eq!(records.actions().len(), 5);
    let named = |kind: &str, name: &str| (kind.to_owned(), Hash::of(name.as_bytes()));
    let (kind, id) = named("embeddings", "e");
    let makers: Vec<_> = records.makers(&kind, &id).map(|action| action.finished.as_str()).collect();
    assert_eq!(makers, ["2", "5"], "what made it comes before what accepted it");

    let found = records.ancestry([named("checkpoint", "c")]);
    let expected = [("base", "b"), ("checkpoint", "c"), ("dataset", "d"), ("embeddings", "e")];
    let expected = expected.into_iter().chain([("images", "i"), ("targets", "t")]);
    assert_eq!(found.artifacts, expected.map(|(kind, name)| named(kind, name)).collect());
    let stages: Vec<_> = found.actions.iter().map(|action| action.stage.as_str()).collect();
    assert_eq!(stages, ["ingest", "embed", "train"], "each after its inputs, once");
    assert!(records.ancestry([named("images", "unknown")]).actions.is_empty());
}
