//! Commands write into their store and the outputs that they are given, and nowhere else.

#![cfg(target_os = "linux")]

use resect_tests::{Project, fault_library, files, stderr};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn nothing_is_written_but_the_store_and_given_outputs() {
    let project = Project::micro();
    let out = tempfile::tempdir().unwrap();
    let out = |name: &str| out.path().join(name).to_str().unwrap().to_owned();
    let first = project.run(&["ingest"]);
    let image = files(&project.artifact(&first, "dataset").join("images")).remove(0);
    let pipeline = |command: &str, args: &[&str]| (project.command(command, args), command.to_owned());
    let plain = |args: &[&str]| {
        let mut command = resect_tests::xtask();
        command.args(args).arg("--store").arg(project.store());
        (command, args[0].to_owned())
    };
    let commands = [
        pipeline("run", &["--log", "csv", "--log", "tensorboard"]),
        pipeline("run", &["--set", "train.loss=dice,ce"]),
        pipeline("status", &[]),
        pipeline("why", &["train"]),
        plain(&["runs"]),
        plain(&["show", "latest"]),
        plain(&["du"]),
        plain(&["pin", "latest"]),
        plain(&["verify"]),
        pipeline("compare", &["--out", &out("compare.html")]),
        pipeline("report", &["--out", &out("report.html")]),
        pipeline("export", &["--out", &out("model")]),
        plain(&["export", "--artifact", "latest", "--out", &out("all.tar")]),
        plain(&["import", &out("all.tar")]),
        pipeline(
            "predict",
            &["--image", image.to_str().unwrap(), "--box", "5,5,60,60", "--out", &out("masks")],
        ),
        plain(&["gc", "--keep-runs", "1"]),
    ];
    for (mut command, name) in commands {
        let log = tempfile::NamedTempFile::new().unwrap();
        let count = tempfile::NamedTempFile::new().unwrap();
        fs::write(count.path(), [0; 8]).unwrap();
        command.env("LD_PRELOAD", fault_library()).env("FAULT_BELOW", "/");
        command.env("FAULT_COUNT", count.path()).env("FAULT_LOG", log.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        let text = fs::read_to_string(log.path()).unwrap();
        let paths: BTreeSet<PathBuf> =
            text.lines().flat_map(|line| line.split('\t').skip(1)).map(PathBuf::from).collect();
        let allowed = |path: &Path| {
            path.starts_with(project.store()) || path.starts_with(out("")) || path == Path::new("/dev/null")
        };
        let elsewhere: Vec<&PathBuf> = paths.iter().filter(|path| !allowed(path)).collect();
        assert!(elsewhere.is_empty(), "{name} changed {elsewhere:?}");
        assert!(
            !paths.is_empty() || ["status", "why", "runs", "show", "du"].contains(&name.as_str()),
            "{name} changed nothing"
        );
    }
}
