//! Small datasets, and the stage run on them.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage};
use resect_geometry::{Mask, PixelBox};
use resect_images::Images;
use resect_ingest::{Audit, IngestError};
use resect_ingest_params::{IngestLimits, IngestParams, Layout, MaskParams, SplitBy, SplitParams};
use resect_params::Runtime;
use resect_stage::Reporter;
use resect_target_records::{Rejected, Target};
use resect_targets::Targets;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A folder dataset in the making.
pub struct Folder {
    pub dir: TempDir,
}

impl Folder {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("images")).unwrap();
        fs::create_dir(dir.path().join("masks")).unwrap();
        Self { dir }
    }

    /// As many good samples as asked for, named `s00` and so on, all different.
    pub fn with_samples(count: u32) -> Self {
        let folder = Self::new();
        for i in 0..count {
            folder.sample(&format!("s{i:02}"), i);
        }
        folder
    }

    pub fn sample(&self, id: &str, seed: u32) {
        self.file(&format!("images/{id}.png"), &picture(40 + seed % 7, 30 + seed % 5, seed));
        self.file(&format!("masks/{id}.png"), &square_mask(40 + seed % 7, 30 + seed % 5));
    }

    pub fn file(&self, path: &str, bytes: &[u8]) {
        fs::write(self.dir.path().join(path), bytes).unwrap();
    }

    pub fn remove(&self, path: &str) {
        fs::remove_file(self.dir.path().join(path)).unwrap();
    }

    pub fn run(&self, params: &IngestParams) -> Result<Output, IngestError> {
        run(self.dir.path(), params)
    }
}

/// What the stage wrote.
pub struct Output {
    pub dir: TempDir,
    pub images: Images,
    pub targets: Targets,
    pub rejected: Vec<Rejected>,
    pub audit: Audit,
}

impl Output {
    pub fn ids(&self) -> Vec<&str> {
        self.targets.rows().iter().map(|row| row.id.as_str()).collect()
    }

    pub fn image_ids(&self) -> Vec<&str> {
        self.images.iter().map(|image| image.id).collect()
    }

    pub fn target(&self, id: &str) -> &Target {
        self.targets.rows().iter().find(|row| row.id == id).unwrap()
    }

    pub fn mask(&self, id: &str) -> Mask {
        self.targets.mask(self.targets.rows().iter().position(|row| row.id == id).unwrap())
    }

    /// The one rejected sample: name and reason.
    pub fn only_reject(&self) -> (&str, &str) {
        assert_eq!(self.rejected.len(), 1, "{:?}", self.rejected);
        (&self.rejected[0].id, &self.rejected[0].reason)
    }

    /// Path and hash of every file of both artifacts.
    pub fn hashes(&self) -> Vec<(String, String)> {
        ["images", "targets"].into_iter().flat_map(|kind| self.hashes_of(kind)).collect()
    }

    pub fn hashes_of(&self, kind: &str) -> Vec<(String, String)> {
        let mut files: Vec<_> =
            fs::read_dir(self.dir.path().join(kind)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let hash = |path: &Path| blake3::hash(&fs::read(path).unwrap()).to_hex().to_string();
        files.iter().map(|path| (format!("{kind}/{}", name(path)), hash(path))).collect()
    }
}

pub fn run(dataset: &Path, params: &IngestParams) -> Result<Output, IngestError> {
    run_on(dataset, params, 0)
}

pub fn run_on(dataset: &Path, params: &IngestParams, threads: usize) -> Result<Output, IngestError> {
    let dir = tempfile::tempdir().unwrap();
    let (images, targets) = (dir.path().join("images"), dir.path().join("targets"));
    fs::create_dir(&images).unwrap();
    fs::create_dir(&targets).unwrap();
    let runtime = Runtime { threads, ..Runtime::default() };
    resect_ingest::run(dataset, params, &runtime, &images, &targets, &Reporter::silent())?;
    Ok(Output {
        images: Images::open(&images).unwrap(),
        rejected: resect_data::read_json(&targets.join("rejected.json")).unwrap(),
        audit: resect_data::read_json(&targets.join("audit.json")).unwrap(),
        targets: Targets::open(&targets).unwrap(),
        dir,
    })
}

/// The error of a run that must fail.
pub fn error(result: Result<Output, IngestError>) -> String {
    match result {
        Err(error) => error.to_string(),
        Ok(output) => panic!("expected an error, got targets {:?}", output.ids()),
    }
}

/// Folder layout, random split, no validation part, nothing removed, every reject accepted.
pub fn params() -> IngestParams {
    IngestParams {
        layout: Layout::Folder,
        mask: MaskParams { speck_pixels: 0, ..MaskParams::default() },
        split: SplitParams { by: SplitBy::Random, validation_share: 0.0, ..SplitParams::default() },
        image_size: 64,
        low_res_size: 16,
        ingest: IngestLimits { max_rejected: 1.0, ..IngestLimits::default() },
    }
}

pub fn png(pixels: &[u8], width: u32, height: u32, colour: ExtendedColorType) -> Vec<u8> {
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes).write_image(pixels, width, height, colour).unwrap();
    bytes
}

/// A picture that differs with its seed, to the eye too.
pub fn scene(width: u32, height: u32, seed: u32) -> RgbImage {
    let mut rng = resect_seed::stream("test scene", 0, &[&seed.to_le_bytes()]);
    let cells: Vec<u8> = (0..81 * 3).map(|_| resect_seed::below(&mut rng, 256) as u8).collect();
    RgbImage::from_fn(width, height, |x, y| {
        let cell = (y * 9 / height * 9 + x * 9 / width) as usize;
        Rgb([cells[cell * 3], cells[cell * 3 + 1], cells[cell * 3 + 2]])
    })
}

pub fn picture(width: u32, height: u32, seed: u32) -> Vec<u8> {
    png(&scene(width, height, seed), width, height, ExtendedColorType::Rgb8)
}

/// A grey PNG whose pixel (x, y) is `f(x, y)`.
pub fn grey(width: u32, height: u32, f: impl Fn(u32, u32) -> u8) -> Vec<u8> {
    let pixels: Vec<u8> =
        (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| f(x, y)).collect();
    png(&pixels, width, height, ExtendedColorType::L8)
}

/// Where [`square_mask`] is foreground.
pub const SQUARE: PixelBox = PixelBox { x0: 5, y0: 6, x1: 14, y1: 20 };

pub fn in_square(x: u32, y: u32) -> bool {
    SQUARE.contains(x, y)
}

pub fn square_mask(width: u32, height: u32) -> Vec<u8> {
    grey(width, height, |x, y| if in_square(x, y) { 255 } else { 0 })
}
