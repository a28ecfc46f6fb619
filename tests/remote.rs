//! A store that machines share: in a folder, and in S3 (`tests/reference/s3_server.py`). Each store here stands for a machine.

use resect_tests::{Project, Run, as_from_a_shell, stderr, workspace, xtask};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

const STAGES: [&str; 4] = ["ingest", "embed", "train", "evaluate"];

/// A command of a runner that builds what talks to shared stores: that is not among the programs of the tests.
fn building(project: &Project, command: &str, args: &[&str]) -> Command {
    let mut command = project.command(command, args);
    command.env_remove("RESECT_BIN_DIR");
    command
}

fn ask(project: &Project, command: &str, args: &[&str], remote: &str) -> Output {
    building(project, command, args).args(["--remote", remote]).output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A run on a machine of its own.
fn run(project: &Project, args: &[&str], remote: &str) -> (Run, String) {
    let output = ask(project, "run", &[&["--json"], args].concat(), remote);
    (Run::of(&output).unwrap_or_else(|| panic!("{}", stderr(&output))), stderr(&output))
}

fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(
                files(&path)
                    .into_iter()
                    .map(|name| format!("{}/{name}", path.file_name().unwrap().to_str().unwrap())),
            );
        } else {
            found.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    found.sort();
    found
}

#[test]
fn what_one_machine_made_no_other_makes_again() {
    let dir = tempfile::tempdir().unwrap();
    let shared = dir.path().join("shared");
    let remote = shared.to_str().unwrap();
    let first = Project::micro();
    let made = first.run(&[]);
    first.run(&["--set", "train.loss=ce"]);
    let sent = json(&ask_push(&first, &["--json"], remote));
    assert_eq!(
        (&sent["sent"]["records"], sent["sent"]["artifacts"].as_array().unwrap().len()),
        (&6.into(), 7)
    );
    // Only what is reachable: of the run before the last one, what the last one shares with it.
    let sent = files(&shared.join("artifacts/checkpoint"));
    assert_eq!(sent.len(), 1);
    assert!(!sent[0].starts_with(&made.artifact("checkpoint")));
    let run_name = made.json()["run"].as_str().unwrap();
    let more = json(&ask_push(&first, &[run_name, "--json"], remote));
    assert_eq!(more["sent"]["artifacts"].as_array().unwrap().len(), 2, "{more}");
    assert!(more["sent"]["known"].as_u64().unwrap() > 0);

    let second = Project::micro();
    let (fetched, _) = run(&second, &[], remote);
    assert_eq!(fetched.with_status("fetched"), STAGES);
    assert_eq!(fetched.artifacts(), made.artifacts());
    assert!(
        fetched.reason("embed").contains(&format!("run {run_name} made it")),
        "{}",
        fetched.reason("embed")
    );
    assert_eq!(second.run(&[]).with_status("reused"), STAGES, "from now on they are here");
    // What nobody has made runs, and is offered on request.
    let (new, said) = run(&second, &["--set", "train.epochs=2", "--push"], remote);
    assert_eq!(new.with_status("ran"), ["train", "evaluate"]);
    assert!(said.contains(": sent 2 artifacts "), "{said}");

    // Without running anything.
    let third = Project::micro();
    let pulled = json(&ask(&third, "pull", &["--json", "--set", "train.epochs=2"], remote));
    assert_eq!(pulled["fetched"].as_array().unwrap().len(), 7);
    assert_eq!(third.run(&["--set", "train.epochs=2"]).artifacts(), new.artifacts());
    let fourth = Project::micro();
    let one = json(&ask(&fourth, "pull", &["--json", &made.artifact("embeddings")[..12]], remote));
    assert_eq!(one["fetched"][0][0], "embeddings");
    assert!(fourth.artifact(&made, "embeddings").exists());
    let shown = xtask()
        .args(["show", &made.artifact("embeddings")[..12], "--store"])
        .arg(fourth.store())
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("made by embed in run ") && shown.contains("    dataset "),
        "its records came along\n{shown}"
    );
    let none = ask(&fourth, "pull", &["0123456789ab"], remote);
    assert!(stderr(&none).contains("has no artifact 0123456789ab"), "{}", stderr(&none));
    // Asked for nobody.
    let (alone, _) = run(&Project::micro(), &["ingest", "--offline"], remote);
    assert_eq!(alone.with_status("ran"), ["ingest"]);
}

/// `push` takes no settings.
fn ask_push(project: &Project, args: &[&str], remote: &str) -> Output {
    building(project, "push", args).args(["--remote", remote]).output().unwrap()
}

#[test]
fn what_does_not_fit_its_name_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let shared = dir.path().join("shared");
    let remote = shared.to_str().unwrap();
    let first = Project::micro();
    let made = first.run(&[]);
    assert!(ask_push(&first, &["--without", "dataset"], remote).status.success());
    assert!(!shared.join("artifacts/dataset").exists(), "what was to stay at home stayed");

    // Another content of the same length under a name that is its hash.
    let embeddings = made.artifact("embeddings");
    let text = fs::read(shared.join(format!("artifacts/embeddings/{embeddings}.json"))).unwrap();
    let manifest: Value = serde_json::from_slice(&text).unwrap();
    let hash = manifest["files"][0]["blake3"].as_str().unwrap();
    let blob = shared.join("blobs").join(&hash[..2]).join(hash);
    let mut content = fs::read(&blob).unwrap();
    content[100] ^= 1;
    fs::write(&blob, content).unwrap();
    let third = Project::micro();
    let (run_of_third, said) = run(&third, &[], remote);
    // The dataset stayed at home, which is no trouble; what is broken is said and made here; the rest is taken.
    assert!(said.contains("has other content than its name says; it is made here"), "{said}");
    assert!(!said.contains("going on without"), "{said}");
    assert_eq!(run_of_third.with_status("ran"), ["embed"]);
    assert_eq!(run_of_third.with_status("fetched"), ["ingest", "train", "evaluate"]);
    assert_eq!(run_of_third.json()["sources"][0]["status"], "ran");
    assert_eq!(run_of_third.artifacts(), made.artifacts());
    let work = fs::read_dir(third.store().join(".resect/work")).unwrap().count();
    assert_eq!(work, 0, "nothing half fetched is left");

    // A record that would lead out of the store.
    let record = files(&shared.join("actions/base"));
    let path = shared.join("actions/base").join(&record[0]);
    let mut hostile: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let id = hostile["outputs"]["base"].take();
    hostile["outputs"] = serde_json::json!({ "../../escaped": id });
    fs::write(&path, hostile.to_string()).unwrap();
    let fourth = Project::micro();
    let (_, said) = run(&fourth, &["ingest"], remote);
    assert!(said.contains("is the record of another step; it is made here"), "{said}");
    assert!(!fourth.store().parent().unwrap().join("escaped").exists());

    // A record that is there stays as it is.
    let record = files(&shared.join("actions/train"));
    let path = shared.join("actions/train").join(&record[0]);
    let before = fs::read(&path).unwrap();
    third.run(&["--force", "train"]);
    assert!(ask_push(&third, &[], remote).status.success());
    assert_eq!(fs::read(&path).unwrap(), before);

    for url in ["s3://key:open-sesame@bucket/x", "https://host/x?token=open-sesame"] {
        let setting = format!("remote.url={url}");
        let in_environment = third.command("run", &[]).env("RESECT_REMOTE", url).output().unwrap();
        for output in
            [ask(&third, "run", &[], url), in_environment, third.output("run", &["--set", &setting])]
        {
            let said = stderr(&output) + &String::from_utf8_lossy(&output.stdout);
            assert!(!output.status.success(), "{said}");
            assert!(!said.contains("open-sesame") && said.contains("environment"), "{said}");
        }
    }
    assert_holds_no(&third.store(), "open-sesame");
    let fresh = Project::micro();
    let away = ask(&fresh, "pull", &[], "/nowhere/shared");
    assert!(stderr(&away).contains("there is no such folder (is it mounted?)"), "{}", stderr(&away));
    let output = ask(&fresh, "pull", &[], "ftp://host/x");
    assert!(stderr(&output).contains("ftp:// is not known; there are s3, gs, az"), "{}", stderr(&output));
    let nowhere = xtask().args(["push", "--store"]).arg(third.store()).output().unwrap();
    assert!(stderr(&nowhere).contains("which shared store?"), "{}", stderr(&nowhere));
}

/// No file below the folder holds the text, nor does a name.
fn assert_holds_no(dir: &Path, secret: &str) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_holds_no(&path, secret);
        } else {
            let content = fs::read(&path).unwrap();
            let held = content.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!held && !path.to_string_lossy().contains(secret), "{}", path.display());
        }
    }
}

/// The server, its input and its output.
struct S3 {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    endpoint: String,
}

impl S3 {
    fn start() -> Self {
        let python =
            std::env::var_os("RESECT_PYTHON").expect("cargo xtask test --interop sets RESECT_PYTHON");
        let mut command = Command::new(python);
        as_from_a_shell(&mut command);
        command.arg(workspace().join("tests/reference/s3_server.py"));
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = piped.spawn().expect("Python starts");
        let input = process.stdin.take().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut port = String::new();
        output.read_line(&mut port).unwrap();
        let endpoint = format!("http://127.0.0.1:{}", port.trim());
        Self { process, input, output, endpoint }
    }

    /// Does something, and says what is in the bucket then.
    fn tell(&mut self, command: &str) -> Vec<String> {
        writeln!(self.input, "{command}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.split_whitespace().map(str::to_owned).collect()
    }

    /// A command of the runner, with the server's credentials in its environment.
    fn command(&self, project: &Project, command: &str, args: &[&str]) -> Output {
        let mut command = building(project, command, args);
        command.args(["--remote", "s3://shared/team/resect"]);
        command.env("AWS_ENDPOINT_URL", &self.endpoint).env("AWS_ALLOW_HTTP", "true");
        command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "open-sesame");
        command.env("AWS_REGION", "us-east-1").output().unwrap()
    }
}

#[test]
fn s3_holds_what_machines_share() {
    let mut s3 = S3::start();
    let first = Project::micro();
    let made = first.run(&[]);
    let sent = json(&s3.command(&first, "push", &["--json"]));
    assert_eq!(sent["sent"]["records"], 6);
    let keys = s3.tell("list");
    assert!(keys.iter().all(|key| key.starts_with("team/resect/")), "{keys:?}");
    let count =
        |part: &str| keys.iter().filter(|key| key.starts_with(&format!("team/resect/{part}/"))).count();
    assert_eq!([count("actions"), count("artifacts")], [6, 7]);
    assert!(count("blobs") > 30);

    let second = Project::micro();
    let output = s3.command(&second, "run", &["--json"]);
    let fetched = Run::of(&output).unwrap_or_else(|| panic!("{}", stderr(&output)));
    assert_eq!(fetched.with_status("fetched"), STAGES);
    assert_eq!(fetched.artifacts(), made.artifacts());
    // A record is written only if there is none, by the server's own condition.
    let again = json(&s3.command(&second, "push", &["--json"]));
    assert_eq!((&again["sent"]["records"], &again["sent"]["files"]), (&0.into(), &0.into()));

    // Shards of several machines, put together on another one.
    for shard in ["1/2", "2/2"] {
        let output = s3.command(
            &Project::micro(),
            "run",
            &["--json", "--set", "embed.dtype=f32", "--shard", shard, "--push"],
        );
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let third = Project::micro();
    let output = s3.command(&third, "run", &["embed", "--json", "--set", "embed.dtype=f32", "--shards", "2"]);
    let merged = Run::of(&output).unwrap_or_else(|| panic!("{}", stderr(&output)));
    assert_eq!(merged.with_status("fetched"), ["ingest", "embed", "embed"]);
    assert_eq!(merged.with_status("ran"), ["embed"], "which copies every row");

    // What is broken there is not taken; what cannot be reached is done without; neither says the secret.
    let checkpoint = keys.iter().find(|key| key.contains("/artifacts/checkpoint/")).unwrap();
    s3.tell(&format!("break {checkpoint}"));
    let output = s3.command(&Project::micro(), "run", &["--json"]);
    let said = stderr(&output);
    assert!(said.contains("is not the manifest of that id; it is made here"), "{said}");
    let run = Run::of(&output).unwrap();
    assert_eq!((run.with_status("ran"), run.artifacts()), (vec!["train".into()], made.artifacts()));
    s3.process.kill().unwrap();
    s3.process.wait().unwrap();
    let output = s3.command(&Project::micro(), "run", &["--json"]);
    let said = stderr(&output);
    assert_eq!(said.matches("going on without").count(), 1, "{said}");
    assert!(!said.contains("open-sesame"), "{said}");
    assert_eq!(Run::of(&output).unwrap().artifacts(), made.artifacts());
    let output = s3.command(&first, "push", &[]);
    assert_eq!(output.status.code(), Some(1), "to send is what was asked for");
    assert!(!stderr(&output).contains("open-sesame"));
    // Nor does a record of any of them, nor what was sent.
    for project in [&first, &second, &third] {
        assert_holds_no(&project.store(), "open-sesame");
    }
}
