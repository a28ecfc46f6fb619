//! Fills a store as years of work would: `fill_store STORE [ARTIFACTS [RUNS]]`, 10,000 and 3,000 by default.
//!
//! Small artifacts of the kinds that the stages make, the record of an action for each, and records of runs. Nothing refers to
//! them; `benches/noop.py` measures what they cost a run that needs none.

use resect_artifact::{Action, Hash, Outputs, Store};
use serde_json::json;
use std::error::Error;
use std::path::Path;

const MADE: [(&str, &str); 4] =
    [("ingest", "targets"), ("embed", "embeddings"), ("train", "checkpoint"), ("evaluate", "evaluation")];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let root = arguments.first().ok_or("usage: fill_store STORE [ARTIFACTS [RUNS]]")?;
    let count = |i, default| arguments.get(i).map_or(Ok(default), |count: &String| count.parse());
    let (artifacts, runs) = (count(1, 10_000)?, count(2, 3_000)?);
    let store = Store::open(&std::path::absolute(Path::new(root))?)?;
    for i in 0..artifacts {
        let (stage, kind) = MADE[i % MADE.len()];
        let document = json!({ "stage": stage, "params": { "filler": i }, "inputs": {}, "numeric": "none" });
        let key = Hash::key(&document);
        let work = store.work_dir(stage, &key)?;
        let out = work.join("out");
        std::fs::create_dir_all(out.join("more"))?;
        std::fs::write(out.join("data.bin"), format!("{stage} {i}\n"))?;
        std::fs::write(out.join("more/notes.json"), json!({ "i": i }).to_string())?;
        let id = store.publish(kind, &out)?;
        std::fs::remove_dir_all(&work)?;
        store.record(&Action {
            format: Action::FORMAT.into(),
            stage: stage.into(),
            key,
            document,
            outputs: Outputs::from([(kind.to_owned(), id)]),
            run: run_name(i % runs.max(1)),
            finished: "2026-01-01T00:00:00Z".into(),
            seconds: 1.0,
            peak_memory: None,
            notes: vec!["a filler".into(); 20],
            other_outputs: Vec::new(),
            accepted: None,
        })?;
    }
    for i in 0..runs {
        let record =
            json!({ "format": "resect-run/1.3", "run": run_name(i), "stages": vec!["a filler"; 100] });
        store.record_run(&run_name(i), &record)?;
    }
    println!("{root}: {artifacts} artifacts and action records, {runs} records of runs");
    Ok(())
}

fn run_name(i: usize) -> String {
    format!("20260101-000000-{i:05}")
}
