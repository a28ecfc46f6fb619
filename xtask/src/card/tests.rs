use super::*;
use crate::lineage::{Evaluation, Trained};
use resect_checkpoint::SamConfig;
use serde_json::json;
use std::collections::BTreeMap;

fn card_of(lineage: &Lineage, name: &str, format: Format) -> String {
    let config = SamConfig::named("vit-b").unwrap();
    let manifest = Manifest {
        format: "resect-export/1.0".into(),
        layout: format,
        checkpoint: None,
        base: None,
        tuned: vec!["mask_decoder".into()],
        iou_head_trained: false,
        lineage: BTreeMap::new(),
        files: BTreeMap::new(),
    };
    let weights = ["sam_vit_b.safetensors".to_owned(), "sam_vit_b.pth".to_owned()];
    let card = Card {
        name,
        license: "apache-2.0",
        format,
        weights: &weights,
        size: "vit_b",
        config: &config,
        manifest: &manifest,
        lineage,
        exported_again: false,
    };
    card.render()
}

#[test]
fn what_came_from_data_cannot_leave_its_place() {
    assert_eq!(yaml("a\"b\\c: é\n---"), r#""a\"b\\c: \U000000e9\U0000000a---""#);
    assert_eq!(yaml("\u{85}\u{1f9e0}"), r#""\U00000085\U0001f9e0""#);
    assert_eq!(text("a|b<script>\n# *x* [y](z) `q` é"), "a\\|b\\<script\\> \\# \\*x\\* \\[y\\](z) \\`q\\` é");
    assert_eq!(code("a`b|c\nd"), "`a'b\\|c d`");
    assert_eq!(code(""), "`\"\"`");
    let lineage = Lineage {
        dataset: Some(Origin::Hub { repository: "o/n\"\nlicense: mit".into() }),
        metrics: Some(evaluation(1, &[("tuned", Some(0.5))])),
        ..Lineage::default()
    };
    let card = card_of(&lineage, "x\n---\n# y", Format::Transformers);
    let head = card.split("\n---\n").next().unwrap();
    assert_eq!(head.matches("license: ").count() - head.matches("\\U0000000alicense: ").count(), 1, "{head}");
    assert!(card.contains("\n# x --- \\# y\n"), "{card}");
    assert!(!code("a\u{1b}[2J").contains('\u{1b}') && !text("a\u{1b}[2J").contains('\u{1b}'));
}

#[test]
fn repositories_on_the_hub_are_named_and_paths_are_not() {
    let mut lineage = Lineage {
        dataset: Some(Origin::Hub { repository: "owner/data".into() }),
        base: Some(Origin::Hub { repository: "facebook/sam-vit-base".into() }),
        ..Lineage::default()
    };
    let card = card_of(&lineage, "m", Format::Transformers);
    assert!(
        card.contains("base_model: \"facebook/sam-vit-base\"\nbase_model_relation: finetune\ndatasets:\n- \"owner/data\"\n"),
        "{card}"
    );
    lineage.dataset = Some(Origin::Folder { path: "/home/someone/polyps/".into() });
    lineage.base = Some(Origin::Folder { path: "/home/someone/sam".into() });
    lineage.metrics = Some(evaluation(1, &[("tuned", Some(0.5))]));
    let card = card_of(&lineage, "m", Format::Transformers);
    assert!(card.contains("name: \"polyps (local files)\""), "{card}");
    assert!(!card.contains("/home") && !card.contains("base_model"), "{card}");
}

#[test]
fn a_model_that_is_beaten_says_by_what() {
    let of = |tuned: f64| {
        let methods = [("box", 0.7), ("ellipse", 0.8), ("untuned", 0.6), ("tuned", tuned)];
        let lineage = Lineage {
            train: Some(trained(action())),
            metrics: Some(evaluation(3, &methods.map(|(name, dice)| (name, Some(dice))))),
            ..Lineage::default()
        };
        card_of(&lineage, "m", Format::Transformers)
    };
    assert!(of(0.79).contains("**It is no better than the ellipse in the box.**"), "{}", of(0.79));
    assert!(!of(0.81).contains("no better"), "{}", of(0.81));
    assert_eq!(of(0.79).matches("- type: dice").count(), 1, "the Hub would take a baseline's for its own");
    assert!(of(0.79).contains("      value: 0.7900\n"), "{}", of(0.79));
    assert!(of(0.79).contains("| this model | 0.7900 (0.6900 to 0.8900) | 0.3950 | – |"), "{}", of(0.79));
    assert!(of(0.81).contains("| `train.learning_rate` | `3e-5` |"), "{}", of(0.81));
}

#[test]
fn a_mean_over_nothing_is_none_and_no_verdict() {
    for (tuned, other) in [(None, None), (None, Some(0.5)), (Some(0.5), None)] {
        let lineage = Lineage {
            train: Some(trained(action())),
            metrics: Some(evaluation(0, &[("tuned", tuned), ("box", other)])),
            ..Lineage::default()
        };
        let card = card_of(&lineage, "x", Format::Transformers);
        assert!(!card.contains("It is no better than"), "{card}");
        assert!(tuned.is_some() || card.contains("| this model | – | – | – |"), "{card}");
        assert!(!card.contains("NaN") && !card.contains("null"), "{card}");
    }
}

#[test]
fn the_recipe_is_the_one_of_the_settings() {
    let recipe = |params: Value| {
        let mut action = action();
        action["document"]["params"] = params;
        let train = Some(trained(action));
        card_of(&Lineage { train, ..Lineage::default() }, "m", Format::Transformers)
    };
    let published = recipe(json!({}));
    assert!(
        published.contains("Box prompts, Dice plus cross-entropy (MONAI's `DiceCELoss`), AdamW,"),
        "{published}"
    );
    assert!(published.contains("Training boxes came from the ground truth"), "{published}");
    let other = recipe(json!({"prompts": "point", "loss": "dice-focal", "padding": "ignored"}));
    let words = "Point prompts, Dice plus focal loss (MONAI's `DiceFocalLoss`), over the image without its padding, AdamW,";
    assert!(other.contains(words) && other.contains("Training points came from"), "{other}");
    let mixed = recipe(json!({"prompts": "mixed", "loss": "ce"}));
    assert!(mixed.contains("Box and point prompts, binary cross-entropy, AdamW,"), "{mixed}");
    assert!(mixed.contains("and points came from the ground truth"), "{mixed}");
}

#[test]
fn turned_images_are_told_of() {
    let card = |augment: &str| {
        let mut train = action();
        train["document"]["params"] = json!({ "augment": augment });
        let mut embed = action();
        embed["document"]["params"] = json!({ "dtype": "f16", "views": augment });
        let (train, embed) = (Some(trained(train)), Some(serde_json::from_value(embed).unwrap()));
        card_of(&Lineage { train, embed, ..Lineage::default() }, "m", Format::Transformers)
    };
    let all = card("all");
    assert!(all.contains("under one of the eight flips and quarter turns"), "{all}");
    assert!(all.contains("| `train.augment` | `\"all\"` |") && all.contains("`embed.dtype`"), "{all}");
    assert!(!all.contains("embed.views"), "{all}");
    assert!(card("flips").contains("mirrored at one axis or both"));
    assert!(!card("none").contains("Each epoch saw"));
}

/// An evaluation with these means of Dice; IoU is half of it.
fn evaluation(targets: u64, methods: &[(&str, Option<f64>)]) -> Evaluation {
    let estimate = |mean: Option<f64>| json!({"mean": mean, "interval": mean.map(|x| [x - 0.1, x + 0.1])});
    let method = |(name, dice): &(&str, Option<f64>)| {
        let none = estimate(None);
        let iou = estimate(dice.map(|dice| dice / 2.0));
        let figures = json!({"dice": estimate(*dice), "iou": iou, "hd95": none, "surface_dice": none});
        let low_res = json!({"dice": none, "iou": none, "hd95": none, "surface_dice": none});
        let all = json!({"targets": targets, "original": figures, "low_res": low_res});
        json!({"method": name, "all": all, "classes": []})
    };
    let methods: Vec<Value> = methods.iter().map(method).collect();
    let settings = json!({"surface_tolerance": 2.0, "size_bounds": [0.05, 0.2]});
    let metrics = json!({"targets": targets, "images": targets, "settings": settings, "methods": methods});
    serde_json::from_value(metrics).unwrap()
}

fn trained(action: Value) -> Trained {
    Trained::of(serde_json::from_value(action).unwrap()).unwrap()
}

fn action() -> Value {
    let hash = "a".repeat(64);
    json!({
        "format": Action::FORMAT, "stage": "train", "key": hash, "outputs": {"checkpoint": hash}, "run": "r",
        "document": {"params": {"learning_rate": 3e-5}, "inputs": {}, "code": hash},
        "finished": "", "seconds": 1.0, "peak_memory": null, "notes": [],
    })
}

#[test]
fn the_original_codes_epsilon_is_told() {
    let card = card_of(&Lineage::default(), "m", Format::Original);
    assert!(
        card.contains("epsilon of 1e-5 in the original code, and this model was made with 1e-6"),
        "{card}"
    );
    assert!(card.contains("sam_model_registry[\"vit_b\"](checkpoint=\"sam_vit_b.pth\")"), "{card}");
    assert!(!card_of(&Lineage::default(), "m", Format::Transformers).contains("epsilon"));
}
