//! Devices, from the command line: which one is meant, what is said where it cannot be used, and what it means for reuse.
//!
//! Where a driver is needed, a stand-in for its library is (`crates/device/tests/stand_in/driver.rs`): it has GPUs to tell of, and
//! nothing computes on them.

use image::{Rgb, RgbImage};
use resect_tests::{Project, Run, programs, stderr, workspace};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A folder with a library of the driver's name, which has so many GPUs and answers `init` when it is initialised.
struct Driver(TempDir);

impl Driver {
    fn new(gpus: u32, init: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let status = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
            .args(["--edition", "2024", "--crate-type", "cdylib", "-C", "panic=abort", "-o"])
            .arg(dir.path().join("libcuda.so.1"))
            .arg(workspace().join("crates/device/tests/stand_in/driver.rs"))
            .env("STAND_IN_GPUS", gpus.to_string())
            .env("STAND_IN_INIT", init.to_string())
            .status()
            .unwrap();
        assert!(status.success());
        Self(dir)
    }

    /// Libraries of the driver's names that cannot be loaded, as if there were no driver, whether the machine has one or not.
    fn none() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["libcuda.so.1", "libcuda.so"] {
            fs::write(dir.path().join(name), "no library").unwrap();
        }
        Self(dir)
    }

    /// Runs a command where this driver is found before any other.
    fn output(&self, project: &Project, command: &str, args: &[&str]) -> Output {
        let mut path = self.0.path().as_os_str().to_owned();
        if let Some(others) = std::env::var_os("LD_LIBRARY_PATH") {
            path.push(":");
            path.push(others);
        }
        project.command(command, args).env("LD_LIBRARY_PATH", path).output().unwrap()
    }
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Standard error of a command that failed as one that cannot be done.
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", stderr(output));
    stderr(output)
}

fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
}

/// What lies in a store, other than records.
fn artifacts(store: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(store).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.')).collect()
}

/// A folder with a picture, and what `predict` needs to be told to work on it with the model of the fixtures.
struct Picture(TempDir);

impl Picture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        RgbImage::from_fn(80, 60, |x, y| Rgb([(3 * x) as u8, (4 * y) as u8, 90]))
            .save(dir.path().join("a.png"))
            .unwrap();
        Self(dir)
    }

    /// The arguments, with results in `out`.
    fn args(&self, out: &str, further: &[&str]) -> Vec<String> {
        let path = |name: &str| self.0.path().join(name).to_str().unwrap().to_owned();
        let checkpoint = workspace().join("tests/fixtures/sam-tiny").to_str().unwrap().to_owned();
        let prompts = ["--box", "9,9,50,40", "--box", "20,5,60,50", "--logits"];
        prompts
            .into_iter()
            .chain(["--image", &path("a.png"), "--checkpoint", &checkpoint, "--out", &path(out)])
            .chain(further.iter().copied())
            .map(str::to_owned)
            .collect()
    }

    fn output(&self, project: &Project, out: &str, further: &[&str]) -> Output {
        let args = self.args(out, further);
        project.output("predict", &args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// A result, where there is one.
    fn file(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.0.path().join(name)).ok()
    }
}

#[test]
fn a_name_that_no_device_has_is_a_usage_error() {
    let project = Project::micro();
    for args in [["--device", "gpu"], ["--set", "device.train=gpu"]] {
        let output = project.output("run", &args);
        assert_eq!(output.status.code(), Some(2));
        assert_has(&stderr(&output), &["there is no device \"gpu\"; there are cpu, cuda, cuda:N and auto"]);
    }
    let output = Picture::new().output(&project, "out", &["--device", "gpu"]);
    assert_eq!(output.status.code(), Some(2));
    assert_has(&stderr(&output), &["there is no device \"gpu\"; there are cpu, cuda, cuda:N and auto"]);
}

#[test]
fn without_a_driver_nothing_starts_and_auto_is_the_cpu() {
    let (project, driver) = (Project::micro(), Driver::none());
    for command in ["run", "status"] {
        let said = refusal(&driver.output(&project, command, &["--device", "cuda"]));
        assert_has(&said, &["error: there is no NVIDIA driver: ", "libcuda.so.1", "--device cpu"]);
        assert_eq!(artifacts(&project.store()), Vec::<PathBuf>::new());
    }
    let output = driver.output(&project, "status", &["--device", "auto"]);
    assert_has(&stderr(&output), &["device auto is cpu: there is no NVIDIA driver"]);
    assert_has(&stdout(&output), &["ingest    may run"]);

    let picture = Picture::new();
    let predict = |out: &str, further: &[&str]| {
        let args = picture.args(out, further);
        driver.output(&project, "predict", &args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let said = refusal(&predict("none", &["--device", "cuda"]));
    assert_has(&said, &["error: there is no NVIDIA driver: ", "--device cpu"]);
    assert_eq!(picture.file("none/a.png"), None);
    let output = predict("auto", &["--device", "auto", "--json"]);
    assert_has(&stderr(&output), &["device auto is cpu: there is no NVIDIA driver"]);
    assert_has(&stdout(&output), &["\"device\": \"cpu\"", "\"gpu\": null"]);
    // However many prompts pass the decoder together.
    stdout(&picture.output(&project, "cpu", &["--decode-batch", "1"]));
    for file in ["a.png", "a-1.png", "a.safetensors"] {
        let [auto, cpu] = ["auto", "cpu"].map(|out| picture.file(&format!("{out}/{file}")).unwrap());
        assert!(auto == cpu, "{file}");
    }
}

#[test]
fn a_driver_that_cannot_serve_says_why_before_anything_runs() {
    let project = Project::micro();
    let of = |driver: Driver, device| refusal(&driver.output(&project, "run", &["--set", device]));
    assert_has(
        &of(Driver::new(1, 803), "device.embed=cuda"),
        &["the NVIDIA driver refuses cuInit: system has unsupported display driver (error 803)"],
    );
    assert_has(&of(Driver::new(0, 0), "device.train=cuda"), &["the NVIDIA driver finds no GPU"]);
    assert_has(
        &of(Driver::new(2, 0), "device.evaluate=cuda:2"),
        &[
            "there is no cuda:2; there are\n  cuda:0  Stand-in 0 (sm90, 86 GB)\n  cuda:1  Stand-in 1 (sm86, 86 GB)",
        ],
    );
    assert_eq!(artifacts(&project.store()), Vec::<PathBuf>::new());
}

#[test]
fn the_kind_of_gpu_is_in_the_key_and_its_name_is_not() {
    let (project, driver) = (Project::micro(), Driver::new(2, 0));
    let first = project.run(&["embed"]);
    let why = |device: &str| stdout(&driver.output(&project, "why", &["embed", "--device", device]));
    assert_has(&why("cpu"), &["nothing changed since"]);
    assert_has(
        &why("cuda"),
        &["numeric class flex-f32-", "→ cuda-sm90", "--accept-device embed would reuse"],
    );
    assert_has(&why("cuda:1"), &["→ cuda-sm86"]);
    // `auto` says which it is; a stage that stays on the CPU has the key that it had.
    let output = driver.output(&project, "why", &["embed", "--device", "auto"]);
    assert_has(&stderr(&output), &["device auto is cuda:0  Stand-in 0 (sm90, 86 GB)"]);
    assert_has(&stdout(&output), &["→ cuda-sm90"]);
    let only_training = ["embed", "--set", "device.train=cuda", "--set", "device.evaluate=cuda:1"];
    assert_has(&stdout(&driver.output(&project, "why", &only_training)), &["nothing changed since"]);

    // Programs that were built without a backend for GPUs, as the tests' are.
    let bin_dir = programs();
    let on_gpu = ["embed", "--device", "cuda:1", "--bin-dir", bin_dir.to_str().unwrap()];
    let said = refusal(&driver.output(&project, "run", &on_gpu));
    assert_has(
        &said,
        &["this program was built without CUDA and cannot compute on cuda:1", "--features resect-embed/cuda"],
    );
    assert_eq!(fs::read_dir(project.store().join("embeddings")).unwrap().count(), 1);
    let picture = Picture::new();
    let args = picture.args("out", &on_gpu[1..]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    assert_has(
        &refusal(&driver.output(&project, "predict", &args)),
        &["this program was built without CUDA and cannot compute on cuda:1", "resect-predict/cuda"],
    );
    assert_eq!(picture.file("out/a.png"), None);
    let none = picture.args("out", &["--device", "cuda:7"]);
    let none: Vec<&str> = none.iter().map(String::as_str).collect();
    assert_has(
        &refusal(&driver.output(&project, "predict", &none)),
        &["there is no cuda:7; there are\n  cuda:0  Stand-in 0"],
    );

    // What the CPU gave is taken for the GPU's, when a person says so.
    let accepted =
        stdout(&driver.output(&project, "run", &[&on_gpu[..], &["--accept-device", "embed"]].concat()));
    let embeddings = first.artifact("embeddings");
    assert_has(&accepted, &["reused, accepted: made on flex-f32-", &embeddings[..12]]);
}

/// Programs of this build, but for `embed`: a stand-in that hands over the embeddings it finds, on whatever device it is told.
#[cfg(unix)]
fn stand_in_for_embed(embeddings: &Path) -> TempDir {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dir = tempfile::tempdir().unwrap();
    let built = programs();
    for stage in ["ingest", "train", "evaluate"] {
        let name = format!("resect-{stage}");
        symlink(built.join(&name), dir.path().join(name)).unwrap();
    }
    let script = format!(
        "#!/bin/sh\n\
         if [ \"$1\" = --identity ]; then printf '%064d\\n' 7; exit; fi\n\
         out=\"$(dirname \"$2\")/out/embeddings\"\n\
         mkdir -p \"$out\" && cp {}/embedding* {}/index.parquet \"$out\" && chmod u+w \"$out\"/* || exit 1\n\
         echo '{{\"note\":\"computes on a stand-in\"}}'\n\
         echo '{{\"done\":{{\"peak_memory\":null}}}}'\n",
        embeddings.display(),
        embeddings.display()
    );
    let path = dir.path().join("resect-embed");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

#[cfg(unix)]
#[test]
fn a_stage_on_a_gpu_says_that_its_bytes_are_not_promised() {
    let (project, driver) = (Project::micro(), Driver::new(1, 0));
    let half = project.run(&["embed"]);
    let single = project.run(&["embed", "--set", "embed.dtype=f32"]);
    let given = tempfile::tempdir().unwrap();
    let hand_over = |run: &Run| {
        for entry in fs::read_dir(project.artifact(run, "embeddings")).unwrap() {
            let entry = entry.unwrap();
            let to = given.path().join(entry.file_name());
            let _ = fs::remove_file(&to);
            fs::copy(entry.path(), to).unwrap();
        }
    };
    let programs = stand_in_for_embed(given.path());
    let on_gpu = ["embed", "--device", "cuda", "--bin-dir", programs.path().to_str().unwrap()];
    let run = |further: &[&str]| driver.output(&project, "run", &[&on_gpu[..], further].concat());
    let caveat = "on a GPU a second run may give other bytes: docs/cuda.md says which, and why";

    hand_over(&half);
    let output = run(&["--json"]);
    assert_has(&stderr(&output), &[caveat, "computes on a stand-in"]);
    let first = Run::of(&output).unwrap_or_else(|| panic!("{}", stderr(&output)));
    assert_eq!(first.notes("embed"), [caveat, "computes on a stand-in"]);
    let provenance = &first.stage("embed")["provenance"];
    assert_eq!((&provenance["device"], &provenance["deterministic"]), (&"cuda:0".into(), &false.into()));
    // Of the CPU nothing of the kind is said, nor of what was reused.
    assert!(half.notes("embed").iter().all(|note| !note.contains("GPU")));
    assert!(first.stage("ingest")["provenance"].is_null());

    // The same key gives other bytes: it is said how to look at them, and the record has both.
    hand_over(&single);
    let said = stdout(&run(&["--force", "embed"]));
    let ids = [&half, &single].map(|run| run.artifact("embeddings"));
    assert_has(
        &said,
        &[
            "other bytes than the same key gave before, as may be on a GPU; both are kept",
            &format!("by how much: cargo xtask diff {} {}", &ids[0][..12], &ids[1][..12]),
        ],
    );
    let output = resect_tests::xtask()
        .args(["diff", &ids[0][..12], &ids[1][..12], "--store"])
        .arg(project.store())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let records = project.store().join(".resect/actions/embed");
    let both = fs::read_dir(records).unwrap().filter(|entry| {
        let text = fs::read_to_string(entry.as_ref().unwrap().path()).unwrap();
        text.contains("cuda-sm90") && ids.iter().all(|id| text.contains(id))
    });
    assert_eq!(both.count(), 1);
}
