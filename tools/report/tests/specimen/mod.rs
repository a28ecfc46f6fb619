//! Artifacts of a run that never was: phantoms, masks that are grown or shifted truths, and figures that are those of these masks.

#![allow(dead_code, reason = "each test that includes this uses a part of it")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use resect_checkpoint_records::{Epoch, SelectedBy, Summary};
use resect_data::write_json;
use resect_evaluation_records::{
    self as evaluation, Calibration, CalibrationBin, ClassMetrics, Comparison, Estimate, Figures, Kept,
    MaskRow, Method, MethodMetrics, Metrics, Paired, PromptKind, Property, SampleRow, Settings, SizeClass,
    SweepFigures, SweepPoint, Totals,
};
use resect_geometry::{Mask, Size};
use resect_images::{self as images, Image, pixel_hash};
use resect_phantom::{PhantomParams, scene};
use resect_report_job::{Folders, Job, Reproduce, Run, Section, SeedFigures, SeedRow, Seeds, Source, Stage};
use resect_tables::table;
use resect_target_records::{Rejected, Split, Target};
use resect_targets as targets;
use serde_json::json;

/// What is special about a specimen.
#[derive(Clone)]
pub struct Recipe {
    pub train: usize,
    pub validation: usize,
    pub test: usize,
    pub sweep: bool,
    /// Whether the tuned masks are worse than all others.
    pub fails: bool,
    /// What ids begin with.
    pub id: String,
    /// Groups of the test part.
    pub groups: usize,
    pub width: u32,
    pub seeds: usize,
    /// Whether a test image lies in the validation part, too.
    pub leak: bool,
    /// Whether the pixels are noise, which no JPEG makes small.
    pub noise: bool,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            train: 6,
            validation: 2,
            test: 12,
            sweep: true,
            fails: false,
            id: "sample".into(),
            groups: 6,
            width: 160,
            seeds: 1,
            leak: false,
            noise: false,
        }
    }
}

struct Drawn {
    target: Target,
    mask: Mask,
}

/// Writes all artifacts below `dir`, and says what to report.
pub fn make(dir: &Path, recipe: &Recipe) -> Job {
    let folder = |kind: &str| {
        let path = dir.join(kind);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    let folders = Folders {
        evaluation: folder("evaluation"),
        checkpoint: folder("checkpoint"),
        targets: folder("targets"),
        images: folder("images"),
    };
    let drawn = draw(&folders, recipe);
    checkpoint(&folders.checkpoint, recipe);
    evaluate(&folders.evaluation, recipe, &drawn);
    job(dir.join("report.html"), folders, recipe)
}

fn draw(folders: &Folders, recipe: &Recipe) -> Vec<Drawn> {
    let parts =
        [(Split::Train, recipe.train), (Split::Validation, recipe.validation), (Split::Test, recipe.test)];
    let splits: Vec<Split> = parts.into_iter().flat_map(|(split, count)| vec![split; count]).collect();
    let width = recipe.width;
    let params = PhantomParams {
        images: splits.len(),
        min_width: width,
        max_width: width + 64,
        ..PhantomParams::default()
    };
    let mut images = images::Writer::new(&folders.images, width + 64);
    let mut writer = targets::Writer::create(&folders.targets, 64).unwrap();
    let (mut drawn, mut scenes) = (Vec::new(), HashMap::new());
    for (index, split) in splits.iter().enumerate() {
        // What leaks is the first validation image, once more.
        let leaked = recipe.leak && index == recipe.train + recipe.validation;
        // Under noise nobody sees the scene, and drawing one takes time.
        let number = if leaked { recipe.train } else { index % if recipe.noise { 4 } else { usize::MAX } };
        let scene = scenes.entry(number).or_insert_with(|| scene(&params, number));
        let size = Size::new(scene.image.height(), scene.image.width());
        let planes = (0..3).flat_map(|channel| scene.image.pixels().map(move |pixel| pixel.0[channel]));
        let mut pixels: Vec<u8> = planes.collect();
        if recipe.noise {
            let mut state = index as u32;
            pixels.iter_mut().for_each(|pixel| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *pixel = (state >> 24) as u8;
            });
        }
        let id = format!("{}-{index:03}", recipe.id);
        let hash = pixel_hash(size, &pixels);
        images
            .push(Image { id: id.clone(), pixel_hash: hash.clone(), original: size, resized: size, pixels })
            .unwrap();
        let mask = Mask::from_fn(size, |x, y| scene.mask.get_pixel(x, y).0[0] > 127);
        let bounds = mask.bounding_box().unwrap();
        let group = match split {
            Split::Test => format!("patient-{}", index % recipe.groups),
            _ => id.clone(),
        };
        let target = Target {
            id: id.clone(),
            sample: id,
            pixel_hash: hash,
            split: *split,
            given_split: String::new(),
            group,
            height: size.height,
            width: size.width,
            resized_height: size.height,
            resized_width: size.width,
            x0: bounds.x0,
            y0: bounds.y0,
            x1: bounds.x1,
            y1: bounds.y1,
            area_fraction: mask.area() as f64 / size.pixels() as f64,
            components: 1,
            specks_removed: u32::from(index % 5 == 0),
            noisy_mask: index % 7 == 0,
            touches_border: index % 4 == 0,
            near_duplicate_of: String::new(),
        };
        writer.push(target.clone(), &mask).unwrap();
        drawn.push(Drawn { target, mask });
    }
    images.finish().unwrap();
    let audit = json!({
        "format": "resect-audit/1.0", "samples": splits.len() + 1, "rejected": 1, "unused": 0, "near_duplicates": 1,
        "near_duplicates_across_test": 0, "near_duplicates_across_validation": 0, "groups_across_splits": 0,
        "near_duplicate_pairs": [{ "ids": [format!("{}-a", recipe.id), "b"], "splits": ["train", "train"], "distance": 3 }],
        "masks": { "noisy": 3, "with_specks": 4, "with_several_components": 0, "touching_border": 5 },
        "sizes": { "smallest": { "width": 160, "height": 120 }, "largest": { "width": 224, "height": 180 }, "turned_by_exif": 0 },
        "area": { "min": 0.01, "median": 0.08, "max": 0.4 },
    });
    let rejected = Rejected {
        place: "train.parquet, row 3".into(),
        id: format!("{}-x", recipe.id),
        reason: "the mask is empty".into(),
    };
    writer.finish(&audit, &[rejected]).unwrap();
    drawn
}

fn checkpoint(dir: &Path, recipe: &Recipe) {
    const EPOCHS: u32 = 16;
    let validated = recipe.validation > 0;
    let summary = Summary {
        format: resect_checkpoint_records::FORMAT.into(),
        epoch: if validated { 13 } else { EPOCHS },
        epochs: EPOCHS,
        stopped_early: false,
        selected_by: if validated { SelectedBy::ValidationDice } else { SelectedBy::LastEpoch },
        validation_dice: validated.then_some(0.871),
        tuning: Default::default(),
        prompts: Some("box".into()),
        iou_head_trained: false,
    };
    write_json(&dir.join("checkpoint.json"), &summary).unwrap();
    let epochs = (0..=EPOCHS).map(|epoch| {
        let t = f64::from(epoch);
        let wave = 0.02 * (2.3 * t).sin();
        Epoch {
            epoch,
            train_loss: (epoch > 0).then(|| 0.25 + 1.1 * (-t / 4.0).exp() + wave),
            validation_loss: validated.then(|| 0.33 + 1.0 * (-t / 4.5).exp() - wave),
            validation_dice: validated.then(|| 0.87 - 0.4 * (-t / 3.5).exp() + wave / 2.0),
            learning_rate: (epoch > 0).then_some(1e-5),
        }
    });
    table::write(&dir.join("epochs.parquet"), &epochs.collect::<Vec<_>>()).unwrap();
}

/// A mask that is the truth moved and roughened, more so the larger `error` is; from 1 on it is speckle.
fn wrong(mask: &Mask, error: f64, number: usize) -> Mask {
    let size = mask.size();
    if error >= 1.0 {
        return Mask::from_fn(size, |x, y| (x * 7 + y * 13 + number as u32) % 5 < 2);
    }
    let reach = error * f64::from(size.width) / 4.0;
    Mask::from_fn(size, |x, y| {
        let (fx, fy) = (f64::from(x), f64::from(y));
        let bend = (fy / 9.0 + number as f64).sin() * 0.4;
        let at = |value: f64, limit: u32| (value.round().max(0.0) as u32).min(limit - 1);
        mask.get(at(fx + reach * (0.6 + bend), size.width), at(fy - reach * (0.4 + bend), size.height))
    })
}

fn overlap(a: &Mask, b: &Mask) -> (f64, f64) {
    let both = a.pixels().iter().zip(b.pixels()).filter(|(a, b)| **a && **b).count() as f64;
    let (a, b) = (a.area() as f64, b.area() as f64);
    (2.0 * both / (a + b), both / (a + b - both))
}

fn estimate(values: &[f64]) -> Estimate {
    let n = values.len() as f64;
    let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / n);
    let spread =
        mean.map(|mean| (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt() / n.sqrt());
    let interval = mean.zip(spread).filter(|_| values.len() > 1);
    Estimate { targets: values.len(), mean, interval: interval.map(|(m, s)| [m - 1.96 * s, m + 1.96 * s]) }
}

fn totals(rows: &[&SampleRow]) -> Totals {
    let each = |value: fn(&SampleRow) -> Option<f64>| {
        estimate(&rows.iter().filter_map(|row| value(row)).collect::<Vec<_>>())
    };
    let original = Figures {
        dice: each(|row| row.dice),
        iou: each(|row| row.iou),
        precision: each(|row| row.precision),
        recall: each(|row| row.recall),
        hd95: each(|row| row.hd95),
        surface_dice: each(|row| row.surface_dice),
        mean_absolute_error: each(|row| row.mean_absolute_error),
    };
    Totals {
        targets: rows.len(),
        missed: rows.iter().filter(|row| row.dice == Some(0.0)).count(),
        original,
        low_res: original,
    }
}

fn row(drawn: &Drawn, method: Method, mask: &Mask) -> SampleRow {
    let (dice, iou) = overlap(mask, &drawn.mask);
    let target = &drawn.target;
    let distance = (1.0 - dice) * 60.0;
    let model = Method::DECODERS.contains(&method);
    SampleRow {
        id: target.id.clone(),
        sample: target.sample.clone(),
        group: target.group.clone(),
        method,
        dice: Some(dice),
        iou: Some(iou),
        precision: (mask.area() > 0).then_some(dice.powf(0.8)),
        recall: Some(dice.powf(1.2)),
        hd95: (mask.area() > 0).then_some(distance),
        surface_dice: Some(dice * dice),
        mean_absolute_error: Some((1.0 - dice) / 8.0),
        low_res_dice: Some(dice),
        low_res_iou: Some(iou),
        low_res_precision: Some(dice),
        low_res_recall: Some(dice),
        low_res_hd95: Some(distance / 4.0),
        low_res_surface_dice: Some(dice),
        low_res_mean_absolute_error: Some(0.02),
        predicted_iou: model.then_some((0.3 + 0.65 * iou).min(1.0)),
        area_fraction: target.area_fraction,
        size_class: SizeClass::of(target.area_fraction, [0.05, 0.2]),
        components: 1,
        touches_border: target.touches_border,
        noisy_mask: target.noisy_mask,
        specks_removed: target.specks_removed > 0,
        near_duplicate: false,
    }
}

fn evaluate(dir: &Path, recipe: &Recipe, drawn: &[Drawn]) {
    let tested: Vec<&Drawn> = drawn.iter().filter(|one| one.target.split == Split::Test).collect();
    let (mut rows, mut masks) = (Vec::new(), Vec::new());
    for method in Method::ALL {
        for (number, one) in tested.iter().enumerate() {
            let hard = 0.5 + (number * 37 % 11) as f64 / 11.0;
            let error = match method {
                Method::Box => 0.3,
                Method::Ellipse => 0.25,
                Method::Otsu => 0.3,
                // Some of random weights' masks are speckle.
                Method::Untuned if number % 5 == 4 => 1.0,
                Method::Untuned => 0.2 * hard,
                Method::Tuned if recipe.fails => 0.6,
                Method::Tuned => 0.07 * hard * hard,
            };
            let mask = match (method, number) {
                (Method::Tuned, 3) => Mask::empty(one.mask.size()),
                _ => wrong(&one.mask, error, number),
            };
            rows.push(row(one, method, &mask));
            if Method::DECODERS.contains(&method) {
                let Size { height, width } = mask.size();
                masks.push(MaskRow {
                    id: one.target.id.clone(),
                    method,
                    height,
                    width,
                    counts: mask.to_rle(),
                });
            }
        }
    }
    let of = |method: Method| rows.iter().filter(|row| row.method == method).collect::<Vec<_>>();
    let methods = Method::ALL.map(|method| MethodMetrics {
        method,
        all: totals(&of(method)),
        classes: classes(&of(method)),
        calibration: Method::DECODERS.contains(&method).then(|| calibration(&of(method))),
    });
    let paired = paired(&of(Method::Untuned), &of(Method::Tuned));
    let sweep = if recipe.sweep { sweep(&methods) } else { Vec::new() };
    let metrics = Metrics {
        format: evaluation::FORMAT.into(),
        split: Split::Test,
        targets: tested.len(),
        images: tested.len(),
        groups: recipe.groups.min(tested.len()),
        checkpoint: Kept {
            epoch: 13,
            epochs: 16,
            selected_by: SelectedBy::ValidationDice,
            validation_dice: Some(0.871),
        },
        settings: Settings {
            size_bounds: [0.05, 0.2],
            surface_tolerance: 2.0,
            resamples: 10_000,
            seed: 0,
            confidence: 0.95,
        },
        methods: methods.into(),
        comparison: Comparison { original: paired, low_res: paired },
        sweep,
    };
    write_json(&dir.join("metrics.json"), &metrics).unwrap();
    table::write(&dir.join("samples.parquet"), &rows).unwrap();
    table::write(&dir.join("masks.parquet"), &masks).unwrap();
}

fn classes(rows: &[&SampleRow]) -> Vec<ClassMetrics> {
    type Test = Box<dyn Fn(&SampleRow) -> bool>;
    let flagged =
        |row: &SampleRow| row.touches_border || row.noisy_mask || row.specks_removed || row.near_duplicate;
    let mut tests: Vec<(Property, &str, Test)> = SizeClass::ALL
        .into_iter()
        .map(|class| {
            (Property::Size, class.name(), Box::new(move |row: &SampleRow| row.size_class == class) as Test)
        })
        .collect();
    tests.push((Property::Components, "one", Box::new(|row| row.components == 1)));
    tests.push((Property::Components, "several", Box::new(|row| row.components > 1)));
    tests.push((Property::Flag, "touches border", Box::new(|row| row.touches_border)));
    tests.push((Property::Flag, "noisy mask", Box::new(|row| row.noisy_mask)));
    tests.push((Property::Flag, "specks removed", Box::new(|row| row.specks_removed)));
    tests.push((Property::Flag, "near duplicate", Box::new(|row| row.near_duplicate)));
    tests.push((Property::Flag, "none", Box::new(move |row| !flagged(row))));
    tests
        .into_iter()
        .map(|(by, class, test)| {
            let of: Vec<&SampleRow> = rows.iter().copied().filter(|row| test(row)).collect();
            ClassMetrics { by, class: class.into(), totals: totals(&of) }
        })
        .collect()
}

fn calibration(rows: &[&SampleRow]) -> Calibration {
    let bins = (0..10).map(|bin| {
        let (low, high) = (f64::from(bin) / 10.0, f64::from(bin + 1) / 10.0);
        let of =
            || rows.iter().filter(move |row| row.predicted_iou.is_some_and(|iou| (low..high).contains(&iou)));
        let mean = |value: fn(&SampleRow) -> Option<f64>| {
            estimate(&of().filter_map(|row| value(row)).collect::<Vec<_>>()).mean
        };
        CalibrationBin {
            low,
            high,
            targets: of().count(),
            predicted: mean(|row| row.predicted_iou),
            actual: mean(|row| row.iou),
        }
    });
    Calibration {
        targets: rows.len(),
        bias: Some(0.08),
        mean_absolute_error: Some(0.09),
        expected_calibration_error: Some(0.081),
        correlation: Some(0.93),
        bins: bins.collect(),
    }
}

fn paired(untuned: &[&SampleRow], tuned: &[&SampleRow]) -> Figures<Paired> {
    let one = |value: fn(&SampleRow) -> Option<f64>, higher: bool| {
        let pairs = untuned.iter().zip(tuned).filter_map(|(a, b)| Some(value(b)? - value(a)?));
        let differences: Vec<f64> = pairs.collect();
        let sign = if higher { 1.0 } else { -1.0 };
        let of = estimate(&differences);
        let count = |test: fn(f64) -> bool| differences.iter().filter(|d| test(sign * **d)).count();
        Paired {
            targets: of.targets,
            difference: of.mean,
            interval: of.interval,
            wins: count(|d| d > 0.0),
            ties: count(|d| d == 0.0),
            losses: count(|d| d < 0.0),
            p: Some(0.0004),
        }
    };
    Figures {
        dice: one(|row| row.dice, true),
        iou: one(|row| row.iou, true),
        precision: one(|row| row.precision, true),
        recall: one(|row| row.recall, true),
        hd95: one(|row| row.hd95, false),
        surface_dice: one(|row| row.surface_dice, true),
        mean_absolute_error: one(|row| row.mean_absolute_error, false),
    }
}

fn sweep(methods: &[MethodMetrics]) -> Vec<SweepPoint> {
    let dice = |method: Method| {
        methods.iter().find(|row| row.method == method).unwrap().all.original.dice.mean.unwrap()
    };
    let point = |prompt: PromptKind, amount: Option<u32>, factors: [f64; 2]| {
        let decoders = Method::DECODERS.iter().zip(factors).map(|(method, factor)| {
            let mean = dice(*method) * factor;
            let of = Estimate { targets: 12, mean: Some(mean), interval: Some([mean - 0.04, mean + 0.03]) };
            SweepFigures { method: *method, dice: of, iou: of, predicted_iou: of }
        });
        SweepPoint { prompt, amount, decoders: decoders.collect() }
    };
    let mut points = Vec::new();
    for amount in [0, 5, 10, 20, 40] {
        let loss = f64::from(amount) / 100.0;
        points.push(point(PromptKind::BoxNoisePixels, Some(amount), [1.0 - loss, 1.0 - 0.5 * loss]));
    }
    for amount in [5, 10, 20, 30] {
        let loss = f64::from(amount) / 60.0;
        points.push(point(PromptKind::BoxNoisePercent, Some(amount), [1.0 - loss, 1.0 - 0.5 * loss]));
    }
    points.push(point(PromptKind::Point, None, [0.7, 0.6]));
    points.push(point(PromptKind::BoxAndPoint, None, [1.02, 1.01]));
    points.push(point(PromptKind::WrongBox, None, [0.1, 0.05]));
    points.push(point(PromptKind::Multimask, None, [1.01, 0.5]));
    points.push(point(PromptKind::MultimaskOracle, None, [1.08, 0.6]));
    points
}

fn job(out: PathBuf, folders: Folders, recipe: &Recipe) -> Job {
    let hash = |letter: &str| letter.repeat(64);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let stage = |name: &str, seconds: f64, inputs: &[&str], outputs: &[&str]| Stage {
        name: name.into(),
        key: hash("a"),
        code: Some(hash("c")),
        numeric: Some("cpu f32 avx512".into()),
        inputs: inputs.iter().map(|kind| pair(kind, &hash("1"))).collect(),
        outputs: outputs.iter().map(|kind| pair(kind, &hash("2"))).collect(),
        run: "20260314-150926-00042".into(),
        finished: "2026-03-14T15:12:26.5Z".into(),
        seconds,
        peak_memory: Some(3 << 29),
        provenance: Vec::new(),
        accepted: None,
    };
    let row = |seed: u64| SeedRow {
        seed,
        epoch: Some(13),
        figures: SeedFigures { dice: Some(0.90 + 0.004 * seed as f64), iou: Some(0.83) },
    };
    // Those of the dice above, which lie evenly: their middle, and the deviation of so many whole numbers.
    let last = recipe.seeds.saturating_sub(1) as f64;
    let mean = SeedFigures { dice: Some(0.90 + 0.002 * last), iou: Some(0.83) };
    let spread = 0.004 * ((last + 1.0) * (last + 2.0) / 12.0).sqrt();
    let standard_deviation = SeedFigures { dice: Some(spread), iou: Some(0.0) };
    Job {
        format: resect_report_job::FORMAT.into(),
        out,
        title: "SAM ViT-B tuned on polyps".into(),
        folders,
        dataset: Source {
            name: "kowndinya23/Kvasir-SEG".into(),
            made_up: false,
            details: vec![pair("kind", "hub"), pair("commit", &"d".repeat(40))],
        },
        base: Source {
            name: "facebook/sam-vit-base".into(),
            made_up: recipe.fails,
            details: vec![pair("kind", "hub"), pair("commit", &"b".repeat(40))],
        },
        run: Some(Run {
            name: "20260314-150926-00042".into(),
            started: "2026-03-14T15:09:26Z".into(),
            seconds: 3723.0,
        }),
        settings: vec![
            Section {
                name: "train".into(),
                values: vec![
                    pair("epochs", "16"),
                    pair("learning_rate", "1e-5"),
                    pair("loss", "\"dice-ce\""),
                ],
            },
            Section {
                name: "mask".into(),
                values: vec![pair("threshold", "128"), pair("speck_pixels", "100")],
            },
            Section { name: "evaluate".into(), values: vec![pair("size_bounds", "[0.05, 0.2]")] },
        ],
        seeds: (recipe.seeds > 1).then(|| Seeds {
            shown: 0,
            rows: (0..recipe.seeds as u64).map(row).collect(),
            mean,
            standard_deviation,
        }),
        stages: vec![
            stage("ingest", 2.4, &["dataset", "base"], &["images", "targets"]),
            stage("embed", 612.0, &["images", "base"], &["embeddings"]),
            stage("train", 3012.0, &["embeddings", "targets", "base"], &["checkpoint"]),
            stage("evaluate", 31.0, &["checkpoint", "targets"], &["evaluation"]),
        ],
        artifacts: ["base", "images", "targets", "embeddings", "checkpoint", "evaluation"]
            .map(|kind| pair(kind, &hash("2")))
            .into(),
        reproduce: Reproduce {
            command: "cargo xtask run --pipeline pipelines/kvasir-sam-vit-b.toml --set train.epochs=16"
                .into(),
            commit: Some("e".repeat(40)),
            dirty: false,
            caveats: vec!["On a GPU the last bits may differ.".into()],
        },
    }
}
