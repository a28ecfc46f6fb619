//! The stage on a miniature model: 64 pixels, grid of 8, 16 channels.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use resect_checkpoint::{NamedTensor, SamConfig, TensorFile, WEIGHTS_FILE, write_random, write_safetensors};
use resect_device::Device;
#[cfg(not(feature = "cuda"))]
use resect_device::DeviceError;
use resect_embed::{EmbedError, Inputs, run, run_with};
use resect_embed_params::EmbedParams;
use resect_embeddings::{Embeddings, SHARD_ROWS};
use resect_geometry::{Size, View, Views};
use resect_images::{Image, Writer, pixel_hash};
use resect_numeric::{Dtype, Precision};
use resect_params::Runtime;
use resect_stage::Reporter;
use tempfile::TempDir;

const SIDE: u32 = 64;
/// Two shards and a bit.
const DISTINCT: usize = 2 * SHARD_ROWS + 3;

fn config() -> SamConfig {
    let mut config = SamConfig::named("tiny").unwrap();
    (config.vision.image_size, config.vision.patch_size) = (SIDE as usize, 8);
    (config.vision.hidden_size, config.vision.num_hidden_layers, config.vision.num_attention_heads) =
        (32, 2, 2);
    (config.vision.window_size, config.vision.global_attn_indexes, config.vision.mlp_dim) = (5, vec![1], 32);
    (config.vision.output_channels, config.vision.num_pos_feats) = (16, 8);
    (config.prompt.image_size, config.prompt.patch_size, config.prompt.hidden_size) = (SIDE as usize, 8, 16);
    (config.decoder.hidden_size, config.decoder.num_attention_heads, config.decoder.mlp_dim) = (16, 2, 16);
    config
}

/// An image of its own for each seed, wide or tall.
fn image(seed: usize, id: &str) -> Image {
    image_of(SIDE, seed, id)
}

fn image_of(side: u32, seed: usize, id: &str) -> Image {
    let resized =
        if seed.is_multiple_of(2) { Size::new(side * 3 / 4, side) } else { Size::new(side, side / 2) };
    let mut state = seed as u32 * 2_654_435_761 + 1;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let pixels: Vec<u8> = (0..3 * resized.pixels()).map(|_| byte()).collect();
    Image { id: id.into(), pixel_hash: pixel_hash(resized, &pixels), original: resized, resized, pixels }
}

struct Setup {
    dir: TempDir,
    views: Views,
}

impl Setup {
    /// [`DISTINCT`] images, the first of them twice, and a random checkpoint.
    fn new() -> Self {
        Self::of((0..DISTINCT).map(|i| image(i, &format!("image-{i}"))).chain([image(0, "again")]), SIDE)
    }

    fn of(images: impl IntoIterator<Item = Image>, longest_side: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_random(&dir.path().join("base"), &config(), 7).unwrap();
        std::fs::create_dir(dir.path().join("images")).unwrap();
        let mut writer = Writer::new(&dir.path().join("images"), longest_side);
        images.into_iter().for_each(|image| writer.push(image).unwrap());
        writer.finish().unwrap();
        Self { dir, views: Views::None }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn embed(&self, out: &str, dtype: Dtype, embed_batch: usize) -> Result<(), EmbedError> {
        self.embed_in(Precision::F32, out, dtype, embed_batch)
    }

    fn embed_in(
        &self,
        precision: Precision,
        out: &str,
        dtype: Dtype,
        embed_batch: usize,
    ) -> Result<(), EmbedError> {
        self.embed_with(&[], out, &EmbedParams { dtype, precision, ..Default::default() }, embed_batch)
            .map(drop)
    }

    /// Embeds under this setup's views with hints; what the stage said.
    fn embed_with(
        &self,
        hints: &[PathBuf],
        out: &str,
        params: &EmbedParams,
        embed_batch: usize,
    ) -> Result<String, EmbedError> {
        let out = self.path(out);
        std::fs::create_dir_all(&out).unwrap();
        let runtime = Runtime { embed_batch, ..Runtime::default() };
        let (images, base) = (self.path("images"), self.path("base"));
        let said = Said::default();
        let inputs = Inputs { images: &images, base: &base, hints };
        let params = EmbedParams { views: self.views, ..params.clone() };
        run(Device::Cpu, &inputs, &params, &runtime, &out, &Reporter::new(said.clone()))?;
        let said = said.0.lock().unwrap();
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    /// Replaces the number at the front of a tensor of the checkpoint.
    fn set_first_weight(&self, name: &str, value: f32) {
        let path = self.path("base").join(WEIGHTS_FILE);
        let mut tensors: Vec<NamedTensor> = TensorFile::open(&path).unwrap().read_all().unwrap();
        tensors.iter_mut().find(|t| t.name == name).unwrap().data[0] = value;
        write_safetensors(&path, tensors, None).unwrap();
    }
}

/// What a reporter writes, for the test to read.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())).collect()
}

#[test]
fn each_distinct_image_has_one_embedding_whatever_the_batch() {
    let setup = Setup::new();
    setup.embed("one", Dtype::F32, 1).unwrap();
    setup.embed("many", Dtype::F32, 7).unwrap();
    assert_eq!(files(&setup.path("one")), files(&setup.path("many")));

    let embeddings = Embeddings::open(&setup.path("one")).unwrap();
    assert_eq!((embeddings.len(), embeddings.shape()), (DISTINCT, [16, 8, 8]));
    let (mut first, mut second) = (Vec::new(), Vec::new());
    assert!(embeddings.append_to(&image(0, "").pixel_hash, View::Identity, &mut first));
    assert!(embeddings.append_to(&image(1, "").pixel_hash, View::Identity, &mut second));
    assert!(first != second && first.iter().chain(&second).all(|v| v.is_finite()));
    assert!(!embeddings.contains(&image(DISTINCT, "").pixel_hash, View::Identity));
}

#[test]
fn earlier_embeddings_spare_work_and_change_no_byte() {
    // Every third image was there before, in another order, and some that are gone.
    let few = (0..DISTINCT).rev().step_by(3).chain([90, 91]).map(|i| image(i, &format!("image-{i}")));
    let earlier = Setup::of(few, SIDE);
    let setup = Setup::new();
    for (dtype, other) in [(Dtype::F16, Dtype::F32), (Dtype::F32, Dtype::F16)] {
        let name = format!("{dtype:?}");
        earlier.embed(&name, dtype, 2).unwrap();
        setup.embed(&name, dtype, 2).unwrap();
        let without = files(&setup.path(&name));

        let hints = [earlier.path(&name)];
        let params = EmbedParams { dtype, ..EmbedParams::default() };
        let said = setup.embed_with(&hints, &format!("{name}-with"), &params, 2).unwrap();
        assert!(said.contains("12 of 35 copied from earlier embeddings"), "{said}");
        assert_eq!(files(&setup.path(&format!("{name}-with"))), without);

        // All of them were there before: nothing is encoded.
        let hints = [setup.path(&name)];
        let said = setup.embed_with(&hints, &format!("{name}-all"), &params, 2).unwrap();
        assert!(said.contains("35 of 35 copied"), "{said}");
        assert_eq!(files(&setup.path(&format!("{name}-all"))), without);

        // What does not fit, is not there or is damaged is left aside.
        earlier.embed(&format!("{name}-other"), other, 2).unwrap();
        earlier.embed(&format!("{name}-damaged"), dtype, 2).unwrap();
        std::fs::write(earlier.path(&format!("{name}-damaged")).join("embeddings-00000.arrow"), "cut")
            .unwrap();
        let hints = ["-other", "-damaged", "-nowhere"].map(|end| earlier.path(&format!("{name}{end}")));
        let said = setup.embed_with(&hints, &format!("{name}-left"), &params, 2).unwrap();
        assert!(!said.contains("copied"), "{said}");
        assert_eq!(files(&setup.path(&format!("{name}-left"))), without);
    }
}

/// An image as it is under a view.
fn turned(view: View, of: &Image) -> Image {
    let (resized, pixels) = (view.size(of.resized), view.planes(&of.pixels, of.resized));
    Image {
        id: of.id.clone(),
        pixel_hash: pixel_hash(resized, &pixels),
        original: view.size(of.original),
        resized,
        pixels,
    }
}

#[test]
fn the_embedding_of_a_view_is_that_of_the_turned_image() {
    let images: Vec<Image> = (0..3).map(|i| image(i, &format!("image-{i}"))).collect();
    let every = images.iter().flat_map(|image| View::ALL.map(|view| turned(view, image)));
    let plain = Setup::of(every, SIDE);
    plain.embed("out", Dtype::F32, 2).unwrap();
    let mut setup = Setup::of((0..3).map(|i| image(i, &format!("image-{i}"))), SIDE);
    for (views, each) in [(Views::Flips, &View::FLIPS[..]), (Views::All, &View::ALL[..])] {
        setup.views = views;
        let out = format!("{views:?}");
        setup.embed(&out, Dtype::F32, 2).unwrap();
        let (found, expected) =
            [setup.path(&out), plain.path("out")].map(|dir| Embeddings::open(&dir).unwrap()).into();
        assert_eq!(found.len(), 3 * each.len());
        for image in &images {
            let mut all = Vec::new();
            for &view in each {
                let (mut a, mut b) = (Vec::new(), Vec::new());
                assert!(found.append_to(&image.pixel_hash, view, &mut a));
                let hash = turned(view, image).pixel_hash;
                assert!(expected.append_to(&hash, View::Identity, &mut b));
                assert_eq!(a, b, "{} {view}", image.id);
                assert!(!all.contains(&a), "{} {view} has an embedding of its own", image.id);
                all.push(a);
            }
        }
    }
    assert!(
        !Embeddings::open(&setup.path("Flips")).unwrap().contains(&images[0].pixel_hash, View::Transpose)
    );
}

#[test]
fn views_are_copied_from_artifacts_with_others_and_kept_by_a_restart() {
    let mut setup = Setup::new();
    setup.embed("none", Dtype::F16, 2).unwrap();
    setup.views = Views::Flips;
    setup.embed("flips", Dtype::F16, 2).unwrap();
    setup.views = Views::All;
    setup.embed("all", Dtype::F16, 3).unwrap();
    let of = |name: &str| files(&setup.path(name));
    // The rows of the identity come first, so that the first shards are those without views.
    for shard in ["embeddings-00000.arrow", "embeddings-00001.arrow"] {
        assert_eq!(of("none")[shard], of("all")[shard]);
    }
    let from = |hint: &str, out: &str, views, setup: &mut Setup| {
        setup.views = views;
        setup.embed_with(&[setup.path(hint)], out, &EmbedParams::default(), 2).unwrap()
    };
    let said = from("none", "all-2", Views::All, &mut setup);
    assert!(said.contains("35 of 280 copied from earlier embeddings"), "{said}");
    assert!(said.contains("35 distinct of 36 images under 8 views each"), "{said}");
    let said = from("flips", "all-3", Views::All, &mut setup);
    assert!(said.contains("140 of 280 copied"), "{said}");
    // Fewer views than there were: nothing is encoded.
    let said = from("all", "flips-2", Views::Flips, &mut setup);
    assert!(said.contains("140 of 140 copied"), "{said}");
    let said = from("all", "none-2", Views::None, &mut setup);
    assert!(said.contains("35 of 35 copied"), "{said}");
    let of = |name: &str| files(&setup.path(name));
    assert!(of("all-2") == of("all") && of("all-3") == of("all"));
    assert!(of("flips-2") == of("flips") && of("none-2") == of("none"));

    // A kill among the views.
    let before = of("all");
    for lost in ["embeddings-00009.arrow", "embeddings-00017.arrow", "index.parquet", "embeddings.json"] {
        std::fs::remove_file(setup.path("all").join(lost)).unwrap();
    }
    setup.views = Views::All;
    let said = setup.embed_with(&[], "all", &EmbedParams::default(), 5).unwrap();
    assert!(said.contains("256 of 280 were embedded by an earlier start"), "{said}");
    assert!(files(&setup.path("all")) == before);
}

#[test]
fn half_precision_is_the_same_rounded() {
    let setup = Setup::of([image(4, "a")], SIDE);
    setup.embed("single", Dtype::F32, 2).unwrap();
    setup.embed("half", Dtype::F16, 2).unwrap();
    let [single, half] = ["single", "half"].map(|name| {
        let mut values = Vec::new();
        let embeddings = Embeddings::open(&setup.path(name)).unwrap();
        assert!(embeddings.append_to(&image(4, "").pixel_hash, View::Identity, &mut values));
        values
    });
    assert!(single.iter().zip(&half).all(|(s, h)| (s - h).abs() <= s.abs() / 2048.0 + 1e-7));
    assert_ne!(single, half);
}

#[test]
fn a_restart_keeps_finished_shards_and_ends_with_the_same_bytes() {
    let setup = Setup::new();
    setup.embed("out", Dtype::F16, 2).unwrap();
    let out = setup.path("out");
    let before = files(&out);
    let identity = |shard: &str| {
        let metadata = std::fs::metadata(out.join(shard)).unwrap();
        (metadata.ino(), metadata.modified().unwrap())
    };
    let kept = identity("embeddings-00000.arrow");

    // What a kill during the second shard leaves.
    for lost in ["embeddings-00001.arrow", "embeddings-00002.arrow", "index.parquet", "embeddings.json"] {
        std::fs::remove_file(out.join(lost)).unwrap();
    }
    std::fs::write(out.join("embeddings-00001.arrow.tmp"), b"cut off").unwrap();

    setup.embed("out", Dtype::F16, 3).unwrap();
    assert_eq!(files(&out), before);
    assert_eq!(identity("embeddings-00000.arrow"), kept);
}

#[test]
fn a_shard_that_was_damaged_is_made_again() {
    let setup = Setup::of([image(0, "a")], SIDE);
    setup.embed("out", Dtype::F16, 2).unwrap();
    let before = files(&setup.path("out"));
    std::fs::write(setup.path("out").join("embeddings-00000.arrow"), b"not a shard").unwrap();
    setup.embed("out", Dtype::F16, 2).unwrap();
    assert_eq!(files(&setup.path("out")), before);
}

#[test]
fn images_of_another_model_are_refused() {
    let error = Setup::of([image(0, "a")], 128).embed("out", Dtype::F16, 2).unwrap_err();
    assert!(matches!(error, EmbedError::Side { found: 128, expected: 64 }), "{error}");
    let error = Setup::of([], SIDE).embed("out", Dtype::F16, 2).unwrap_err();
    assert!(matches!(error, EmbedError::NoImages), "{error}");
}

#[test]
fn embeddings_that_cannot_be_stored_stop_with_the_images_name() {
    let setup = Setup::of([image(0, "polyp-3")], SIDE);
    setup.set_first_weight("vision_encoder.neck.layer_norm2.bias", 1e6);
    let error = setup.embed("half", Dtype::F16, 2).unwrap_err();
    assert!(matches!(&error, EmbedError::BeyondHalf { id, .. } if id == "polyp-3"), "{error}");
    setup.embed("single", Dtype::F32, 2).unwrap();
    // Finite weights whose sums are not.
    setup.set_first_weight("vision_encoder.layers.0.mlp.lin1.bias", f32::MAX);
    setup.set_first_weight("vision_encoder.layers.0.mlp.lin2.weight", f32::MAX);
    let error = setup.embed("single-inf", Dtype::F32, 2).unwrap_err();
    assert!(matches!(&error, EmbedError::NotFinite { id, .. } if id == "polyp-3"), "{error}");
}

#[test]
fn a_weight_that_is_no_number_is_named_before_anything_is_encoded() {
    let setup = Setup::of([image(0, "polyp-3")], SIDE);
    setup.set_first_weight("vision_encoder.neck.layer_norm2.bias", f32::NAN);
    let error = setup.embed("nan", Dtype::F32, 2).unwrap_err();
    assert!(matches!(error, EmbedError::Encode(_)), "{error}");
    let (mut said, mut source) = (error.to_string(), std::error::Error::source(&error));
    while let Some(error) = source {
        said += &format!(": {error}");
        source = error.source();
    }
    assert!(said.contains("tensor `vision_encoder.neck.layer_norm2.bias` holds NaN at [0]"), "{said}");
}

#[test]
fn narrower_precisions_move_embeddings_by_their_rounding_and_by_nothing_else() {
    let setup = Setup::new();
    let embedded = |precision: Precision, batch: usize| {
        let out = format!("{precision}-{batch}");
        setup.embed_in(precision, &out, Dtype::F32, batch).unwrap();
        let (embeddings, mut values) = (Embeddings::open(&setup.path(&out)).unwrap(), Vec::new());
        embeddings.append_to(&image(2, "").pixel_hash, View::Identity, &mut values);
        assert!(!values.is_empty());
        (files(&setup.path(&out)), values)
    };
    let (_, single) = embedded(Precision::F32, 2);
    let squares = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>();
    for (precision, unit) in [(Precision::Bf16, 2f64.powi(-8)), (Precision::F16, 2f64.powi(-11))] {
        let (written, values) = embedded(precision, 1);
        assert!(written == embedded(precision, 3).0, "{precision}: the batch changes a bit");
        let apart = squares(&mut values.iter().zip(&single).map(|(a, b)| a - b));
        let off = (apart / squares(&mut single.iter().copied())).sqrt();
        assert!((0.1 * unit..10.0 * unit).contains(&off), "{precision}: {off:.1e}");
    }
}

#[test]
fn what_half_precision_overflows_on_is_named_with_the_precision() {
    let setup = Setup::new();
    setup.set_first_weight("vision_encoder.layers.0.mlp.lin1.bias", 1e6);
    setup.embed_in(Precision::Bf16, "bf16", Dtype::F32, 2).unwrap();
    let error = setup.embed_in(Precision::F16, "f16", Dtype::F32, 2).unwrap_err();
    assert!(matches!(&error, EmbedError::NotFinite { precision: Precision::F16, .. }), "{error}");
}

/// Set for the copy of this test program that embeds with the number of threads it is told.
const CHILD: &str = "RESECT_TEST_EMBED_INTO";

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let dir = Path::new(&dir);
        let (images, base, out) = (dir.join("images"), dir.join("base"), dir.join("child"));
        std::fs::create_dir(&out).unwrap();
        let params = EmbedParams { dtype: Dtype::F32, ..Default::default() };
        let inputs = Inputs { images: &images, base: &base, hints: &[] };
        return run(Device::Cpu, &inputs, &params, &Runtime::default(), &out, &Reporter::silent()).unwrap();
    }
    // Large enough for the backend to divide the work: the smallest model that is offered.
    let config = SamConfig::named("tiny").unwrap();
    let side = config.image_size() as u32;
    let setup = Setup::of((0..2).map(|i| image_of(side, i, &format!("image-{i}"))), side);
    write_random(&setup.path("base"), &config, 7).unwrap();
    let outputs = ["1", "2", "5"].map(|threads| {
        // A thread pool is made once in a process, so each number needs one of its own.
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_number_of_threads_does_not_change_a_bit"])
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
    assert_eq!(outputs[0].len(), 3);
    assert!(outputs.iter().all(|output| *output == outputs[0]));
}

#[test]
fn another_device_is_compared_with_the_cpu_and_gives_what_it_gives() {
    let setup = Setup::of((0..3).map(|i| image(i, &format!("image-{i}"))), SIDE);
    setup.embed("out", Dtype::F16, 2).unwrap();
    let (images, base, out) = (setup.path("images"), setup.path("base"), setup.path("compared"));
    let inputs = Inputs { images: &images, base: &base, hints: &[] };
    let (params, runtime) = (EmbedParams::default(), Runtime::default());
    std::fs::create_dir(&out).unwrap();
    let said = Said::default();
    let report = Reporter::new(said.clone());
    run_with::<resect_layers::Cpu>(&Default::default(), true, &inputs, &params, &runtime, &out, &report)
        .unwrap();
    let said = String::from_utf8_lossy(&said.0.lock().unwrap()).into_owned();
    assert!(said.contains("agrees with the CPU on the first image to 0.0e0"), "{said}");
    assert_eq!(files(&out), files(&setup.path("out")));
}

#[cfg(not(feature = "cuda"))]
#[test]
fn without_a_backend_for_gpus_nothing_starts() {
    let setup = Setup::of([image(0, "a")], SIDE);
    let (images, base, out) = (setup.path("images"), setup.path("base"), setup.path("out"));
    let inputs = Inputs { images: &images, base: &base, hints: &[] };
    let (params, runtime, report) = (EmbedParams::default(), Runtime::default(), Reporter::silent());
    let error = run(Device::Cuda(0), &inputs, &params, &runtime, &out, &report).unwrap_err();
    assert!(matches!(error, EmbedError::Device(DeviceError::NotBuilt { device: Device::Cuda(0) })));
    assert!(error.to_string().contains("--features resect-embed/cuda"), "{error}");
    assert!(!out.exists());
}
