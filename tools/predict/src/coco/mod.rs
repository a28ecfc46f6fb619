//! The masks of all images as COCO JSON, written as they come: memory does not grow with their number, but for a line for each
//! image.
//!
//! Both files have `info`, `categories` (one, with id 1), `annotations` and `images`. An annotation has `id`, `image_id`,
//! `category_id`, `prompt` (the number of the prompt), `score` (the predicted IoU), `iscrowd` 0, `bbox` (`[x, y, width, height]`),
//! `area` and `segmentation`:
//!
//! - `coco.json`: compressed run lengths, `{"size": [height, width], "counts": "..."}`, exactly the mask.
//! - `coco-polygons.json`: a list of polygons `[x0, y0, x1, y1, ...]` along the outer edges of the mask's pixels, one for each
//!   part connected by sides. COCO's polygons have no holes: holes are filled, and `area` is that of the polygons. A mask without
//!   pixels has no polygon and is left out; ids are those of the other file.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use resect_geometry::{Mask, Size};
use serde::Serialize;
use serde_json::json;

use crate::{PredictError, names, write};

/// Format of both files, in their `info`.
const FORMAT: &str = "resect-predictions/1.0";

/// A mask on its way into the files.
pub(crate) struct Annotation<'a> {
    pub mask: &'a Mask,
    /// Predicted IoU.
    pub score: f32,
    /// Number of the prompt.
    pub prompt: usize,
}

/// The two files.
pub(crate) struct Coco {
    info: serde_json::Value,
    images: Vec<Image>,
    annotations: u64,
    files: Option<[Listing; 2]>,
    category: String,
}

#[derive(Serialize)]
struct Image {
    id: usize,
    file_name: String,
    width: u32,
    height: u32,
}

impl Coco {
    pub(crate) fn new(category: &str, heads_trained: bool) -> Self {
        let info = json!({
            "description": "masks predicted by Resect",
            "format": FORMAT,
            "iou_head_trained": heads_trained,
        });
        Self { info, images: Vec::new(), annotations: 0, files: None, category: category.to_owned() }
    }

    /// Begins the next image.
    pub(crate) fn image(&mut self, path: &Path, size: Size) -> Result<(), PredictError> {
        let file_name = write::name(path)?;
        let id = self.images.len() + 1;
        self.images.push(Image { id, file_name, width: size.width, height: size.height });
        Ok(())
    }

    /// Adds a mask of the image begun last.
    pub(crate) fn annotation(&mut self, of: &Annotation<'_>, out: &Path) -> Result<(), PredictError> {
        self.annotations += 1;
        let tight = of.mask.bounding_box();
        let annotation = |segmentation: serde_json::Value, area: usize| {
            json!({
                "id": self.annotations,
                "image_id": self.images.len(),
                "category_id": 1,
                "prompt": of.prompt,
                "score": of.score,
                "iscrowd": 0,
                "bbox": tight.map_or([0; 4], |b| [b.x0, b.y0, b.width(), b.height()]),
                "area": area,
                "segmentation": segmentation,
            })
        };
        let Size { height, width } = of.mask.size();
        let runs = json!({ "size": [height, width], "counts": of.mask.to_rle() });
        let runs = annotation(runs, of.mask.area());
        let polygons = tight.is_some().then(|| {
            let filled = of.mask.filled();
            annotation(json!(filled.outlines()), filled.area())
        });
        let [rle_file, polygon_file] = self.files(out)?;
        rle_file.push(&runs)?;
        polygons.iter().try_for_each(|polygons| polygon_file.push(polygons))
    }

    fn files(&mut self, out: &Path) -> Result<&mut [Listing; 2], PredictError> {
        let categories = json!([{ "id": 1, "name": self.category }]);
        Ok(match &mut self.files {
            Some(files) => files,
            none => {
                let open = |name| Listing::open(out.join(name), &self.info, &categories);
                none.insert([open(names::COCO)?, open(names::COCO_POLYGONS)?])
            }
        })
    }

    /// Completes the files, unless there was no image; their names.
    pub(crate) fn finish(self) -> Result<Vec<String>, PredictError> {
        let Some(files) = self.files else { return Ok(Vec::new()) };
        files.into_iter().try_for_each(|file| file.finish(&self.images))?;
        Ok(vec![names::COCO.into(), names::COCO_POLYGONS.into()])
    }
}

/// A JSON file whose annotations are written one at a time; it has its name once it is whole.
struct Listing {
    path: PathBuf,
    aside: PathBuf,
    file: Option<BufWriter<File>>,
    is_empty: bool,
}

impl Listing {
    fn open(
        path: PathBuf,
        info: &serde_json::Value,
        categories: &serde_json::Value,
    ) -> Result<Self, PredictError> {
        let aside = write::aside(&path)?;
        let file =
            File::create(&aside).map_err(|source| PredictError::Write { path: path.clone(), source })?;
        let mut listing = Self { path, aside, file: Some(BufWriter::new(file)), is_empty: true };
        listing.write(&format!("{{\"info\":{info},\n\"categories\":{categories},\n\"annotations\":["))?;
        Ok(listing)
    }

    fn push(&mut self, annotation: &serde_json::Value) -> Result<(), PredictError> {
        let comma = if std::mem::take(&mut self.is_empty) { "" } else { "," };
        self.write(&format!("{comma}\n{annotation}"))
    }

    fn finish(mut self, images: &[Image]) -> Result<(), PredictError> {
        let lines: Vec<String> = images.iter().map(|image| json!(image).to_string()).collect();
        self.write(&format!("],\n\"images\":[\n{}]}}\n", lines.join(",\n")))?;
        let flushed = self.file.as_mut().map_or(Ok(()), |file| file.flush());
        flushed
            .and_then(|()| fs::rename(&self.aside, &self.path))
            .map_err(|source| PredictError::Write { path: self.path.clone(), source })?;
        self.file = None;
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<(), PredictError> {
        let written = self.file.as_mut().map_or(Ok(()), |file| file.write_all(text.as_bytes()));
        written.map_err(|source| PredictError::Write { path: self.path.clone(), source })
    }
}

impl Drop for Listing {
    /// A file that was not finished leaves nothing behind.
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.aside);
        }
    }
}
