//! `embed`, then `evaluate`, on a miniature model: 64 pixels, grid of 8, 16 channels, low-res grid of 32. What could depend on
//! how work is divided is tested on the smallest model that is offered, where there is work to divide.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use resect_checkpoint::{NamedTensor, SamConfig, random, write_random, write_safetensors};
use resect_checkpoint_records::{self as checkpoint, SelectedBy, Summary, TUNED_FILE};
use resect_data::{read_json, write_json};
use resect_device::Device;
#[cfg(not(feature = "cuda"))]
use resect_device::DeviceError;
use resect_embed_params::EmbedParams;
use resect_embeddings::{self as embeddings, Embeddings};
use resect_evaluate::{EvaluateError, Inputs, run, run_with};
use resect_evaluate_params::EvaluateParams;
use resect_evaluation_records::{
    MaskRow, Method, MethodMetrics, Metrics, PromptKind, Property, SampleRow, SizeClass, SweepRow,
};
use resect_geometry::{Mask, Size};
use resect_images::{self as images, Image, pixel_hash};
use resect_layers::Resident;
use resect_numeric::Dtype;
use resect_params::Runtime;
use resect_stage::Reporter;
use resect_tables::table;
use resect_target_records::{Split, Target};
use resect_targets as targets;
use tempfile::TempDir;

const BASE_SEED: u64 = 7;

fn tiny() -> SamConfig {
    SamConfig::named("tiny").unwrap()
}

fn miniature() -> SamConfig {
    const SIDE: usize = 64;
    let mut config = tiny();
    config.vision.image_size = SIDE;
    (config.vision.hidden_size, config.vision.num_hidden_layers, config.vision.num_attention_heads) =
        (32, 2, 2);
    (config.vision.window_size, config.vision.global_attn_indexes, config.vision.mlp_dim) = (5, vec![1], 32);
    (config.vision.output_channels, config.vision.num_pos_feats) = (16, 8);
    (config.prompt.image_size, config.prompt.hidden_size) = (SIDE, 16);
    (config.decoder.hidden_size, config.decoder.num_attention_heads, config.decoder.mlp_dim) = (16, 2, 16);
    (config.decoder.iou_head_hidden_dim, config.decoder.num_multimask_outputs) = (16, 3);
    config
}

fn decoder(config: &SamConfig, seed: u64) -> Vec<NamedTensor> {
    random(config, seed).filter(|tensor| tensor.name.starts_with("mask_decoder.")).collect()
}

/// A light disc on a dark ground, on an image of its own size.
struct Disc {
    id: &'static str,
    split: Split,
    original: Size,
    centre: (i64, i64),
    radius: i64,
}

/// Two small ones, a medium and a large one to report, and one that is none of this stage's business.
const DISCS: [Disc; 5] = [
    Disc { id: "left-out", split: Split::Train, original: Size::new(90, 120), centre: (40, 40), radius: 20 },
    Disc { id: "wide", split: Split::Test, original: Size::new(90, 120), centre: (30, 50), radius: 12 },
    Disc { id: "tall/1", split: Split::Test, original: Size::new(200, 90), centre: (40, 120), radius: 11 },
    Disc { id: "square", split: Split::Test, original: Size::new(64, 64), centre: (20, 30), radius: 15 },
    Disc { id: "big", split: Split::Test, original: Size::new(75, 100), centre: (50, 37), radius: 36 },
];

impl Disc {
    fn contains(&self, x: f64, y: f64) -> bool {
        // A disc around a pixel's centre, half a pixel larger: the ellipse inscribed in its own box.
        let (dx, dy) = (x - self.centre.0 as f64 - 0.5, y - self.centre.1 as f64 - 0.5);
        dx * dx + dy * dy <= (self.radius as f64 + 0.5).powi(2)
    }

    fn mask(&self) -> Mask {
        Mask::from_fn(self.original, |x, y| self.contains(f64::from(x) + 0.5, f64::from(y) + 0.5))
    }

    fn image(&self, side: usize) -> Image {
        let (original, resized) = (self.original, self.original.with_longest_side(side as u32));
        let along = |at: u32, from: u32, to: u32| (f64::from(at) + 0.5) * f64::from(to) / f64::from(from);
        let plane = |light: u8, dark: u8| {
            let pixel = move |x, y| {
                let x = along(x, resized.width, original.width);
                if self.contains(x, along(y, resized.height, original.height)) { light } else { dark }
            };
            (0..resized.height)
                .flat_map(|y| (0..resized.width).map(move |x| (x, y)))
                .map(move |(x, y)| pixel(x, y))
        };
        let pixels: Vec<u8> = plane(230, 60).chain(plane(120, 20)).chain(plane(90, 30)).collect();
        Image { id: self.id.into(), pixel_hash: pixel_hash(resized, &pixels), original, resized, pixels }
    }

    fn target(&self, side: usize) -> Target {
        let (image, mask) = (self.image(side), self.mask());
        let bounds = mask.bounding_box().unwrap();
        Target {
            id: self.id.into(),
            sample: self.id.into(),
            pixel_hash: image.pixel_hash,
            split: self.split,
            given_split: String::new(),
            group: self.id.into(),
            height: self.original.height,
            width: self.original.width,
            resized_height: image.resized.height,
            resized_width: image.resized.width,
            x0: bounds.x0,
            y0: bounds.y0,
            x1: bounds.x1,
            y1: bounds.y1,
            area_fraction: mask.area() as f64 / self.original.pixels() as f64,
            components: 1,
            specks_removed: 0,
            noisy_mask: false,
            touches_border: false,
            near_duplicate_of: String::new(),
        }
    }
}

fn params() -> EvaluateParams {
    EvaluateParams { overlays: 2, size_bounds: [0.1, 0.4], resamples: 200, ..EvaluateParams::default() }
}

/// Everything that `evaluate` reads, in a folder of its own.
struct Setup {
    dir: TempDir,
}

impl Setup {
    fn new() -> Self {
        Self::of(&miniature(), &DISCS, 8)
    }

    /// The base checkpoint and the tuned decoder are random, the latter from its own seed.
    fn of(config: &SamConfig, discs: &[Disc], tuned: u64) -> Self {
        let (side, tuned) = (config.image_size(), decoder(config, tuned));
        let setup = Self { dir: tempfile::tempdir().unwrap() };
        write_random(&setup.path("base"), config, BASE_SEED).unwrap();

        let mut images = images::Writer::new(&setup.create("images"), side as u32);
        discs.iter().for_each(|disc| images.push(disc.image(side)).unwrap());
        images.finish().unwrap();

        let targets = setup.create("targets");
        let mut targets = targets::Writer::create(&targets, config.low_res() as u32).unwrap();
        discs.iter().for_each(|disc| targets.push(disc.target(side), &disc.mask()).unwrap());
        targets.finish(&(), &[]).unwrap();

        let checkpoint = setup.create("checkpoint");
        let (epoch, epochs, selected_by) = (2, 3, SelectedBy::ValidationDice);
        let format = checkpoint::FORMAT.into();
        let summary = Summary {
            format,
            epoch,
            epochs,
            stopped_early: false,
            selected_by,
            validation_dice: Some(0.5),
            tuning: Default::default(),
            prompts: None,
            iou_head_trained: false,
        };
        write_json(&checkpoint.join("checkpoint.json"), &summary).unwrap();
        write_safetensors(&checkpoint.join(TUNED_FILE), tuned, None).unwrap();

        let params = EmbedParams { dtype: Dtype::F32, ..EmbedParams::default() };
        let [images, base, out] = [setup.path("images"), setup.path("base"), setup.create("embeddings")];
        let inputs = resect_embed::Inputs { images: &images, base: &base, hints: &[] };
        resect_embed::run(Device::Cpu, &inputs, &params, &Runtime::default(), &out, &Reporter::silent())
            .unwrap();
        setup
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn create(&self, name: &str) -> PathBuf {
        std::fs::create_dir(self.path(name)).unwrap();
        self.path(name)
    }

    fn evaluate(&self, out: &str, decode_batch: usize) -> Result<Metrics, EvaluateError> {
        let params = params();
        evaluate(self.dir.path(), out, &params, decode_batch)?;
        Ok(read_json(&self.path(out).join("metrics.json")).unwrap())
    }
}

fn evaluate(
    dir: &Path,
    out: &str,
    params: &EvaluateParams,
    decode_batch: usize,
) -> Result<(), EvaluateError> {
    let [checkpoint, images, embeddings, targets, base, out] =
        ["checkpoint", "images", "embeddings", "targets", "base", out].map(|name| dir.join(name));
    let inputs = Inputs {
        checkpoint: &checkpoint,
        images: &images,
        embeddings: Some(&embeddings),
        targets: &targets,
        base: &base,
    };
    std::fs::create_dir_all(&out).unwrap();
    let runtime = Runtime { decode_batch, ..Runtime::default() };
    let work = dir.join("work");
    run(Device::Cpu, &inputs, params, &runtime, &out, &work, &Reporter::silent())
}

/// All files below a folder, by relative path.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![dir.to_path_buf()];
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else {
                found.insert(path.strip_prefix(dir).unwrap().into(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn the_test_split_is_scored_by_every_method_and_size() {
    let setup = Setup::new();
    let metrics = setup.evaluate("out", 2).unwrap();
    assert_eq!((metrics.split, metrics.targets, metrics.images, metrics.groups), (Split::Test, 4, 4, 4));
    assert_eq!((metrics.checkpoint.epoch, metrics.checkpoint.validation_dice), (2, Some(0.5)));
    assert_eq!(metrics.methods.iter().map(|row| row.method).collect::<Vec<_>>(), Method::ALL);
    for row in &metrics.methods {
        let sizes = row.classes.iter().filter(|class| class.by == Property::Size);
        let counts: Vec<_> = sizes.map(|class| (class.class.as_str(), class.totals.targets)).collect();
        assert_eq!((row.all.targets, counts), (4, vec![("small", 2), ("medium", 1), ("large", 1)]));
        assert_eq!(row.calibration.is_some(), Method::DECODERS.contains(&row.method));
    }

    // A disc is the ellipse in its box; a box around a disc has Dice 2 (pi/4) / (1 + pi/4); light on dark is Otsu's best case.
    let dice = |method: Method| mean_dice(&metrics.methods[method as usize]);
    assert_eq!(dice(Method::Ellipse), 1.0);
    assert!((dice(Method::Box) - 0.8798).abs() < 0.01, "{}", dice(Method::Box));
    assert!(dice(Method::Otsu) > 0.9, "{}", dice(Method::Otsu));
    let ellipse = &metrics.methods[Method::Ellipse as usize].all;
    assert!(ellipse.low_res.dice.mean.unwrap() > 0.99);
    assert_eq!((ellipse.original.hd95.mean, ellipse.original.surface_dice.mean), (Some(0.0), Some(1.0)));
    assert_eq!(ellipse.original.mean_absolute_error.mean, Some(0.0));
    // A filled box misses nothing, and what it has beside the disc is wrong.
    let filled = &metrics.methods[Method::Box as usize].all.original;
    assert_eq!(filled.recall.mean, Some(1.0));
    assert!((filled.precision.mean.unwrap() - std::f64::consts::FRAC_PI_4).abs() < 0.02);
    for estimate in filled.each() {
        let [low, high] = estimate.interval.unwrap();
        assert!(low <= estimate.mean.unwrap() && estimate.mean.unwrap() <= high);
    }

    let rows: Vec<SampleRow> = table::read(&setup.path("out").join("samples.parquet")).unwrap();
    assert_eq!(rows.len(), 20);
    let ids: Vec<&str> = rows.iter().step_by(5).map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["wide", "tall/1", "square", "big"]);
    assert_eq!(
        (rows[4].method, rows[4].size_class, rows[19].size_class),
        (Method::Tuned, SizeClass::Small, SizeClass::Large)
    );
    // The overall mean is the rows' mean, in their order.
    let tuned = rows.iter().filter(|row| row.method == Method::Tuned).map(|row| row.dice.unwrap());
    assert_eq!(dice(Method::Tuned), tuned.sum::<f64>() / 4.0);

    // The comparison is of the same rows.
    let differences = rows.chunks(5).map(|rows| rows[4].dice.unwrap() - rows[3].dice.unwrap());
    let differences: Vec<f64> = differences.collect();
    let compared = metrics.comparison.original.dice;
    assert_eq!(compared.difference, Some(differences.iter().sum::<f64>() / 4.0));
    assert_eq!(compared.wins, differences.iter().filter(|d| **d > 0.0).count());
}

fn mean_dice(row: &MethodMetrics) -> f64 {
    row.all.original.dice.mean.unwrap()
}

#[test]
fn the_masks_that_are_kept_are_those_that_were_scored() {
    let setup = Setup::new();
    setup.evaluate("out", 3).unwrap();
    let rows: Vec<SampleRow> = table::read(&setup.path("out").join("samples.parquet")).unwrap();
    let masks: Vec<MaskRow> = table::read(&setup.path("out").join("masks.parquet")).unwrap();
    assert_eq!(masks.len(), 8);
    for row in masks {
        let disc = DISCS.iter().find(|disc| disc.id == row.id).unwrap();
        let mask = Mask::from_rle(Size::new(row.height, row.width), &row.counts).unwrap();
        let found = resect_metrics::overlap(&mask, &disc.mask()).unwrap();
        let scored = rows.iter().find(|scored| (&scored.id, scored.method) == (&row.id, row.method)).unwrap();
        assert_eq!((scored.dice, scored.precision), (Some(found.dice), found.precision), "{}", row.id);
    }
}

#[test]
fn the_sweep_prompts_both_decoders_with_what_it_says() {
    let setup = Setup::new();
    let metrics = setup.evaluate("out", 3).unwrap();
    let rows: Vec<SweepRow> = table::read(&setup.path("out").join("sweep.parquet")).unwrap();
    let samples: Vec<SampleRow> = table::read(&setup.path("out").join("samples.parquet")).unwrap();
    // Six noises in pixels, four in percent, five other forms; four targets, two decoders.
    assert_eq!((metrics.sweep.len(), rows.len()), (15, 15 * 4 * 2));
    let of = |prompt, amount: Option<u32>| -> Vec<&SweepRow> {
        rows.iter().filter(|row| (row.prompt, row.amount) == (prompt, amount)).collect()
    };
    // Without noise it is what the tight box gave.
    for row in of(PromptKind::BoxNoisePixels, Some(0)) {
        let scored = samples.iter().find(|scored| (&scored.id, scored.method) == (&row.id, row.method));
        let scored = scored.unwrap();
        assert_eq!((row.dice, row.iou), (scored.dice, scored.iou));
        assert_eq!(Some(row.predicted_iou), scored.predicted_iou);
    }
    for row in of(PromptKind::Point, None) {
        let disc = DISCS.iter().find(|disc| disc.id == row.id).unwrap();
        let [x, y] = [row.point_x, row.point_y].map(|at| i64::from(at.unwrap()));
        assert_eq!((x, y, row.x0), (disc.centre.0, disc.centre.1, None));
    }
    for row in of(PromptKind::BoxNoisePixels, Some(10)) {
        let disc = DISCS.iter().find(|disc| disc.id == row.id).unwrap();
        let moved = i64::from(row.x0.unwrap()) - (disc.centre.0 - disc.radius);
        assert!(moved.abs() <= 10, "{row:?}");
    }
    let likeliest = of(PromptKind::Multimask, None);
    let best = of(PromptKind::MultimaskOracle, None);
    assert!(likeliest.iter().zip(&best).all(|(a, b)| a.id == b.id && a.dice <= b.dice));
    assert!(likeliest.iter().zip(&best).any(|(a, b)| a.dice < b.dice));
    // The points are the rows' means.
    for point in &metrics.sweep {
        for figures in &point.decoders {
            let rows = of(point.prompt, point.amount).into_iter().filter(|row| row.method == figures.method);
            let mean = rows.map(|row| row.dice.unwrap()).sum::<f64>() / 4.0;
            assert_eq!(figures.dice.mean, Some(mean), "{:?}", point.prompt);
        }
    }

    let params = EvaluateParams { sweep: false, ..params() };
    evaluate(setup.dir.path(), "none", &params, 8).unwrap();
    assert!(!setup.path("none").join("sweep.parquet").exists());
    let without: Metrics = read_json(&setup.path("none").join("metrics.json")).unwrap();
    assert_eq!((without.sweep, without.methods), (vec![], metrics.methods));
}

#[test]
fn the_decoder_that_was_not_tuned_scores_as_the_untuned_one() {
    let setup = Setup::of(&miniature(), &DISCS, BASE_SEED);
    let metrics = setup.evaluate("out", 8).unwrap();
    let [untuned, tuned] = [&metrics.methods[3], &metrics.methods[4]];
    assert_eq!((&untuned.all, &untuned.classes), (&tuned.all, &tuned.classes));
    let compared = metrics.comparison.original.dice;
    assert_eq!((compared.difference, compared.ties, compared.p), (Some(0.0), 4, None));
    let other = Setup::new().evaluate("out", 8).unwrap();
    assert_eq!(other.methods[3], metrics.methods[3]);
    assert_ne!(other.methods[4].all, metrics.methods[4].all);
}

#[test]
fn overlays_show_the_worst_first() {
    let setup = Setup::new();
    setup.evaluate("out", 8).unwrap();
    let mut rows: Vec<SampleRow> = table::read(&setup.path("out").join("samples.parquet")).unwrap();
    rows.retain(|row| row.method == Method::Tuned);
    rows.sort_by(|a, b| a.dice.unwrap().total_cmp(&b.dice.unwrap()));
    let name = |rank: usize| format!("{:02}-{}.png", rank + 1, rows[rank].id.replace('/', "_"));
    let found = files(&setup.path("out").join("overlays"));
    assert_eq!(found.keys().cloned().collect::<Vec<_>>(), [name(0), name(1)].map(PathBuf::from));

    let params = EvaluateParams { overlays: 0, ..EvaluateParams::default() };
    evaluate(setup.dir.path(), "none", &params, 8).unwrap();
    assert!(!setup.path("none").join("overlays").exists());
}

#[test]
fn the_batch_does_not_change_a_byte() {
    let setup = Setup::of(&tiny(), &DISCS, 8);
    setup.evaluate("one", 1).unwrap();
    let one = files(&setup.path("one"));
    assert_eq!(one.len(), 6);
    for batch in [3, 8] {
        setup.evaluate("many", batch).unwrap();
        assert_eq!(files(&setup.path("many")), one, "batches of {batch}");
    }
}

/// Set for the copy of this test program that evaluates with the number of threads it is told.
const CHILD: &str = "RESECT_TEST_EVALUATE_IN";

#[test]
fn the_number_of_threads_does_not_change_a_byte() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return evaluate(Path::new(&dir), "child", &EvaluateParams::default(), 3).unwrap();
    }
    let setup = Setup::of(&tiny(), &DISCS, 8);
    let outputs = ["1", "2", "5"].map(|threads| {
        // A thread pool is made once in a process, so each number needs one of its own.
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_number_of_threads_does_not_change_a_byte"])
            .env(CHILD, setup.dir.path())
            .env("RAYON_NUM_THREADS", threads)
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        let files = files(&setup.path("child"));
        std::fs::remove_dir_all(setup.path("child")).unwrap();
        files
    });
    assert_eq!(outputs[0].len(), 8);
    assert!(outputs.iter().all(|output| *output == outputs[0]));
}

#[test]
fn an_object_too_small_for_the_low_res_grid_has_no_figure_there() {
    // One pixel of 400 x 400 lies between the samples of a grid of 32.
    let speck =
        Disc { id: "speck", split: Split::Test, original: Size::square(400), centre: (10, 10), radius: 0 };
    let [_, wide, ..] = DISCS;
    let metrics = Setup::of(&miniature(), &[speck, wide], 8).evaluate("out", 8).unwrap();
    for row in &metrics.methods {
        let targets = (row.all.targets, row.all.original.dice.targets, row.all.low_res.dice.targets);
        assert_eq!(targets, (2, 2, 1), "{}", row.method);
    }
    assert_eq!(mean_dice(&metrics.methods[Method::Ellipse as usize]), 1.0);
}

#[test]
fn inputs_that_lack_something_are_named() {
    let setup = Setup::new();
    let fails = |what: &str| {
        let error = setup.evaluate("out", 8).unwrap_err();
        let mut message = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            message += &format!(": {error}");
            source = error.source();
        }
        assert!(message.contains(what), "{message}");
    };
    // A tuned decoder of other shapes, then none.
    let weights = setup.path("checkpoint").join(TUNED_FILE);
    let mut tensors = decoder(&miniature(), 8);
    tensors.retain(|tensor| tensor.name != "mask_decoder.iou_token.weight");
    write_safetensors(&weights, tensors, None).unwrap();
    fails("missing    mask_decoder.iou_token.weight");
    std::fs::remove_file(&weights).unwrap();
    fails("the checkpoint has no ");
    write_safetensors(&weights, decoder(&miniature(), 8), None).unwrap();

    // Weights that are no numbers.
    let mut tensors = decoder(&miniature(), 8);
    tensors.iter_mut().for_each(|tensor| tensor.data.fill(f32::NAN));
    write_safetensors(&weights, tensors, None).unwrap();
    fails("tuned.safetensors: tensor `mask_decoder.iou_prediction_head.layers.0.bias` holds NaN at [0]");
    // Finite ones whose sums are not.
    let mut tensors = decoder(&miniature(), 8);
    tensors.iter_mut().for_each(|tensor| tensor.data.fill(f32::MAX));
    write_safetensors(&weights, tensors, None).unwrap();
    fails("the tuned decoder's output for target wide is not finite");
    write_safetensors(&weights, decoder(&miniature(), 8), None).unwrap();

    // Embeddings of other images.
    std::fs::remove_dir_all(setup.path("embeddings")).unwrap();
    let [first, ..] = DISCS;
    std::fs::rename(Setup::of(&miniature(), &[first], 8).path("embeddings"), setup.path("embeddings"))
        .unwrap();
    fails("4 targets of the test split have no embedding: wide, tall/1, square, big");

    // No test split.
    let [first, ..] = DISCS;
    let error = Setup::of(&miniature(), &[first], 8).evaluate("out", 8).unwrap_err();
    assert!(matches!(error, EvaluateError::NoTest { targets: 1 }), "{error}");
}

#[test]
fn an_embedding_that_is_no_number_is_told_with_its_target() {
    let setup = Setup::new();
    let dir = setup.path("embeddings");
    let earlier = Embeddings::open(&dir).unwrap();
    let (rows, mut values) = (earlier.rows(), Vec::new());
    rows.iter().for_each(|(hash, view)| assert!(earlier.append_to(hash, *view, &mut values)));
    let [_, _, tall, ..] = DISCS;
    let place = rows.iter().position(|(hash, _)| *hash == tall.image(64).pixel_hash).unwrap();
    values[place * earlier.shape().iter().product::<usize>() + 3] = f32::NAN;
    let writer = embeddings::Writer::new(&setup.path("spoilt"), earlier.shape(), Dtype::F32);
    std::fs::create_dir(setup.path("spoilt")).unwrap();
    writer.write_shard(0, &values).unwrap();
    writer.finish(&rows).unwrap();
    drop(earlier);
    std::fs::remove_dir_all(&dir).unwrap();
    std::fs::rename(setup.path("spoilt"), &dir).unwrap();
    let error = setup.evaluate("out", 8).unwrap_err().to_string();
    assert!(error.contains("decoder's output for target tall/1 is not finite"), "{error}");
    assert!(error.contains("the embedding of the target's image is damaged"), "{error}");
}

#[test]
fn another_base_checkpoint_is_refused() {
    let setup = Setup::new();
    let mut config = miniature();
    (config.vision.image_size, config.prompt.image_size) = (128, 128);
    write_random(&setup.path("base"), &config, BASE_SEED).unwrap();
    let error = setup.evaluate("out", 8).unwrap_err().to_string();
    assert!(error.contains("the images' longest side is 64, the base checkpoint has 128"), "{error}");
}

/// The folders that `evaluate` reads, and one to write to.
fn devices_of(setup: &Setup) -> [PathBuf; 6] {
    ["checkpoint", "images", "embeddings", "targets", "base", "compared"].map(|name| setup.path(name))
}

#[test]
fn another_device_is_compared_with_the_cpu_and_gives_what_it_gives() {
    let setup = Setup::new();
    setup.evaluate("out", 2).unwrap();
    let [checkpoint, images, embeddings, targets, base, out] = &devices_of(&setup);
    let inputs = Inputs { checkpoint, images, embeddings: Some(embeddings), targets, base };
    let params = params();
    let runtime = Runtime { decode_batch: 2, ..Runtime::default() };
    std::fs::create_dir(out).unwrap();
    let said = Said::default();
    // Room for no embedding, which then is brought each time.
    let (resident, report) = (Resident::new(Default::default(), 0), Reporter::new(said.clone()));
    let work = setup.path("work");
    run_with::<resect_layers::Cpu>(resident, &inputs, &params, &runtime, out, &work, &report).unwrap();
    let said = said.text();
    let (_, difference) = said.split_once("agrees with the CPU on the first batch to ").unwrap();
    let difference: f64 = difference.split('"').next().unwrap().parse().unwrap();
    assert!(difference < 1e-5, "{difference}");
    // Masks are equal; probabilities and scores differ in their last bits.
    let (found, expected) = (files(out), files(&setup.path("out")));
    assert!(found.keys().eq(expected.keys()));
    for (path, bytes) in &found {
        if path.starts_with("overlays") || path == Path::new("masks.parquet") {
            assert!(*bytes == expected[path], "{}", path.display());
        }
    }
    let rows = |dir: &Path| -> Vec<SampleRow> { table::read(&dir.join("samples.parquet")).unwrap() };
    for (found, expected) in rows(out).iter().zip(&rows(&setup.path("out"))) {
        let [found, expected] = [found, expected].map(|row| table::cells(row).unwrap());
        for ((column, found), (_, expected)) in found.iter().zip(&expected) {
            let (found, expected) = (found.unwrap_or(-1.0), expected.unwrap_or(-1.0));
            assert!((found - expected).abs() < 1e-5, "{column}: {found} {expected}");
        }
    }
}

#[cfg(not(feature = "cuda"))]
#[test]
fn without_a_backend_for_gpus_nothing_starts() {
    let setup = Setup::new();
    let [checkpoint, images, embeddings, targets, base, out] = &devices_of(&setup);
    let inputs = Inputs { checkpoint, images, embeddings: Some(embeddings), targets, base };
    let (params, runtime, report) = (EvaluateParams::default(), Runtime::default(), Reporter::silent());
    let error = run(Device::Cuda(1), &inputs, &params, &runtime, out, out, &report).unwrap_err();
    assert!(matches!(error, EvaluateError::Device(DeviceError::NotBuilt { device: Device::Cuda(1) })));
    assert!(error.to_string().contains("--features resect-embed/cuda"), "{error}");
}

/// What a reporter writes, for the test to read.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl std::io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
