//! The tests that need Python: `cargo xtask test --interop`.

use resect_checkpoint::{SamConfig, write_random};
use resect_tests::hub_server::{Content, HubServer};
use resect_tests::{Project, Run, real_data, stderr, workspace, xtask};
use std::path::Path;
use std::process::Command;

/// Runs a script of `tests/reference`; what it printed, when it exits with 0.
fn python(script: &str, args: &[&Path]) -> String {
    let python = std::env::var_os("RESECT_PYTHON").expect("cargo xtask test --interop sets RESECT_PYTHON");
    let script = workspace().join("tests/reference").join(script);
    let output = Command::new(python).arg(&script).args(args).output().expect("Python starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}\n{}{}",
        script.display(),
        text(&output.stdout),
        text(&output.stderr)
    );
    println!("{}", text(&output.stdout));
    text(&output.stdout)
}

#[test]
fn pyarrow_opens_every_artifact() {
    let project = Project::micro();
    let run = project.run(&[]);
    let dirs = ["images", "targets", "embeddings", "checkpoint", "evaluation"]
        .map(|kind| project.artifact(&run, kind));
    let dirs: Vec<&Path> = dirs.iter().map(|dir| dir.as_path()).collect();
    assert!(python("read_artifacts.py", &dirs).contains("24 images, 24 targets"));
}

#[test]
fn transformers_opens_a_random_checkpoint() {
    for name in ["tiny", "small"] {
        let dir = tempfile::tempdir().unwrap();
        write_random(dir.path(), &SamConfig::named(name).unwrap(), 7).unwrap();
        assert!(python("sam_parity.py", &[Path::new("--check"), dir.path()]).contains("0 problems"));
    }
}

#[test]
fn the_fixtures_are_what_the_references_give_today() {
    let dir = tempfile::tempdir().unwrap();
    let loss = dir.path().join("dice_ce.json");
    python("loss_reference.py", &[Path::new("--out"), &loss]);
    let read = |path: &Path| -> Vec<serde_json::Value> {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let committed = read(&workspace().join("tests/fixtures/loss/dice_ce.json"));
    for (now, then) in read(&loss).iter().zip(&committed) {
        let (a, b) = (now["loss"].as_f64().unwrap(), then["loss"].as_f64().unwrap());
        assert!((a - b).abs() <= 1e-6 * b.abs(), "{}: {a} {b}", now["name"]);
    }
    assert_eq!(read(&loss).len(), committed.len());

    // Weights and inputs come from a seeded generator and must be equal; outputs may differ in the last digits.
    let sam = dir.path().join("sam-tiny");
    python("sam_parity.py", &[Path::new("--out"), &sam]);
    let committed = workspace().join("tests/fixtures/sam-tiny");
    let open = |dir: &Path| {
        resect_checkpoint::TensorFile::open(&dir.join("reference.safetensors")).unwrap().read_all().unwrap()
    };
    let (now, then) = (open(&sam), open(&committed));
    assert_eq!(now.len(), then.len());
    for (now, then) in now.iter().zip(&then) {
        assert_eq!((&now.name, &now.shape), (&then.name, &then.shape));
        let largest = then.data.iter().fold(0f32, |m, v| m.max(v.abs()));
        let off = now.data.iter().zip(&then.data).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(off <= 1e-4 * largest, "{}: {off} of {largest}", now.name);
    }
}

#[test]
fn preprocessing_of_real_images_is_pillows() {
    let Some(data) = real_data() else { return };
    // The published models' input side, so that SamImageProcessorPil can be held against it too.
    let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    let text = "[dataset]\nkind = \"parquet\"\n[checkpoint]\nkind = \"random\"\nsize = \"vit-b\"\n[ingest]\nlimit = 40\n";
    std::fs::write(file.path(), text).unwrap();
    let project = Project::new(file.path());
    let run = project.run(&["ingest", "--set", &format!("dataset.path={}", data.display())]);
    let folder = tempfile::tempdir().unwrap();
    for kind in ["images", "targets"] {
        copy(&project.artifact(&run, kind), &folder.path().join(kind));
    }
    let args = [Path::new("--real"), &data, Path::new("--output"), folder.path()];
    let said = python("ingest_reference.py", &args);
    assert!(said.contains("masks that differ 0, boxes 0, low-res masks 0"), "{said}");
}

#[test]
fn pictures_of_every_kind_are_prepared_as_by_transformers() {
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().join("data");
    let real = real_data();
    let mut args = vec![Path::new("--make"), &dir];
    if let Some(real) = &real {
        args.extend([Path::new("--real"), real]);
    }
    python("preprocess_parity.py", &args);
    let file = data.path().join("pipeline.toml");
    let text = "[dataset]\nkind = \"folder\"\n[checkpoint]\nkind = \"random\"\nsize = \"vit-b\"\n[split]\nby = \"random\"\n\
                [ingest]\nduplicate_distance = 0\n";
    std::fs::write(&file, text).unwrap();
    let project = Project::new(&file);
    for (name, setting) in
        [("grey", "mask.threshold=128"), ("binary", "mask.threshold=1"), ("labels", "mask.labels=[2]")]
    {
        let dataset = dir.join(name);
        let path = format!("dataset.path={}", dataset.display());
        let run = project.run(&["ingest", "--set", &path, "--set", setting]);
        let out = data.path().join("out").join(name);
        for kind in ["images", "targets"] {
            copy(&project.artifact(&run, kind), &out.join(kind));
        }
        let args = [Path::new("--check"), &dataset, Path::new("--output"), &out];
        assert!(python("preprocess_parity.py", &args).contains("0 problems"), "{name}");
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// The client that defines what a Hub is, and the cache's layout: it takes the server of the tests for one, and either finds
/// what the other fetched.
#[test]
fn huggingface_hub_shares_server_and_cache() {
    const FILES: [&str; 3] = ["config.json", "preprocessor_config.json", "model.safetensors"];
    let dir = tempfile::tempdir().unwrap();
    let weights = dir.path().join("weights");
    write_random(&weights, &SamConfig::named("tiny").unwrap(), 3).unwrap();
    let server = HubServer::start();
    let commit = server.repository("models", "lab/sam", |repository| {
        let content = |name: &str| {
            let bytes = std::fs::read(weights.join(name)).unwrap();
            if name.ends_with(".json") { Content::git(bytes) } else { Content::lfs(bytes) }
        };
        repository.commit("main", &FILES.map(|name| (name, content(name))))
    });
    let file = dir.path().join("my.toml");
    let text =
        "[dataset]\nkind = \"phantom\"\nimages = 8\n[checkpoint]\nkind = \"hub\"\nrepository = \"lab/sam\"\n";
    std::fs::write(&file, text).unwrap();
    let project = Project::new(&file);
    let runner = |command: &str, args: &[&str], home: &Path| {
        let mut command = project.command(command, args);
        command.env("HF_ENDPOINT", server.endpoint()).env("HF_HOME", home).output().unwrap()
    };
    let client = |home: &Path, offline: &str| {
        let python =
            std::env::var_os("RESECT_PYTHON").expect("cargo xtask test --interop sets RESECT_PYTHON");
        let mut client = Command::new(python);
        client.arg(workspace().join("tests/reference/hub_client.py")).args(["lab/sam", "main"]).args(FILES);
        // Its Xet client talks to storage in chunks, which is no part of what is shared.
        client.env("HF_HUB_DISABLE_XET", "1").env("HF_HUB_OFFLINE", offline).env_remove("HF_TOKEN");
        let output = client.env("HF_ENDPOINT", server.endpoint()).env("HF_HOME", home).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };

    // The runner resolves, the client fetches, the runner finds.
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    assert!(runner("status", &[], &first).status.success());
    assert!(client(&first, "0").contains(&commit));
    let run =
        Run::of(&runner("run", &["ingest", "--json", "--offline"], &first)).expect("all is in the cache");
    let base = project.artifact(&run, "base");
    assert_eq!(std::fs::read(base.join(FILES[2])).unwrap(), std::fs::read(weights.join(FILES[2])).unwrap());

    // The runner fetches, the client finds: the two files that a checkpoint is.
    std::fs::remove_dir_all(project.store()).unwrap();
    let output = runner("run", &["ingest", "--json", "--update"], &second);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = client(&second, "1");
    assert!(said.contains("config.json found") && said.contains("model.safetensors found"), "{said}");
    assert!(said.contains("preprocessor_config.json missing"), "{said}");
}

#[test]
fn predictions_are_those_of_transformers() {
    let dir = tempfile::tempdir().unwrap();
    python("predict_reference.py", &[Path::new("--make"), dir.path()]);
    let cases = std::fs::read(dir.path().join("cases.json")).unwrap();
    let cases: Vec<serde_json::Value> = serde_json::from_slice(&cases).unwrap();
    assert!(!cases.is_empty());
    for case in &cases {
        let text = |field: &str| case[field].as_str().unwrap();
        let mut command = xtask();
        command.args(["predict", "--logits", "--checkpoint"]).arg(dir.path().join("model"));
        command.arg("--image").arg(dir.path().join(text("image")));
        command.arg("--out").arg(dir.path().join("out").join(text("name")));
        command.arg("--store").arg(dir.path().join("store"));
        for argument in case["args"].as_array().unwrap() {
            let argument = argument.as_str().unwrap();
            // Files lie in the folder, whatever the current one is.
            match dir.path().join(argument) {
                file if file.is_file() => command.arg(file),
                _ => command.arg(argument),
            };
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{case}\n{}", stderr(&output));
    }
    assert!(python("predict_reference.py", &[Path::new("--check"), dir.path()]).ends_with("agree\n"));
}
