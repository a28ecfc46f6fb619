//! Which files of a Hub repository a pipeline means.

use crate::pipeline::HubDataset;
use anyhow::{bail, ensure};
use resect_checkpoint::{CONFIG_FILE, WEIGHTS_FILE};
use resect_hub::RemoteFile;
use resect_ingest_params::split_of_file;
use std::collections::BTreeSet;

/// The Parquet files of a dataset that the settings select.
pub fn parquet(files: &[RemoteFile], source: &HubDataset) -> anyhow::Result<Vec<RemoteFile>> {
    let all: Vec<&RemoteFile> = files.iter().filter(|file| is_parquet(file)).collect();
    let name = &source.repository;
    if all.is_empty() {
        let hint = if source.revision == CONVERTED {
            ""
        } else {
            "\nhint: the Hub converts many datasets itself: revision = \"refs/convert/parquet\""
        };
        bail!("dataset.repository: {name} holds no .parquet file at revision \"{}\"{hint}", source.revision);
    }
    if !source.files.is_empty() {
        return by_pattern(&all, source);
    }
    let of_config = by_config(&all, source)?;
    let splits: BTreeSet<&str> = of_config.iter().map(|file| split_of_file(&file.path)).collect();
    for split in &source.splits {
        ensure!(
            splits.contains(split.as_str()),
            "dataset.splits: {name} has no split \"{split}\"; there are {}",
            list(&splits)
        );
    }
    let wanted = |file: &&RemoteFile| {
        source.splits.is_empty() || source.splits.iter().any(|split| split == split_of_file(&file.path))
    };
    Ok(of_config.into_iter().filter(wanted).cloned().collect())
}

/// The branch that the Hub fills with what it converts.
const CONVERTED: &str = "refs/convert/parquet";

pub fn is_parquet(file: &RemoteFile) -> bool {
    file.path.ends_with(".parquet")
}

fn by_pattern(all: &[&RemoteFile], source: &HubDataset) -> anyhow::Result<Vec<RemoteFile>> {
    let options = glob::MatchOptions { require_literal_separator: true, ..Default::default() };
    // Each once, in the order of the listing.
    let mut selected = BTreeSet::new();
    for text in &source.files {
        let pattern = glob::Pattern::new(text)?;
        let matches = |index: &usize| pattern.matches_with(&all[*index].path, options);
        let matches: Vec<usize> = (0..all.len()).filter(matches).collect();
        ensure!(
            !matches.is_empty(),
            "dataset.files: no .parquet file of {} matches \"{text}\"; there are {}",
            source.repository,
            some(&all.iter().map(|file| file.path.as_str()).collect::<Vec<_>>())
        );
        selected.extend(matches);
    }
    Ok(selected.into_iter().map(|index| all[index].clone()).collect())
}

/// The files of the configuration that is meant: the folder named, or the only one there is.
fn by_config<'a>(all: &[&'a RemoteFile], source: &HubDataset) -> anyhow::Result<Vec<&'a RemoteFile>> {
    let configs: BTreeSet<&str> = all.iter().map(|file| config_of(&file.path)).collect();
    if source.config.is_empty() {
        ensure!(
            configs.len() == 1,
            "dataset.config: {} has several configurations; choose one with config = \"...\" (or files by pattern): {}",
            source.repository,
            list(&configs)
        );
        return Ok(all.to_vec());
    }
    let config = source.config.trim_matches('/');
    let below = |folder: &str| -> Vec<&'a RemoteFile> {
        let inside = |file: &&&RemoteFile| {
            file.path.strip_prefix(folder).is_some_and(|rest| folder.is_empty() || rest.starts_with('/'))
        };
        all.iter().filter(inside).copied().collect()
    };
    let named = below(config);
    if !named.is_empty() {
        return Ok(named);
    }
    // `datasets` calls "default" what lies in `data/`, or in no folder at all.
    if config == "default" {
        let in_data = below("data");
        let plain: Vec<_> = all.iter().filter(|file| config_of(&file.path).is_empty()).copied().collect();
        if let Some(files) = [in_data, plain].into_iter().find(|files| !files.is_empty()) {
            return Ok(files);
        }
    }
    bail!(
        "dataset.config: {} has no configuration \"{config}\"; there are {}",
        source.repository,
        list(&configs)
    )
}

/// The folder a file lies in, without the one that names its split.
fn config_of(path: &str) -> &str {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    if name.trim_end_matches(".parquet").contains('-') {
        return folder;
    }
    folder.rsplit_once('/').map_or("", |(config, _)| config)
}

/// The two files of a checkpoint.
pub fn checkpoint(files: &[RemoteFile], repository: &str) -> anyhow::Result<[RemoteFile; 2]> {
    let find = |name: &str| files.iter().find(|file| file.path == name).cloned();
    let Some(config) = find(CONFIG_FILE) else {
        bail!(
            "checkpoint.repository: {repository} holds no {CONFIG_FILE}: it is no checkpoint of `transformers`"
        );
    };
    let Some(weights) = find(WEIGHTS_FILE) else {
        let ends = |ends: &[&str]| files.iter().any(|file| ends.iter().any(|end| file.path.ends_with(end)));
        let form = if ends(&["model.safetensors.index.json"]) {
            "the weights are split into shards, which are not read"
        } else if ends(&[".bin", ".pt", ".pth", ".ckpt"]) {
            "the weights are a pickle, which is not read"
        } else {
            "there are no weights"
        };
        bail!(
            "checkpoint.repository: {repository} holds no {WEIGHTS_FILE}: {form}\nhint: save it again with \
             `SamModel.from_pretrained(...).save_pretrained(..., max_shard_size=\"100GB\")` and use it as a folder, or look \
             for a revision that holds one"
        );
    };
    Ok([config, weights])
}

fn list(names: &BTreeSet<&str>) -> String {
    some(&names.iter().copied().collect::<Vec<_>>())
}

/// As many names as a person reads.
fn some(names: &[&str]) -> String {
    const MOST: usize = 20;
    let name = |name: &&str| if name.is_empty() { "(no folder)".to_owned() } else { (*name).to_owned() };
    let shown = names.iter().take(MOST).map(name).collect::<Vec<_>>().join(", ");
    if names.len() > MOST { format!("{shown} and {} more", names.len() - MOST) } else { shown }
}

#[cfg(test)]
mod tests;
