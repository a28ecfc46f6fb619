//! What a phantom dataset promises: exact masks, stable bytes, and outlines that only the pixels give away.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use image::GrayImage;
use rayon::prelude::*;
use resect_phantom::{PhantomError, PhantomParams, Scene, sample_id, scene, write_dataset};

fn scenes(count: usize) -> Vec<Scene> {
    // Smaller than the default, because tests run without optimisation; all sizes scale alike.
    let params = PhantomParams { min_width: 144, max_width: 208, ..Default::default() };
    (0..count).into_par_iter().map(|index| scene(&params, index)).collect()
}

fn is_growth(mask: &GrayImage, x: u32, y: u32) -> bool {
    mask.get_pixel(x, y).0[0] == 255
}

/// The tight box of the whole mask: left, top, right, bottom, all inclusive.
fn tight_box(mask: &GrayImage) -> [u32; 4] {
    let mut found = [u32::MAX, u32::MAX, 0, 0];
    for (x, y, value) in mask.enumerate_pixels() {
        if value.0[0] == 255 {
            found = [found[0].min(x), found[1].min(y), found[2].max(x), found[3].max(y)];
        }
    }
    assert_ne!(found[0], u32::MAX, "an empty mask");
    found
}

/// One pixel of the box: is it growth, is it in the inscribed ellipse, and its luminance.
struct Pixel {
    growth: bool,
    ellipse: bool,
    luminance: u8,
}

fn box_pixels(scene: &Scene) -> Vec<Pixel> {
    let [left, top, right, bottom] = tight_box(&scene.mask);
    let axis =
        |v: u32, low: u32, high: u32| (f64::from(v - low) + 0.5) / (f64::from(high - low) + 1.0) * 2.0 - 1.0;
    let mut pixels = Vec::new();
    for y in top..=bottom {
        for x in left..=right {
            let (u, v) = (axis(x, left, right), axis(y, top, bottom));
            let [r, g, b] = scene.image.get_pixel(x, y).0.map(f64::from);
            pixels.push(Pixel {
                growth: is_growth(&scene.mask, x, y),
                ellipse: u * u + v * v <= 1.0,
                luminance: (0.299 * r + 0.587 * g + 0.114 * b) as u8,
            });
        }
    }
    pixels
}

fn dice(pixels: &[Pixel], guess: impl Fn(&Pixel) -> bool) -> f64 {
    let both = pixels.iter().filter(|p| p.growth && guess(p)).count() as f64;
    let sum = pixels.iter().map(|p| usize::from(p.growth) + usize::from(guess(p))).sum::<usize>() as f64;
    2.0 * both / sum
}

/// Otsu's threshold: the luminance up to which the lower class goes.
fn otsu(pixels: &[Pixel]) -> u8 {
    let mut histogram = [0.0; 256];
    for pixel in pixels {
        histogram[usize::from(pixel.luminance)] += 1.0 / pixels.len() as f64;
    }
    let mean: f64 = histogram.iter().enumerate().map(|(level, share)| level as f64 * share).sum();
    let (mut share, mut sum, mut best) = (0.0, 0.0, (0, 0.0));
    for (level, count) in histogram.iter().enumerate() {
        share += count;
        sum += level as f64 * count;
        let between = (mean * share - sum) * (mean * share - sum) / (share * (1.0 - share)).max(1e-9);
        if between > best.1 {
            best = (level as u8, between);
        }
    }
    best.0
}

/// Otsu's threshold inside the box; growth is the class that the ellipse holds more often than the corners.
fn otsu_dice(pixels: &[Pixel]) -> f64 {
    let threshold = otsu(pixels);
    let bright_share = |ellipse| {
        let part: Vec<_> = pixels.iter().filter(|p| p.ellipse == ellipse).collect();
        part.iter().filter(|p| p.luminance > threshold).count() as f64 / part.len().max(1) as f64
    };
    let bright_is_growth = bright_share(true) >= bright_share(false);
    dice(pixels, |p| (p.luminance > threshold) == bright_is_growth)
}

/// Sizes of connected parts of the mask, in pixels.
fn parts(mask: &GrayImage) -> Vec<usize> {
    let (width, height) = mask.dimensions();
    let mut left = mask.clone();
    let mut sizes = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let mut queue = vec![(x, y)];
            let mut size = 0;
            while let Some((x, y)) = queue.pop() {
                if !is_growth(&left, x, y) {
                    continue;
                }
                left.get_pixel_mut(x, y).0[0] = 0;
                size += 1;
                queue.extend([(x.saturating_sub(1), y), (x, y.saturating_sub(1))]);
                queue.extend([((x + 1).min(width - 1), y), (x, (y + 1).min(height - 1))]);
            }
            if size > 0 {
                sizes.push(size);
            }
        }
    }
    sizes
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

#[test]
fn neither_the_box_nor_an_ellipse_nor_a_threshold_finds_the_growths() {
    let pixels: Vec<_> = scenes(80).iter().map(box_pixels).collect();
    for (name, score) in [
        ("box", mean(pixels.iter().map(|p| dice(p, |_| true)))),
        ("ellipse", mean(pixels.iter().map(|p| dice(p, |p| p.ellipse)))),
        ("threshold", mean(pixels.iter().map(|p| otsu_dice(p)))),
    ] {
        println!("{name}: mean Dice {score:.3}");
        assert!(score < 0.8, "{name}: mean Dice {score:.3}");
    }
}

#[test]
fn growths_differ_from_the_mucosa_by_texture_and_hardly_by_brightness() {
    let (mut brighter, mut rougher) = (0, 0);
    let scenes = scenes(40);
    for scene in &scenes {
        let pixels = box_pixels(scene);
        // Mean luminance and mean step to the right neighbour, inside and outside of the growth.
        let [left, _, right, _] = tight_box(&scene.mask);
        let width = (right - left + 1) as usize;
        let mut sums = [[0.0, 0.0, 1e-9]; 2];
        for pair in pixels.chunks(width).flat_map(|row| row.windows(2)) {
            if pair[0].growth == pair[1].growth {
                let sum = &mut sums[usize::from(pair[0].growth)];
                sum[0] += f64::from(pair[0].luminance);
                sum[1] += f64::from(pair[0].luminance.abs_diff(pair[1].luminance));
                sum[2] += 1.0;
            }
        }
        brighter += usize::from(sums[1][0] / sums[1][2] > sums[0][0] / sums[0][2]);
        rougher += usize::from(sums[1][1] / sums[1][2] > sums[0][1] / sums[0][2]);
    }
    assert!((8..=32).contains(&brighter), "brighter than the mucosa in {brighter} of 40");
    assert!(rougher >= 30, "rougher than the mucosa in {rougher} of 40");
}

#[test]
fn masks_are_exact_and_sizes_and_areas_vary() {
    let scenes = scenes(120);
    let mut areas = Vec::new();
    let (mut several, mut square) = (0, 0);
    let mut sizes = std::collections::BTreeSet::new();
    for scene in &scenes {
        assert_eq!(scene.image.dimensions(), scene.mask.dimensions());
        assert!(scene.mask.as_raw().iter().all(|value| [0, 255].contains(value)));
        let parts = parts(&scene.mask);
        let (width, height) = scene.mask.dimensions();
        areas.push(parts.iter().sum::<usize>() as f64 / f64::from(width * height));
        several += usize::from(parts.len() > 1);
        square += usize::from(width == height);
        sizes.insert((width, height));
    }
    areas.sort_by(f64::total_cmp);
    assert!(areas[0] > 0.001 && areas[0] < 0.03, "smallest area {}", areas[0]);
    assert!((0.06..0.16).contains(&areas[60]), "median area {}", areas[60]);
    assert!(areas[119] > 0.28 && areas[119] < 0.6, "largest area {}", areas[119]);
    assert!((8..=26).contains(&several), "{several} of 120 have several growths");
    assert!(sizes.len() > 80 && square < 10, "{} sizes, {square} square", sizes.len());
}

/// Every file under `folder`, by its path within it.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for part in ["images", "masks"] {
        for entry in fs::read_dir(folder.join(part)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            found.insert(format!("{part}/{name}"), fs::read(path).unwrap());
        }
    }
    found.insert("splits.csv".into(), fs::read(folder.join("splits.csv")).unwrap());
    found
}

#[test]
fn the_bytes_do_not_depend_on_threads() {
    let params = PhantomParams { images: 5, min_width: 144, max_width: 208, ..Default::default() };
    let written: Vec<_> = [1, 2]
        .map(|threads| {
            let folder = tempfile::tempdir().unwrap();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| write_dataset(&params, folder.path())).unwrap();
            files(folder.path())
        })
        .into();
    assert!(written[0] == written[1]);
    assert_eq!(written[0].len(), 11);
    assert_eq!(
        String::from_utf8_lossy(&written[0]["splits.csv"]),
        "id,split\nphantom-0001,train\nphantom-0002,train\nphantom-0003,train\nphantom-0004,test\nphantom-0005,train\n"
    );
    let image = image::load_from_memory(&written[0]["images/phantom-0002.png"]).unwrap();
    assert_eq!(image.to_rgb8(), scene(&params, 1).image);
    let mask = image::load_from_memory(&written[0]["masks/phantom-0002.png"]).unwrap();
    assert_eq!(mask, image::DynamicImage::ImageLuma8(scene(&params, 1).mask));
}

#[test]
fn a_scene_depends_on_seed_and_index_only() {
    let base = PhantomParams { min_width: 144, max_width: 208, ..Default::default() };
    let first = scene(&base, 3);
    assert_eq!(first, scene(&PhantomParams { images: 1, ..base.clone() }, 3));
    assert_ne!(first, scene(&base, 4));
    assert_ne!(first, scene(&PhantomParams { seed: 1, ..base }, 3));
}

#[test]
fn bad_parameters_are_errors_and_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let params = PhantomParams { images: 2, min_width: 200, max_width: 100, ..Default::default() };
    let error = write_dataset(&params, folder.path()).unwrap_err();
    assert!(matches!(&error, PhantomError::Param(param) if param.field == "max_width"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

    let wild = PhantomParams {
        min_width: 0,
        max_width: 0,
        several_share: f64::NAN,
        test_share: f64::INFINITY,
        ..Default::default()
    };
    assert!(scene(&wild, usize::MAX).image.width() >= 96);
    assert_eq!(sample_id(11), "phantom-0012");
}
