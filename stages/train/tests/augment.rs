//! Training under views against training on images that lie as the views show them: the same bits.

mod support;

use resect_checkpoint::{Checkpoint, SamConfig};
use resect_checkpoint_records::{Step, TUNED_FILE};
use resect_device::Device;
use resect_embeddings as embeddings;
use resect_geometry::Views;
use resect_geometry::{Mask, Size, View};
use resect_numeric::Dtype;
use resect_params::Runtime;
use resect_stage::Reporter;
use resect_tables::table;
use resect_target_records::{Split, Target};
use resect_targets as targets;
use resect_train::{Inputs, TrainError, run};
use resect_train_params::{MaskFit, TrainParams};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn base() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/sam-tiny")
}

fn config() -> SamConfig {
    Checkpoint::open(&base()).unwrap().config().clone()
}

const SAMPLES: u32 = 9;

fn name(sample: u32) -> String {
    format!("sample-{sample}")
}

/// A mask like no turned one of itself, on an image that is wide, tall or square.
fn mask(sample: u32) -> Mask {
    let size = [Size::new(37, 61), Size::new(80, 45), Size::new(50, 50)][sample as usize % 3];
    Mask::from_fn(size, |x, y| {
        let (x, y) = (x * 100 / size.width, y * 100 / size.height);
        (10 + sample..70).contains(&x) && (20..50 + 3 * sample).contains(&y) && x + 2 * y > 90
    })
}

/// The target of a mask.
fn target(name: &str, mask: &Mask) -> Target {
    let (size, tight) = (mask.size(), mask.bounding_box().unwrap());
    let resized = size.with_longest_side(config().image_size() as u32);
    let bounds = [tight.x0, tight.y0, tight.x1, tight.y1];
    support::target(name, Split::Train, resized, mask, bounds)
}

/// What stands for the embedding of a sample's image under a view.
fn embedding(sample: u32, view: View) -> Vec<f32> {
    let (config, place) = (config(), View::ALL.iter().position(|v| *v == view).unwrap() as u32);
    let values = config.embedding_channels() * config.grid() * config.grid();
    let mut state = sample * 8 + place + 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..values).map(|_| next()).collect()
}

/// Writes what `train` reads: a mask for each sample, and an embedding for each of `rows`, of which the second view is the one
/// whose numbers it has.
fn write(masks: &[Mask], rows: &[(u32, View, View)]) -> TempDir {
    let (dir, config) = (tempfile::tempdir().unwrap(), config());
    let part = |name: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let mut writer = targets::Writer::create(&part("targets"), config.low_res() as u32).unwrap();
    for (sample, mask) in masks.iter().enumerate() {
        writer.push(target(&name(sample as u32), mask), mask).unwrap();
    }
    writer.finish(&serde_json::json!({}), &[]).unwrap();
    let shape = [config.embedding_channels(), config.grid(), config.grid()];
    let writer = embeddings::Writer::new(&part("embeddings"), shape, Dtype::F32);
    for (shard, rows) in rows.chunks(embeddings::SHARD_ROWS).enumerate() {
        let values: Vec<f32> = rows.iter().flat_map(|(sample, _, view)| embedding(*sample, *view)).collect();
        writer.write_shard(shard, &values).unwrap();
    }
    let names: Vec<(String, View)> = rows.iter().map(|(sample, view, _)| (name(*sample), *view)).collect();
    writer.finish(&names.iter().map(|(name, view)| (name.as_str(), *view)).collect::<Vec<_>>()).unwrap();
    dir
}

/// Every step, and the file of the tuned weights.
fn train(dir: &TempDir, params: &TrainParams) -> Result<(Vec<Step>, Vec<u8>), Box<TrainError>> {
    let (embeddings, targets) = (dir.path().join("embeddings"), dir.path().join("targets"));
    let inputs = Inputs {
        embeddings: Some(&embeddings),
        images: None,
        targets: &targets,
        base: &base(),
        adapter: None,
    };
    let (out, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(Device::Cpu, &inputs, params, &Runtime::default(), out.path(), state.path(), &Reporter::silent())?;
    let steps = table::read(&out.path().join("history.parquet")).unwrap();
    Ok((steps, std::fs::read(out.path().join(TUNED_FILE)).unwrap()))
}

/// The view of a sample in an epoch.
fn drawn(views: Views, seed: u64, epoch: u32, sample: u32) -> View {
    let mut rng = resect_seed::stream("view", seed, &[&epoch.to_le_bytes(), name(sample).as_bytes()]);
    let views = views.views();
    views[resect_seed::below(&mut rng, views.len() as u32) as usize]
}

#[test]
fn a_view_is_learnt_as_a_turned_image_is() {
    let masks: Vec<Mask> = (0..SAMPLES).map(mask).collect();
    for (augment, seed) in [(Views::Flips, 0), (Views::All, 0), (Views::All, 1)] {
        let params = TrainParams {
            epochs: 1,
            learning_rate: 1e-3,
            jitter: 0,
            shuffle: false,
            seed,
            augment,
            ..Default::default()
        };
        let rows: Vec<_> =
            augment.views().iter().flat_map(|&view| (0..SAMPLES).map(move |i| (i, view, view))).collect();
        let augmented = train(&write(&masks, &rows), &params).unwrap();

        let views: Vec<View> = (0..SAMPLES).map(|sample| drawn(augment, seed, 1, sample)).collect();
        let turned: Vec<Mask> = masks.iter().zip(&views).map(|(mask, view)| view.mask(mask)).collect();
        let rows: Vec<_> =
            (0..SAMPLES).zip(&views).map(|(sample, view)| (sample, View::Identity, *view)).collect();
        let as_shown = write(&turned, &rows);
        let plain = TrainParams { augment: Views::None, ..params };
        assert!(augmented == train(&as_shown, &plain).unwrap(), "{augment:?}, seed {seed}");

        let upright: Vec<_> = (0..SAMPLES).map(|i| (i, View::Identity, View::Identity)).collect();
        assert!(augmented != train(&write(&masks, &upright), &plain).unwrap(), "{augment:?}, seed {seed}");
    }
}

#[test]
fn a_squashed_mask_is_another_one_unless_the_image_is_square() {
    let params = |mask_fit| TrainParams { epochs: 1, shuffle: false, mask_fit, ..Default::default() };
    let trained = |samples: &[u32]| {
        let masks: Vec<Mask> = samples.iter().map(|sample| mask(*sample)).collect();
        let rows: Vec<_> =
            (0..masks.len() as u32).map(|sample| (sample, View::Identity, View::Identity)).collect();
        let dir = write(&masks, &rows);
        [MaskFit::Padded, MaskFit::Squashed].map(|fit| train(&dir, &params(fit)).unwrap())
    };
    let [padded, squashed] = trained(&[2, 5, 8]);
    assert!(padded == squashed, "square images");
    for sample in [0, 1] {
        let [padded, squashed] = trained(&[sample]);
        assert_ne!(padded.0[0].loss, squashed.0[0].loss, "sample {sample}");
    }
}

#[test]
fn every_view_is_drawn_as_often_and_anew_in_each_epoch() {
    for augment in [Views::Flips, Views::All] {
        let views = augment.views();
        let mut counts = vec![0; views.len()];
        for epoch in 1..=200 {
            for sample in 0..20 {
                let view = drawn(augment, 3, epoch, sample);
                counts[views.iter().position(|v| *v == view).unwrap()] += 1;
            }
        }
        let mean = 4000 / views.len() as i32;
        assert!(counts.iter().all(|count: &i32| (count - mean).abs() < 100), "{augment:?}: {counts:?}");
    }
    let epochs = [1, 2].map(|epoch| (0..20).map(|s| drawn(Views::All, 3, epoch, s)).collect::<Vec<_>>());
    assert_ne!(epochs[0], epochs[1]);
}

#[test]
fn a_view_that_was_not_embedded_is_named() {
    let upright: Vec<_> = (0..SAMPLES).map(|i| (i, View::Identity, View::Identity)).collect();
    let masks: Vec<Mask> = (0..SAMPLES).map(mask).collect();
    let params = TrainParams { augment: Views::Flips, ..Default::default() };
    let error = train(&write(&masks, &upright), &params).unwrap_err();
    assert!(
        matches!(&*error, TrainError::NoEmbedding { target, view: View::FlipHorizontal } if target == "sample-0"),
        "{error}"
    );
}
