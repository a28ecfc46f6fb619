//! What can be wrong with a job as a whole, found before the model is loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use resect_checkpoint::SamConfig;
use resect_geometry::Size;
use resect_prompts::job::{ImageJob, Job, Limits};

use crate::{PredictError, mask_prompt, names, picture};

/// An image of the job.
pub(crate) struct Planned<'a> {
    /// The file and its prompts.
    pub image: &'a ImageJob,
    /// What its files are named after.
    pub stem: String,
    /// Its size as its header has it, or why it is no image.
    pub size: Result<Size, String>,
}

/// Reads the headers of all images and checks prompts and names.
pub(crate) fn check<'a>(job: &'a Job, model: &SamConfig) -> Result<Vec<Planned<'a>>, PredictError> {
    let mut planned = Vec::with_capacity(job.images.len());
    let mut problems = Vec::new();
    for image in &job.images {
        let Some(stem) = image.path.file_stem().and_then(|stem| stem.to_str()) else {
            problems.push(format!("the name of {} is not valid UTF-8", image.path.display()));
            continue;
        };
        let size = picture::size(&image.path, job.limits);
        if let Ok(size) = size {
            prompts((image, size), job.limits, model.low_res(), &mut problems);
        }
        planned.push(Planned { image, stem: stem.to_owned(), size });
    }
    if !problems.is_empty() {
        return Err(PredictError::Prompts(problems));
    }
    let clashes = clashes(job, &planned, model.decoder.num_multimask_outputs);
    if clashes.is_empty() { Ok(planned) } else { Err(PredictError::Names(clashes)) }
}

fn prompts((image, size): (&ImageJob, Size), limits: Limits, low_res: usize, problems: &mut Vec<String>) {
    let name = image.path.display();
    if image.prompts.is_empty() {
        problems.push(format!("{name}: there is no prompt"));
    }
    for prompt in &image.prompts {
        if let Err(error) = prompt.check(size) {
            problems.push(format!("{name}, {}: {error}", prompt.from));
        }
        if let Some(mask) = &prompt.mask
            && let Err(error) = mask_prompt::check(mask, size, low_res, limits)
        {
            problems.push(format!("{name}, {}: mask {}: {error}", prompt.from, mask.display()));
        }
    }
}

/// Files that would be written for two images, or over a file that is read.
fn clashes(job: &Job, images: &[Planned<'_>], masks: usize) -> Vec<String> {
    let masks_read = job.images.iter().flat_map(|image| &image.prompts).filter_map(|p| p.mask.as_ref());
    let read = job.images.iter().map(|image| &image.path).chain(masks_read);
    let read: BTreeSet<PathBuf> = read.filter_map(|path| path.canonicalize().ok()).collect();
    let mut written: BTreeMap<String, &Path> = BTreeMap::new();
    let mut clashes = Vec::new();
    for planned in images {
        let path = planned.image.path.as_path();
        for file in files(job, planned, masks) {
            // Names that differ in case alone are one file on some systems.
            if let Some(other) = written.insert(file.to_lowercase(), path) {
                clashes.push(format!(
                    "{} and {} would both give {file}: rename one, or predict them into two folders",
                    other.display(),
                    path.display()
                ));
                break;
            }
            if job.out.join(&file).canonicalize().is_ok_and(|path| read.contains(&path)) {
                clashes.push(format!(
                    "{} would overwrite a file that is read: choose another folder for the results",
                    job.out.join(&file).display()
                ));
            }
        }
    }
    clashes
}

/// All files of an image.
fn files(job: &Job, planned: &Planned<'_>, masks: usize) -> Vec<String> {
    let stem = planned.stem.as_str();
    let mut files = Vec::new();
    for number in 0..planned.image.prompts.len() {
        files.push(names::mask(stem, number));
        if job.multimask {
            files.extend((1..=masks).map(|mask| names::one_of_masks(stem, number, mask)));
        }
    }
    files.extend(job.logits.then(|| names::logits(stem)));
    files.extend(job.overlays.then(|| names::overlay(stem)));
    files
}
