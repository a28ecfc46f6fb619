//! Weights made from a seed, for demonstrations and tests without a download.
//!
//! Every tensor has its own generator, keyed by the seed and the tensor's name, and its numbers come from additions,
//! multiplications and square roots alone, which IEEE 754 rounds alike on every machine. So neither the order of the tensors nor
//! the machine's math library changes a bit.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::checkpoint::{CONFIG_FILE, PREPROCESSOR_FILE, WEIGHTS_FILE};
use crate::config::SamConfig;
use crate::error::Error;
use crate::file::{Lazy, NamedTensor, write_views};
use crate::table::{Init, TensorSpec, tensors};

/// Makes the random weights of a valid configuration, one tensor at a time.
///
/// The encoder answers to contrast at all scales of a patch, keeps the variance of what passes through it and adds little in its
/// residual branches, so that its embedding still shows the image and a decoder can learn from it. The decoder starts as PyTorch
/// would start it.
pub fn random(config: &SamConfig, seed: u64) -> impl Iterator<Item = NamedTensor> + use<> {
    tensors(config).into_iter().map(move |spec| {
        let data = numbers(&spec, seed);
        NamedTensor { name: spec.name, shape: spec.shape, data }
    })
}

/// Writes a whole checkpoint of random weights into a folder, which is created if need be.
///
/// # Errors
/// An impossible configuration, or a failing disk.
pub fn write_random(dir: &Path, config: &SamConfig, seed: u64) -> Result<(), Error> {
    config.validate().map_err(|source| Error::Impossible { path: dir.join(CONFIG_FILE), source })?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { action: "write", path, source }
    };
    fs::create_dir_all(dir).map_err(failed(dir))?;
    for (name, text) in [(CONFIG_FILE, config.to_json()), (PREPROCESSOR_FILE, config.to_preprocessor_json())]
    {
        let path = dir.join(name);
        fs::write(&path, text).map_err(failed(&path))?;
    }
    let specs = tensors(config);
    let views = specs.iter().map(|spec| {
        let view = Lazy { shape: &spec.shape, data: move || Cow::Owned(numbers(spec, seed)) };
        (spec.name.clone(), view)
    });
    // `transformers` asks for this entry before it reads a file.
    write_views(&dir.join(WEIGHTS_FILE), views.collect(), Some(("format", "pt")))
}

fn numbers(spec: &TensorSpec, seed: u64) -> Vec<f32> {
    let mut rng = generator(seed, &spec.name);
    let draws = 0..spec.elements();
    match spec.init {
        Init::Constant(value) => vec![value; spec.elements()],
        // Uniform on [-1, 1] has a standard deviation of 1 / sqrt(3).
        Init::Uniform { std } => draws.map(|_| (std * 3f64.sqrt() * unit(&mut rng)) as f32).collect(),
        // The sum of four has 2 / sqrt(3), and is close to normal within 3.4 standard deviations.
        Init::Contrast { scale, brightness } => {
            let side = spec.shape[3];
            let filters = spec.elements() / (side * side);
            (0..filters).flat_map(|_| contrast_filter(side, scale, brightness, &mut rng)).collect()
        }
        Init::Bell { std } => {
            let scale = std * 3f64.sqrt() / 2.0;
            draws.map(|_| (scale * (0..4).map(|_| unit(&mut rng)).sum::<f64>()) as f32).collect()
        }
    }
}

/// One filter of [`Init::Contrast`], row by row.
fn contrast_filter(side: usize, scale: f64, brightness: f64, rng: &mut ChaCha8Rng) -> Vec<f32> {
    // The noise lies on the edges between pixels and is zero around the patch, so that each derivative sums to zero.
    let mut noise = || -> Vec<f64> { (0..side * side).map(|_| 3f64.sqrt() * unit(rng)).collect() };
    let (across, down, plain) = (noise(), noise(), noise());
    let left = |y: usize, x: usize| if x.is_multiple_of(side) { 0.0 } else { across[y * side + x] };
    let above = |y: usize, x: usize| if y.is_multiple_of(side) { 0.0 } else { down[y * side + x] };
    let pixels = (0..side).flat_map(|y| (0..side).map(move |x| (y, x)));
    pixels
        .map(|(y, x)| {
            let derivatives = left(y, x + 1) - left(y, x) + above(y + 1, x) - above(y, x);
            (scale * (derivatives + brightness * plain[y * side + x])) as f32
        })
        .collect()
}

fn generator(seed: u64, name: &str) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new_derive_key("resect checkpoint random weights v1");
    hasher.update(&seed.to_le_bytes());
    hasher.update(name.as_bytes());
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}

/// Uniform on [-1, 1], exact in f64 and symmetric about zero.
fn unit(rng: &mut ChaCha8Rng) -> f64 {
    (f64::from(rng.next_u32()) + 0.5) / f64::from(1u32 << 31) - 1.0
}

#[cfg(test)]
mod tests;
