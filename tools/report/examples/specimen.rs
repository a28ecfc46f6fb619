//! Writes a report of a run that never was to the path given: for the browser's test, and for working on the page.

#[path = "../tests/specimen/mod.rs"]
mod specimen;

use std::path::PathBuf;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [out, test, width] = arguments.as_slice() else { panic!("specimen OUT TARGETS WIDTH") };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let recipe = specimen::Recipe {
        test: test.parse().expect("a number of targets"),
        width: width.parse().expect("a width"),
        groups: 30,
        seeds: 3,
        ..Default::default()
    };
    let job = resect_report_job::Job { out: PathBuf::from(out), ..specimen::make(dir.path(), &recipe) };
    let written = resect_report::write(&job).expect("a report");
    println!("{out}: {} bytes", written.bytes);
}
