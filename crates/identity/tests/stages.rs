//! What enters the identity of each stage of this workspace, shown by edits to a copy of its sources.

use resect_identity::{Build, Workspace};
use std::fs;
use std::path::{Path, PathBuf};

/// An edit to a file.
enum Edit {
    /// A line of text at the end: in sources a comment.
    Appended(&'static str),
    /// The first text replaced by the second.
    Replaced(&'static str, &'static str),
}

use Edit::{Appended, Replaced};

const COMMENT: Edit = Appended("\n// Edited.\n");

/// A stage, the edits that leave its identity alone, and the edits that change it.
struct Case {
    stage: &'static str,
    alone: &'static [(&'static str, Edit)],
    changed: &'static [(&'static str, Edit)],
}

const CASES: [Case; 4] = [
    Case {
        stage: "ingest",
        alone: &[
            ("stages/ingest/src/mask/tests.rs", COMMENT),
            ("stages/ingest/tests/ingest/masks.rs", COMMENT),
            ("stages/train/src/loss.rs", COMMENT),
            ("crates/encoder/src/image_encoder.rs", COMMENT),
            ("crates/embeddings/src/lib.rs", COMMENT),
            ("crates/checkpoint-records/src/lib.rs", COMMENT),
            ("crates/evaluation-records/src/lib.rs", COMMENT),
            ("crates/embed-params/src/lib.rs", COMMENT),
            ("crates/train-params/src/lib.rs", COMMENT),
            ("crates/evaluate-params/src/lib.rs", COMMENT),
        ],
        changed: &[
            ("stages/ingest/src/mask.rs", COMMENT),
            ("crates/pixels/src/resize.rs", COMMENT),
            ("crates/images/src/lib.rs", COMMENT),
            ("crates/targets/src/lib.rs", COMMENT),
            ("crates/target-records/src/lib.rs", COMMENT),
            ("crates/ingest-params/src/lib.rs", COMMENT),
        ],
    },
    Case {
        stage: "embed",
        alone: &[
            ("crates/tuning/src/lora.rs", COMMENT),
            // Unit tests.
            ("crates/encoder/src/memory/tests.rs", COMMENT),
            ("crates/kernels/src/matmul/tests.rs", COMMENT),
            ("stages/embed/src/tests.rs", COMMENT),
            ("stages/embed/tests/embed.rs", COMMENT),
            ("crates/encoder/benches/encoder.rs", COMMENT),
            // Decoding masks, and training.
            ("crates/sam/src/load/tests.rs", COMMENT),
            ("crates/sam/src/mask_decoder.rs", COMMENT),
            ("crates/sam/src/prompt_encoder.rs", COMMENT),
            ("crates/segment/src/decode.rs", COMMENT),
            ("stages/evaluate/src/decode.rs", COMMENT),
            ("stages/train/src/loss.rs", COMMENT),
            // The settings and the files of other stages.
            ("crates/train-params/src/lib.rs", Replaced("/// Passes over the training part.", "/// Epochs.")),
            ("crates/ingest-params/src/lib.rs", COMMENT),
            ("crates/evaluate-params/src/lib.rs", COMMENT),
            ("crates/targets/src/lib.rs", COMMENT),
            ("crates/target-records/src/lib.rs", COMMENT),
            ("crates/checkpoint-records/src/lib.rs", COMMENT),
            ("crates/evaluation-records/src/lib.rs", COMMENT),
            // The runner, and the store.
            ("xtask/src/main.rs", COMMENT),
            ("crates/artifact/src/lib.rs", COMMENT),
            // How packages that it does not reach are compiled.
            ("Cargo.toml", Replaced("[profile.release.package.xtask]\nopt-level = 1", "")),
            (
                "Cargo.toml",
                Replaced(
                    "package.resect-metrics]\ncodegen-units = 1",
                    "package.resect-metrics]\ncodegen-units = 2",
                ),
            ),
            // What only tests use, and what changes no program.
            (
                "stages/embed/Cargo.toml",
                Replaced("[dev-dependencies]\n", "[dev-dependencies]\nproptest.workspace = true\n"),
            ),
            (
                "Cargo.lock",
                Replaced("name = \"schemars\"\nversion = \"", "name = \"schemars\"\nversion = \"9"),
            ),
            ("crates/encoder/Cargo.toml", Replaced("description = \"", "description = \"Edited: ")),
            ("Cargo.toml", Replaced("missing_docs = \"warn\"", "missing_docs = \"allow\"")),
        ],
        changed: &[
            ("crates/encoder/src/image_encoder.rs", COMMENT),
            ("crates/layers/src/cpu.rs", COMMENT),
            ("crates/kernels/src/matmul.rs", COMMENT),
            ("stages/embed/src/lib.rs", COMMENT),
            ("crates/embed-params/src/lib.rs", COMMENT),
            ("crates/numeric/src/precision.rs", COMMENT),
            ("crates/images/src/lib.rs", COMMENT),
            ("crates/embeddings/src/lib.rs", COMMENT),
            ("crates/tables/src/ipc.rs", COMMENT),
            ("Cargo.toml", Replaced("[profile.release]\n", "[profile.release]\nopt-level = 2\n")),
            (
                "Cargo.toml",
                Replaced(
                    "package.resect-kernels]\ncodegen-units = 1",
                    "package.resect-kernels]\ncodegen-units = 2",
                ),
            ),
            (
                "Cargo.toml",
                Replaced(
                    "safetensors = \"0.8\"",
                    "safetensors = { version = \"0.8\", features = [\"std\"] }",
                ),
            ),
            (
                "Cargo.lock",
                Replaced("name = \"safetensors\"\nversion = \"", "name = \"safetensors\"\nversion = \"9"),
            ),
            ("stages/embed/Cargo.toml", Replaced("[features]\n", "[features]\nmore = []\n")),
        ],
    },
    Case {
        stage: "train",
        alone: &[
            ("stages/train/src/loss/tests.rs", COMMENT),
            ("stages/train/src/loss/tests/reference.rs", COMMENT),
            ("stages/embed/src/lib.rs", COMMENT),
            ("stages/evaluate/src/decode.rs", COMMENT),
            ("crates/segment/src/decode.rs", COMMENT),
            ("crates/pixels/src/resize.rs", COMMENT),
            ("crates/evaluation-records/src/lib.rs", COMMENT),
            ("crates/metrics/src/overlap.rs", COMMENT),
            ("crates/ingest-params/src/lib.rs", COMMENT),
            ("crates/embed-params/src/lib.rs", COMMENT),
            ("crates/evaluate-params/src/lib.rs", COMMENT),
        ],
        changed: &[
            ("stages/train/src/loss.rs", COMMENT),
            ("crates/sam/src/mask_decoder.rs", COMMENT),
            // It tunes the encoder, from the images on.
            ("crates/encoder/src/image_encoder.rs", COMMENT),
            ("crates/images/src/lib.rs", COMMENT),
            ("crates/tuning/src/lora.rs", COMMENT),
            ("crates/train-params/src/lib.rs", COMMENT),
            ("crates/embeddings/src/lib.rs", COMMENT),
            ("crates/targets/src/lib.rs", COMMENT),
            ("crates/checkpoint-records/src/lib.rs", COMMENT),
        ],
    },
    Case {
        stage: "evaluate",
        alone: &[
            ("stages/evaluate/src/score/tests.rs", COMMENT),
            ("stages/train/src/loss.rs", COMMENT),
            ("crates/pixels/src/resize.rs", COMMENT),
            ("crates/ingest-params/src/lib.rs", COMMENT),
            ("crates/embed-params/src/lib.rs", COMMENT),
            ("crates/train-params/src/lib.rs", COMMENT),
        ],
        changed: &[
            ("stages/evaluate/src/decode.rs", COMMENT),
            ("crates/sam/src/mask_decoder.rs", COMMENT),
            ("crates/metrics/src/overlap.rs", COMMENT),
            ("crates/evaluation-records/src/lib.rs", COMMENT),
            ("crates/evaluate-params/src/lib.rs", COMMENT),
        ],
    },
];

/// Folders with all that an identity can be computed from, beside the manifest and the lock file.
const FOLDERS: [&str; 3] = ["crates", "stages", "xtask"];

/// Copies sources and manifests.
fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else if from
        .extension()
        .is_some_and(|extension| extension == "rs" || extension == "toml" || extension == "lock")
    {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
}

#[test]
fn an_edit_changes_the_identity_of_the_stages_whose_result_it_can_change() {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for name in FOLDERS.iter().chain(&["Cargo.toml", "Cargo.lock"]) {
        copy(&checkout.join(name), &root.join(name));
    }
    let build = Build {
        rustc: "rustc 1".into(),
        profile: "release".into(),
        rustflags: String::new(),
        features: Vec::new(),
    };
    let identity = |stage: &str| {
        let crate_dir: PathBuf = root.join("stages").join(stage);
        Workspace::read(root).unwrap().identity(&crate_dir, &build).unwrap().hash
    };
    let mut wrong = Vec::new();
    for Case { stage, alone, changed } in CASES {
        let base = identity(stage);
        let edits = alone.iter().map(|edit| (edit, false)).chain(changed.iter().map(|edit| (edit, true)));
        for ((path, edit), expected) in edits {
            let file = root.join(path);
            let text = fs::read_to_string(&file).unwrap();
            let edited = match edit {
                Appended(line) => format!("{text}{line}"),
                Replaced(old, new) => text.replacen(old, new, 1),
            };
            assert_ne!(edited, text, "{path} has no text to replace");
            fs::write(&file, edited).unwrap();
            if (identity(stage) != base) != expected {
                wrong.push(format!(
                    "{stage}: an edit to {path} {}",
                    if expected { "has no effect" } else { "counts" }
                ));
            }
            fs::write(&file, text).unwrap();
        }
        assert_eq!(identity(stage), base);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
