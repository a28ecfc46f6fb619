//! Tensors: weights by name, embeddings by pixel hash and view, images and masks by id.

use std::collections::BTreeMap;
use std::path::Path;

use resect_checkpoint::TensorFile;
use resect_data::DataError;
use resect_embeddings::Embeddings;
use resect_images::Images;
use resect_targets::Targets;
use serde_json::{Value, json};

use crate::matching::Matched;
use crate::numbers::Tally;
use crate::{Report, json};

/// Compares the tensors of two files, one at a time.
pub(crate) fn weights(file: &str, a: &Path, b: &Path, report: &mut Report) -> Result<(), String> {
    let open = |path| TensorFile::open(path).map_err(|error| chain(&error));
    let (a, b) = (open(a)?, open(b)?);
    let stated = |tensors: &TensorFile| -> Result<BTreeMap<String, Value>, String> {
        let text = tensors.metadata().iter().map(|(field, value)| (field.clone(), json!(value)));
        let formats = tensors.names().map(|name| {
            let format = tensors.dtype(name).zip(tensors.shape(name));
            let (dtype, shape) =
                format.ok_or_else(|| format!("internal error: tensor {name} has no shape"))?;
            Ok((name.to_owned(), json!(format!("{dtype} {shape:?}"))))
        });
        text.map(Ok).chain(formats).collect()
    };
    json::add(file, stated(&a)?, stated(&b)?, &mut report.metadata);
    for name in a.names().filter(|name| a.shape(name) == b.shape(name)) {
        match (a.tensor(name), b.tensor(name)) {
            (Ok(of_a), Ok(of_b)) => {
                let mut tally = Tally::new(file, name);
                tally.add(None, &of_a.shape, pairs(&of_a.data, &of_b.data));
                report.numbers.push(tally.end());
            }
            (Err(error), _) | (_, Err(error)) => report.note(file, chain(&error)),
        }
    }
    Ok(())
}

/// Compares the embeddings of two artifacts, a row at a time.
pub(crate) fn embeddings(a: &Path, b: &Path, report: &mut Report) -> Result<(), String> {
    const FILE: &str = "embeddings-*.arrow";
    let open = |dir| Embeddings::open(dir).map_err(|error: DataError| chain(&error));
    let (a, b) = (open(a)?, open(b)?);
    let (rows_a, rows_b) = (a.rows(), b.rows());
    let names = |rows: &[(&str, _)]| -> Vec<String> {
        rows.iter().map(|(hash, view)| format!("{hash} {view}")).collect()
    };
    let (names_a, names_b) = (names(&rows_a), names(&rows_b));
    let matched = Matched::of(FILE, &names_a, &names_b);
    report.rows.extend(Some(matched.rows).filter(|rows| rows.differ()));
    if a.shape() != b.shape() {
        return Err(format!("of shape {:?} and {:?}: not compared in numbers", a.shape(), b.shape()));
    }
    let mut tally = Tally::new(FILE, "embedding");
    let (mut values_a, mut values_b) = (Vec::new(), Vec::new());
    for (row, other) in matched.pairs {
        for (embeddings, (hash, view), values) in
            [(&a, rows_a[row], &mut values_a), (&b, rows_b[other], &mut values_b)]
        {
            values.clear();
            embeddings.append_to(hash, view, values);
            embeddings.release(hash, view);
        }
        tally.add(Some(&names_a[row]), &a.shape(), pairs(&values_a, &values_b));
    }
    report.numbers.push(tally.end());
    Ok(())
}

/// Compares the pixels of two artifacts, an image at a time.
pub(crate) fn images(a: &Path, b: &Path, report: &mut Report) -> Result<(), String> {
    const FILE: &str = "images-*.arrow";
    let open = |dir| Images::open(dir).map_err(|error: DataError| chain(&error));
    let (a, b) = (open(a)?, open(b)?);
    let names = |images: &Images| -> Vec<String> { images.iter().map(|image| image.id.to_owned()).collect() };
    let matched = Matched::of(FILE, &names(&a), &names(&b));
    report.rows.extend(Some(matched.rows).filter(|rows| rows.differ()));
    let mut tally = Tally::new(FILE, "pixels");
    for (row, other) in matched.pairs {
        let (of_a, of_b) = (a.get(row), b.get(other));
        if (of_a.original, of_a.resized) != (of_b.original, of_b.resized) {
            let sizes =
                [of_a.original, of_a.resized, of_b.original, of_b.resized].map(|size| size.to_string());
            let [original_a, resized_a, original_b, resized_b] = sizes;
            report.note(
                FILE,
                format!(
                    "{} is {original_a}, resized {resized_a}, and {original_b}, resized {resized_b}",
                    of_a.id
                ),
            );
        }
        if of_a.resized == of_b.resized {
            let (height, width) = (of_a.resized.height as usize, of_a.resized.width as usize);
            tally.add(Some(of_a.id), &[3, height, width], pairs(of_a.pixels, of_b.pixels));
        }
        a.release();
        b.release();
    }
    report.numbers.push(tally.end());
    Ok(())
}

/// Compares the masks of two `targets` artifacts, a target at a time.
pub(crate) fn masks(a: &Path, b: &Path, report: &mut Report) -> Result<(), String> {
    const FILE: &str = "masks.arrow";
    let open = |dir| Targets::open(dir).map_err(|error: DataError| chain(&error));
    let (a, b) = (open(a)?, open(b)?);
    let names =
        |targets: &Targets| -> Vec<String> { targets.rows().iter().map(|row| row.id.clone()).collect() };
    let (names_a, names_b) = (names(&a), names(&b));
    let matched = Matched::of(FILE, &names_a, &names_b);
    report.rows.extend(Some(matched.rows).filter(|rows| rows.differ()));
    let (mut low_res, mut original) = (Tally::new(FILE, "low_res"), Tally::new(FILE, "original"));
    let side = a.low_res_size() as usize;
    for (row, other) in matched.pairs {
        let name = Some(names_a[row].as_str());
        if a.low_res_size() == b.low_res_size() {
            low_res.add(name, &[side, side], pairs(a.low_res(row), b.low_res(other)));
        }
        let (mask_a, mask_b) = (a.mask(row), b.mask(other));
        let size = mask_a.size();
        if size == mask_b.size() {
            let numbers = mask_a.pixels().iter().zip(mask_b.pixels());
            let numbers = numbers.map(|(a, b)| (f64::from(u8::from(*a)), f64::from(u8::from(*b))));
            original.add(name, &[size.height as usize, size.width as usize], numbers);
        } else {
            report.note(FILE, format!("{}: {size} and {}", names_a[row], mask_b.size()));
        }
        a.release();
        b.release();
    }
    report.numbers.extend([low_res.end(), original.end()]);
    Ok(())
}

fn pairs<'a, T: Copy + Into<f64>>(a: &'a [T], b: &'a [T]) -> impl Iterator<Item = (f64, f64)> + use<'a, T> {
    a.iter().zip(b).map(|(a, b)| ((*a).into(), (*b).into()))
}

/// An error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
