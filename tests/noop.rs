//! What a run without work costs does not grow with the store: it looks at nothing it does not need.

#![cfg(unix)]

use resect_artifact::Hash;
use resect_tests::{Project, stderr};
use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What others left in a store: artifacts, action records, records and locks of runs, each a copy of one that is there.
fn add_others(store: &Path) {
    let other = |i: usize| Hash::of(i.to_string().as_bytes()).to_string();
    let private = store.join(".resect");
    for entry in fs::read_dir(store).unwrap().chain(fs::read_dir(private.join("actions")).unwrap()) {
        let dir = entry.unwrap().path();
        let Some(one) = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).next() else {
            continue;
        };
        for name in (0..30).map(other) {
            if one.join("manifest.json").is_file() {
                fs::create_dir(dir.join(&name)).unwrap();
                fs::copy(one.join("manifest.json"), dir.join(&name).join("manifest.json")).unwrap();
            } else if one.extension().is_some_and(|extension| extension == "json") {
                fs::copy(&one, dir.join(name).with_extension("json")).unwrap();
            }
        }
    }
    for name in (0..30).map(other) {
        fs::write(private.join("locks").join(&name).with_extension("lock"), "run of another").unwrap();
        fs::write(private.join("runs").join(&name).with_extension("json"), "{}").unwrap();
    }
}

/// All folders of a store, and all files that lie in it.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![dir.to_path_buf()];
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() { found.extend(below(&path)) } else { found.push(path) }
    }
    found
}

/// When a file was last read, or a folder listed.
fn accessed(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().accessed().unwrap()
}

/// Sets that time so far back that the next access shows, on file systems that note any.
fn set_back(path: &Path) {
    let long_ago = FileTimes::new().set_accessed(SystemTime::UNIX_EPOCH);
    File::open(path).unwrap().set_times(long_ago).unwrap();
}

/// Whether this file system notes accesses to files and to folders.
fn accesses_are_noted(dir: &Path) -> bool {
    let (folder, file) = (dir.join("probe"), dir.join("probe/file"));
    fs::create_dir(&folder).unwrap();
    fs::write(&file, "x").unwrap();
    [&folder, &file].into_iter().for_each(|path| set_back(path));
    fs::read(&file).unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    [&folder, &file].into_iter().all(|path| accessed(path) > SystemTime::UNIX_EPOCH)
}

#[test]
fn a_run_without_work_lists_no_folder_and_reads_nothing_of_others() {
    // The memory's file system notes accesses where the usual place is mounted without.
    let places = [std::env::temp_dir(), PathBuf::from("/dev/shm")];
    let mut dirs = places.iter().filter_map(|place| tempfile::tempdir_in(place).ok());
    let dir = dirs.find(|dir| accesses_are_noted(dir.path()));
    let dir = dir.unwrap_or_else(|| {
        panic!("none of {places:?} notes when a file was read; set TMPDIR to one that does")
    });
    let project = Project::within(dir, &resect_tests::workspace().join("tests/pipelines/micro.toml"));
    let first = project.run(&[]);
    let own = below(&project.store());
    add_others(&project.store());
    let all = below(&project.store());
    assert!(all.len() > own.len() + 500, "{} and {}", all.len(), own.len());

    all.iter().for_each(|path| set_back(path));
    let looked_at = |after: &str| {
        let read: Vec<&PathBuf> = all.iter().filter(|path| accessed(path) > SystemTime::UNIX_EPOCH).collect();
        // Its own records and manifests: without these nothing would be checked.
        assert!(read.iter().any(|path| path.ends_with("manifest.json")), "{after}");
        let needless: Vec<_> = read.into_iter().filter(|path| path.is_dir() || !own.contains(path)).collect();
        assert!(needless.is_empty(), "{after} looked at {needless:#?}");
    };
    let status = project.output("status", &[]);
    assert!(status.status.success(), "{}", stderr(&status));
    looked_at("status");
    let second = project.run(&[]);
    looked_at("run");
    assert_eq!(second.with_status("reused"), ["ingest", "embed", "train", "evaluate"]);
    assert_eq!(second.artifacts(), first.artifacts());
}
