use super::*;
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
        dataset: json!({"kind": "hub", "repository": "o/n\"\nlicense: mit"}),
        metrics: json!({"methods": [{"method": "tuned", "all": {"original": {"dice": {"mean": 0.5}}}}]}),
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
        dataset: json!({"kind": "hub", "repository": "owner/data"}),
        base: json!({"kind": "hub", "repository": "facebook/sam-vit-base"}),
        ..Lineage::default()
    };
    let card = card_of(&lineage, "m", Format::Transformers);
    assert!(
        card.contains("base_model: \"facebook/sam-vit-base\"\nbase_model_relation: finetune\ndatasets:\n- \"owner/data\"\n"),
        "{card}"
    );
    lineage.dataset = json!({"kind": "folder", "path": "/home/someone/polyps/"});
    lineage.base = json!({"kind": "folder", "path": "/home/someone/sam"});
    let original = json!({"dice": {"mean": 0.5}, "iou": {"mean": 0.25}});
    lineage.metrics = json!({"methods": [{"method": "tuned", "all": {"original": original}}]});
    let card = card_of(&lineage, "m", Format::Transformers);
    assert!(card.contains("name: \"polyps (local files)\""), "{card}");
    assert!(!card.contains("/home") && !card.contains("base_model"), "{card}");
}

#[test]
fn a_model_that_is_beaten_says_by_what() {
    let of = |tuned: f64| {
        let method = |name: &str, dice: f64| {
            let original = json!({
                "dice": {"mean": dice, "interval": [dice - 0.1, dice + 0.1]},
                "iou": {"mean": dice / 2.0},
            });
            json!({"method": name, "all": {"original": original}})
        };
        let methods =
            [method("box", 0.7), method("ellipse", 0.8), method("untuned", 0.6), method("tuned", tuned)];
        let lineage = Lineage {
            train: Some(serde_json::from_value(action()).unwrap()),
            metrics: json!({"methods": methods, "targets": 3, "images": 2}),
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
    let row = |method: &str, dice: Value| json!({"method": method, "all": {"original": {"dice": {"mean": dice}, "hd95": {"mean": null}}}});
    for (tuned, other) in [(Value::Null, Value::Null), (Value::Null, json!(0.5)), (json!(0.5), Value::Null)] {
        let lineage = Lineage {
            train: Some(serde_json::from_value(action()).unwrap()),
            metrics: json!({"targets": 0, "images": 0, "methods": [row("tuned", tuned.clone()), row("box", other)]}),
            ..Lineage::default()
        };
        let card = card_of(&lineage, "x", Format::Transformers);
        assert!(!card.contains("It is no better than"), "{card}");
        assert!(tuned.is_number() || card.contains("| this model | – | – | – |"), "{card}");
        assert!(!card.contains("NaN") && !card.contains("null"), "{card}");
    }
}

#[test]
fn the_recipe_is_the_one_of_the_settings() {
    let recipe = |params: Value| {
        let mut action = action();
        action["document"]["params"] = params;
        let train = Some(serde_json::from_value(action).unwrap());
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
        let [train, embed] = [train, embed].map(|action| Some(serde_json::from_value(action).unwrap()));
        card_of(&Lineage { train, embed, ..Lineage::default() }, "m", Format::Transformers)
    };
    let all = card("all");
    assert!(all.contains("under one of the eight flips and quarter turns"), "{all}");
    assert!(all.contains("| `train.augment` | `\"all\"` |") && all.contains("`embed.dtype`"), "{all}");
    assert!(!all.contains("embed.views"), "{all}");
    assert!(card("flips").contains("mirrored at one axis or both"));
    assert!(!card("none").contains("Each epoch saw"));
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
