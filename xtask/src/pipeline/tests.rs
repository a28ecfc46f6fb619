use super::*;

fn read(text: &str, sets: &[&str]) -> Result<Pipeline, Vec<String>> {
    let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
    Reader::new(Path::new("/p/pipeline.toml"), text, &sets).and_then(Reader::finish)
}

#[test]
fn a_matrix_makes_a_pipeline_of_each_combination() {
    let expand = |text: &str, sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
        Reader::new(Path::new("/p/pipeline.toml"), text, &sets).and_then(Reader::expand)
    };
    let text =
        "[train]\njitter = 3\n[matrix]\ntrain.loss = [\"dice\", \"ce\"]\n\"mask.threshold\" = [1, 128]\n";
    let all = expand(text, &["train.learning_rate=1e-5,3e-5", "mask.threshold=7"]).unwrap();
    let said: Vec<String> = all.iter().map(|(variant, _)| variant.as_ref().unwrap().label()).collect();
    let expected = ["loss dice, learning_rate 1e-5", "loss dice, learning_rate 3e-5"];
    assert_eq!((said.len(), &said[..2]), (4, &expected.map(str::to_owned)[..]));
    for (_, pipeline) in &all {
        assert_eq!((pipeline.mask.threshold, pipeline.train.jitter), (7, 3));
    }
    assert_eq!(all[3].1.train.loss, resect_train_params::Loss::Ce);
    assert_eq!(all[3].1.train.learning_rate, 3e-5);
    assert!(expand("", &["train.seeds=[1,2]"]).unwrap()[0].0.is_none());

    let wrong = |text: &str, sets: &[&str]| expand(text, sets).unwrap_err().join("\n");
    assert_eq!(
        wrong("[matrix]\ntrain.loss = [\"dice\", \"dise\"]\ntrain.epochs = [1, 2]\n", &[]).lines().count(),
        1
    );
    assert!(
        wrong("[matrix]\ntrain.los = [1]\n", &[])
            .starts_with("/p/pipeline.toml:2: train.los is not a setting")
    );
    assert_eq!(wrong("[matrix]\nseed = [1]\n", &[]), "/p/pipeline.toml:2: seed is not SECTION.SETTING");
    assert_eq!(
        wrong("[matrix.train]\nseed = 1\n", &[]),
        "/p/pipeline.toml:2: matrix.train.seed must be a list of values"
    );
    let shared = wrong("[matrix]\nremote.push = [true, false]\n", &["runtime.jobs=1,4"]);
    let expected = [
        "/p/pipeline.toml:2: remote.push cannot vary in a matrix: all its runs share [remote]; give remote.push one value",
        "--set runtime.jobs=1,4: runtime.jobs cannot vary in a matrix: all its runs share [runtime]; give runtime.jobs one value",
    ];
    assert_eq!(shared, expected.join("\n"));
    let long = (0..101).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
    let sets = ["train.seed", "train.jitter", "split.seed"].map(|setting| format!("{setting}={long}"));
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    assert!(wrong("", &sets).contains("makes 1030301 runs, more than 1000"));
}

/// A section whose settings are bound to each other.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Range")]
struct Bounds {
    low: u32,
    high: u32,
}

#[derive(Deserialize)]
struct Range {
    low: u32,
    high: u32,
}

impl TryFrom<Range> for Bounds {
    type Error = String;

    fn try_from(Range { low, high }: Range) -> Result<Self, String> {
        if low > 0 && high > 0 && low >= high {
            return Err(format!("low {low} is not below high {high}"));
        }
        Ok(Self { low, high })
    }
}

#[test]
fn settings_that_do_not_go_together_are_a_problem_and_not_the_defaults() {
    let read = |text: &str| {
        let mut reader = Reader::new(Path::new("/p/pipeline.toml"), text, &[]).unwrap();
        (reader.section::<Bounds>("mask"), reader.problems)
    };
    assert_eq!(read("[mask]\nlow = 3\nhigh = 9\n"), (Bounds { low: 3, high: 9 }, Vec::new()));
    let (_, problems) = read("[mask]\nlow = 9\nhigh = 3\n");
    assert_eq!(
        problems,
        ["/p/pipeline.toml:1: mask has settings that do not go together: low 9 is not below high 3"]
    );
}

#[test]
fn an_empty_file_is_the_defaults() {
    let pipeline = read("", &[]).unwrap();
    assert_eq!(pipeline.train, TrainParams::default());
    assert!(matches!(pipeline.dataset, Dataset::Phantom(_)));
}

#[test]
fn every_problem_is_reported_with_its_place() {
    let text = "[train]\nlerning_rate = 1e-5\nepochs = \"many\"\nbatch_size = 0\n\n[trian]\nx = 1\n\
                [mask]\nthreshold = 300\n[dataset]\nkind = \"parkett\"\n[checkpoint]\nsize = \"huge\"\n";
    let errors = read(text, &["train.beta1=2", "embed.dtype=f64", "nonsense"]).unwrap_err();
    let expected = [
        "/p/pipeline.toml:2: train.lerning_rate is not a setting; did you mean learning_rate?",
        "/p/pipeline.toml:3: train.epochs has a wrong value: invalid type: string \"many\", expected u32",
        "/p/pipeline.toml:4: train.batch_size must be at least 1",
        "/p/pipeline.toml:6: trian is not a section; did you mean train?",
        "/p/pipeline.toml:9: mask.threshold has a wrong value: invalid value: integer `300`, expected u8",
        "/p/pipeline.toml:11: dataset.kind must be one of \"phantom\", \"parquet\", \"folder\", \
         \"hub\", is \"parkett\"",
        "/p/pipeline.toml:13: checkpoint.size must be one of tiny, small, vit-b, vit-l, vit-h, is \"huge\"",
        "--set train.beta1=2: train.beta1 must be at least 0 and below 1, is 2",
        "--set nonsense: expected SECTION.SETTING=VALUE",
    ];
    for line in expected {
        assert!(errors.contains(&line.to_owned()), "{line}\nis not in\n{}", errors.join("\n"));
    }
    assert!(errors.iter().any(|e| e.starts_with("--set embed.dtype=f64: embed.dtype has a wrong value")));
    assert_eq!(errors.len(), expected.len() + 1, "{errors:#?}");
}

#[test]
fn hub_settings_are_checked_all_at_once() {
    let text = "[dataset]\nkind = \"hub\"\nrepository = \"kvasir\"\nrevision = \"../main\"\nsplits = [\"train\"]\n\
                files = [\"a**b\"]\n[checkpoint]\nkind = \"hub\"\n";
    let errors = read(text, &[]).unwrap_err();
    let expected = [
        "/p/pipeline.toml:3: dataset.repository must look like owner/name, is \"kvasir\"",
        "/p/pipeline.toml:4: dataset.revision must be a branch, a tag or a commit, is \"../main\"",
        "/p/pipeline.toml:6: dataset.files holds \"a**b\", which is no pattern",
        "/p/pipeline.toml:6: dataset.files takes the place of config and splits",
        "/p/pipeline.toml:7: checkpoint.repository must be given",
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, expected) in errors.iter().zip(expected) {
        assert!(error.starts_with(expected), "{error}\n{expected}");
    }
    let good = "[dataset]\nkind = \"hub\"\nrepository = \"o/n\"\nsplits = [\"train\"]\n";
    let Dataset::Hub(source) = read(good, &["dataset.revision=refs/convert/parquet"]).unwrap().dataset else {
        panic!("a dataset on the Hub")
    };
    assert_eq!(
        (source.revision.as_str(), source.mask_column.as_str()),
        ("refs/convert/parquet", "annotation")
    );
}

#[test]
fn seeds_take_the_place_of_the_seed() {
    assert_eq!(read("[train]\nseeds = [3, 1]\n", &[]).unwrap().seeds, [3, 1]);
    assert!(read("[train]\nseeds = []\nseed = 4\n", &[]).unwrap().seeds.is_empty());
    let wrong = |text: &str| read(text, &[]).unwrap_err().join("\n");
    assert_eq!(
        wrong("[train]\nseed = 4\nseeds = [1, 2, 1]\n"),
        "/p/pipeline.toml:3: train.seeds takes the place of train.seed: give one or the other\n\
         /p/pipeline.toml:3: train.seeds holds 1 twice: it would be the same run"
    );
    let negative = wrong("[train]\nseeds = [-1]\n");
    assert!(negative.starts_with("/p/pipeline.toml:2: train.seeds has a wrong value: "), "{negative}");
}

#[test]
fn each_stage_has_its_device() {
    let pipeline = read("[device]\nembed = \"cuda:1\"\ntrain = \"auto\"\n", &["device.train=cuda"]).unwrap();
    let devices = [pipeline.device.embed, pipeline.device.train, pipeline.device.evaluate];
    assert_eq!(devices.map(|device| device.to_string()), ["cuda:1", "cuda:0", "cpu"]);
    let errors = read("[device]\nembed = \"gpu\"\ningest = \"cuda\"\n", &[]).unwrap_err();
    assert_eq!(
        errors,
        [
            "/p/pipeline.toml:2: device.embed has a wrong value: there is no device \"gpu\"; there are cpu, cuda, cuda:N \
             and auto",
            "/p/pipeline.toml:3: device.ingest is not a setting; there are embed, evaluate, train",
        ]
    );
}

#[test]
fn broken_toml_names_its_line() {
    let errors = read("[train]\nepochs = = 3\n", &[]).unwrap_err();
    assert!(errors[0].starts_with("/p/pipeline.toml:2: "), "{errors:?}");
}

#[test]
fn set_wins_and_paths_are_resolved() {
    let text = "[dataset]\nkind = \"folder\"\npath = \"data\"\n[train]\nepochs = 3";
    let pipeline = read(text, &["train.epochs=5", "train.learning_rate=3e-5"]).unwrap();
    assert_eq!((pipeline.train.epochs, pipeline.train.learning_rate), (5, 3e-5));
    let Dataset::Folder(source) = pipeline.dataset else { panic!("a folder") };
    assert_eq!(source.path, "/p/data");
    let errors = read("[dataset]\nkind = \"folder\"", &[]).unwrap_err();
    assert!(errors[0].contains("dataset.path must be given"), "{errors:?}");
}
