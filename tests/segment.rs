//! One inference path: what `evaluate` scores is what `predict` writes, bit for bit.

use image::{GrayImage, Luma, Rgb, RgbImage};
use resect_evaluation_records::{MaskRow, Method, PromptKind, SweepRow};
use resect_geometry::{Mask, Size};
use resect_metrics::overlap;
use resect_tables::table;
use resect_tests::{Project, Run, stderr, workspace};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Width and height of the images that are reported.
const ODD: [(u32, u32); 5] = [(97, 53), (31, 200), (256, 255), (1, 40), (129, 2)];

/// A folder dataset: some images to train on, and one of each odd size to report.
struct Dataset {
    dir: tempfile::TempDir,
}

impl Dataset {
    fn new() -> Self {
        let dataset = Self { dir: tempfile::tempdir().unwrap() };
        let mut splits = String::from("id,split\n");
        for (index, (width, height)) in [(90, 70), (80, 96), (64, 64), (75, 100)].into_iter().enumerate() {
            dataset.add(&format!("train{index}"), width, height, index as u32);
            splits += &format!("train{index},train\n");
        }
        for (index, (width, height)) in ODD.into_iter().enumerate() {
            dataset.add(&odd(index), width, height, 7 + 3 * index as u32);
            splits += &format!("{},test\n", odd(index));
        }
        fs::write(dataset.dir.path().join("splits.csv"), splits).unwrap();
        dataset
    }

    /// An image with an ellipse in it, and its mask.
    fn add(&self, name: &str, width: u32, height: u32, seed: u32) {
        let inside = |x: u32, y: u32| {
            let along = |at: u32, side: u32, centre: f64, radius: f64| {
                ((f64::from(at) + 0.5) / f64::from(side) - centre) / radius
            };
            let (dx, dy) = (along(x, width, 0.55, 0.3), along(y, height, 0.4, 0.27));
            dx * dx + dy * dy <= 1.0
        };
        let image = RgbImage::from_fn(width, height, |x, y| {
            let noise = ((x * 7919 + y * 104_729 + seed * 65_537) % 61) as u8;
            if inside(x, y) { Rgb([190, 70 + noise, 60]) } else { Rgb([50 + noise, 130, 150]) }
        });
        let mask = GrayImage::from_fn(width, height, |x, y| Luma([if inside(x, y) { 255 } else { 0 }]));
        for folder in ["images", "masks"] {
            fs::create_dir_all(self.dir.path().join(folder)).unwrap();
        }
        image.save(self.image(name)).unwrap();
        mask.save(self.dir.path().join("masks").join(format!("{name}.png"))).unwrap();
    }

    fn image(&self, name: &str) -> PathBuf {
        self.dir.path().join("images").join(format!("{name}.png"))
    }

    fn truth(&self, name: &str) -> Mask {
        let mask =
            image::open(self.dir.path().join("masks").join(format!("{name}.png"))).unwrap().into_luma8();
        let size = Size::new(mask.height(), mask.width());
        Mask::new(size, mask.pixels().map(|pixel| pixel.0[0] == 255).collect())
    }

    /// The small pipeline on this data.
    fn project(&self) -> Project {
        let micro = fs::read_to_string(workspace().join("tests/pipelines/micro.toml")).unwrap();
        let (_, rest) = micro.split_once("[checkpoint]").unwrap();
        let path = Value::from(self.dir.path().to_str().unwrap());
        let file = self.dir.path().join("pipeline.toml");
        let dataset = format!("[dataset]\nkind = \"folder\"\npath = {path}\n\n[checkpoint]{rest}");
        fs::write(&file, dataset).unwrap();
        Project::new(&file)
    }

    /// `predict` with the prompts of each image; the masks as COCO's run lengths and the scores, by image and prompt.
    fn predict(
        &self,
        project: &Project,
        prompts: &BTreeMap<String, Vec<Value>>,
        args: &[&str],
    ) -> BTreeMap<(String, usize), (String, Vec<f64>)> {
        let listed = prompts.iter().flat_map(|(name, prompts)| {
            prompts.iter().map(move |prompt| {
                let mut prompt = prompt.clone();
                prompt["image"] = format!("{name}.png").into();
                prompt
            })
        });
        let file = self.dir.path().join("images/prompts.json");
        fs::write(&file, Value::from(listed.collect::<Vec<_>>()).to_string()).unwrap();
        let out = self.dir.path().join("out");
        let fixed = ["--json", "--prompts", file.to_str().unwrap(), "--out", out.to_str().unwrap()];
        let output = project.output("predict", &[&fixed, args].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        fs::remove_file(&file).unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let coco: Value = serde_json::from_slice(&fs::read(out.join("coco.json")).unwrap()).unwrap();
        let mut found = BTreeMap::new();
        for annotation in coco["annotations"].as_array().unwrap() {
            let image = annotation["image_id"].as_u64().unwrap() as usize - 1;
            let name = Path::new(coco["images"][image]["file_name"].as_str().unwrap());
            let prompt = annotation["prompt"].as_u64().unwrap() as usize;
            let scores = said["images"][image]["prompts"][prompt]["iou_scores"].as_array().unwrap();
            // As `evaluate` writes them: single precision as double.
            let scores = scores.iter().map(|score| f64::from(score.as_f64().unwrap() as f32)).collect();
            let counts = annotation["segmentation"]["counts"].as_str().unwrap().to_owned();
            let key = (name.file_stem().unwrap().to_str().unwrap().to_owned(), prompt);
            assert!(found.insert(key, (counts, scores)).is_none());
        }
        assert_eq!(found.len(), prompts.values().map(Vec::len).sum::<usize>());
        found
    }
}

fn odd(index: usize) -> String {
    let (width, height) = ODD[index];
    format!("odd-{width}x{height}")
}

/// A file of a run's evaluation.
fn evaluation(project: &Project, run: &Run, file: &str) -> PathBuf {
    project.artifact(run, "evaluation").join(file)
}

/// What the decoder of a checkpoint is compared with: `predict`'s arguments that name it.
fn decoders(run: &Run) -> [(Method, Vec<String>); 2] {
    [
        (Method::Untuned, vec!["--checkpoint".into(), run.artifact("base")]),
        (Method::Tuned, vec!["--checkpoint".into(), run.artifact("checkpoint")]),
    ]
}

/// The prompt of a row of the sweep.
fn prompt(row: &SweepRow) -> Value {
    let mut prompt = json!({});
    if let (Some(x0), Some(y0), Some(x1), Some(y1)) = (row.x0, row.y0, row.x1, row.y1) {
        prompt["box"] = json!([x0, y0, x1, y1]);
    }
    if let (Some(x), Some(y)) = (row.point_x, row.point_y) {
        prompt["points"] = json!([[x, y, 1]]);
    }
    prompt
}

#[test]
fn the_masks_of_evaluate_are_those_of_predict() {
    let dataset = Dataset::new();
    let project = dataset.project();
    let run = project.run(&["--set", "runtime.decode_batch=4"]);
    let masks: Vec<MaskRow> = table::read(&evaluation(&project, &run, "masks.parquet")).unwrap();
    let swept: Vec<SweepRow> = table::read(&evaluation(&project, &run, "sweep.parquet")).unwrap();
    let truths: BTreeMap<String, Mask> =
        (0..ODD.len()).map(|index| (odd(index), dataset.truth(&odd(index)))).collect();
    let mut different = Vec::new();
    for (method, checkpoint) in decoders(&run) {
        // Prompts of several forms for each image: the tight box first, then all that the sweep tried.
        let mut prompts: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (name, truth) in &truths {
            let tight = truth.bounding_box().unwrap();
            prompts
                .entry(name.clone())
                .or_default()
                .push(json!({"box": [tight.x0, tight.y0, tight.x1, tight.y1]}));
        }
        let multi = [PromptKind::Multimask, PromptKind::MultimaskOracle];
        let rows: Vec<&SweepRow> =
            swept.iter().filter(|row| row.method == method && !multi.contains(&row.prompt)).collect();
        let places: Vec<usize> = rows
            .iter()
            .map(|row| {
                let of_image = prompts.get_mut(&row.id).unwrap();
                of_image.push(prompt(row));
                of_image.len() - 1
            })
            .collect();
        let args: Vec<&str> = checkpoint.iter().map(String::as_str).chain(["--decode-batch", "3"]).collect();
        let found = dataset.predict(&project, &prompts, &args);

        let of_method: Vec<&MaskRow> = masks.iter().filter(|row| row.method == method).collect();
        assert_eq!(of_method.len(), ODD.len());
        for row in of_method {
            assert_eq!(found[&(row.id.clone(), 0)].0, row.counts, "{method}, {}, the tight box", row.id);
            different.push(row.counts.clone());
        }
        let mut forms = std::collections::BTreeSet::new();
        for (row, place) in rows.into_iter().zip(places) {
            let (counts, scores) = &found[&(row.id.clone(), place)];
            let what = format!("{method}, {}, {} {:?}", row.id, row.prompt.name(), row.amount);
            assert_eq!(scores, &[row.predicted_iou], "{what}");
            let truth = &truths[&row.id];
            let overlap = overlap(&Mask::from_rle(truth.size(), counts).unwrap(), truth).unwrap();
            assert_eq!((Some(overlap.dice), Some(overlap.iou)), (row.dice, row.iou), "{what}");
            forms.insert((row.prompt.name(), row.x0.is_some(), row.point_x.is_some()));
        }
        for form in [("point", false, true), ("box-and-point", true, true), ("wrong-box", true, false)] {
            assert!(forms.contains(&form), "{form:?} is not among {forms:?}");
        }

        // Of three masks the one of highest predicted IoU.
        let rows: Vec<&SweepRow> =
            swept.iter().filter(|row| row.method == method && row.prompt == PromptKind::Multimask).collect();
        assert_eq!(rows.len(), ODD.len());
        let prompts = rows.iter().map(|row| (row.id.clone(), vec![prompt(row)])).collect();
        let found = dataset.predict(&project, &prompts, &[&args[..], &["--multimask"]].concat());
        for row in rows {
            let (counts, scores) = &found[&(row.id.clone(), 0)];
            assert_eq!(
                scores.iter().copied().fold(f64::MIN, f64::max),
                row.predicted_iou,
                "{method}, {}",
                row.id
            );
            let truth = &truths[&row.id];
            let overlap = overlap(&Mask::from_rle(truth.size(), counts).unwrap(), truth).unwrap();
            assert_eq!((Some(overlap.dice), Some(overlap.iou)), (row.dice, row.iou), "{method}, {}", row.id);
        }
    }
    // The comparison would notice another mask: decoders and images do not all give the same.
    different.sort();
    different.dedup();
    assert!(different.len() > ODD.len(), "{different:?}");
}

#[test]
fn an_image_gives_the_same_masks_by_its_pixels_and_by_its_stored_features() {
    let dataset = Dataset::new();
    let project = dataset.project();
    let run = project.run(&["--set", "embed.dtype=f32", "--set", "evaluate.sweep=false"]);
    let masks: Vec<MaskRow> = table::read(&evaluation(&project, &run, "masks.parquet")).unwrap();
    let prompts: BTreeMap<String, Vec<Value>> = (0..ODD.len())
        .map(|index| {
            let tight = dataset.truth(&odd(index)).bounding_box().unwrap();
            (odd(index), vec![json!({"box": [tight.x0, tight.y0, tight.x1, tight.y1]})])
        })
        .collect();
    for (method, checkpoint) in decoders(&run) {
        let args: Vec<&str> = checkpoint.iter().map(String::as_str).collect();
        let stored = dataset.predict(&project, &prompts, &args);
        let encoded = dataset.predict(&project, &prompts, &[&args[..], &["--encode"]].concat());
        assert_eq!(stored, encoded, "{method}");
        for row in masks.iter().filter(|row| row.method == method) {
            assert_eq!(encoded[&(row.id.clone(), 0)].0, row.counts, "{method}, {}", row.id);
        }
    }
}

/// Where the image encoder is tuned, `evaluate` encodes anew what `predict` encodes from the image.
#[test]
fn a_tuned_encoder_gives_evaluate_and_predict_the_same_masks() {
    let dataset = Dataset::new();
    let prompts: BTreeMap<String, Vec<Value>> = (0..ODD.len())
        .map(|index| {
            let tight = dataset.truth(&odd(index)).bounding_box().unwrap();
            (odd(index), vec![json!({"box": [tight.x0, tight.y0, tight.x1, tight.y1]})])
        })
        .collect();
    for strategy in ["lora", "late-lora", "full"] {
        let project = dataset.project();
        let strategy = format!("train.strategy={strategy}");
        let set = ["--set", "embed.dtype=f32", "--set", "evaluate.sweep=false", "--set", &strategy];
        let run = project.run(&set);
        let masks: Vec<MaskRow> = table::read(&evaluation(&project, &run, "masks.parquet")).unwrap();
        for (method, checkpoint) in decoders(&run) {
            let args: Vec<&str> = checkpoint.iter().map(String::as_str).collect();
            let found = dataset.predict(&project, &prompts, &args);
            let rows: Vec<&MaskRow> = masks.iter().filter(|row| row.method == method).collect();
            assert_eq!(rows.len(), ODD.len());
            for row in rows {
                assert_eq!(found[&(row.id.clone(), 0)].0, row.counts, "{strategy}, {method}, {}", row.id);
            }
        }
    }
}
