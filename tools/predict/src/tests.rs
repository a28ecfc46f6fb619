use super::*;
use ::image::{Rgb, RgbImage};
use resect_checkpoint::{SamConfig, TensorFile, write_random};
use resect_prompts::job::ImageJob;
use resect_prompts::{PointPrompt, Prompt, WrittenPrompt};
use std::path::Path;

/// A job on a picture, with prompts of two forms, in a folder that has the model.
fn job(dir: &Path, out: &str) -> Job {
    let picture =
        RgbImage::from_fn(120, 90, |x, y| Rgb([(x * y % 251) as u8, (2 * x) as u8, (y * y % 256) as u8]));
    let path = dir.join("polyp.png");
    picture.save(&path).unwrap();
    let prompt = |bounds: &str, points: &[&str]| {
        let points = points.iter().map(|point| point.parse::<PointPrompt>().unwrap()).collect();
        let prompt = Prompt { bounds: Some(bounds.parse().unwrap()), points, mask: None };
        WrittenPrompt { prompt, from: "a test".into() }
    };
    let prompts = vec![prompt("10,10,60,50", &[]), prompt("40,30,110,80", &["60,50,1"])];
    let mut job = Job::new(dir.join("base"), dir.join(out));
    job.images = vec![ImageJob { path, prompts }];
    job.logits = true;
    job
}

#[test]
fn another_device_is_compared_with_the_cpu_and_gives_what_it_gives() {
    let dir = tempfile::tempdir().unwrap();
    write_random(&dir.path().join("base"), &SamConfig::named("tiny").unwrap(), 5).unwrap();
    let [default, compared] = ["default", "compared"].map(|out| job(dir.path(), out));
    assert!(run(&default, |line| assert!(!matches!(line, Line::Note(_)), "{line:?}"), || false).unwrap());
    let mut notes = Vec::new();
    let say = |line: Line| {
        if let Line::Note(note) = line {
            notes.push(note);
        }
    };
    assert!(run_with::<Cpu>(&Default::default(), true, &compared, say, || false).unwrap());

    let [note] = notes.try_into().unwrap();
    let differences = note.split(" to ").skip(1).map(|part| part.split(',').next().unwrap().parse().unwrap());
    let differences: Vec<f32> = differences.collect();
    assert!(differences.len() == 2 && differences.iter().all(|difference| *difference < 1e-4), "{note}");
    let logits = [&default, &compared].map(|job| {
        let file = TensorFile::open(&job.out.join("polyp.safetensors")).unwrap();
        file.tensor("logits").unwrap().data
    });
    assert_eq!(logits[1], logits[0]);
    for file in ["polyp.png", "polyp-1.png", "overlays/polyp.png", "coco.json", "coco-polygons.json"] {
        assert!(compared.out.join(file).is_file(), "{file}");
    }
}

#[test]
fn the_decoder_takes_any_number_of_prompts_at_once() {
    let dir = tempfile::tempdir().unwrap();
    write_random(&dir.path().join("base"), &SamConfig::named("tiny").unwrap(), 5).unwrap();
    let logits = [0, 1, 8].map(|decode_batch| {
        let job = Job { decode_batch, ..job(dir.path(), &format!("by-{decode_batch}")) };
        run(&job, |_| {}, || false).unwrap();
        std::fs::read(job.out.join("polyp.safetensors")).unwrap()
    });
    assert!(logits.iter().all(|of| *of == logits[0]));
}

#[cfg(not(feature = "cuda"))]
#[test]
fn without_a_backend_for_gpus_nothing_starts() {
    let dir = tempfile::tempdir().unwrap();
    let job = Job { device: Device::Cuda(1), ..job(dir.path(), "out") };
    let error = run(&job, |_| {}, || false).unwrap_err();
    let PredictError::Device(error) = error else { panic!("{error}") };
    assert!(error.to_string().contains("resect-predict/cuda"), "{error}");
    assert!(!job.out.exists());
}
