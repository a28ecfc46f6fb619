//! What is tuned, from the command line.

use resect_checkpoint::{Checkpoint, NamedTensor, TensorFile};
use resect_checkpoint_records::{Step, Summary};
use resect_tables::table;
use resect_tests::{Project, Run, stderr};
use std::collections::{BTreeMap, BTreeSet};

fn train(project: &Project, settings: &[&str], flags: &[&str]) -> Run {
    let settings: Vec<String> = settings.iter().map(|setting| format!("train.{setting}")).collect();
    let set = settings.iter().flat_map(|setting| ["--set", setting]);
    project.run(&["train"].into_iter().chain(flags.iter().copied()).chain(set).collect::<Vec<_>>())
}

/// Choices of what is tuned, with the names of tensors that each has in its checkpoint, and of some that it has not.
type Choice = (&'static [&'static str], &'static [&'static str], &'static [&'static str]);

const BLOCK_0: &str = "vision_encoder.layers.0.attn.qkv.lora_A.weight";
const BLOCK_1: &str = "vision_encoder.layers.1.attn.qkv.lora_A.weight";
const DECODER: &str = "mask_decoder.mask_tokens.weight";

const CHOICES: [Choice; 8] = [
    (&[], &[DECODER], &[BLOCK_0, BLOCK_1, "vision_encoder.neck.conv1.weight"]),
    (&["strategy=lora"], &[DECODER, BLOCK_0, BLOCK_1], &["vision_encoder.layers.0.attn.qkv.weight"]),
    (
        &["strategy=late-lora"],
        &[DECODER, BLOCK_1, "vision_encoder.layers.1.mlp.lin1.lora_B.weight"],
        &[BLOCK_0],
    ),
    (
        &["strategy=full"],
        &[DECODER, "vision_encoder.pos_embed", "vision_encoder.layers.0.attn.rel_pos_h"],
        &[BLOCK_0],
    ),
    (
        &["encoder.tune=full", "encoder.blocks=1..", "learning_rate=1e-4"],
        &[DECODER, "vision_encoder.layers.1.mlp.lin1.bias", "vision_encoder.neck.conv2.weight"],
        &["vision_encoder.layers.0.mlp.lin1.bias", "vision_encoder.pos_embed"],
    ),
    (
        &["strategy=lora", "encoder.targets=[\"q\", \"v\", \"proj\"]", "encoder.rank=2"],
        &["vision_encoder.layers.0.attn.q.lora_A.weight", "vision_encoder.layers.0.attn.v.lora_B.weight"],
        &["vision_encoder.layers.0.attn.k.lora_A.weight", BLOCK_0],
    ),
    (
        // A higher rate, because the frozen decoder has random weights.
        &["strategy=lora", "decoder.tune=none", "learning_rate=1e-2", "encoder.targets=[\"qkv\", \"mlp\"]"],
        &[BLOCK_0],
        &[DECODER],
    ),
    (&["strategy=lora", "encoder.blocks=[0]"], &[BLOCK_0], &[BLOCK_1]),
];

fn tensors(project: &Project, run: &Run) -> BTreeMap<String, NamedTensor> {
    let dir = project.artifact(run, "checkpoint");
    let tensors = TensorFile::open(&Summary::read(&dir).unwrap().weights(&dir)).unwrap().read_all().unwrap();
    tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect()
}

#[test]
fn every_choice_tunes_what_it_says_and_nothing_else() {
    let project = Project::micro();
    let mut seen = BTreeSet::new();
    for (settings, there, not_there) in CHOICES {
        let run = train(&project, settings, &[]);
        assert!(seen.insert(run.artifact("checkpoint")), "{settings:?} changes nothing");
        let tuned = tensors(&project, &run);
        there.iter().for_each(|name| assert!(tuned.contains_key(*name), "{settings:?}: {name}"));
        not_there.iter().for_each(|name| assert!(!tuned.contains_key(*name), "{settings:?}: {name}"));
        // What is there has learnt.
        let base = Checkpoint::open(&project.artifact(&run, "base")).unwrap();
        for name in there {
            let tensor = &tuned[*name];
            match base.tensor(name) {
                Ok(before) => assert_ne!(before.data, tensor.data, "{settings:?}: {name}"),
                Err(_) => assert!(tensor.data.iter().any(|x| *x != 0.0), "{settings:?}: {name}"),
            }
        }
        let steps: Vec<Step> =
            table::read(&project.artifact(&run, "checkpoint").join("history.parquet")).unwrap();
        let [first, last] = [&steps[..3], &steps[steps.len() - 3..]]
            .map(|steps| steps.iter().map(|step| step.loss).sum::<f64>());
        assert!(last < first, "{settings:?}: {first} to {last}");
    }
}

/// The export has the base's numbers wherever nothing was tuned.
#[test]
fn what_is_frozen_is_the_bases_to_the_byte_and_lora_is_merged() {
    let project = Project::micro();
    for (settings, changed) in [
        (&["strategy=late-lora"][..], "vision_encoder.layers.1."),
        (&["strategy=lora", "encoder.targets=[\"v\"]", "decoder.tune=none"], "attn.qkv.weight"),
    ] {
        let run = train(&project, settings, &[]);
        let out = tempfile::tempdir().unwrap();
        let out = out.path().join("model");
        let checkpoint = run.artifact("checkpoint");
        let args = ["--checkpoint", &checkpoint, "--out", out.to_str().unwrap()];
        let output = project.output("export", &args);
        assert!(output.status.success(), "{}", stderr(&output));
        let (base, merged) =
            (Checkpoint::open(&project.artifact(&run, "base")).unwrap(), Checkpoint::open(&out).unwrap());
        let mut differ = 0;
        for spec in resect_checkpoint::tensors(base.config()) {
            let [before, after] = [&base, &merged].map(|model| model.tensor(&spec.name).unwrap().data);
            if before != after {
                let decoder =
                    spec.name.starts_with("mask_decoder.") && !settings.contains(&"decoder.tune=none");
                assert!(decoder || spec.name.contains(changed), "{settings:?}: {} changed", spec.name);
                differ += usize::from(!decoder);
            }
            if spec.name.ends_with("attn.qkv.weight") && settings.len() == 3 {
                // Queries and keys stay, values move.
                let third = before.len() / 3;
                assert_eq!(before[..2 * third], after[..2 * third]);
                assert_ne!(before[2 * third..], after[2 * third..]);
            }
        }
        assert!(differ > 0, "{settings:?}");
    }
}

#[test]
fn neither_threads_nor_embeddings_batch_change_a_byte() {
    for strategy in ["strategy=lora", "strategy=late-lora", "strategy=full"] {
        let [one, three] = [["--threads", "1"], ["--threads", "3"]].map(|flags| {
            let project = Project::micro();
            train(&project, &[strategy], &flags).artifacts()
        });
        assert_eq!(one, three, "{strategy}");
    }
}

#[test]
fn the_table_of_parameters_stands_before_the_first_step() {
    let project = Project::micro();
    let output = project.output("run", &["train", "--set", "train.strategy=lora"]);
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    let at = |text: &str| said.find(text).unwrap_or_else(|| panic!("{text} is not in\n{said}"));
    assert!(
        at("image encoder     2.99 M    2,988,672  tuned   24.6 K       24,576    0.8 %") < at("epoch 1/3")
    );
    assert!(
        at("mask decoder     756.3 K      756,340  tuned  756.3 K      756,340  100.0 %") < at("epoch 1/3")
    );
    // Nothing is embedded where the encoder is tuned from the pixels on.
    assert!(!said.contains("embed "), "{said}");
}

#[test]
fn what_cannot_be_tuned_is_told_before_anything_runs() {
    let project = Project::micro();
    for (set, expected) in [
        (
            "train.strategy=magic",
            "train.strategy must be one of \"decoder\", \"lora\", \"late-lora\", \"full\", is \"magic\"",
        ),
        ("train.encoder.tune=adaptor", "train.encoder.tune has a wrong value"),
        ("train.encoder.ranks=4", "train.encoder.ranks is not a setting; did you mean rank?"),
        ("train.encoder=lora", "train.encoder must be a table"),
        ("train.encoder.blocks=first", "expected \"all\", \"late\", \"6..\" or a list"),
        ("train.encoder.targets=[\"qkz\"]", "train.encoder.targets has a wrong value"),
        (
            "train.decoder.tune=none",
            "train.decoder.tune must be \"full\" where train.encoder.tune = \"none\"",
        ),
    ] {
        let output = project.output("run", &["--set", set]);
        let said = stderr(&output);
        assert!(!output.status.success(), "{set}");
        assert!(said.contains(expected), "{set}: {said}");
    }
    for (set, expected) in [
        ("train.encoder.blocks=[2]", "train.encoder.blocks must be of the model's blocks 0 to 1, is [2]"),
        ("train.encoder.blocks=5..", "chooses no block: the model has the blocks 0 to 1"),
        (
            "train.encoder.rank=5000",
            "train.encoder.rank must be from 1 to the encoder's 384 channels, is 5000",
        ),
        ("train.encoder.alpha=-1.0", "train.encoder.alpha must be above 0"),
        ("train.encoder.targets=[]", "train.encoder.targets must name a layer"),
    ] {
        let output = project.output("run", &["--set", "train.strategy=lora", "--set", set]);
        let said = stderr(&output);
        assert!(!output.status.success(), "{set}");
        assert!(said.contains(expected), "{set}: {said}");
    }
    assert!(!project.store().join("checkpoint").exists());
}

#[test]
fn nothing_is_embedded_where_nothing_reads_it() {
    let project = Project::micro();
    for args in [&["embed"][..], &["--shards", "2"], &["--shard", "1/2"], &["--force", "embed"]] {
        let output = project.output("run", &[args, &["--set", "train.strategy=lora"]].concat());
        assert!(!output.status.success(), "{args:?}");
        assert!(stderr(&output).contains("there is nothing to embed"), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn an_adapter_of_what_is_no_lora_is_refused() {
    let project = Project::micro();
    let run = train(&project, &["strategy=full"], &[]);
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("adapter");
    let checkpoint = run.artifact("checkpoint");
    let args = ["--checkpoint", &checkpoint, "--format", "peft", "--out", out.to_str().unwrap()];
    let output = project.output("export", &args);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("an adapter in peft's format has LoRA"), "{}", stderr(&output));
    assert!(!out.exists());
}
