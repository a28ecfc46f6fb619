//! Data and weights from the Hub, against a server that speaks as the Hub does and misbehaves as networks do.
#![cfg(unix)]

use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field};
use parquet::arrow::ArrowWriter;
use resect_checkpoint::{SamConfig, write_random};
use resect_phantom::PhantomParams;
use resect_tests::hub_server::{Content, Fault, Gate, HubServer, Request, TOKEN};
use resect_tests::{Project, Run, real_data, stderr};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, OnceLock};

/// A server, an empty cache and a pipeline with its own store.
struct Lab {
    server: HubServer,
    project: Project,
    dir: tempfile::TempDir,
}

const DATASET: &str = "[dataset]\nkind = \"hub\"\nrepository = \"lab/polyps\"\n";
const CHECKPOINT: &str = "[checkpoint]\nkind = \"hub\"\nrepository = \"lab/sam-tiny\"\n";
const REST: &str = "[train]\nepochs = 1\nbatch_size = 4\njitter = 4\n[evaluate]\noverlays = 1\n";

impl Lab {
    /// The dataset of the tests on the Hub, random weights.
    fn new() -> Self {
        Self::with(DATASET)
    }

    fn with(pipeline: &str) -> Self {
        let server = HubServer::start();
        server.repository("datasets", "lab/polyps", |repository| {
            repository.commit("main", &files(polyps()));
        });
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("my.toml");
        fs::write(&file, format!("{pipeline}{REST}")).unwrap();
        Self { server, project: Project::new(&file), dir }
    }

    fn command(&self, command: &str, args: &[&str]) -> Command {
        let mut command = self.project.command(command, args);
        command.env("HF_ENDPOINT", self.server.endpoint()).env("HF_HOME", self.home());
        command
    }

    fn output(&self, args: &[&str], env: &[(&str, &str)]) -> Output {
        self.command("run", args).envs(env.iter().copied()).output().unwrap()
    }

    /// `run --json`, which must succeed; also what it wrote to standard error.
    fn run(&self, args: &[&str], env: &[(&str, &str)]) -> (Run, String) {
        let output = self.output(&[&["--json"], args].concat(), env);
        let errors = stderr(&output);
        (Run::of(&output).unwrap_or_else(|| panic!("run {args:?} failed:\n{errors}")), errors)
    }

    /// `run ingest`, which must fail without leaving a file under a final name; what it wrote to standard error.
    fn fail(&self, args: &[&str], env: &[(&str, &str)]) -> String {
        let output = self.output(&[&["ingest"], args].concat(), env);
        let errors = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("error: "), "{errors}");
        assert!(!self.project.store().join("dataset").exists(), "no dataset is published");
        errors
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("hf")
    }

    fn repository(&self, kind: &str, name: &str) -> PathBuf {
        self.home().join("hub").join(format!("{kind}--{}", name.replace('/', "--")))
    }

    /// The blobs of the dataset in the cache, partial ones included.
    fn blobs(&self) -> BTreeMap<String, u64> {
        let entries =
            fs::read_dir(self.repository("datasets", "lab/polyps").join("blobs")).into_iter().flatten();
        let entries = entries.map(|entry| entry.unwrap());
        entries.map(|e| (e.file_name().into_string().unwrap(), e.metadata().unwrap().len())).collect()
    }

    fn lock(&self) -> String {
        fs::read_to_string(self.dir.path().join("my.lock")).unwrap_or_default()
    }
}

/// Parquet shards of phantoms: two of `train`, one of `validation`.
fn polyps() -> &'static BTreeMap<String, Vec<u8>> {
    static POLYPS: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
    POLYPS.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let params =
            PhantomParams { images: 16, seed: 5, min_width: 96, max_width: 128, ..Default::default() };
        resect_phantom::write_dataset(&params, dir.path()).unwrap();
        let shard = |rows: std::ops::Range<usize>| parquet_of(dir.path(), rows);
        BTreeMap::from([
            ("data/train-00000-of-00002.parquet".to_owned(), shard(0..6)),
            ("data/train-00001-of-00002.parquet".to_owned(), shard(6..12)),
            ("data/validation-00000-of-00001.parquet".to_owned(), shard(12..16)),
        ])
    })
}

fn parquet_of(dir: &Path, rows: std::ops::Range<usize>) -> Vec<u8> {
    let names: Vec<String> = rows.map(|row| format!("{}.png", resect_phantom::sample_id(row))).collect();
    let pictures = |folder: &str| -> ArrayRef {
        let bytes: Vec<Vec<u8>> =
            names.iter().map(|name| fs::read(dir.join(folder).join(name)).unwrap()).collect();
        let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values(bytes));
        let paths: ArrayRef = Arc::new(StringArray::from(names.clone()));
        Arc::new(StructArray::from(vec![
            (Arc::new(Field::new("bytes", DataType::Binary, true)), bytes),
            (Arc::new(Field::new("path", DataType::Utf8, true)), paths),
        ]))
    };
    let ids: ArrayRef = Arc::new(StringArray::from(names.clone()));
    let columns = [("name", ids), ("image", pictures("images")), ("annotation", pictures("masks"))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

/// The files as a repository holds them: Parquet in large storage, and a few of another kind in git.
fn files(shards: &BTreeMap<String, Vec<u8>>) -> Vec<(&str, Content)> {
    let mut files: Vec<_> =
        shards.iter().map(|(path, bytes)| (path.as_str(), Content::lfs(bytes.clone()))).collect();
    files.push(("README.md", Content::git("# Polyps\n")));
    files.push((".gitattributes", Content::git("*.parquet filter=lfs\n")));
    files
}

/// A checkpoint of the size "tiny", by its files.
fn checkpoint() -> &'static [(&'static str, Content)] {
    static CHECKPOINT: OnceLock<Vec<(&'static str, Content)>> = OnceLock::new();
    CHECKPOINT.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        write_random(dir.path(), &SamConfig::named("tiny").unwrap(), 1).unwrap();
        let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
        vec![
            ("config.json", Content::git(read("config.json"))),
            ("model.safetensors", Content::lfs(read("model.safetensors"))),
            ("README.md", Content::git("# SAM\n")),
        ]
    })
}

fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
}

/// Requests to storage for a file, with the range each asked for.
fn ranges<'a>(requests: &'a [Request], file: &str) -> Vec<Option<&'a str>> {
    let of_file = requests.iter().filter(|request| request.host == "cdn" && request.target.contains(file));
    of_file.map(|request| request.range.as_deref()).collect()
}

#[test]
fn a_pipeline_runs_from_the_hub_and_asks_once() {
    let lab = Lab::with(&format!("{DATASET}{CHECKPOINT}"));
    let model_commit = lab.server.repository("models", "lab/sam-tiny", |r| r.commit("main", checkpoint()));
    let token = [("HF_TOKEN", TOKEN)];

    // Status fetches what it needs for the keys, and no more.
    let status = lab.command("status", &["--json"]).envs(token).output().unwrap();
    let status: Value = serde_json::from_slice(&status.stdout).expect("status says what would run");
    assert_eq!(status["sources"][0]["status"], "would_run");
    assert_eq!(status["sources"][1]["provenance"]["commit"], model_commit.as_str());
    let asked = lab.server.requests();
    assert!(asked.iter().all(|request| request.host == "hub"), "{asked:#?}");
    assert_eq!(asked.len(), 4, "two listings, config.json and its redirect: {asked:#?}");

    let (first, errors) = lab.run(&[], &token);
    assert_eq!(first.with_status("ran"), ["ingest", "embed", "train", "evaluate"]);
    let asked = lab.server.requests();
    assert!(asked.iter().all(|request| !request.target.starts_with("/api/")), "resolved already: {asked:#?}");
    assert_eq!(asked.iter().filter(|request| request.host == "cdn").count(), 4, "{asked:#?}");
    for request in &asked {
        let expected = (request.host == "hub").then(|| format!("Bearer {TOKEN}"));
        assert_eq!(request.authorization, expected, "{request:?}");
    }

    // The commit is provenance, the token is nowhere.
    let dataset = &first.json()["sources"][0]["provenance"];
    assert_eq!(dataset["repository"], "lab/polyps", "{dataset}");
    assert_has(&lab.lock(), &[&model_commit, dataset["commit"].as_str().unwrap(), "sha256:", "git-sha1:"]);
    assert!(!errors.contains(TOKEN) && !first.json().to_string().contains(TOKEN), "{errors}");
    let exported = lab.dir.path().join("exported");
    let export = lab.project.command("export", &["--out", exported.to_str().unwrap()]);
    for mut command in [lab.command("why", &["train", "--json"]), export] {
        let output = command.envs(token).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(!String::from_utf8_lossy(&output.stdout).contains(TOKEN) && !stderr(&output).contains(TOKEN));
    }
    let grep = Command::new("grep")
        .arg("-r")
        .arg(TOKEN)
        .arg(lab.dir.path())
        .arg(lab.project.store())
        .output()
        .unwrap();
    assert_eq!(grep.stdout, b"", "no file holds the token: store, cache, lock file, exported folder");

    // The same files on disk are the same data set, and nothing after it runs again.
    let disk = lab.dir.path().join("disk");
    for (path, bytes) in polyps() {
        fs::create_dir_all(disk.join(path).parent().unwrap()).unwrap();
        fs::write(disk.join(path), bytes).unwrap();
    }
    let text = format!("[dataset]\nkind = \"parquet\"\npath = {disk:?}\n{CHECKPOINT}{REST}");
    let hub_text = fs::read_to_string(lab.dir.path().join("my.toml")).unwrap();
    fs::write(lab.dir.path().join("my.toml"), text).unwrap();
    let (from_disk, _) = lab.run(&[], &[]);
    assert_eq!(from_disk.with_status("reused").len(), 4);
    assert_eq!(from_disk.artifacts(), first.artifacts());
    fs::write(lab.dir.path().join("my.toml"), hub_text).unwrap();

    // What is in the store needs neither network nor cache nor a sound environment.
    lab.server.requests();
    fs::remove_dir_all(lab.home()).unwrap();
    for (args, env) in [(&[][..], ("HF_ENDPOINT", "nonsense")), (&["--offline"], ("HF_HUB_OFFLINE", "1"))] {
        let (again, _) = lab.run(args, &[env]);
        assert_eq!(again.artifacts(), first.artifacts());
        assert_eq!(again.with_status("reused").len(), 4);
    }
    assert_eq!(lab.server.requests().len(), 0, "nothing is asked");
}

#[test]
fn a_branch_moves_only_when_it_is_told_to() {
    let lab = Lab::new();
    let (first, errors) = lab.run(&["ingest"], &[]);
    let commit = first.json()["sources"][0]["provenance"]["commit"].as_str().unwrap().to_owned();
    assert_has(&errors, &[&format!("dataset lab/polyps: \"main\" is commit {commit}, noted in")]);
    let lock = lab.lock();

    // Python's tools find the same files: by branch, commit and path.
    let cache = lab.repository("datasets", "lab/polyps");
    assert_eq!(fs::read_to_string(cache.join("refs/main")).unwrap(), commit);
    for (path, bytes) in polyps() {
        let pointer = cache.join("snapshots").join(&commit).join(path);
        assert!(fs::read_link(&pointer).unwrap().starts_with("../../../blobs"), "{}", pointer.display());
        assert_eq!(&fs::read(&pointer).unwrap(), bytes);
    }

    // Another commit: one shard is another, two stay.
    let mut changed = polyps().clone();
    let shard = changed["data/train-00001-of-00002.parquet"].clone();
    changed.insert("data/train-00000-of-00002.parquet".into(), shard);
    changed.remove("data/train-00001-of-00002.parquet");
    let next = lab.server.repository("datasets", "lab/polyps", |r| r.commit("main", &files(&changed)));
    lab.server.requests();
    let (still, _) = lab.run(&["ingest"], &[]);
    assert_eq!(still.artifacts(), first.artifacts());
    assert_eq!(lab.server.requests().len(), 0);

    // Other splits of the same commit: the lock file knows them.
    let (validation, _) =
        lab.run(&["ingest", "--set", "dataset.splits=[\"validation\"]", "--set", "split.by=random"], &[]);
    assert_ne!(validation.artifact("dataset"), first.artifact("dataset"));
    assert_eq!(lab.server.requests().len(), 0, "its file is in the cache");
    assert_eq!(lab.lock(), lock);

    let status = lab.command("status", &["--update"]).output().unwrap();
    assert_has(&stderr(&status), &[&format!("\"main\" moved: commit {commit} → {next}")]);
    assert_has(&lab.lock(), &[&next]);
    assert!(!lab.lock().contains(&commit));
    let (moved, _) = lab.run(&["ingest"], &[]);
    assert_ne!(moved.artifact("dataset"), first.artifact("dataset"));
    let requests = lab.server.requests();
    assert!(requests.iter().all(|request| request.host == "hub"), "all blobs were there: {requests:#?}");

    // A lock file that names less than is needed is completed from its own commit.
    let shortened: String = lab
        .lock()
        .lines()
        .filter(|line| !line.contains("validation"))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(lab.dir.path().join("my.lock"), shortened).unwrap();
    lab.server.repository("datasets", "lab/polyps", |r| r.commit("main", &files(polyps())));
    lab.run(&["ingest", "--set", "dataset.splits=[\"validation\"]", "--set", "split.by=random"], &[]);
    assert_has(&lab.lock(), &[&next, "data/validation-00000-of-00001.parquet"]);

    fs::write(lab.dir.path().join("my.lock"), "format = 3").unwrap();
    let output = lab.output(&["ingest"], &[]);
    assert_has(&stderr(&output), &["my.lock is no lock file: restore it, or remove it to resolve anew"]);
    let both = lab.output(&["--update", "--offline"], &[]);
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn configurations_splits_and_patterns_select_files() {
    let lab = Lab::new();
    let shards = polyps();
    let content = |path: &str| Content::lfs(shards[path].clone());
    lab.server.repository("datasets", "lab/polyps", |repository| {
        let [a, b, v] = [
            "data/train-00000-of-00002.parquet",
            "data/train-00001-of-00002.parquet",
            "data/validation-00000-of-00001.parquet",
        ];
        repository.commit("main", &[("train.csv", Content::git("a,b\n"))]);
        let converted = [
            ("first/train/0000.parquet", content(a)),
            ("first/train/0001.parquet", content(b)),
            ("first/validation/0000.parquet", content(v)),
            ("second/train/0000.parquet", content(v)),
        ];
        repository.commit("refs/convert/parquet", &converted);
    });
    assert_has(
        &lab.fail(&[], &[]),
        &["lab/polyps holds no .parquet file at revision \"main\"", "revision = \"refs/convert/parquet\""],
    );
    assert_eq!(lab.lock(), "", "what cannot be used is not locked");
    let converted = ["--set", "dataset.revision=refs/convert/parquet"];
    assert_has(
        &lab.fail(&converted, &[]),
        &["dataset.config: lab/polyps has several configurations", "first, second"],
    );
    let with = |sets: &[&'static str]| -> Vec<&str> {
        converted.into_iter().chain(sets.iter().flat_map(|set| ["--set", *set])).collect()
    };
    let wrong = with(&["dataset.config=first", "dataset.splits=[\"test\"]"]);
    assert_has(&lab.fail(&wrong, &[]), &["no split \"test\"; there are train, validation"]);
    let wrong = with(&["dataset.files=[\"third/**\"]"]);
    assert_has(&lab.fail(&wrong, &[]), &["matches \"third/**\"; there are first/train/0000.parquet"]);

    let (first, _) = lab.run(&[&["ingest"], with(&["dataset.config=first"]).as_slice()].concat(), &[]);
    let dataset = lab.project.artifact(&first, "dataset");
    for name in ["train/0000.parquet", "train/0001.parquet", "validation/0000.parquet"] {
        assert!(dataset.join("first").join(name).is_file(), "{name}");
    }
    assert!(!dataset.join("second").exists());
    // The splits that were selected by name are those that `ingest` finds.
    let audit = fs::read(lab.project.artifact(&first, "targets").join("audit.json")).unwrap();
    let audit: Value = serde_json::from_slice(&audit).unwrap();
    assert_has(&audit.to_string(), &["\"train\"", "\"test\""]);
    let files = with(&["dataset.files=[\"first/*/*\"]"]);
    let (second, _) = lab.run(&[&["ingest"], files.as_slice()].concat(), &[]);
    assert_eq!(second.artifact("dataset"), first.artifact("dataset"));
}

/// A way to fail once or twice, the file in whose download it does so, and the ranges that storage is asked for.
type Passing = (&'static str, Vec<Fault>, &'static [Option<&'static str>]);

#[test]
fn what_passes_by_itself_is_waited_out_and_nothing_is_fetched_twice() {
    const FILE: &str = "data_train-00000";
    let whole = Lab::new().run(&["ingest"], &[]).0.artifacts();
    let faults: [Passing; 9] = [
        (FILE, vec![Fault::Cut(1000), Fault::Cut(500)], &[None, Some("bytes=1000-"), Some("bytes=1500-")]),
        (FILE, vec![Fault::Stall(2000)], &[None, Some("bytes=2000-")]),
        (FILE, vec![Fault::Cut(1000), Fault::NoRange], &[None, Some("bytes=1000-")]),
        (FILE, vec![Fault::Cut(1000), Fault::Unsatisfiable], &[None, Some("bytes=1000-"), None]),
        (FILE, vec![Fault::Cut(1000), Fault::OtherRange], &[None, Some("bytes=1000-"), None]),
        (FILE, vec![Fault::Wrong], &[None, None]),
        (FILE, vec![Fault::Status(403, ""), Fault::Status(503, "Retry-After: 0")], &[None, None, None]),
        ("/resolve/", vec![Fault::Status(429, "Retry-After: 0"), Fault::Status(500, "")], &[None]),
        ("/revision/", vec![Fault::Status(502, ""), Fault::Stall(0), Fault::Cut(10)], &[None]),
    ];
    std::thread::scope(|scope| {
        for (part, faults, expected) in faults {
            let whole = &whole;
            scope.spawn(move || {
                let lab = Lab::new();
                lab.server.misbehave(part, faults.clone());
                let (run, errors) = lab.run(&["ingest"], &[("HF_HUB_DOWNLOAD_TIMEOUT", "1")]);
                assert_eq!(&run.artifacts(), whole, "{errors}");
                assert_eq!(ranges(&lab.server.requests(), FILE), expected, "{part}: {errors}");
                assert_eq!(lab.blobs().len(), 3, "nothing but whole blobs is left");
            });
        }
    });
}

#[test]
fn what_stays_wrong_ends_in_a_message_and_is_never_used() {
    const FILE: &str = "data_train-00000";
    let path = "data/train-00000-of-00002.parquet";
    let always = |fault: Fault| vec![fault; 99];
    let faults: [(&str, Vec<Fault>, &[&str]); 9] = [
        (FILE, always(Fault::Wrong), &[path, "sent with other content than is listed: expected sha256:"]),
        (FILE, always(Fault::Short(7)), &[path, "bytes are listed, the server sent"]),
        (FILE, always(Fault::More(7)), &[path, "bytes are listed, the server sent more"]),
        (FILE, always(Fault::Promise(7)), &[path, "bytes are listed, the server sent"]),
        (FILE, always(Fault::Text("x".repeat(134))), &["perhaps the pointer that stands for it in git"]),
        (path, always(Fault::OtherHash), &["the hash is", "by the server", "--update"]),
        ("/resolve/", always(Fault::Loop), &["redirects without end"]),
        (
            "/resolve/",
            always(Fault::Status(429, "Retry-After: 86400")),
            &["asks to wait 86400 s: too many requests", "HF_TOKEN"],
        ),
        (
            "/revision/",
            always(Fault::Text("<html>".into())),
            &["gave no listing", "is HF_ENDPOINT the address of a Hub?"],
        ),
    ];
    std::thread::scope(|scope| {
        for (part, faults, expected) in faults {
            scope.spawn(move || {
                let lab = Lab::new();
                lab.server.misbehave(part, faults);
                assert_has(&lab.fail(&[], &[]), expected);
                // What is left holds nothing wrong to go on from.
                assert!(lab.blobs().iter().all(|(name, size)| name.ends_with(".incomplete") && *size == 0));
                lab.server.behave();
                lab.run(&["ingest"], &[]);
            });
        }
        scope.spawn(|| {
            let lab = Lab::new();
            lab.server.misbehave(FILE, vec![Fault::Cut(100); 9]);
            let errors = lab.fail(&[], &[]);
            assert_has(
                &errors,
                &[
                    "cannot fetch data/train-00000-of-00002.parquet",
                    "the connection was cut",
                    "attempt 5 of 5",
                ],
            );
            lab.server.behave();
            lab.server.requests();
            lab.run(&["ingest"], &[]);
            assert_eq!(
                ranges(&lab.server.requests(), FILE),
                [Some("bytes=500-")],
                "five times a hundred were kept"
            );
        });
    });
}

#[test]
fn refusals_say_what_is_missing_and_how_to_get_it() {
    let lab = Lab::with(&format!("{DATASET}{CHECKPOINT}"));
    let denied = [("HF_TOKEN", TOKEN)];
    assert_has(&lab.fail(&[], &[]), &["there is no model lab/sam-tiny at http://"]);
    lab.server.repository("models", "lab/sam-tiny", |r| r.commit("main", checkpoint()));
    let unknown = ["--set", "dataset.repository=lab/nowhere"];
    assert_has(
        &lab.fail(&unknown, &[]),
        &["there is no dataset lab/nowhere at http://", "or it is private", "set HF_TOKEN"],
    );
    assert_has(
        &lab.fail(&unknown, &denied),
        &["there is no dataset lab/nowhere", "the token in use may not see it"],
    );
    let errors = lab.fail(&[], &[("HF_TOKEN", "hf_SomethingElse")]);
    assert_has(&errors, &["refused access to", "Invalid credentials", "***", "is not valid (any more)"]);
    assert!(!errors.contains("hf_SomethingElse"), "{errors}");
    let revision = ["--set", "dataset.revision=v9/x"];
    assert_has(&lab.fail(&revision, &[]), &["dataset lab/polyps has no revision \"v9/x\""]);
    let asked = lab.server.requests();
    assert!(asked.iter().any(|r| r.target.contains("/revision/v9%2Fx?blobs=true")), "{asked:#?}");

    // A private one is there for those who may see it.
    lab.server.repository("datasets", "lab/polyps", |r| r.private = true);
    fs::remove_file(lab.dir.path().join("my.lock")).unwrap_or_default();
    assert_has(&lab.fail(&[], &[]), &["there is no dataset lab/polyps at", "or it is private"]);
    lab.server.repository("datasets", "lab/polyps", |r| (r.private, r.gated) = (false, true));
    let gated = lab.fail(&[], &[]);
    assert_has(
        &gated,
        &["dataset lab/polyps is gated", "/datasets/lab/polyps, accept the conditions, and set HF_TOKEN"],
    );
    assert_has(
        &lab.fail(&[], &denied),
        &["is gated", "accept the conditions with the account whose token is in use"],
    );

    // A file that the lock file names and the repository does not have.
    lab.server.repository("datasets", "lab/polyps", |r| r.gated = false);
    let lock = lab.lock().replace("train-00001-of", "train-00007-of");
    fs::write(lab.dir.path().join("my.lock"), lock).unwrap();
    assert_has(
        &lab.fail(&[], &[]),
        &["dataset lab/polyps has no file data/train-00007-of-00002.parquet at "],
    );

    // Not a Hub, nobody there, a variable that is wrong.
    fs::remove_file(lab.dir.path().join("my.lock")).unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let errors = lab.fail(&[], &[("HF_ENDPOINT", &format!("http://{closed}"))]);
    assert_has(
        &errors,
        &[&format!("cannot fetch the files of model lab/sam-tiny from {closed}"), "--offline"],
    );
    assert_has(&lab.fail(&[], &[("HF_ENDPOINT", "hub")]), &["HF_ENDPOINT must be an address"]);
}

#[test]
fn checkpoints_in_another_form_are_refused_before_anything_is_fetched() {
    let lab = Lab::with(CHECKPOINT);
    let of = |name: &str| checkpoint().iter().find(|(path, _)| *path == name).unwrap().1.clone();
    let forms = |files: &[(&str, Content)], expected: &[&str]| {
        lab.server.repository("models", "lab/sam-tiny", |r| r.commit("main", files));
        let errors = lab.fail(&[], &[]);
        assert_has(&errors, expected);
        assert_eq!(lab.lock(), "", "nothing is locked");
    };
    let config = ("config.json", of("config.json"));
    forms(
        &[config.clone(), ("model.safetensors.index.json", Content::git("{}"))],
        &["split into shards", "hint: save it again"],
    );
    forms(&[config.clone(), ("pytorch_model.bin", Content::lfs("x"))], &["the weights are a pickle"]);
    forms(&[("README.md", Content::git("x"))], &["holds no config.json"]);
    forms(
        &[("config.json", Content::git("[]")), ("model.safetensors", Content::lfs("x"))],
        &["config.json of model lab/sam-tiny describes no SAM"],
    );
    // Names that lead out of the folder they are meant for.
    forms(
        &[config.clone(), ("../../../evil", Content::git("x"))],
        &["\"../../../evil\" is no file name below a repository"],
    );

    // Whole, as listed, and no checkpoint: it is not published.
    lab.server.repository("models", "lab/sam-tiny", |r| {
        r.commit("main", &[config, ("model.safetensors", Content::lfs("weights"))])
    });
    let output = lab.output(&["ingest"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_has(&stderr(&output), &["model lab/sam-tiny is no usable checkpoint", "model.safetensors"]);
    assert!(!lab.project.store().join("base").exists());
}

#[test]
fn offline_uses_the_cache_alone() {
    let lab = Lab::new();
    assert_has(
        &lab.fail(&["--offline"], &[]),
        &["does not say what revision \"main\" of dataset lab/polyps is", "run once without --offline"],
    );
    // The lock file without the cache.
    lab.command("status", &[]).output().unwrap();
    lab.server.requests();
    let offline = [("HF_HUB_OFFLINE", "1")];
    assert_has(
        &lab.fail(&[], &offline),
        &[
            "data/train-00000-of-00002.parquet of dataset lab/polyps is not in the cache",
            "copy the cache of a machine that has it",
        ],
    );
    // Lock file and cache, as another machine's run left them.
    let (first, _) = lab.run(&["ingest"], &[]);
    lab.server.requests();
    let cached = lab.home();
    let other = Lab::new();
    fs::copy(lab.dir.path().join("my.lock"), other.dir.path().join("my.lock")).unwrap();
    fs::rename(&cached, other.home()).unwrap();
    let blob = other
        .repository("datasets", "lab/polyps")
        .join("blobs")
        .join(Content::lfs(polyps()["data/train-00001-of-00002.parquet"].clone()).etag());
    let good = fs::read(&blob).unwrap();
    let mut bad = good.clone();
    bad[100] ^= 1;
    fs::write(&blob, &bad).unwrap();
    assert_has(
        &other.fail(&["--offline"], &[]),
        &["in the cache is damaged: expected sha256:", "offline it cannot be fetched again"],
    );
    fs::write(&blob, &good).unwrap();
    let (run, _) = other.run(&["ingest", "--offline"], &[]);
    assert_eq!(run.artifacts(), first.artifacts());
    assert_eq!(other.server.requests().len() + lab.server.requests().len(), 0, "nobody is asked");

    // Online, what is damaged or cut short is fetched again, alone.
    for damage in [bad, good[..good.len() / 2].to_vec()] {
        let third = Lab::new();
        fs::create_dir_all(third.home()).unwrap();
        let copied =
            Command::new("cp").arg("-a").arg(other.home().join("hub")).arg(third.home()).status().unwrap();
        assert!(copied.success());
        let blob = third.repository("datasets", "lab/polyps").join("blobs").join(blob.file_name().unwrap());
        fs::write(&blob, damage).unwrap();
        let (run, _) = third.run(&["ingest"], &[]);
        assert_eq!(run.artifacts(), first.artifacts());
        assert_eq!(fs::read(&blob).unwrap(), good);
        let requests = third.server.requests();
        assert_eq!(requests.iter().filter(|request| request.host == "cdn").count(), 1, "{requests:#?}");
    }
}

/// Starts `run ingest`; its lines on standard error come one by one.
fn start(lab: &Lab, args: &[&str]) -> (std::process::Child, impl Iterator<Item = String> + Send + use<>) {
    let mut command = lab.command("run", &[&["ingest", "--json"], args].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    (child, lines)
}

#[test]
fn two_processes_fetch_a_file_once() {
    let lab = Lab::new();
    let gate = Arc::new(Gate::default());
    lab.server.misbehave("data_train-00000", [Fault::Hold(500, gate.clone())]);
    let (first, first_lines) = start(&lab, &[]);
    gate.reached();
    // Another store, so that the store's own lock does not keep them apart.
    let store = tempfile::tempdir().unwrap();
    let mut second = resect_tests::xtask();
    second.args(["run", "ingest", "--json", "--pipeline"]).arg(lab.dir.path().join("my.toml"));
    second.arg("--store").arg(store.path());
    second.env("HF_ENDPOINT", lab.server.endpoint()).env("HF_HOME", lab.home());
    let mut second = second.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(second.stderr.take().unwrap()).lines().map_while(Result::ok);
    let expected = format!(
        "data/train-00000-of-00002.parquet: waiting for process {}, which is fetching it",
        first.id()
    );
    assert!(lines.any(|line| line == expected), "the second says for whom it waits");
    gate.open();
    let rests = [
        std::thread::spawn(move || first_lines.collect::<Vec<_>>()),
        std::thread::spawn(move || lines.collect::<Vec<_>>()),
    ];
    let runs = [first, second].map(|child| Run::of(&child.wait_with_output().unwrap()));
    let said = rests.map(|rest| rest.join().unwrap());
    let [Some(first), Some(second)] = runs else { panic!("a run failed: {said:?}") };
    assert_eq!(first.artifacts(), second.artifacts());
    let requests = lab.server.requests();
    assert_eq!(requests.iter().filter(|request| request.host == "cdn").count(), 3, "{requests:#?}");
}

#[test]
fn an_interrupt_ends_a_download_that_the_next_run_goes_on_with() {
    let lab = Lab::new();
    let gate = Arc::new(Gate::default());
    lab.server.misbehave("data_train-00001", [Fault::Hold(3000, gate.clone())]);
    let (child, lines) = start(&lab, &[]);
    gate.reached();
    let part = lab.repository("datasets", "lab/polyps").join("blobs").join(format!(
        "{}.incomplete",
        Content::lfs(polyps()["data/train-00001-of-00002.parquet"].clone()).etag()
    ));
    while fs::metadata(&part).map_or(0, |part| part.len()) < 3000 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let lines: Vec<String> = lines.collect();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("interrupted; what was finished is kept")), "{lines:?}");
    gate.open();
    lab.server.requests();
    lab.run(&["ingest"], &[]);
    let requests = lab.server.requests();
    assert_eq!(ranges(&requests, "data_train-00001"), [Some("bytes=3000-")]);
    assert_eq!(ranges(&requests, "data_train-00000"), [None; 0], "whole already");
}

/// A file system of a megabyte, or the reason why there is none.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Result<Self, String> {
        let dir = tempfile::tempdir().unwrap();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(dir.path()).output();
        match mount {
            Ok(output) if output.status.success() => Ok(Self(dir)),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_says_how_much_is_missing() {
    let disk = match SmallDisk::mount() {
        Ok(disk) => disk,
        Err(reason) => return println!("skipped: a small file system cannot be mounted here: {reason}"),
    };
    let cache = disk.0.path().join("hub");
    let env = [("HF_HUB_CACHE", cache.to_str().unwrap())];
    let lab = Lab::new();
    let path = "data/train-00000-of-00002.parquet";
    let size = polyps()[path].len();

    // Known before anything is asked for.
    let filler = disk.0.path().join("filler");
    fs::write(&filler, vec![0; (1 << 20) - size / 2 / 4096 * 4096 - 65536]).unwrap();
    fs::create_dir_all(&cache).unwrap();
    while space_in(disk.0.path()) >= size as u64 {
        let mut more = fs::OpenOptions::new().append(true).open(&filler).unwrap();
        std::io::Write::write_all(&mut more, &[0; 4096]).unwrap();
    }
    let errors = lab.fail(&[], &env);
    assert_has(
        &errors,
        &[&format!("no room for {path}: {size} bytes more are needed in"), "are free", "HF_HUB_CACHE"],
    );
    let requests = lab.server.requests();
    assert!(requests.iter().all(|request| !request.target.contains("train")), "{requests:#?}");

    // Or found out while it comes.
    fs::remove_file(&filler).unwrap();
    let gate = Arc::new(Gate::default());
    lab.server.misbehave("data_train-00000", [Fault::Hold(10, gate.clone())]);
    let mut command = lab.command("run", &["ingest"]);
    let child = command.envs(env).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    gate.reached();
    assert!(fs::write(&filler, vec![0; 1 << 20]).is_err(), "the disk is full now");
    gate.open();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_has(&stderr(&output), &["no room for", "bytes more are needed in"]);
    assert!(!lab.project.store().join("dataset").exists());

    // With room again it goes on.
    fs::remove_file(&filler).unwrap();
    lab.run(&["ingest"], &env);
}

/// Free bytes of a file system.
fn space_in(dir: &Path) -> u64 {
    let output = Command::new("df").args(["--output=avail", "-B1"]).arg(dir).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().nth(1).unwrap().trim().parse().unwrap()
}

/// `pipelines/kvasir-sam-vit-b.toml` as it is, but on the CPU, with the real images and a full-size ViT-B of random weights under the names
/// that the file has; two images of each part, and one epoch of them.
#[test]
#[ignore = "needs the real images: cargo xtask test runs it where ../shared/data/kvasir-seg is (RESECT_SHARED)"]
fn the_published_recipe_runs_from_the_hub() {
    let data = real_data();
    let dir = tempfile::tempdir().unwrap();
    let name = "kvasir-sam-vit-b.toml";
    let pipeline = dir.path().join(name);
    fs::copy(resect_tests::workspace().join("pipelines").join(name), &pipeline).unwrap();
    let server = HubServer::start();
    let mut shards = BTreeMap::new();
    for entry in fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.extension().is_some_and(|extension| extension == "parquet") {
            shards.insert(entry.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&entry).unwrap());
        }
    }
    server.repository("datasets", "kowndinya23/Kvasir-SEG", |r| r.commit("main", &files(&shards)));
    let weights = dir.path().join("weights");
    write_random(&weights, &SamConfig::named("vit-b").unwrap(), 1).unwrap();
    let read = |name: &str| fs::read(weights.join(name)).unwrap();
    server.repository("models", "facebook/sam-vit-base", |r| {
        let config = Content::git(read("config.json"));
        r.commit(
            "main",
            &[("config.json", config), ("model.safetensors", Content::lfs(read("model.safetensors")))],
        )
    });
    fs::remove_dir_all(weights).unwrap();

    let project = Project::new(&pipeline);
    // The file computes on a GPU, which the tests do without.
    let args = ["--json", "--device", "cpu", "--set", "ingest.limit=2", "--set", "train.epochs=1"];
    let mut command = project.command("run", &args);
    command.env("HF_ENDPOINT", server.endpoint()).env("HF_HOME", dir.path().join("hf"));
    let output = command.output().unwrap();
    let run = Run::of(&output).unwrap_or_else(|| panic!("{}", stderr(&output)));
    assert_eq!(run.with_status("ran").len(), 4);
    let embeddings = resect_embeddings::Embeddings::open(&project.artifact(&run, "embeddings")).unwrap();
    assert_eq!((embeddings.len(), embeddings.shape()), (4, [256, 64, 64]));
    let metrics = fs::read(project.artifact(&run, "evaluation").join("metrics.json")).unwrap();
    let metrics: Value = serde_json::from_slice(&metrics).unwrap();
    assert_eq!(metrics["targets"], 2, "{metrics}");
    let notes = run.notes("train").join("\n");
    for part in ["89.7 M", "6.2 K", "4.06 M", "93.7 M"] {
        assert!(notes.contains(part), "{part} is not in\n{notes}");
    }
    assert!(fs::read_to_string(pipeline.with_extension("lock")).unwrap().contains("facebook/sam-vit-base"));
    let asked = server.requests();
    assert_eq!(asked.iter().filter(|request| request.host == "cdn").count(), shards.len() + 1);
}
