//! The tests that need Python: `cargo xtask test --interop`.

use resect_checkpoint::{Checkpoint, SamConfig, write_random};
use resect_tests::hub_server::{Content, HubServer};
use resect_tests::{Project, Run, as_from_a_shell, programs, real_data, stderr, workspace, xtask};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Runs a script of `tests/reference`; what it printed, when it exits with 0.
fn python<A: AsRef<OsStr>>(script: &str, args: &[A]) -> String {
    let python = std::env::var_os("RESECT_PYTHON").expect("cargo xtask test --interop sets RESECT_PYTHON");
    let script = workspace().join("tests/reference").join(script);
    let mut command = Command::new(python);
    as_from_a_shell(&mut command);
    let output = command.arg(&script).args(args).output().expect("Python starts");
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

/// The program of an example. It is built as everything else is, so that dependencies are not built again with other features.
fn example(name: &str) -> PathBuf {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace()).args(["build", "--release", "--workspace", "--example", name]);
    let output = cargo.arg("--message-format=json-render-diagnostics").output().expect("cargo starts");
    assert!(output.status.success(), "{}", stderr(&output));
    let messages = String::from_utf8(output.stdout).unwrap();
    let built = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let programs = built.filter(|message| message["target"]["name"] == name);
    let mut programs = programs.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    programs.next().expect("cargo names the program")
}

/// What `crates/sam/examples/parity.rs` says of a checkpoint.
fn parity(args: &[&Path]) -> Value {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| example("parity"));
    let output = Command::new(program).args(args).output().expect("parity starts");
    assert!(output.status.success(), "{}", stderr(&output));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    println!("{}: {said}", args[0].display());
    assert_eq!(said["finite"], true, "{said}");
    said
}

/// Checks that so many tensors were compared, and that none is off by more than 1e-4 of its largest value.
fn assert_close(said: &Value, count: usize) {
    let errors: BTreeMap<String, f64> = serde_json::from_value(said["errors"].clone()).unwrap();
    assert_eq!(errors.len(), count, "{said}");
    for (name, error) in errors {
        assert!(error <= 1e-4, "{name} is off by {error:e}");
    }
}

#[test]
fn a_perturbed_vit_b_gives_what_transformers_gives() {
    let dir = tempfile::tempdir().unwrap();
    let said = python("full_size_parity.py", &[Path::new("--out"), dir.path()]);
    assert!(said.contains("93735728 parameters"), "{said}");
    let said = parity(&[&dir.path().join("vit-b"), &dir.path().join("reference.safetensors")]);
    assert_eq!(said["parameters"], 93_735_728);
    // The embeddings; five kinds of prompts, single and multi, logits and scores.
    assert_close(&said, 1 + 5 * 2 * 2);
}

/// Loads and runs random weights of a published size on one image.
fn runs(size: &str, parameters: usize) {
    let dir = tempfile::tempdir().unwrap();
    write_random(dir.path(), &SamConfig::named(size).unwrap(), 3).unwrap();
    assert_eq!(parity(&[dir.path()])["parameters"], parameters);
}

#[test]
fn vit_l_loads_and_runs() {
    runs("vit-l", 312_343_088);
}

#[test]
fn vit_h_loads_and_runs() {
    runs("vit-h", 641_090_864);
}

#[test]
fn what_other_programs_saved_is_the_same_model() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    assert!(python("original_layout.py", &[Path::new("--out"), dir.path()]).contains("188 tensors"));
    let compared = |name: &str, reference: &str| {
        let out = at("out.safetensors");
        let said = parity(&[&at(name), &at(reference), &out]);
        // The embeddings; two kinds of prompts, single and multi, logits and scores.
        assert_close(&said, 1 + 2 * 2 * 2);
        std::fs::read(out).unwrap()
    };
    let expected = compared("transformers", "reference.safetensors");
    for name in ["original", "original/sam.safetensors", "pth", "pth/sam.pth", "pytorch_bin"] {
        assert!(compared(name, "reference.safetensors") == expected, "{name} gives other bits");
    }
    // And what the original code itself computes.
    assert!(compared("pth", "reference-original.safetensors") == expected);
    compared("bfloat16", "reference-bfloat16.safetensors");
    let half = compared("half", "reference-half.safetensors");
    assert!(compared("half_pth", "reference-half.safetensors") == half);

    // Through the pipeline and out of it again: half precision comes in, and what was tuned on it goes out in single.
    let weights = |dir: &Path| {
        let checkpoint = Checkpoint::open(dir).unwrap();
        let all = resect_checkpoint::tensors(checkpoint.config()).into_iter();
        all.map(|spec| checkpoint.tensor(&spec.name).unwrap()).collect::<Vec<_>>()
    };
    for name in ["half", "bfloat16", "half_pth/sam.pth"] {
        let project = Project::micro_on(&at(name));
        let run = project.run(&["--set", "train.epochs=1"]);
        assert!(weights(&project.artifact(&run, "base")) == weights(&at(name)), "{name}");
        let out = at("export");
        let output = project.output("export", &["--out", out.to_str().unwrap()]);
        assert!(output.status.success(), "{}", stderr(&output));
        let untuned = at("untuned");
        let base = run.artifact("base");
        let output = project.output("export", &["--out", untuned.to_str().unwrap(), "--checkpoint", &base]);
        assert!(output.status.success(), "{}", stderr(&output));
        python("check_export.py", &[out.as_path(), Path::new("--untuned"), &untuned]);
        std::fs::remove_dir_all(out).unwrap();
        std::fs::remove_dir_all(untuned).unwrap();
    }
}

#[test]
fn an_export_opens_in_transformers_and_in_pytorch() {
    let project = Project::micro();
    let run = project.run(&[]);
    let dir = tempfile::tempdir().unwrap();
    let (out, original) = (dir.path().join("model"), dir.path().join("original"));
    for args in [
        vec!["--out", out.to_str().unwrap()],
        vec!["--out", original.to_str().unwrap(), "--format", "original"],
    ] {
        let output = project.output("export", &args);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let base = project.artifact(&run, "base");
    let args = [out.as_path(), Path::new("--untuned"), &base, Path::new("--original"), &original];
    let said = python("check_export.py", &args);
    for line in ["card: 2 figures, Resect phantoms: 24 synthetic", "tuning moved a logit by", "original: "] {
        assert!(said.contains(line), "{said}");
    }
}

#[test]
fn an_adapter_opens_in_peft_and_gives_the_masks_of_the_merged_export() {
    let dir = tempfile::tempdir().unwrap();
    for (number, settings) in [
        &["train.strategy=late-lora"][..],
        // Additions to parts of a layer, which peft does not know; and a frozen decoder.
        &[
            "train.strategy=lora",
            "train.encoder.targets=[\"q\", \"v\"]",
            "train.decoder.tune=none",
            "train.learning_rate=1e-2",
        ],
    ]
    .into_iter()
    .enumerate()
    {
        let project = Project::micro();
        let set = settings.iter().flat_map(|setting| ["--set", setting]);
        let run = project.run(&["train"].into_iter().chain(set).collect::<Vec<_>>());
        let [merged, adapter] = ["merged", "adapter"].map(|name| dir.path().join(format!("{name}-{number}")));
        let checkpoint = run.artifact("checkpoint");
        for (format, out) in [("transformers", &merged), ("peft", &adapter)] {
            let args = ["--checkpoint", &checkpoint, "--format", format, "--out", out.to_str().unwrap()];
            let output = project.output("export", &args);
            assert!(output.status.success(), "{}", stderr(&output));
        }
        let base = project.artifact(&run, "base");
        let args = [adapter.as_path(), Path::new("--base"), &base, Path::new("--merged"), &merged];
        let said = python("check_adapter.py", &args);
        assert!(said.contains("adapter: masks off by") && said.contains("merged: weights off by"), "{said}");
    }
}

#[test]
fn predict_gives_what_an_export_gives_in_transformers() {
    let project = Project::micro();
    let run = project.run(&[]);
    let dir = tempfile::tempdir().unwrap();
    let images = project.artifact(&run, "dataset").join("images");
    let mut images: Vec<_> = std::fs::read_dir(images).unwrap().map(|entry| entry.unwrap().path()).collect();
    images.sort();
    let (image, bounds) = (images[5].as_path(), "20,15,80,70");
    let done = |command: &str, args: &[&OsStr]| {
        let output = project.command(command, &[]).args(args).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    };
    for format in ["transformers", "original"] {
        let out = dir.path().join(format);
        done("export", &["--format".as_ref(), format.as_ref(), "--out".as_ref(), out.as_os_str()]);
        // From the export, and for the first one from the store as well: one model, one answer.
        let from: [&[&OsStr]; 2] = [&["--checkpoint".as_ref(), out.as_os_str()], &[]];
        for (index, from) in from.into_iter().enumerate() {
            let to = dir.path().join(format!("{format}-{index}"));
            let image = ["--image".as_ref(), image.as_os_str(), "--box".as_ref(), bounds.as_ref()];
            let wanted = ["--encode".as_ref(), "--logits".as_ref(), "--out".as_ref(), to.as_os_str()];
            done("predict", &[from, &image[..], &wanted[..]].concat());
            let logits = to.join(images[5].file_name().unwrap()).with_extension("safetensors");
            let export = dir.path().join("transformers");
            let mut args: Vec<&OsStr> = vec![export.as_os_str(), "--predicted".as_ref(), logits.as_os_str()];
            args.extend(image);
            let said = python("check_export.py", &args);
            assert!(
                said.contains("logits of predict: off by") && said.contains("scores of predict: off by"),
                "{said}"
            );
        }
    }
}

#[test]
fn the_original_code_opens_an_export_of_its_own_size() {
    let dir = tempfile::tempdir().unwrap();
    let (base, out) = (dir.path().join("base"), dir.path().join("out"));
    write_random(&base, &SamConfig::named("vit-b").unwrap(), 3).unwrap();
    let [from, to] = [&base, &out].map(|path| path.to_str().unwrap());
    let project = Project::micro();
    let output = project.output("export", &["--checkpoint", from, "--out", to, "--format", "original"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = python("original_layout.py", &[Path::new("--registry"), &out]);
    assert!(said.contains("the registry opens 93735728 parameters"), "{said}");
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
fn tensorboard_reads_what_a_run_logs() {
    let project = Project::micro();
    let run = project.run(&["train", "--log", "tensorboard"]);
    let logs = PathBuf::from(run.stage("train")["logs"].as_str().unwrap());
    let said = python("read_events.py", &[&logs, &project.artifact(&run, "checkpoint")]);
    // Six steps of five columns, and the untuned decoder and three epochs of two.
    for part in
        ["train/gradient_norm", "train/learning_rate", "train/loss", "validation/dice", ": 38 scalars agree"]
    {
        assert!(said.contains(part), "{said}");
    }
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
    let loss = dir.path().join("losses.json");
    python("loss_reference.py", &[Path::new("--out"), &loss]);
    let read = |path: &Path| -> Vec<Value> { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let committed = read(&workspace().join("tests/fixtures/loss/losses.json"));
    let values = |rows: &[Value]| -> Vec<f64> {
        let results = rows.iter().flat_map(|row| row["results"].as_array().unwrap());
        results.map(|result| result["loss"].as_f64().unwrap()).collect()
    };
    let (now, then) = (values(&read(&loss)), values(&committed));
    assert_eq!(now.len(), then.len());
    for (case, (a, b)) in now.iter().zip(&then).enumerate() {
        assert!((a - b).abs() <= 1e-6 * b.abs(), "{case}: {a} {b}");
    }

    let metrics = dir.path().join("metrics.json");
    python("metrics_reference.py", &[Path::new("--out"), &metrics]);
    let read = |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    alike(&read(&metrics), &read(&workspace().join("tests/fixtures/metrics/metrics.json")), 1e-6);

    let curve = dir.path().join("curve");
    python("curve_reference.py", &[Path::new("--out"), &curve]);
    let committed = workspace().join("tests/fixtures/curve");
    let read = |dir: &Path| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(dir.join("curve.json")).unwrap()).unwrap()
    };
    let (now, then) = (read(&curve), read(&committed));
    assert_eq!(now["samples"], then["samples"]);
    let (now, then) = (now["variants"].as_array().unwrap(), then["variants"].as_array().unwrap());
    assert_eq!(now.len(), then.len());
    for (now, then) in now.iter().zip(then) {
        assert_eq!((&now["name"], &now["settings"]), (&then["name"], &then["settings"]));
        for column in ["loss", "dice_loss", "ce_loss", "learning_rate", "gradient_norm"] {
            let values = |of: &Value| -> Vec<f64> {
                of["steps"][column].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
            };
            let (now, then) = (values(now), values(then));
            assert_eq!(now.len(), then.len());
            for (a, b) in now.iter().zip(&then) {
                assert!((a - b).abs() <= 1e-4 * b.abs(), "{column}: {a} {b}");
            }
        }
    }

    // Weights and inputs come from a seeded generator and must be equal; outputs may differ in the last digits.
    let sam = dir.path().join("sam-tiny");
    python("sam_parity.py", &[Path::new("--out"), &sam]);
    let open = |path: &Path| resect_checkpoint::TensorFile::open(path).unwrap().read_all().unwrap();
    for file in ["sam-tiny/reference.safetensors", "curve/embeddings.safetensors"] {
        let (now, then) =
            (open(&dir.path().join(file)), open(&workspace().join("tests/fixtures").join(file)));
        assert_eq!(now.len(), then.len());
        for (now, then) in now.iter().zip(&then) {
            assert_eq!((&now.name, &now.shape), (&then.name, &then.shape));
            let largest = then.data.iter().fold(0f32, |m, v| m.max(v.abs()));
            let off = now.data.iter().zip(&then.data).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(off <= 1e-4 * largest, "{}: {off} of {largest}", now.name);
        }
    }
}

#[test]
#[ignore = "needs the real images: cargo xtask test runs it where ../shared/data/kvasir-seg is (RESECT_SHARED)"]
fn preprocessing_of_real_images_is_pillows() {
    let data = real_data();
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
    prepared_as_by_transformers(None);
}

#[test]
#[ignore = "needs the real images: cargo xtask test runs it where ../shared/data/kvasir-seg is (RESECT_SHARED)"]
fn pictures_of_every_kind_and_real_ones_are_prepared_as_by_transformers() {
    prepared_as_by_transformers(Some(&real_data()));
}

fn prepared_as_by_transformers(real: Option<&Path>) {
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().join("data");
    let mut args = vec![Path::new("--make"), &dir];
    if let Some(real) = real {
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
/// Nothing of it needs a GPU but the GPU.
#[test]
fn the_benchmark_of_a_gpu_runs_on_the_cpu() {
    let said =
        python("../../benches/gpu.py", &["--device", "cpu", "--size", "tiny", "--quick", "--rounds", "1"]);
    for row in [
        "| embeddings in bf16 against the CPU | 0.0e+00 |",
        "| losses of 50 training steps in f16 against the CPU | 0.0e+00 |",
        "| images a second, bf16 | ",
        "| share of the rate of a bf16 product | ",
        "| training steps a second, bf16, 2 + 2 samples | ",
        "| recipe: train, s | ",
    ] {
        assert!(said.contains(row), "{row}\nis not in\n{said}");
    }
}

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

/// A report is looked at by a browser: as a person does who sees it, who has no mouse, or who prints it.
#[test]
fn a_report_works_in_a_browser() {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("report.html");
    let output = Command::new(example("specimen")).arg(&page).args(["30", "160"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(python("report_browser.py", &[page.as_path()]).ends_with("fine\n"));
}

/// So is the page on which runs stand side by side.
#[test]
fn a_comparison_works_in_a_browser() {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("compare.html");
    let output = Command::new(example("comparison")).arg(&page).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(python("compare_browser.py", &[page.as_path()]).ends_with("fine\n"));
}

/// The same but for the last digits of numbers.
fn alike(a: &Value, b: &Value, tolerance: f64) {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len());
            a.iter().zip(b).for_each(|(a, b)| alike(a, b, tolerance));
        }
        (Value::Object(a), Value::Object(b)) => {
            assert!(a.keys().eq(b.keys()));
            a.values().zip(b.values()).for_each(|(a, b)| alike(a, b, tolerance));
        }
        _ => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{a} {b}"),
            _ => assert_eq!(a, b),
        },
    }
}

#[test]
fn the_indexed_jobs_pods_embed_a_shard_each() {
    let said = python("cluster_job.py", &[workspace().join("docs/cluster/embed-job.yaml")]);
    let job: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    let command: Vec<&str> =
        job["command"].as_array().unwrap().iter().map(|part| part.as_str().unwrap()).collect();
    let project = Project::micro();
    assert!(project.output("run", &["ingest"]).status.success());
    let pods: Vec<_> = (0..2)
        .map(|index: u32| {
            let mut pod = Command::new(command[0]);
            as_from_a_shell(&mut pod);
            pod.args(&command[1..]).env("JOB_COMPLETION_INDEX", index.to_string()).env("SHARDS", "2");
            pod.env("RESECT_BIN", programs()).env("RESECT_STORE", project.store());
            pod.env("PIPELINE", workspace().join("tests/pipelines/micro.toml"));
            pod.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for pod in pods {
        let output = pod.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let merged = project.run(&["embed", "--shards", "2"]);
    assert_eq!(merged.with_status("reused"), ["ingest", "embed", "embed"]);
    assert_eq!(merged.artifact("embeddings"), Project::micro().run(&["embed"]).artifact("embeddings"));
}
