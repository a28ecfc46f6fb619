use super::*;
use resect_hub::Digest;

fn files(paths: &[&str]) -> Vec<RemoteFile> {
    let digest = Digest::sha256(&"0".repeat(64)).unwrap();
    paths.iter().map(|path| RemoteFile { path: (*path).into(), size: 1, digest: digest.clone() }).collect()
}

fn select(paths: &[&str], change: impl Fn(&mut HubDataset)) -> Result<Vec<String>, String> {
    let mut source = HubDataset { repository: "o/n".into(), ..Default::default() };
    change(&mut source);
    let selected = parquet(&files(paths), &source).map_err(|error| error.to_string())?;
    Ok(selected.into_iter().map(|file| file.path).collect())
}

const PUSHED: [&str; 4] = [
    "README.md",
    "data/train-00000-of-00002.parquet",
    "data/train-00001-of-00002.parquet",
    "data/validation-00000-of-00001.parquet",
];
const CONVERTED: [&str; 4] = [
    "clinic/test/0000.parquet",
    "kvasir/test/0000.parquet",
    "kvasir/train/0000.parquet",
    "kvasir/train/0001.parquet",
];

#[test]
fn shards_splits_and_configurations_are_selected() {
    assert_eq!(select(&PUSHED, |_| {}).unwrap(), PUSHED[1..]);
    assert_eq!(select(&PUSHED, |s| s.splits = vec!["validation".into()]).unwrap(), PUSHED[3..]);
    for config in ["default", "data"] {
        assert_eq!(select(&PUSHED, |s| s.config = config.into()).unwrap(), PUSHED[1..], "{config}");
    }
    assert_eq!(select(&CONVERTED, |s| s.config = "kvasir".into()).unwrap(), CONVERTED[1..]);
    let train = select(&CONVERTED, |s| {
        s.config = "kvasir".into();
        s.splits = vec!["train".into()];
    });
    assert_eq!(train.unwrap(), CONVERTED[2..]);
    let plain = ["test.parquet", "train.parquet"];
    assert_eq!(select(&plain, |s| s.config = "default".into()).unwrap(), plain);
    assert_eq!(select(&["train/0000.parquet", "test/0000.parquet"], |_| {}).unwrap().len(), 2);
}

#[test]
fn patterns_select_files() {
    let with = |patterns: &[&str]| {
        let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
        select(&CONVERTED, |s| s.files = patterns.clone())
    };
    assert_eq!(with(&["*/test/*"]).unwrap(), CONVERTED[..2]);
    assert_eq!(with(&["**/0001.parquet", "kvasir/train/*.parquet"]).unwrap(), CONVERTED[2..]);
    let error = with(&["kvasir/*/*", "*.parquet"]).unwrap_err();
    assert!(error.contains("matches \"*.parquet\"; there are clinic/test/0000.parquet"), "{error}");
}

#[test]
fn what_is_not_there_is_answered_with_what_is() {
    let error = select(&CONVERTED, |_| {}).unwrap_err();
    assert!(error.contains("several configurations") && error.ends_with("clinic, kvasir"), "{error}");
    let error = select(&CONVERTED, |s| s.config = "kvas".into()).unwrap_err();
    assert!(error.contains("no configuration \"kvas\"; there are clinic, kvasir"), "{error}");
    let error = select(&PUSHED, |s| s.splits = vec!["test".into()]).unwrap_err();
    assert!(error.contains("no split \"test\"; there are train, validation"), "{error}");
    let error = select(&["README.md", "train.csv"], |_| {}).unwrap_err();
    assert!(error.contains("no .parquet file") && error.contains("refs/convert/parquet"), "{error}");
}

#[test]
fn checkpoints_in_another_form_are_told_apart() {
    let error = |paths: &[&str]| checkpoint(&files(paths), "o/n").unwrap_err().to_string();
    assert!(error(&["model.safetensors"]).contains("no config.json"));
    assert!(error(&["config.json", "model.safetensors.index.json"]).contains("split into shards"));
    assert!(error(&["config.json", "pytorch_model.bin"]).contains("a pickle"));
    assert!(error(&["config.json", "README.md"]).contains("there are no weights"));
    assert!(checkpoint(&files(&["config.json", "model.safetensors"]), "o/n").is_ok());
}
