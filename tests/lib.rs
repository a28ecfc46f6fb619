//! What the end-to-end tests share: running `cargo xtask` as a user does, and reading what it says.

pub mod hub_server;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// The top of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_path_buf()
}

/// The folder of real data beside the workspace. Tests that read it are ignored; `cargo xtask test` includes them where it is there.
pub fn real_data() -> PathBuf {
    let path = std::env::var_os("RESECT_SHARED").map_or_else(|| workspace().join("../shared"), PathBuf::from);
    let data = path.join("data/kvasir-seg");
    assert!(data.is_dir(), "there is no real data at {}", data.display());
    data
}

/// A store of its own and the pipeline it is used with.
pub struct Project {
    dir: tempfile::TempDir,
    pipeline: PathBuf,
}

impl Project {
    /// The small pipeline of the tests, in an empty store.
    pub fn micro() -> Self {
        Self::new(&workspace().join("tests/pipelines/micro.toml"))
    }

    /// The small pipeline on another base checkpoint, in an empty store.
    pub fn micro_on(checkpoint: &Path) -> Self {
        let random = "kind = \"random\"\nsize = \"tiny\"\nseed = 1\n";
        // A path as JSON is a path as TOML.
        let path = Value::from(checkpoint.to_str().expect("a path in UTF-8"));
        Self::micro_rewritten(random, &format!("kind = \"folder\"\npath = {path}\n"))
    }

    /// The small pipeline with a further setting of training, in an empty store.
    pub fn micro_trained_with(setting: &str) -> Self {
        Self::micro_rewritten("[train]\n", &format!("[train]\n{setting}\n"))
    }

    fn micro_rewritten(from: &str, to: &str) -> Self {
        let micro = workspace().join("tests/pipelines/micro.toml");
        let text = std::fs::read_to_string(&micro).expect("the small pipeline");
        assert!(text.contains(from), "{} is another one", micro.display());
        let mut project = Self::new(&micro);
        project.pipeline = project.dir.path().join("pipeline.toml");
        std::fs::write(&project.pipeline, text.replace(from, to)).expect("a temporary file");
        project
    }

    /// A pipeline file in an empty store.
    pub fn new(pipeline: &Path) -> Self {
        Self::within(tempfile::tempdir().expect("a temporary folder"), pipeline)
    }

    /// A pipeline file in an empty store within a folder.
    pub fn within(dir: tempfile::TempDir, pipeline: &Path) -> Self {
        Self { dir, pipeline: pipeline.to_path_buf() }
    }

    /// The store's folder.
    pub fn store(&self) -> PathBuf {
        self.dir.path().join("artifacts")
    }

    /// `cargo xtask COMMAND --pipeline P --store S ARGS`, not started yet.
    pub fn command(&self, command: &str, args: &[&str]) -> Command {
        self.with(xtask(), command, args)
    }

    /// Has a runner do it here.
    pub fn with(&self, mut runner: Command, command: &str, args: &[&str]) -> Command {
        runner.arg(command).args(args);
        runner.arg("--pipeline").arg(&self.pipeline).arg("--store").arg(self.store());
        runner
    }

    /// Runs a command to its end.
    pub fn output(&self, command: &str, args: &[&str]) -> Output {
        self.command(command, args).output().expect("cargo xtask starts")
    }

    /// `cargo xtask run --json`, which must succeed.
    pub fn run(&self, args: &[&str]) -> Run {
        let output = self.output("run", &[&["--json"], args].concat());
        Run::of(&output).unwrap_or_else(|| panic!("run {args:?} failed:\n{}", stderr(&output)))
    }

    /// Where an artifact of a run lies.
    pub fn artifact(&self, run: &Run, kind: &str) -> PathBuf {
        self.store().join(kind).join(run.artifact(kind))
    }
}

/// What `cargo xtask` starts, with the programs of this build: cargo itself takes longer than most of what is tested, twice
/// for each command that needs a program.
pub fn xtask() -> Command {
    let runner = format!("xtask{}", std::env::consts::EXE_SUFFIX);
    let mut command = Command::new(programs().join(runner));
    command.current_dir(workspace()).stdin(Stdio::null());
    as_from_a_shell(&mut command);
    command.env("RESECT_BIN_DIR", programs());
    command
}

/// `cargo xtask`, as the alias has it.
pub fn cargo_xtask() -> Command {
    let mut cargo = cargo();
    cargo.arg("xtask").stdin(Stdio::null());
    cargo
}

/// Cargo in the workspace, as from a shell.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace());
    as_from_a_shell(&mut cargo);
    cargo
}

/// The folder of the runner and of the programs that it starts, which are built once for each file of tests.
pub fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        // Of the whole workspace, as the runner does, so that they have the features of its builds.
        let output = cargo().args(["build", "--release", "--workspace", "--bins"]).output();
        let output = output.expect("cargo starts");
        assert!(output.status.success(), "{}", stderr(&output));
        let this = std::env::current_exe().expect("a test is a file");
        this.ancestors().nth(2).expect("a test lies in deps/ below the programs").to_path_buf()
    })
}

/// Keeps from a command what the tests' surroundings say, as it may call the runner.
pub fn as_from_a_shell(command: &mut Command) {
    // Settings of the person who runs the tests must not reach the runner under test.
    command.env_remove("RESECT_STORE").env_remove("RESECT_REMOTE").env_remove("RESECT_BIN_DIR");
    // Nor what cargo says of the package of the tests: build scripts watch it, and would make the runner be built again.
    let foreign = |name: &str| {
        let proxy = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"].contains(&name.to_uppercase().as_str());
        proxy
            || ["HF_", "HUGGING", "CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start))
    };
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in names.filter(|name| foreign(name)) {
        command.env_remove(name);
    }
}

/// The library of `fault/fault.rs`, built.
pub fn fault_library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let output = cargo().args(["build", "--release", "--workspace", "--example", "fault"]).output();
        let output = output.expect("cargo starts");
        assert!(output.status.success(), "{}", stderr(&output));
        programs().join("examples/libfault.so")
    })
}

/// Every file below a folder, sorted.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What `run --json` printed.
pub struct Run(Value);

impl Run {
    /// Parses the output of a run that succeeded.
    pub fn of(output: &Output) -> Option<Self> {
        if !output.status.success() {
            return None;
        }
        Some(Self(serde_json::from_slice(&output.stdout).expect("one JSON object on standard output")))
    }

    /// The whole object.
    pub fn json(&self) -> &Value {
        &self.0
    }

    /// The stages with a status, in order.
    pub fn with_status(&self, status: &str) -> Vec<String> {
        let stages = self.0["stages"].as_array().expect("stages");
        stages
            .iter()
            .filter(|stage| stage["status"] == status)
            .map(|stage| stage["name"].as_str().expect("a name").to_owned())
            .collect()
    }

    /// All steps, sources first.
    pub fn steps(&self) -> impl Iterator<Item = &Value> {
        ["sources", "stages"].into_iter().filter_map(|list| self.0[list].as_array()).flatten()
    }

    /// A field, such as "name" or "key", of each step that ran, sources among them.
    pub fn ran(&self, field: &str) -> Vec<String> {
        let ran = self.steps().filter(|step| step["status"] == "ran");
        ran.map(|step| step[field].as_str().expect("a text").to_owned()).collect()
    }

    /// What is said of a stage.
    pub fn stage(&self, name: &str) -> &Value {
        let stages = self.0["stages"].as_array().expect("stages");
        stages.iter().find(|stage| stage["name"] == name).expect("a stage of that name")
    }

    /// A stage's reason.
    pub fn reason(&self, stage: &str) -> &str {
        self.stage(stage)["reason"].as_str().expect("a reason")
    }

    /// What a stage found worth saying, a line each.
    pub fn notes(&self, stage: &str) -> Vec<&str> {
        self.stage(stage)["notes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// Kind to artifact id, sources included.
    pub fn artifacts(&self) -> BTreeMap<String, String> {
        self.steps()
            .filter_map(|step| step["artifacts"].as_object())
            .flatten()
            .map(|(kind, id)| (kind.clone(), id.as_str().expect("an id").to_owned()))
            .collect()
    }

    /// The id of an artifact.
    pub fn artifact(&self, kind: &str) -> String {
        self.artifacts().remove(kind).unwrap_or_else(|| panic!("the run made no {kind}"))
    }
}
