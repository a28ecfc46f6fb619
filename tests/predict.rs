//! `cargo xtask predict`, as a person and as a script use it.

use image::{GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use resect_checkpoint::{SamConfig, TensorFile, write_random};
use resect_geometry::{Size, upscale_logits};
use resect_tests::{Project, stderr, workspace, xtask};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder with what a test needs.
struct Desk {
    dir: tempfile::TempDir,
}

/// The model of the fixtures: an input of 64 pixels, logits on 32 x 32.
const SIDE: u32 = 64;
const LOW_RES: usize = 32;

impl Desk {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `cargo xtask predict` in a store of its own.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = xtask();
        command.arg("predict").args(args).arg("--store").arg(self.path("store"));
        command
    }

    /// With the model of the fixtures, results in `out`.
    fn output(&self, args: &[&str]) -> Output {
        let mut command = self.command(args);
        command.arg("--checkpoint").arg(fixture()).arg("--out").arg(self.path("out"));
        command.output().unwrap()
    }

    /// The object of `--json`, of a command that must succeed.
    fn json(&self, args: &[&str]) -> Value {
        let output = self.output(&[&["--json"], args].concat());
        assert!(output.status.success(), "{args:?} failed:\n{}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Exit code and standard error of a command that must fail and write nothing.
    fn fails(&self, args: &[&str]) -> (Option<i32>, String) {
        let output = self.output(args);
        assert!(!output.status.success(), "{args:?} succeeded");
        assert_eq!(files(&self.path("out")), [""; 0], "{args:?} wrote something");
        (output.status.code(), stderr(&output))
    }

    /// An image with a disc in it.
    fn image(&self, name: &str, width: u32, height: u32) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let image = RgbImage::from_fn(width, height, |x, y| {
            let far = (x as f64 - width as f64 * 0.5).hypot(y as f64 - height as f64 * 0.4);
            let disc = far < f64::from(width.min(height)) * 0.25;
            let noise = (x * 7919 + y * 104_729) % 41;
            if disc { Rgb([200, 80, 70 + noise as u8]) } else { Rgb([60 + noise as u8, 120, 150]) }
        });
        let format = ImageFormat::from_path(&path).unwrap();
        image.save_with_format(&path, format).unwrap();
        text(&path)
    }
}

fn fixture() -> PathBuf {
    workspace().join("tests/fixtures/sam-tiny")
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// All files below a folder, sorted, with `/`.
fn files(dir: &Path) -> Vec<String> {
    let names = resect_tests::files(dir).into_iter();
    let mut names: Vec<String> =
        names.map(|path| text(path.strip_prefix(dir).unwrap()).replace('\\', "/")).collect();
    names.sort();
    names
}

fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    files(dir).into_iter().map(|file| (file.clone(), fs::read(dir.join(file)).unwrap())).collect()
}

/// A mask's pixels; it must be 8-bit grey of 0 and 255.
fn mask(path: &Path) -> (u32, u32, Vec<bool>) {
    let image = image::open(path).unwrap();
    assert_eq!(image.color(), image::ColorType::L8, "{}", path.display());
    let image: GrayImage = image.into_luma8();
    assert!(image.pixels().all(|p| p.0 == [0] || p.0 == [255]));
    (image.width(), image.height(), image.pixels().map(|p| p.0[0] == 255).collect())
}

/// Logits and scores of a file, with the logits' shape.
fn logits(path: &Path) -> (Vec<usize>, Vec<f32>, Vec<f32>) {
    let file = TensorFile::open(path).unwrap();
    assert_eq!(file.names().collect::<Vec<_>>(), ["iou_scores", "logits"]);
    let (logits, scores) = (file.tensor("logits").unwrap(), file.tensor("iou_scores").unwrap());
    assert_eq!(scores.shape, logits.shape[..2]);
    (logits.shape, logits.data, scores.data)
}

fn upscaled(logits: &[f32], width: u32, height: u32) -> Vec<bool> {
    let original = Size::new(height, width);
    let resized = original.with_longest_side(SIDE);
    let up = upscale_logits(logits, LOW_RES as u32, SIDE, resized, original);
    up.into_iter().map(|logit| logit > 0.0).collect()
}

#[test]
fn the_form_that_scripts_rely_on() {
    let desk = Desk::new();
    let image = desk.image("polyp.left.png", 91, 67);
    let output = desk.output(&["--image", &image, "--box", "10,20,55,60.5", "--logits"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let out = desk.path("out");
    assert_eq!(
        files(&out),
        [
            "coco-polygons.json",
            "coco.json",
            "overlays/polyp.left.png",
            "polyp.left.png",
            "polyp.left.safetensors"
        ]
    );
    let (shape, values, scores) = logits(&out.join("polyp.left.safetensors"));
    assert_eq!((shape.as_slice(), scores.len()), ([1, 1, LOW_RES, LOW_RES].as_slice(), 1));
    let pixels = upscaled(&values, 91, 67);
    assert!(pixels.iter().any(|p| *p) && pixels.iter().any(|p| !*p), "the mask says nothing");
    assert_eq!(mask(&out.join("polyp.left.png")), (91, 67, pixels));
    let lines = String::from_utf8(output.stdout).unwrap();
    assert!(lines.contains("box 10,20,55,60.5") && lines.contains("polyp.left.png"), "{lines}");

    // Same input, same bytes, whatever the threads.
    let first = contents(&out);
    desk.output(&["--image", &image, "--box", "10,20,55,60.5", "--logits", "--threads", "1"]);
    assert!(contents(&out) == first, "bytes differ");
}

#[test]
fn ten_boxes_cost_one_encoding_and_do_not_change_one_another() {
    let desk = Desk::new();
    let image = desk.image("a.jpg", 120, 75);
    let boxes: Vec<String> =
        (0..10).map(|i| format!("{},{},{},{}", 4 * i, 2 * i, 60 + 5 * i, 40 + 3 * i)).collect();
    let args: Vec<&str> = boxes.iter().flat_map(|b| ["--box", b]).collect();
    let ten = desk.json(&[&["--image", &image, "--logits"], args.as_slice()].concat());
    assert_eq!((ten["encoded"].as_u64(), ten["images"][0]["embedding"].as_str()), (Some(1), Some("encoded")));
    let prompts = ten["images"][0]["prompts"].as_array().unwrap();
    assert_eq!(prompts.len(), 10);
    let (shape, values, scores) = logits(&desk.path("out/a.safetensors"));
    assert_eq!(shape, [10, 1, LOW_RES, LOW_RES]);
    for (number, prompt) in prompts.iter().enumerate() {
        let name = if number == 0 { "a.png".into() } else { format!("a-{number}.png") };
        assert_eq!(
            (prompt["number"].as_u64(), prompt["files"][0].as_str()),
            (Some(number as u64), Some(name.as_str()))
        );
        let (.., pixels) = mask(&desk.path("out").join(&name));
        assert_eq!(prompt["area"], pixels.iter().filter(|p| **p).count());
        assert_eq!(prompt["iou_scores"][0].as_f64().unwrap() as f32, scores[number]);
        assert_eq!(pixels, upscaled(&values[number * LOW_RES * LOW_RES..][..LOW_RES * LOW_RES], 120, 75));
    }
    let seventh = fs::read(desk.path("out/a-7.png")).unwrap();
    desk.json(&["--image", &image, "--box", &boxes[7]]);
    assert!(fs::read(desk.path("out/a.png")).unwrap() == seventh, "alone, the box gives another mask");
    assert_ne!(fs::read(desk.path("out/a-6.png")).unwrap(), seventh);
}

#[test]
fn what_the_pipeline_embedded_costs_no_encoding() {
    let project = Project::micro();
    let run = project.run(&[]);
    let images = project.artifact(&run, "dataset").join("images");
    let name = fs::read_dir(&images).unwrap().map(|e| e.unwrap().path()).min().unwrap();
    let out = project.store().with_file_name("out");
    let predict = |args: &[&str]| -> (Value, String) {
        let fixed = ["--box", "5,5,60,50", "--json", "--out", out.to_str().unwrap()];
        let output = project.output("predict", &[&fixed, args].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        (serde_json::from_slice(&output.stdout).unwrap(), stderr(&output))
    };
    let image = text(&name);
    let run_name = run.json()["run"].as_str().unwrap();
    let id = run.artifact("checkpoint");
    let (latest, said) = predict(&["--image", &image]);
    assert_eq!(
        (latest["encoded"].as_u64(), latest["images"][0]["embedding"].as_str()),
        (Some(0), Some("store_f16"))
    );
    assert!(said.contains("1 of 1 images were embedded already (f16)"), "{said}");
    assert_eq!(said.matches("heads that tuning did not train").count(), 1, "{said}");
    assert_eq!(
        (latest["iou_head_trained"].as_bool(), latest["model"]["checkpoint"].as_str()),
        (Some(false), Some(id.as_str()))
    );
    let coco: Value = serde_json::from_slice(&fs::read(out.join("coco.json")).unwrap()).unwrap();
    assert_eq!(coco["info"]["iou_head_trained"], false);

    // A later run that stops before training leaves what was tuned before as the latest.
    project.run(&["ingest"]);
    // By run, by id, by folder: the same.
    let before = contents(&out);
    assert_eq!(predict(&["--image", &image]).0["model"], latest["model"]);
    for name in [run_name, &id[..12], project.artifact(&run, "checkpoint").to_str().unwrap()] {
        assert_eq!(predict(&["--image", &image, "--checkpoint", name]).0["encoded"], 0);
        assert!(contents(&out) == before, "{name}");
    }
    let (fresh, _) = predict(&["--image", &image, "--encode"]);
    assert_eq!(fresh["encoded"], 1);
    // Half precision moves few pixels.
    let area = |json: &Value| json["images"][0]["prompts"][0]["area"].as_f64().unwrap();
    assert!((area(&fresh) - area(&latest)).abs() <= 0.02 * area(&latest).max(1000.0));

    // The base without the tuned decoder has the same encoder, and another mask.
    let (base, said) = predict(&["--image", &image, "--checkpoint", &run.artifact("base")]);
    assert_eq!((base["encoded"].as_u64(), base["iou_head_trained"].as_bool()), (Some(0), Some(true)));
    assert!(!said.contains("warning"), "{said}");
    assert_ne!(area(&base), area(&latest));

    // Pixels that the pipeline has not seen are encoded.
    let other = project.store().with_file_name("other.png");
    RgbImage::from_pixel(80, 70, Rgb([10, 200, 30])).save(&other).unwrap();
    assert_eq!(predict(&["--image", other.to_str().unwrap()]).0["encoded"], 1);
}

#[test]
fn folders_patterns_and_prompts_files() {
    let desk = Desk::new();
    let names = ["b.png", "a.jpg", "c.bmp"];
    names.iter().for_each(|name| drop(desk.image(&format!("in/{name}"), 90, 60)));
    fs::write(desk.path("in/notes.txt"), "no image").unwrap();
    let of = |json: &Value| -> Vec<(String, usize)> {
        let images = json["images"].as_array().unwrap().iter();
        let name = |image: &Value| {
            Path::new(image["image"].as_str().unwrap()).file_name().unwrap().to_str().unwrap().to_owned()
        };
        images.map(|image| (name(image), image["prompts"].as_array().unwrap().len())).collect()
    };
    let list = |pairs: &[(&str, usize)]| pairs.iter().map(|(n, p)| ((*n).to_owned(), *p)).collect::<Vec<_>>();
    let folder = text(&desk.path("in"));

    let all = desk.json(&["--image", &folder, "--box", "5,5,50,40"]);
    assert_eq!(of(&all), list(&[("a.jpg", 1), ("b.png", 1), ("c.bmp", 1)]));
    assert_eq!(all["encoded"], 3);
    let coco: Value = serde_json::from_slice(&fs::read(desk.path("out/coco.json")).unwrap()).unwrap();
    let names: Vec<&str> =
        coco["images"].as_array().unwrap().iter().map(|i| i["file_name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a.jpg", "b.png", "c.bmp"]);
    let image_ids: Vec<u64> =
        coco["annotations"].as_array().unwrap().iter().map(|a| a["image_id"].as_u64().unwrap()).collect();
    assert_eq!(image_ids, [1, 2, 3]);

    let some = desk.json(&["--image", &format!("{folder}/[ab].*"), "--point", "20,30,1", "--point", "3,3,0"]);
    assert_eq!(of(&some), list(&[("a.jpg", 1), ("b.png", 1)]));

    let (first, second) = (format!("{folder}/b.png"), format!("{folder}/*.*g"));
    let several = desk.json(&["--image", &first, &second, "--box", "5,5,50,40", "--image", &first]);
    assert_eq!(of(&several), list(&[("b.png", 1), ("a.jpg", 1)]), "each once, in this order");

    let csv = desk.path("prompts.csv");
    fs::write(
        &csv,
        "image,x0,y0,x1,y1,x,y,label\nb.png,5,5,50,40,,,\nb.png,1,2,30,30,,,\na,9,9,80,50,20,20,1\n",
    )
    .unwrap();
    let json = desk.json(&["--image", &folder, "--prompts", &text(&csv)]);
    assert_eq!(of(&json), list(&[("a.jpg", 1), ("b.png", 2)]), "c has no prompt");
    assert_eq!(json["images"][0]["prompts"][0]["prompt"]["points"], serde_json::json!([[20.0, 20.0, 1.0]]));

    // Without --image, the file's images; and the two formats say the same.
    let with_folder = contents(&desk.path("out"));
    let file = desk.path("in/prompts.json");
    let prompts = r#"[{"image": "b.png", "box": [5, 5, 50, 40]}, {"image": "a.jpg", "box": [9, 9, 80, 50], "points": [[20, 20, 1]]},
        {"image": "b.png", "box": [1, 2, 30, 30]}]"#;
    fs::write(&file, prompts).unwrap();
    assert_eq!(of(&desk.json(&["--prompts", &text(&file)])), list(&[("b.png", 2), ("a.jpg", 1)]));
    let without = contents(&desk.path("out"));
    for name in ["a.png", "b.png", "b-1.png"] {
        assert!(without[name] == with_folder[name], "{name}");
    }
}

#[test]
fn a_mask_can_be_the_prompt() {
    let desk = Desk::new();
    let image = desk.image("a.png", 91, 67);
    desk.json(&["--image", &image, "--box", "10,20,55,60", "--logits"]);
    let (_, from_box, _) = logits(&desk.path("out/a.safetensors"));
    let earlier = text(&desk.path("earlier.safetensors"));
    fs::copy(desk.path("out/a.safetensors"), &earlier).unwrap();

    let with = |args: &[&str]| {
        desk.json(&[&["--image", &image, "--logits"], args].concat());
        logits(&desk.path("out/a.safetensors")).1
    };
    let alone = with(&["--mask", &earlier]);
    let beside = with(&["--box", "10,20,55,60", "--mask", &earlier]);
    assert!(alone != from_box && beside != from_box && alone != beside);
    // The file that is read may not be the one that is written.
    let (_, errors) = {
        let output =
            desk.output(&["--image", &image, "--logits", "--mask", &text(&desk.path("out/a.safetensors"))]);
        (output.status.code(), stderr(&output))
    };
    assert!(errors.contains("would overwrite a file that is read"), "{errors}");

    // Of three masks, the one of the highest score is taken.
    desk.json(&["--image", &image, "--box", "10,20,55,60", "--logits", "--multimask"]);
    let three = desk.path("three.safetensors");
    fs::copy(desk.path("out/a.safetensors"), &three).unwrap();
    let (_, values, scores) = logits(&three);
    let best = (0..3).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap();
    let tensor = |name: &str, shape: &[usize], data: &[f32]| resect_checkpoint::NamedTensor {
        name: name.into(),
        shape: shape.to_vec(),
        data: data.to_vec(),
    };
    let grid = LOW_RES * LOW_RES;
    let one = desk.path("one.safetensors");
    let tensors = [
        tensor("logits", &[1, 1, LOW_RES, LOW_RES], &values[best * grid..][..grid]),
        tensor("iou_scores", &[1, 1], &[0.0]),
    ];
    resect_checkpoint::write_safetensors(&one, tensors, None).unwrap();
    assert_eq!(with(&["--mask", &text(&three)]), with(&["--mask", &text(&one)]));

    // A picture of the image's size.
    let picture = desk.path("mask.png");
    GrayImage::from_fn(91, 67, |x, y| Luma([if (20..50).contains(&x) && y > 30 { 255 } else { 0 }]))
        .save(&picture)
        .unwrap();
    let drawn = with(&["--mask", &text(&picture)]);
    assert!(drawn != alone);
    let csv = desk.path("p.csv");
    fs::write(&csv, "image,mask\na.png,mask.png\n").unwrap();
    desk.json(&["--prompts", &text(&csv), "--logits"]);
    assert_eq!(logits(&desk.path("out/a.safetensors")).1, drawn);
}

#[test]
fn several_masks_and_the_best_of_them() {
    let desk = Desk::new();
    let image = desk.image("a.png", 67, 91);
    let json = desk.json(&[
        "--image",
        &image,
        "--box",
        "5,5,50,60",
        "--box",
        "20,10,66,90",
        "--multimask",
        "--logits",
        "--no-overlay",
    ]);
    let out = desk.path("out");
    let expected = [
        "a-1.mask-1.png",
        "a-1.mask-2.png",
        "a-1.mask-3.png",
        "a-1.png",
        "a.mask-1.png",
        "a.mask-2.png",
        "a.mask-3.png",
        "a.png",
        "a.safetensors",
        "coco-polygons.json",
        "coco.json",
    ];
    assert_eq!(files(&out), expected);
    let (shape, values, scores) = logits(&out.join("a.safetensors"));
    assert_eq!(shape, [2, 3, LOW_RES, LOW_RES]);
    for (number, stem) in ["a", "a-1"].into_iter().enumerate() {
        let of = &scores[3 * number..][..3];
        let best = (0..3).max_by(|a, b| of[*a].total_cmp(&of[*b])).unwrap();
        assert_eq!(json["images"][0]["prompts"][number]["best"], best);
        let chosen = fs::read(out.join(format!("{stem}.png"))).unwrap();
        assert!(fs::read(out.join(format!("{stem}.mask-{}.png", best + 1))).unwrap() == chosen);
        for index in 0..3 {
            let grid = &values[(3 * number + index) * LOW_RES * LOW_RES..][..LOW_RES * LOW_RES];
            let (.., pixels) = mask(&out.join(format!("{stem}.mask-{}.png", index + 1)));
            assert_eq!(pixels, upscaled(grid, 67, 91));
        }
    }
}

#[test]
fn an_export_says_that_its_iou_head_is_untrained() {
    let desk = Desk::new();
    let export = desk.path("export");
    write_random(&export, &SamConfig::named("tiny").unwrap(), 3).unwrap();
    let image = desk.image("a.png", 60, 50);
    let out = text(&desk.path("out"));
    let said = || {
        let args = [
            "--checkpoint",
            export.to_str().unwrap(),
            "--image",
            &image,
            "--point",
            "20,20,1",
            "--json",
            "--out",
            &out,
        ];
        let output = desk.command(&args).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        (
            json["iou_head_trained"].as_bool().unwrap(),
            stderr(&output).contains("heads that tuning did not train"),
        )
    };
    assert_eq!(said(), (true, false));
    fs::write(
        export.join("resect.json"),
        r#"{"format": "resect-export/1.0", "iou_head_trained": false, "more": 1}"#,
    )
    .unwrap();
    assert_eq!(said(), (false, true));
    fs::write(export.join("resect.json"), r#"{"format": "resect-export/1.0", "iou_head_trained": true}"#)
        .unwrap();
    assert_eq!(said(), (true, false));
}

#[test]
fn wrong_flags_are_usage_errors() {
    let desk = Desk::new();
    let image = desk.image("a.png", 91, 67);
    for (args, want) in [
        (&["--image", &image] as &[&str], "there is no prompt: give --box, --point, --mask or --prompts"),
        (&["--box", "1,2,3,4"], "there is no --image"),
        (
            &["--image", &image, "--point", "5,6,7"],
            "the label 7 is none: expected 1 (the object is here), 0 (it is not) or -1",
        ),
        (
            &["--image", &image, "--box", "50,6,20,40"],
            "the box 50,6,20,40 is empty: x1 must not be less than x0",
        ),
        (&["--image", &image, "--box", "5,6,20"], "expected x0,y0,x1,y1"),
        (&["--image", &image, "--box", "5,6,20,nan"], "NaN is no finite number"),
        (&["--image", &image, "--point", "5,6"], "expected x,y,label"),
        (
            &["--image", &image, "--box", "1,2,30,40", "--box", "5,6,20,40", "--point", "5,6,1"],
            "there are points beside 2 boxes, and it is not said which belongs to which; write such prompts into a file for --prompts",
        ),
        (&["--image", &image, "--box", "1,2,30,40", "--prompts", "p.csv"], "cannot be used with"),
    ] {
        let (code, errors) = desk.fails(args);
        assert_eq!(code, Some(2), "{args:?}: {errors}");
        assert!(errors.contains(want), "{want}\nis not in\n{errors}");
    }
}

#[test]
fn every_bad_input_is_one_clear_error_before_anything_is_written() {
    let desk = Desk::new();
    let image = desk.image("a.png", 91, 67);
    let file = |name: &str, content: &str| {
        fs::write(desk.path(name), content).unwrap();
        text(&desk.path(name))
    };
    let no_image = file("no.png", "no image");
    let cut = text(&desk.path("cut.png"));
    fs::write(&cut, &fs::read(&image).unwrap()[..200]).unwrap();
    let twins = [desk.image("twins/t.png", 20, 20), desk.image("twins/t.bmp", 20, 20)].len();
    assert_eq!(twins, 2);
    desk.image("numbered/t.png", 20, 20);
    desk.image("numbered/t-1.png", 20, 20);
    let small = text(&desk.path("small.png"));
    GrayImage::new(9, 9).save(&small).unwrap();
    let dim = text(&desk.path("dim.png"));
    GrayImage::from_pixel(91, 67, Luma([1])).save(&dim).unwrap();
    fs::create_dir(desk.path("empty")).unwrap();
    let [twins, numbered, empty] = ["twins", "numbered", "empty"].map(|name| text(&desk.path(name)));
    let unknown = file("unknown.csv", "image,x0,y0,x1,y1\nother.png,1,2,3,4\n");
    let number = file("number.csv", "image,x0,y0,x1,y1\na.png,1,2,3,4\na.png,1,b,3,4\n");
    let outside = file(
        "outside.json",
        r#"[{"image": "a.png", "box": [1, 2, 3, 4]}, {"image": "a.png", "box": [1, 2, 95, 4]}]"#,
    );
    let label = file("label.json", r#"[{"image": "a.png", "points": [[1, 2, 7]]}]"#);
    for (args, want) in [
        (
            &["--image", &no_image, "--box", "1,2,3,4"] as &[&str],
            "no.png: it is not an image: none of PNG, JPEG, TIFF, BMP and WebP",
        ),
        (&["--image", &cut, "--box", "1,2,3,4"], "cut.png: cannot be decoded"),
        (
            &["--image", "nowhere/*.png", "--box", "1,2,3,4"],
            "there is no file, folder or match of a pattern at nowhere/*.png",
        ),
        (&["--image", &empty, "--box", "1,2,3,4"], "there is no image in"),
        (
            &["--image", &image, "--box", "10,20,92,60"],
            "a.png, --box 10,20,92,60: the box 10,20,92,60 lies outside the image, which is 91 pixels wide and 67 high",
        ),
        (&["--image", &image, "--box", "-1,20,50,60"], "the box -1,20,50,60 lies outside the image"),
        (&["--image", &image, "--point", "10,67,1"], "the point 10,67 lies outside the image"),
        (
            &["--image", &image, "--prompts", &unknown],
            "unknown.csv names images that are not among those of --image: other.png",
        ),
        (&["--prompts", &unknown], "unknown.csv names the image other.png, and there is no file"),
        (&["--image", &image, "--prompts", &number], "number.csv, line 3, y0: \"b\" is no number"),
        (
            &["--image", &image, "--prompts", &outside],
            "a.png, outside.json, [1]: the box 1,2,95,4 lies outside",
        ),
        (&["--image", &image, "--prompts", &label], "label.json, [0].points[0]: the label 7 is none"),
        (&["--image", &image, "--prompts", "nowhere.csv"], "cannot read nowhere.csv"),
        (&["--image", &image, "--mask", &small], "the mask has 9x9 pixels, the image 91x67"),
        (&["--image", &image, "--mask", &dim], "its brightest value is 1"),
        (&["--image", &twins, "--box", "1,2,3,4"], "would both give t.png"),
        (&["--image", &numbered, "--box", "1,2,3,4", "--box", "1,2,9,9"], "would both give t-1.png"),
    ] {
        let (code, errors) = desk.fails(args);
        assert_eq!(code, Some(1), "{args:?}: {errors}");
        assert!(errors.contains(want), "{want}\nis not in\n{errors}");
        assert_eq!(errors.matches("error: ").count(), 1, "{errors}");
    }
    // Results beside the images would replace one.
    let before = fs::read(&image).unwrap();
    let here = text(desk.dir.path());
    let model = text(&fixture());
    let args = ["--checkpoint", &model, "--image", &image, "--box", "1,2,3,4", "--out", &here];
    let output = desk.command(&args).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("would overwrite a file that is read"), "{}", stderr(&output));
    assert!(fs::read(&image).unwrap() == before);
}

#[test]
fn every_bad_checkpoint_is_one_clear_error() {
    let desk = Desk::new();
    let image = desk.image("a.png", 91, 67);
    let copy = |name: &str| {
        let dir = desk.path(name);
        fs::create_dir(&dir).unwrap();
        for file in ["config.json", "model.safetensors"] {
            fs::copy(fixture().join(file), dir.join(file)).unwrap();
        }
        dir
    };
    fs::create_dir(desk.path("nothing")).unwrap();
    let truncated = copy("truncated").join("model.safetensors");
    let bytes = fs::read(&truncated).unwrap();
    fs::write(&truncated, &bytes[..bytes.len() - 999]).unwrap();
    let config = |dir: &str, from: &str, to: &str| {
        let path = copy(dir).join("config.json");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        fs::write(&path, text.replace(from, to)).unwrap();
    };
    config("impossible", "\"patch_size\": 8", "\"patch_size\": 7");
    config("unfit", "\"iou_head_hidden_dim\": 20", "\"iou_head_hidden_dim\": 24");
    for (name, want) in [
        ("nothing", "a folder with config.json and model.safetensors is expected"),
        ("nowhere", "there is no folder, run or artifact"),
        ("truncated", "the file is truncated or damaged"),
        ("impossible", "vision_config.image_size"),
        ("unfit", "misshapen  mask_decoder.iou_prediction_head"),
    ] {
        let dir = text(&desk.path(name));
        let args = ["--checkpoint", &dir, "--image", &image, "--box", "1,2,30,40", "--out", "never"];
        let output = desk.command(&args).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(stderr(&output).contains(want), "{want}\nis not in\n{}", stderr(&output));
    }
    // The latest of a pipeline that has not been run.
    let output = desk.command(&["--image", &image, "--box", "1,2,30,40", "--out", "never"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("has given no checkpoint yet"), "{}", stderr(&output));
    assert!(!workspace().join("never").exists());
}

#[test]
fn one_bad_image_among_many_does_not_stop_the_others() {
    let desk = Desk::new();
    desk.image("in/a.png", 50, 40);
    let whole = desk.image("in/c.jpg", 50, 40);
    fs::write(desk.path("in/b.png"), "no image").unwrap();
    let bytes = fs::read(&whole).unwrap();
    // Its header is there, its pixels are not.
    fs::write(desk.path("in/d.jpg"), &bytes[..bytes.len() - 60]).unwrap();
    let output = desk.output(&["--image", &text(&desk.path("in")), "--box", "1,2,30,30", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let errors = stderr(&output);
    assert!(errors.contains("2 of 4 images could not be predicted"), "{errors}");
    assert!(
        errors.contains("b.png: it is not an image") && errors.contains("d.jpg: cannot be decoded"),
        "{errors}"
    );
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((json["images"].as_array().unwrap().len(), json["failed"].as_array().unwrap().len()), (2, 2));
    assert_eq!(
        files(&desk.path("out")),
        ["a.png", "c.png", "coco-polygons.json", "coco.json", "overlays/a.png", "overlays/c.png"]
    );
}

#[test]
fn an_image_beyond_a_limit_is_told_with_the_flag_that_would_accept_it() {
    let desk = Desk::new();
    let (small, large) = (desk.image("a.bmp", 50, 40), desk.image("b.bmp", 51, 40));
    let bytes = fs::metadata(&large).unwrap().len();
    let predict = |limit: &str, value: u64| {
        let value = value.to_string();
        let output = desk.output(&["--image", &small, &large, "--box", "1,2,30,30", limit, &value]);
        (output.status.code(), stderr(&output))
    };
    for (limit, most) in [("--max-pixels", 2040), ("--max-bytes", bytes)] {
        let (code, errors) = predict(limit, most);
        assert_eq!(code, Some(0), "{errors}");
    }
    let over = [
        ("--max-pixels", 2039, "it has 51x40 pixels, more than --max-pixels = 2039".to_owned()),
        ("--max-bytes", bytes - 1, format!("it has {bytes} bytes, more than --max-bytes = {}", bytes - 1)),
    ];
    for (limit, most, reason) in over {
        fs::remove_dir_all(desk.path("out")).unwrap();
        let (code, errors) = predict(limit, most);
        assert_eq!(code, Some(1), "{errors}");
        assert!(errors.contains(&format!("b.bmp: {reason}")), "{errors}");
        assert!(desk.path("out/a.png").exists() && !desk.path("out/b.png").exists());
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_command_ends_with_130_and_whole_files() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    let desk = Desk::new();
    let first = desk.image("in/0.png", 400, 300);
    (1..400).for_each(|i| fs::hard_link(&first, desk.path(&format!("in/{i}.png"))).unwrap());
    let images = text(&desk.path("in"));
    let mut command = desk.command(&["--image", &images, "--box", "1,2,300,200"]);
    command.arg("--checkpoint").arg(fixture()).arg("--out").arg(desk.path("out"));
    let mut runner = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(runner.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.next().is_some(), "nothing was predicted");
    let rest = std::thread::spawn(move || lines.count());
    let signalled = Command::new("kill").args(["-INT", &runner.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    assert_eq!(runner.wait().unwrap().code(), Some(130));
    rest.join().unwrap();
    let files = files(&desk.path("out"));
    assert!(!files.is_empty() && files.iter().all(|file| !file.ends_with(".part")), "{files:?}");
    for file in files {
        image::open(desk.path("out").join(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}
