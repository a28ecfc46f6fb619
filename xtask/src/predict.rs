//! `cargo xtask predict`: masks for images, from boxes, points and masks.
//!
//! What can be said without pixels is said here: flags, prompts files, which images there are, which checkpoint is meant. The
//! program `resect-predict` does the rest; `tools/predict` says what it writes.

use crate::StoreArgs;
use crate::code::Codes;
use crate::device::Place;
use crate::export::MANIFEST_FILE;
use crate::plan::Step;
use crate::program::{self, Interrupted};
use crate::show::{self, Screen};
use crate::subject::Subject;
use crate::usage::Usage;
use crate::{interrupt, workspace};
use anyhow::{Context, bail, ensure};
use clap::Args;
use resect_checkpoint::Checkpoint;
use resect_prompts::file::{self, ImagePrompts};
use resect_prompts::job::{
    DECODE_BATCH, EmbeddingSource, FORMAT, FailedImage, ImageJob, ImageReport, Job, Limits, Line,
};
use resect_prompts::{ArrangeError, BoxPrompt, PointPrompt, WrittenPrompt, arrange};
use resect_stage::{Message, Plain, Progress};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args)]
pub struct PredictArgs {
    /// What to predict with: a checkpoint folder, a run, or the first digits of a checkpoint's id [default: what the pipeline
    /// gave last].
    #[arg(long, value_name = "DIR|RUN|ARTIFACT")]
    checkpoint: Option<String>,
    /// Images: files, folders of images, or quoted patterns such as "frames/*.png" [default: the images of --prompts].
    #[arg(long, value_name = "FILE|DIR|PATTERN", num_args = 1..)]
    image: Vec<String>,
    /// A box, in pixels of the upright image, maxima inclusive. Each is a prompt. Repeatable.
    #[arg(long = "box", value_name = "X0,Y0,X1,Y1", allow_hyphen_values = true)]
    boxes: Vec<BoxPrompt>,
    /// A point; the label is 1 (the object is here), 0 (it is not) or -1. Points belong to the one box, or are one prompt
    /// together where there is no box. Repeatable.
    #[arg(long = "point", value_name = "X,Y,LABEL", allow_hyphen_values = true)]
    points: Vec<PointPrompt>,
    /// A mask to start from: a .safetensors file of `--logits`, or a picture of the image's size.
    #[arg(long, value_name = "FILE")]
    mask: Option<PathBuf>,
    /// Prompts for many images: a .csv or .json file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["boxes", "points", "mask"])]
    prompts: Option<PathBuf>,
    /// The folder to write to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Predict the masks 1 to 3 instead of mask 0; <stem>.png is the one of highest predicted IoU.
    #[arg(long)]
    multimask: bool,
    /// Write logits and IoU scores, too: <stem>.safetensors.
    #[arg(long)]
    logits: bool,
    /// Draw no overlays.
    #[arg(long)]
    no_overlay: bool,
    /// Encode every image, even if the store has its embedding.
    #[arg(long)]
    encode: bool,
    /// What the objects are, in the COCO files.
    #[arg(long, value_name = "NAME", default_value = "object")]
    category: String,
    /// Where to compute: cpu, cuda, cuda:N, or auto, which is cuda:0 if there is one, else cpu.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: resect_device::Choice,
    /// Prompts of one image that pass the decoder together; bounds memory, and on the CPU changes no byte.
    #[arg(long, value_name = "N", default_value_t = DECODE_BATCH)]
    decode_batch: usize,
    /// Images and masks of more pixels are refused.
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_pixels)]
    max_pixels: u64,
    /// Image and mask files of more bytes are refused.
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_bytes)]
    max_bytes: u64,
    /// Worker threads; they change no byte of any file [default: all cores].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    threads: usize,
    /// The pipeline file [default: pipeline.toml at the top of the workspace].
    #[arg(long, value_name = "FILE")]
    pipeline: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
    /// Run the programs in this folder instead of building them.
    #[arg(long, value_name = "DIR", env = "RESECT_BIN_DIR")]
    bin_dir: Option<PathBuf>,
    /// Print one JSON object on standard output instead of lines.
    #[arg(long)]
    json: bool,
}

pub fn main(args: &PredictArgs) -> anyhow::Result<ExitCode> {
    let images = images(args)?;
    let place = Place::find(args.device)?;
    let store = args.store.open()?;
    let subject = Subject::find(args.checkpoint.as_deref(), &store, args.pipeline.as_deref())?;
    subject.verify(&store)?;
    // The program checks it again; here it costs no build.
    Checkpoint::check(&subject.base)?;
    let heads_trained = heads_trained(&subject)?;
    if !heads_trained {
        say!(
            "warning: predicted IoU scores and the masks of --multimask come from heads that tuning did not train"
        );
    }
    let screen = Screen::new(args.json);
    let program = program::tool("predict", args.bin_dir.as_deref(), place.gpu.is_some())?;
    let embeddings = if args.encode || subject.base_id.is_none() {
        Vec::new()
    } else {
        subject.embeddings(&store, &Codes::new(args.bin_dir.as_deref())?.of_stage(Step::Embed)?, &place)
    };
    let job = Job {
        format: FORMAT.into(),
        device: place.device,
        decode_batch: args.decode_batch,
        limits: Limits { max_pixels: args.max_pixels, max_bytes: args.max_bytes },
        base: subject.base.clone(),
        tuned: subject.tuned.as_ref().map(|tuned| tuned.dir.clone()),
        heads_trained,
        images,
        embeddings,
        out: args.out.clone(),
        multimask: args.multimask,
        logits: args.logits,
        overlays: !args.no_overlay,
        category: args.category.clone(),
    };
    interrupt::watch()?;
    match run(&program, &job, args.threads, &screen) {
        Ok(results) => results.conclude(&job, &model(&subject), &place, &screen),
        Err(error) if error.downcast_ref::<Interrupted>().is_some() => {
            say!("interrupted; the files that are there are whole");
            Ok(ExitCode::from(130))
        }
        Err(error) => Err(error),
    }
}

/// The images and the prompts for each.
fn images(args: &PredictArgs) -> anyhow::Result<Vec<ImageJob>> {
    let given = if args.image.is_empty() { None } else { Some(find_all_images(&args.image)?) };
    if let Some(path) = &args.prompts {
        let prompts = file::read(path)?;
        return match given {
            Some(images) => assign(images, path, prompts),
            None => prompts.into_iter().map(|prompts| beside(path, prompts)).collect(),
        };
    }
    let Some(images) = given else { return Err(Usage("there is no --image".into()).into()) };
    let boxes = args.boxes.iter().map(|bounds| (*bounds, format!("--box {bounds}"))).collect();
    let from = if args.points.is_empty() { "--mask".into() } else { "--point".to_owned() };
    let prompts = arrange(boxes, args.points.clone(), args.mask.clone(), from).map_err(|error| {
        let hint = match error {
            ArrangeError::Nothing => ": give --box, --point, --mask or --prompts",
            _ => "; write such prompts into a file for --prompts (CSV or JSON)",
        };
        Usage(format!("{error}{hint}"))
    })?;
    Ok(images.into_iter().map(|path| ImageJob { path, prompts: prompts.clone() }).collect())
}

/// All that `--image` names, each image once.
fn find_all_images(given: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let (mut images, mut seen) = (Vec::new(), BTreeSet::new());
    for part in given {
        images.extend(find_images(part)?.into_iter().filter(|image| seen.insert(image.clone())));
    }
    Ok(images)
}

/// What one value of `--image` names.
fn find_images(given: &str) -> anyhow::Result<Vec<PathBuf>> {
    const KINDS: [&str; 7] = ["png", "jpg", "jpeg", "tif", "tiff", "bmp", "webp"];
    let path = Path::new(given);
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    if path.is_dir() {
        let is_image = |file: &PathBuf| {
            let hidden = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            let kind = file.extension().map(|kind| kind.to_string_lossy().to_lowercase());
            file.is_file() && !hidden && kind.is_some_and(|kind| KINDS.contains(&kind.as_str()))
        };
        let entries = std::fs::read_dir(path).with_context(|| format!("cannot list {given}"))?;
        let files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
        let mut images: Vec<PathBuf> = files.into_iter().filter(is_image).collect();
        images.sort();
        ensure!(
            !images.is_empty(),
            "there is no image in {given}; expected files ending in {}",
            KINDS.join(", ")
        );
        return Ok(images);
    }
    let matches = glob::glob(given).with_context(|| format!("--image {given} is no pattern"))?;
    let mut images: Vec<PathBuf> = matches.collect::<Result<_, _>>()?;
    images.retain(|path| path.is_file());
    images.sort();
    ensure!(!images.is_empty(), "--image: there is no file, folder or match of a pattern at {given}");
    Ok(images)
}

/// An image that a prompts file names, relative to the file's folder.
fn beside(file: &Path, prompts: ImagePrompts) -> anyhow::Result<ImageJob> {
    let path = file.parent().unwrap_or(Path::new("")).join(&prompts.image);
    ensure!(
        path.is_file(),
        "{} names the image {}, and there is no file {}",
        file.display(),
        prompts.image,
        path.display()
    );
    Ok(ImageJob { path, prompts: prompts.prompts })
}

/// Gives the prompts of a file to the images it names: by file name, by file stem, or by path relative to the file's folder.
fn assign(images: Vec<PathBuf>, file: &Path, named: Vec<ImagePrompts>) -> anyhow::Result<Vec<ImageJob>> {
    let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut by_path: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for (index, path) in images.iter().enumerate() {
        let mut names: Vec<_> = [path.file_name(), path.file_stem()].into_iter().flatten().collect();
        names.dedup();
        // A name that is not valid UTF-8 cannot stand in the file of prompts.
        for name in names.into_iter().filter_map(|name| name.to_str()) {
            by_name.entry(name.to_owned()).or_default().push(index);
        }
        by_path.insert(path.canonicalize()?, index);
    }
    let mut prompts: Vec<Vec<WrittenPrompt>> = vec![Vec::new(); images.len()];
    let mut unknown = Vec::new();
    for ImagePrompts { image, prompts: of_image } in named {
        let at_path = file.parent().unwrap_or(Path::new("")).join(&image).canonicalize();
        let at_path = at_path.ok().and_then(|path| by_path.get(&path).copied());
        match (at_path, by_name.get(&image).map(Vec::as_slice)) {
            (Some(index), _) | (None, Some(&[index])) => prompts[index].extend(of_image),
            (None, Some(several)) => {
                let paths: Vec<String> =
                    several.iter().map(|index| images[*index].display().to_string()).collect();
                bail!("{}: the image {image} can be any of {}", file.display(), paths.join(", "));
            }
            (None, None) => unknown.push(image),
        }
    }
    ensure!(
        unknown.is_empty(),
        "{} names images that are not among those of --image: {}",
        file.display(),
        unknown.join(", ")
    );
    let left_out = prompts.iter().filter(|prompts| prompts.is_empty()).count();
    if left_out > 0 {
        let (names, have) = (file.display(), if left_out == 1 { "image has" } else { "images have" });
        say!("predict: {left_out} {have} no prompt in {names}, left out");
    }
    let jobs = images.into_iter().zip(prompts).map(|(path, prompts)| ImageJob { path, prompts });
    Ok(jobs.filter(|job| !job.prompts.is_empty()).collect())
}

/// Whether IoU scores and masks 1 to 3 come from heads that belong to the decoder's other weights. Tuning on single masks leaves
/// them as they were, and an export of such a checkpoint says so in its `resect.json`.
fn heads_trained(subject: &Subject) -> anyhow::Result<bool> {
    if subject.tuned.is_some() {
        return Ok(false);
    }
    // A single file of weights has it beside it.
    let file = subject.base.is_file().then(|| subject.base.parent()).flatten();
    /// What counts here of an export's `resect.json`.
    #[derive(Deserialize)]
    struct Export {
        format: String,
        iou_head_trained: bool,
    }
    let path = file.unwrap_or(&subject.base).join(MANIFEST_FILE);
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let export: Export =
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
    let format = &export.format;
    ensure!(
        format.starts_with("resect-export/"),
        "{} has format {format}, not that of an export",
        path.display()
    );
    Ok(export.iou_head_trained)
}

/// What predicts: the folder of the whole model, and of a tuned decoder its id and the run that made it.
fn model(subject: &Subject) -> Value {
    json!({
        "base": subject.base,
        "checkpoint": subject.tuned.as_ref().map(|tuned| &tuned.id),
        "run": subject.tuned.as_ref().map(|tuned| &tuned.action.run),
    })
}

/// What the program gave.
#[derive(Default)]
struct Results {
    predicted: Vec<ImageReport>,
    failed: Vec<FailedImage>,
    files: Vec<String>,
}

fn run(program: &Path, job: &Job, threads: usize, screen: &Screen) -> anyhow::Result<Results> {
    let total = job.images.len();
    let mut working =
        screen.begin("predict", "", true, &format!("{total} image{}", if total == 1 { "" } else { "s" }));
    let mut results = Results::default();
    let mut done = false;
    let shared = std::cell::RefCell::new(&mut working);
    let take = |line: Line| match line {
        Line::Progress { done, total } => {
            let (phase, unit) = ("predicting".into(), "images".into());
            shared.borrow_mut().message(&Message::Progress(Progress {
                phase,
                done,
                total,
                unit,
                plain: Plain::Sometimes,
            }));
        }
        Line::Note(line) => shared.borrow().log(&format!("predict: {line}")),
        Line::Image(report) => {
            lines(&report, &job.out).iter().for_each(|line| shared.borrow().line(line));
            results.predicted.push(report);
        }
        Line::Failed(failed) => results.failed.push(failed),
        Line::Done { files } => {
            results.files = files;
            done = true;
        }
    };
    let status = program::run_tool(program, job, threads, take, |line| shared.borrow().log(line));
    working.clear();
    let status = status?;
    ensure!(done, "{} ended without a word ({status})", workspace::display(program));
    Ok(results)
}

/// What a person reads of an image.
fn lines(report: &ImageReport, out: &Path) -> Vec<String> {
    let mut lines = vec![format!("{}  {}x{}", report.image.display(), report.width, report.height)];
    for of in &report.prompts {
        let prompt: String = of.prompt.to_string();
        let found = match of.area {
            0 => "nothing found".into(),
            area => format!("{area} px, {:.1} %", 100.0 * of.area_fraction),
        };
        let score = of.iou_scores.get(of.best).map_or_else(|| "-".into(), |score| format!("{score:.2}"));
        // Files are written on request.
        let file = of.files.first().map(|file| out.join(file).display().to_string()).unwrap_or_default();
        lines.push(format!("  {:<3}{prompt:<34} {found:<20} IoU {score}  {file}", of.number));
    }
    lines
}

impl Results {
    fn encoded(&self) -> usize {
        self.predicted.iter().filter(|image| image.embedding == EmbeddingSource::Encoded).count()
    }

    /// Prints the rest, and decides how the command ends.
    fn conclude(&self, job: &Job, model: &Value, place: &Place, screen: &Screen) -> anyhow::Result<ExitCode> {
        let stored = self.predicted.len() - self.encoded();
        if stored > 0 {
            let with = |source: EmbeddingSource| self.predicted.iter().any(|image| image.embedding == source);
            let kept = [(EmbeddingSource::StoreF16, "f16"), (EmbeddingSource::StoreF32, "f32")];
            let kept: Vec<&str> = kept.into_iter().filter(|(s, _)| with(*s)).map(|(_, name)| name).collect();
            let of = self.predicted.len();
            say!("predict: {stored} of {of} images were embedded already ({})", kept.join(" and "));
        }
        if !self.files.is_empty() {
            let further = if job.overlays { ", overlays" } else { "" };
            screen.line(&format!("{}: {}{further}", job.out.display(), self.files.join(", ")));
        }
        if screen.is_json() {
            let object = json!({
                "format": "resect-predict/1.1",
                "model": model,
                "device": job.device,
                "gpu": place.provenance(),
                "out": job.out,
                "iou_head_trained": job.heads_trained,
                "encoded": self.encoded(),
                "images": self.predicted,
                "failed": self.failed,
                "files": self.files,
            });
            show::print(serde_json::to_string_pretty(&object)?);
        }
        let reasons: Vec<String> = self
            .failed
            .iter()
            .map(|failed| format!("{}: {}", failed.image.display(), failed.reason))
            .collect();
        match reasons.as_slice() {
            [] => Ok(ExitCode::SUCCESS),
            [only] if job.images.len() == 1 => bail!("{only}"),
            several => bail!(
                "{} of {} images could not be predicted:\n  {}",
                several.len(),
                job.images.len(),
                several.join("\n  ")
            ),
        }
    }
}

#[cfg(test)]
mod tests;
