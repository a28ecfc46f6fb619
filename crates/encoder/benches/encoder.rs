//! How long the image encoder takes for an image, and how much memory, on random weights.
//!
//! ```text
//! cargo bench --workspace --bench encoder -- [--bf16 | --f16] [--runs N] vit-b
//! RAYON_NUM_THREADS=1 cargo bench ...                                             # on one thread
//! ```
//!
//! `benches/image_encoder.py` is the same in PyTorch; `benches/compare.py` runs both in turn.

use burn::tensor::{Tensor, TensorData};
use resect_checkpoint::{Checkpoint, SamConfig, write_random};
use resect_encoder::ImageEncoder;
use resect_layers::{Cpu, Layers};
use resect_numeric::Precision;
use std::error::Error;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut precision, mut runs, mut names) = (Precision::F32, 3, Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bf16" => precision = Precision::Bf16,
            "--f16" => precision = Precision::F16,
            "--runs" => runs = args.next().ok_or("--runs wants a number")?.parse()?,
            // What cargo hands to every benchmark.
            "--bench" => {}
            name => names.push(name.to_owned()),
        }
    }
    if names.is_empty() {
        names.push("vit-b".into());
    }
    for name in names {
        let config = SamConfig::named(&name).ok_or("no model of this name")?;
        let dir = tempfile::tempdir()?;
        write_random(&dir.path().join("model"), &config, 0)?;
        let checkpoint = Checkpoint::open(&dir.path().join("model"))?;
        let side = config.image_size();
        let device = Default::default();
        let pixels: Vec<f32> = (0..3 * side * side).map(|i| ((i * i % 1009) as f32 / 504.5) - 1.0).collect();
        let encoder = ImageEncoder::<Cpu>::load(&checkpoint, &device)?.with_precision(precision);
        drop(checkpoint);
        let pixels = Tensor::from_data(TensorData::new(pixels, [1, 3, side, side]), &device);
        let mut times = times(runs, || Cpu::within(|| drop(encoder.forward(pixels.clone()))))?;
        times.sort_by(f64::total_cmp);
        println!(
            "{name} median {:.1} ms an image, fastest {:.1} ms, peak memory {} MB",
            times[times.len() / 2],
            times[0],
            peak_memory()?
        );
    }
    Ok(())
}

/// Milliseconds of each run but the first, which fills caches. Peak memory counts from here on.
fn times(runs: usize, mut run: impl FnMut()) -> Result<Vec<f64>, Box<dyn Error>> {
    std::fs::write("/proc/self/clear_refs", "5")?;
    run();
    let times = (0..runs)
        .map(|_| {
            let began = Instant::now();
            run();
            began.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    Ok(times)
}

/// The most memory this process has had, as Linux counts it.
fn peak_memory() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no peak memory")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}
