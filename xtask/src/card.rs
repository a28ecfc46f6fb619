//! The model card: `README.md` with the Hub's metadata block, made from what the store recorded.
//!
//! Whatever came from data or a person (names of datasets, splits, files) is escaped for the place it stands in. Nothing in a card
//! names a time, a host or a path.

use crate::export::{Format, Manifest};
use crate::lineage::{Class, Estimate, Figures, Lineage, Method, Origin, SelectedBy, Totals};
use resect_artifact::{Action, canonical_json};
use resect_checkpoint::{CONFIG_FILE, SamConfig, parameter_counts};
use resect_geometry::Views;
use resect_train_params::{Loss, Padding, Prompts, Schedule, TrainParams};
use resect_tuning::{Blocks, EncoderTune, EncoderTuning};
use serde_json::Value;
use std::fmt::Write;

/// What a card is made from.
pub struct Card<'a> {
    pub name: &'a str,
    pub license: &'a str,
    pub format: Format,
    /// The weights files.
    pub weights: &'a [String],
    pub size: &'a str,
    pub config: &'a SamConfig,
    pub manifest: &'a Manifest,
    pub lineage: &'a Lineage,
    /// Whether it was an export that was exported: its records are elsewhere.
    pub exported_again: bool,
}

/// The rows of an evaluation, with the words a reader knows.
const METHODS: [(&str, &str); 5] = [
    ("tuned", "this model"),
    ("untuned", "the base, not tuned"),
    ("box", "the box, filled"),
    ("ellipse", "the ellipse in the box"),
    ("otsu", "Otsu's threshold in the box"),
];

impl Card<'_> {
    /// The whole file.
    pub fn render(&self) -> String {
        let mut out = String::new();
        self.metadata(&mut out);
        let sections = [
            ("Data", self.data()),
            ("Figures", self.figures()),
            ("Recipe", self.recipe()),
            ("Use", self.usage()),
            ("Intended use and limits", self.limits()),
            ("Lineage", self.hashes()),
            ("Sharing it", self.sharing()),
        ];
        let _ = write!(out, "\n# {}\n\n{}", text(self.name), self.introduction());
        for (title, body) in sections {
            if !body.is_empty() {
                let _ = write!(out, "\n## {title}\n\n{body}");
            }
        }
        out
    }

    /// The block between `---`: YAML, as the Hub reads it.
    fn metadata(&self, out: &mut String) {
        let library = match self.format {
            Format::Transformers => "transformers",
            Format::Original => "segment-anything",
            Format::Peft => "peft",
        };
        let _ = writeln!(
            out,
            "---\nlibrary_name: {library}\npipeline_tag: mask-generation\nlicense: {}\ntags:\n- sam\n- medical\n\
             - image-segmentation\n- resect",
            yaml(self.license)
        );
        if let Some(base) = self.base_repository() {
            let _ = writeln!(out, "base_model: {}", yaml(base));
            if !self.manifest.tuned.is_empty() {
                out.push_str("base_model_relation: finetune\n");
            }
        }
        if let Some(dataset) = self.hub_dataset() {
            let _ = writeln!(out, "datasets:\n- {}", yaml(dataset));
        }
        // The Hub takes every figure here for this model's: the others stand in the text alone.
        let rows = self.rows();
        if let Some(own) = rows.iter().find(|row| row.what == METHODS[0].1) {
            out.push_str("metrics:\n- dice\n- iou\n");
            let (kind, name) = (self.hub_dataset().unwrap_or("local"), self.dataset_name());
            let _ = writeln!(
                out,
                "model-index:\n- name: {}\n  results:\n  - task:\n      type: mask-generation\n      \
                 name: \"Mask generation from a ground-truth box\"\n    dataset:\n      type: {}\n      name: {}\n      \
                 split: test\n    metrics:",
                yaml(self.name),
                yaml(kind),
                yaml(&name)
            );
            for (metric, label) in [("dice", "Dice"), ("iou", "IoU")] {
                let figures = &own.method.all.original;
                let estimate = if metric == "dice" { &figures.dice } else { &figures.iou };
                let Some(value) = estimate.mean else { continue };
                let _ = writeln!(
                    out,
                    "    - type: {metric}\n      name: \"{label} at original resolution\"\n      value: {value:.4}"
                );
            }
        }
        out.push_str("---\n");
    }

    fn is_tuned(&self, part: &str) -> bool {
        self.manifest.tuned.iter().any(|tuned| tuned == part)
    }

    fn introduction(&self) -> String {
        let counts = parameter_counts(self.config);
        let size = match self.size {
            "custom" => "of a size of its own".to_owned(),
            size => format!("of the size `{size}`"),
        };
        let mut out = format!(
            "A Segment Anything Model (SAM) {size}, {:.2} M parameters: an image and a prompt, such as a box, give a mask.\n",
            counts.total() as f64 / 1e6
        );
        if !self.manifest.tuned.is_empty() {
            let images = match &self.lineage.dataset {
                Some(Origin::Phantom { .. }) => "synthetic images",
                _ => "medical images",
            };
            let decoder = format!("mask decoder ({:.2} M parameters)", counts.mask_decoder as f64 / 1e6);
            let encoder = format!("image encoder ({:.2} M)", counts.vision_encoder as f64 / 1e6);
            let how =
                self.lineage.train.as_ref().map_or_else(String::new, |train| tuned_as(&train.params.encoder));
            let _ = match [self.is_tuned("vision_encoder"), self.is_tuned("mask_decoder")] {
                [true, true] => writeln!(
                    out,
                    "\nIts {decoder} and its {encoder} were tuned with [Resect](#lineage) on {images}; the prompt encoder is the \
                     base's, unchanged.{how}"
                ),
                [true, false] => writeln!(
                    out,
                    "\nIts {encoder} was tuned with [Resect](#lineage) on {images}; mask decoder and prompt encoder are the \
                     base's, unchanged.{how}"
                ),
                [false, _] => writeln!(
                    out,
                    "\nIts {decoder} was tuned with [Resect](#lineage) on {images}; {encoder} and prompt encoder are the base's, \
                     unchanged."
                ),
            };
        } else {
            out.push_str("\nNothing in it was tuned: it is the base checkpoint as it came.\n");
        }
        if let Some(base) = self.base_repository() {
            let _ = writeln!(out, "\nThe base is {} on the Hugging Face Hub.", code(base));
        }
        if self.lineage.base_is_random {
            out.push_str(
                "\n**The base has random weights.** They were made from a seed and never trained: this model shows that the \
                 pipeline works, and is of no use beyond that.\n",
            );
        }
        if self.exported_again {
            out.push_str(
                "\nIt was exported from an earlier export: settings and figures stand in that one's card, its hashes below.\n",
            );
        }
        out
    }

    fn data(&self) -> String {
        if self.lineage.train.is_none() {
            return String::new();
        }
        let mut out = format!("The data: {}.\n", text(&self.dataset_name()));
        if let Some(audit) = &self.lineage.audit {
            out.push_str("\n| part | samples | targets | groups | what for |\n|---|--:|--:|--:|---|\n");
            for (name, part, purpose) in [
                ("train", &audit.splits.train, "the decoder is tuned on it"),
                ("validation", &audit.splits.validation, "selects the epoch"),
                ("test", &audit.splits.test, "is reported"),
            ] {
                let _ = writeln!(
                    out,
                    "| {name} | {} | {} | {} | {purpose} |",
                    part.samples, part.targets, part.groups
                );
            }
            let _ = writeln!(
                out,
                "\nOf {} samples {} were rejected and {} belong to no part. {} pairs of images look the same, {} of them \
                 across the border of the test part; {} groups lie in more than one part.",
                audit.samples,
                audit.rejected,
                audit.unused,
                audit.near_duplicates,
                audit.near_duplicates_across_test,
                audit.groups_across_splits
            );
        } else {
            out.push_str("\nThe audit of the data is not in the store any more.\n");
        }
        out
    }

    fn figures(&self) -> String {
        if self.lineage.train.is_none() {
            return String::new();
        }
        let rows = self.rows();
        let (Some(metrics), Some(first)) = (&self.lineage.metrics, rows.first()) else {
            return "No evaluation of this checkpoint was made, so nothing is claimed. `cargo xtask run` makes one; export \
                    again after it.\n"
                .into();
        };
        let mut out = format!(
            "On the test part ({} targets on {} images), means over targets. Each is prompted with the tight box around its \
             *ground truth*: compare with other prompted methods only.\n\n\
             | masks of | Dice (95 % interval) | IoU | HD95 | NSD | Dice, small | medium | large | low-res grid |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
            metrics.targets, metrics.images
        );
        let figure = |value: Option<f64>, digits| {
            value.map_or_else(|| "–".into(), |value| format!("{value:.digits$}"))
        };
        for row in &rows {
            let Figures { dice, iou, hd95, surface_dice } = &row.method.all.original;
            let mut cells = vec![figure(dice.mean, 4) + &interval(dice)];
            cells.push(figure(iou.mean, 4));
            cells.push(figure(hd95.mean, 1));
            cells.push(figure(surface_dice.mean, 4));
            // A class without a target has no figures.
            let dice_of = |class| figure(row.size(class).and_then(|of| of.original.dice.mean), 4);
            cells.extend(["small", "medium", "large"].map(dice_of));
            cells.push(figure(row.method.all.low_res.dice.mean, 4));
            let _ = writeln!(out, "| {} | {} |", row.what, cells.join(" | "));
        }
        // Without a mean nothing is said: that of no target is none, not 0.
        let dice = |row: &Row<'_>| row.method.all.original.dice.mean;
        let others = rows[1..].iter().filter_map(|row| Some((row.what, dice(row)?)));
        let best = others.max_by(|a, b| a.1.total_cmp(&b.1));
        let own = dice(first).filter(|_| first.what == METHODS[0].1);
        if let Some((best, _)) = best.zip(own).filter(|((_, best), own)| best >= own) {
            let _ = writeln!(out, "\n**It is no better than {}.** Do not use it for its masks.", best.0);
        }
        out.push_str(
            "\nAll but the last column are at original resolution. HD95 is in pixels, over the targets of which something was \
             found; NSD is the normalised surface Dice",
        );
        let settings = &metrics.settings;
        let sizes =
            ["small", "medium", "large"].map(|class| first.size(class).map_or(0, |totals| totals.targets));
        let _ = writeln!(
            out,
            " at {} pixels. Small targets cover less than {} of their image ({} of them), large ones {} or more ({}), medium \
             ones lie between ({}).",
            settings.surface_tolerance,
            settings.size_bounds[0],
            sizes[0],
            settings.size_bounds[1],
            sizes[2],
            sizes[1]
        );
        out
    }

    fn recipe(&self) -> String {
        let Some(train) = &self.lineage.train else { return String::new() };
        let params = &train.params;
        let turn = match params.schedule {
            Schedule::Step => "that turns with each optimiser step",
            Schedule::Epoch => "with a step an epoch",
        };
        let mut out = format!(
            "{}, AdamW, a cosine of the learning rate {turn}, the single-mask output. The image encoder's output was computed \
             once.\n",
            objective(params)
        );
        out.push_str(augmentation(params.augment));
        if let Some(summary) = &self.lineage.summary {
            let (epoch, epochs) = (summary.epoch, summary.epochs);
            let chosen = match (summary.selected_by, summary.validation_dice) {
                (SelectedBy::ValidationDice, Some(dice)) => {
                    format!("the best on the validation part (Dice {dice:.4} on the low-res grid)")
                }
                (SelectedBy::LastEpoch, Some(dice)) => {
                    format!("the last, as asked (validation Dice {dice:.4} on the low-res grid)")
                }
                (_, None) => "the last: there was no validation part to choose by".into(),
            };
            let early = if summary.stopped_early { ", after which training stopped early" } else { "" };
            let _ = writeln!(out, "\nKept: epoch {epoch} of {epochs}{early}; {chosen}.");
            if params.ema > 0.0 {
                let _ = writeln!(
                    out,
                    "The weights are an exponential moving average over its steps (decay {}).",
                    params.ema
                );
            }
        }
        out.push_str("\n| setting | value |\n|---|---|\n");
        let stages = [
            ("train", Some(&train.action)),
            ("embed", self.lineage.embed.as_ref()),
            ("", self.lineage.ingest.as_ref()),
        ];
        for (section, action) in stages.into_iter().filter_map(|(section, action)| Some((section, action?))) {
            settings(section, &action.document["params"], &mut out);
        }
        out
    }

    fn usage(&self) -> String {
        let mut out = String::new();
        match self.format {
            Format::Transformers => {
                let _ = write!(
                    out,
                    "```python\n\
                 import torch\n\
                 from PIL import Image\n\
                 from transformers import SamModel, SamProcessor\n\n\
                 folder = \".\"  # or OWNER/NAME on the Hub\n\
                 model = SamModel.from_pretrained(folder).eval()\n\
                 processor = SamProcessor.from_pretrained(folder)\n\
                 {ONE_BOX}\
                 masks = processor.image_processor.post_process_masks(\n    \
                 outputs.pred_masks, inputs[\"original_sizes\"], inputs[\"reshaped_input_sizes\"]\n\
                 )\n\
                 ```\n",
                );
            }
            Format::Peft => {
                let _ = write!(
                    out,
                    "```python\n\
                 import torch\n\
                 from peft import PeftModel\n\
                 from PIL import Image\n\
                 from transformers import SamModel, SamProcessor\n\n\
                 base = \"BASE\"  # the base checkpoint, a folder or OWNER/NAME on the Hub\n\
                 folder = \".\"  # this folder, or OWNER/NAME on the Hub\n\
                 model = PeftModel.from_pretrained(SamModel.from_pretrained(base), folder).eval()\n\
                 processor = SamProcessor.from_pretrained(base)\n\
                 {ONE_BOX}\
                 ```\n",
                );
            }
            Format::Original => {
                let find = |end: &str| {
                    self.weights.iter().find(|name| name.ends_with(end)).map_or("", String::as_str)
                };
                let (safetensors, pth) = (find(".safetensors"), find(".pth"));
                if self.size.starts_with("vit_") {
                    let _ = writeln!(
                        out,
                        "```python\n\
                         from segment_anything import SamPredictor, sam_model_registry\n\n\
                         sam = sam_model_registry[\"{}\"](checkpoint=\"{pth}\")\n\
                         predictor = SamPredictor(sam)\n\
                         ```",
                        self.size
                    );
                } else {
                    let _ = writeln!(
                        out,
                        "The original code builds the published sizes alone, and this is none of them. Build a `Sam` of the \
                         sizes in `{CONFIG_FILE}`, then:\n\n\
                         ```python\n\
                         from safetensors.torch import load_file\n\n\
                         sam.load_state_dict(load_file(\"{safetensors}\"))\n\
                         ```"
                    );
                }
                let _ = write!(
                    out,
                    "\n`{pth}` and `{safetensors}` hold the same weights; `{pth}` is a pickle of tensors alone, "
                );
                out.push_str("which `torch.load(..., weights_only=True)` opens, too.\n");
            }
        }
        let eps = self.config.decoder.layer_norm_eps;
        if self.format == Format::Original && eps != 1e-5 {
            let _ = writeln!(
                out,
                "\nThe two codes differ in one number: the layer norms of the decoder's blocks have an epsilon of 1e-5 in the \
                 original code, and this model was made with {eps:e}, as `{CONFIG_FILE}` says (Resect reads it). Logits of the \
                 original code differ by that; masks hardly do."
            );
        }
        out.push_str(
            "\nWith Resect, from its workspace: `cargo xtask predict --checkpoint DIR --image IMAGE --box X0,Y0,X1,Y1 --out OUT`.\n",
        );
        out
    }

    fn limits(&self) -> String {
        let mut out = String::from(
            "For research on prompted segmentation: a person, or another program, says where the object is, and the model draws \
             its outline.\n\n\
             - **Not a medical device.** It was not validated for any diagnosis or treatment, and must not be used for one.\n",
        );
        if !self.manifest.iou_head_trained {
            out.push_str(
                "- **IoU scores mean nothing, and neither do the masks 1 to 3.** Tuning used the single-mask output, which gives the \
                 IoU head and hypernetworks 1 to 3 no gradient: they do not know the decoder beside them. Call it with \
                 `multimask_output=False` and leave `iou_scores` alone.\n",
            );
        }
        if let Some(train) = &self.lineage.train {
            out.push_str(match train.params.prompts {
                Prompts::Point => {
                    "- Training points came from the ground truth, drawn from all over the object; the figures are of tight boxes, \
                     with which it was not trained. Misplaced prompts give worse masks.\n"
                }
                Prompts::Mixed => {
                    "- Training boxes, moved outward at random, and points came from the ground truth; the figures are of tight \
                     boxes. Looser or misplaced prompts give worse masks.\n"
                }
                Prompts::Box => {
                    "- Training boxes came from the ground truth, moved outward at random; those of the figures are tight ones. \
                     Looser or misplaced boxes give worse masks.\n"
                }
            });
            out.push_str(
                "- It has seen one dataset. Other devices, clinics and kinds of tissue may look different to it.\n",
            );
        }
        if self.lineage.base_is_random {
            out.push_str(match self.is_tuned("vision_encoder") {
                true => "- Its image encoder began with random weights.\n",
                false => "- Its image encoder has random weights.\n",
            });
        }
        out
    }

    fn hashes(&self) -> String {
        let mut out = String::from(
            "Made with Resect, a pipeline whose artifacts are named by the BLAKE3 of their content.\n\n| artifact | id |\n|---|---|\n",
        );
        for (kind, id) in &self.manifest.lineage {
            let _ = writeln!(out, "| {kind} | `{id}` |");
        }
        for name in self.weights {
            if let Some(hash) = self.manifest.files.get(name) {
                let _ = writeln!(out, "| `{name}` (BLAKE3) | `{hash}` |");
            }
        }
        let stages: Vec<&Action> = self.lineage.stages().collect();
        if !stages.is_empty() {
            out.push_str("\n| stage | key | code | arithmetic |\n|---|---|---|---|\n");
        }
        for action in stages {
            let field = |name: &str| action.document[name].as_str().map_or_else(|| "–".into(), code);
            let key = action.accepted.as_ref().map_or(&action.key, |accepted| &accepted.key);
            let _ =
                writeln!(out, "| {} | `{key}` | {} | {} |", action.stage, field("code"), field("numeric"));
        }
        out
    }

    fn sharing(&self) -> String {
        "Resect uploads nothing. This does, from within this folder:\n\n    hf upload OWNER/NAME . .\n\n\
         A new repository is public unless you add `--private`.\n"
            .into()
    }

    fn base_repository(&self) -> Option<&str> {
        self.lineage.base.as_ref()?.repository()
    }

    fn hub_dataset(&self) -> Option<&str> {
        self.lineage.dataset.as_ref()?.repository()
    }

    /// What a person calls the dataset. Of a local one only the last part of its path is told.
    fn dataset_name(&self) -> String {
        match &self.lineage.dataset {
            Some(Origin::Hub { repository }) => repository.clone(),
            Some(Origin::Phantom { images, seed }) => {
                format!("Resect phantoms: {images} synthetic endoscopy-like images, seed {seed}")
            }
            Some(origin) => format!("{} (local files)", origin.file_name().unwrap_or("unnamed")),
            None => "a dataset of which no record is left".into(),
        }
    }

    /// The methods of the evaluation, this model first.
    fn rows(&self) -> Vec<Row<'_>> {
        let Some(metrics) = &self.lineage.metrics else { return Vec::new() };
        let rows = METHODS.into_iter().filter_map(|(name, what)| {
            let method = metrics.methods.iter().find(|method| method.method == name)?;
            Some(Row { what, method })
        });
        rows.collect()
    }
}

struct Row<'a> {
    what: &'static str,
    method: &'a Method,
}

impl Row<'_> {
    /// The totals over targets of a size, where there are any.
    fn size(&self, size: &str) -> Option<&Totals> {
        let found = |of: &&Class| of.by == "size" && of.class == size;
        self.method.classes.iter().find(found).map(|of| &of.totals)
    }
}

/// The interval of a mean, in brackets; empty where there is none.
fn interval(estimate: &Estimate) -> String {
    estimate.interval.map_or_else(String::new, |[low, high]| format!(" ({low:.4} to {high:.4})"))
}

/// What training prompted with and minimised, in words, from its settings.
fn objective(params: &TrainParams) -> String {
    let prompts = match params.prompts {
        Prompts::Box => "Box prompts",
        Prompts::Point => "Point prompts",
        Prompts::Mixed => "Box and point prompts",
    };
    let loss = match params.loss {
        Loss::DiceCe => "Dice plus cross-entropy (MONAI's `DiceCELoss`)",
        Loss::Dice => "Dice loss (MONAI's `DiceLoss`)",
        Loss::Ce => "binary cross-entropy",
        Loss::DiceFocal => "Dice plus focal loss (MONAI's `DiceFocalLoss`)",
    };
    let region = match params.padding {
        Padding::Counted => "",
        Padding::Ignored => ", over the image without its padding",
    };
    format!("{prompts}, {loss}{region}")
}

/// How training images were turned, from its settings; nothing when they were not.
fn augmentation(views: Views) -> &'static str {
    match views {
        Views::None => "",
        Views::Flips => {
            "\nEach epoch saw each image as it is or mirrored at one axis or both, as drawn; the figures see it as it is.\n"
        }
        Views::All => {
            "\nEach epoch saw each image under one of the eight flips and quarter turns, as drawn; the figures see it as it is.\n"
        }
    }
}

/// One row for each setting, by its full name.
fn settings(section: &str, value: &Value, out: &mut String) {
    let Some(map) = value.as_object() else {
        let shown = match value {
            Value::Number(number) => match number.as_f64() {
                Some(x) if number.is_f64() && x != 0.0 && !(1e-3..1e6).contains(&x.abs()) => format!("{x:e}"),
                _ => number.to_string(),
            },
            other => canonical_json(other),
        };
        let _ = writeln!(out, "| {} | {} |", code(section), code(&shown));
        return;
    };
    for (name, value) in map {
        // The name under which a pipeline file has it; what the model decides is in none.
        let full = match (section, name.as_str()) {
            ("", "layout") => "dataset".to_owned(),
            // No setting of its own: it follows from `train.augment`.
            ("embed", "views") => continue,
            ("", "image_size" | "low_res_size") => format!("model.{name}"),
            ("", name) => name.to_owned(),
            (section, name) => format!("{section}.{name}"),
        };
        settings(&full, value, out);
    }
}

/// A string as YAML takes it, in every version of it: double-quoted, ASCII alone.
fn yaml(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            ' '..='~' => write!(out, "{c}"),
            c => write!(out, "\\U{:08x}", u32::from(c)),
        };
    }
    out.push('"');
    out
}

/// A string as plain text in Markdown, in a line or a cell of a table.
fn text(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            c if c.is_control() => out.push(' '),
            '-' | '.' | ',' | '/' | '(' | ')' | ':' | ';' | '\'' => out.push(c),
            c if c.is_ascii_punctuation() => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

/// A string as code in Markdown, in a line or a cell of a table.
fn code(text: &str) -> String {
    // Within code nothing is escaped but the cell's border; what would end the code is replaced.
    let inner: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let inner = inner.replace('`', "'").replace('|', "\\|");
    format!("`{}`", if inner.trim().is_empty() { "\"\"" } else { &inner })
}

/// Lines of Python that give `outputs` for one box, from a `model` and its `processor`.
const ONE_BOX: &str = "image = Image.open(\"image.png\").convert(\"RGB\")\n\
     box = [10.0, 20.0, 200.0, 180.0]  # x0, y0, x1, y1 in pixels of the image\n\
     inputs = processor(images=image, input_boxes=[[box]], return_tensors=\"pt\")\n\
     with torch.no_grad():\n    outputs = model(**inputs, multimask_output=False)\n";

/// A sentence that says how the image encoder was tuned, with a space before it; empty where it was not.
fn tuned_as(encoder: &EncoderTuning) -> String {
    let blocks = match &encoder.blocks {
        Blocks::All => "all blocks".into(),
        Blocks::Late => "the second half of the blocks".into(),
        Blocks::From(first) => format!("the blocks from {first} on"),
        Blocks::List(blocks) => {
            format!("the blocks {}", blocks.iter().map(usize::to_string).collect::<Vec<_>>().join(", "))
        }
    };
    match encoder.tune {
        EncoderTune::None => String::new(),
        EncoderTune::Full => format!(" All parameters of {blocks} of the image encoder were tuned."),
        EncoderTune::Lora => {
            let targets: Vec<String> =
                encoder.targets.iter().map(|target| target.to_string().replace('"', "`")).collect();
            format!(
                " The image encoder was tuned by LoRA of rank {} on {} of {blocks}.",
                encoder.rank,
                targets.join(", ")
            )
        }
    }
}

#[cfg(test)]
mod tests;
