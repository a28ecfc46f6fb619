//! Checkpoints on disk: what is read, what is refused, and that random ones are the same everywhere.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use half::{bf16, f16};
use resect_checkpoint::{
    Checkpoint, Error, NamedTensor, POSITIONAL_EMBEDDING, POSITIONAL_EMBEDDING_ALIAS, SamConfig, TensorFile,
    WEIGHTS_FILE, random, write_random, write_safetensors,
};
use safetensors::tensor::{Dtype, TensorView};
use tempfile::TempDir;

fn tiny() -> SamConfig {
    SamConfig::named("tiny").unwrap()
}

fn written() -> TempDir {
    let dir = TempDir::new().unwrap();
    write_random(dir.path(), &tiny(), 7).unwrap();
    dir
}

/// Rewrites the weights after a change to the list of tensors.
fn rewritten(change: impl FnOnce(&mut Vec<NamedTensor>)) -> TempDir {
    let dir = written();
    let mut tensors: Vec<_> = random(&tiny(), 7).collect();
    change(&mut tensors);
    write_safetensors(&dir.path().join(WEIGHTS_FILE), tensors, None).unwrap();
    dir
}

fn refused(dir: &TempDir) -> Error {
    Checkpoint::check(dir.path()).unwrap_err()
}

/// The whole chain, as a program prints it.
fn chain(error: &dyn std::error::Error) -> String {
    let rest = error.source().map(|source| format!(": {}", chain(source)));
    format!("{error}{}", rest.unwrap_or_default())
}

#[test]
fn a_random_checkpoint_reads_back_as_it_was_made() {
    let dir = written();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(checkpoint.config(), &tiny());
    for expected in random(&tiny(), 7) {
        assert_eq!(checkpoint.tensor(&expected.name).unwrap(), expected);
    }
    let permissions = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions();
    assert_eq!(permissions(WEIGHTS_FILE), permissions("config.json"), "readable to the same people");
    let metadata = checkpoint.file().metadata();
    assert_eq!(metadata.iter().next(), Some((&"format".to_string(), &"pt".to_string())));
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let bytes = |seed| {
        let dir = TempDir::new().unwrap();
        write_random(dir.path(), &tiny(), seed).unwrap();
        fs::read(dir.path().join(WEIGHTS_FILE)).unwrap()
    };
    assert_eq!(bytes(7), bytes(7));
    assert_ne!(bytes(7), bytes(8));
}

#[test]
fn random_weights_have_the_spread_they_claim() {
    let tensors: HashMap<_, _> = random(&tiny(), 7).map(|t| (t.name, t.data)).collect();
    let std = |name: &str| {
        let data = &tensors[name];
        let n = data.len() as f64;
        let mean = data.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        (data.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n).sqrt()
    };
    for (name, expected) in [
        ("vision_encoder.layers.0.attn.qkv.weight", 384f64.sqrt().recip()),
        ("vision_encoder.layers.0.attn.proj.weight", 0.1 * 384f64.sqrt().recip()),
        ("vision_encoder.layers.0.mlp.lin2.weight", 0.5 * 768f64.sqrt().recip()),
        ("vision_encoder.pos_embed", 0.05),
        ("mask_decoder.transformer.layers.0.mlp.lin1.weight", (3.0 * 128f64).sqrt().recip()),
        ("mask_decoder.mask_tokens.weight", 1.0),
    ] {
        assert!((std(name) / expected - 1.0).abs() < 0.1, "{name}: {} instead of {expected}", std(name));
    }
    // A golden value: the generator, its key and the arithmetic are part of the format of a demonstration.
    assert_eq!(&tensors[POSITIONAL_EMBEDDING][..3], GOLDEN);
}

const GOLDEN: [f32; 3] = [-0.018313123, 0.33981025, -0.6379021];

#[test]
fn tensors_written_in_any_order_give_the_same_bytes() {
    let dir = TempDir::new().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let mut tensors: Vec<_> = random(&tiny(), 1).collect();
    write_safetensors(&a, tensors.clone(), Some(("note", "one"))).unwrap();
    tensors.reverse();
    write_safetensors(&b, tensors.clone(), Some(("note", "one"))).unwrap();
    assert_eq!(fs::read(a).unwrap(), fs::read(b).unwrap());

    tensors.push(tensors[0].clone());
    let error = write_safetensors(&dir.path().join("c"), tensors, None).unwrap_err();
    assert!(error.to_string().contains("given twice"), "{error}");
    let short = NamedTensor { name: "x".into(), shape: vec![2], data: vec![1.0] };
    let error = write_safetensors(&dir.path().join("d"), [short], None).unwrap_err();
    assert!(error.to_string().contains("asks for 2 numbers, found 1"), "{error}");
}

#[test]
fn one_error_names_every_missing_unused_and_misshapen_tensor() {
    let dir = rewritten(|tensors| {
        tensors.retain(|t| t.name != "mask_decoder.iou_token.weight");
        tensors.retain(|t| t.name != "vision_encoder.pos_embed");
        for (name, shape) in [("lora.down", vec![1]), ("vision_encoder.neck.conv1.bias", vec![1])] {
            tensors.push(NamedTensor { name: name.into(), shape, data: vec![0.0] });
        }
        let tokens = tensors.iter_mut().find(|t| t.name == "mask_decoder.mask_tokens.weight").unwrap();
        (tokens.shape, tokens.data) = (vec![1, 128], vec![0.0; 128]);
    });
    let message = refused(&dir).to_string();
    for line in [
        "2 missing, 2 unused, 1 misshapen",
        "missing    mask_decoder.iou_token.weight",
        "missing    vision_encoder.pos_embed",
        "unused     lora.down",
        "unused     vision_encoder.neck.conv1.bias",
        "misshapen  mask_decoder.mask_tokens.weight: found [1, 128], expected [4, 128]",
        "hint: model.safetensors and the config.json beside it must come from the same SAM checkpoint",
    ] {
        assert!(message.contains(line), "`{line}` is not in:\n{message}");
    }
}

#[test]
fn the_positional_frequencies_may_have_either_name_or_both() {
    let rename = |tensors: &mut Vec<NamedTensor>| {
        tensors.iter_mut().find(|t| t.name == POSITIONAL_EMBEDDING).unwrap().name =
            POSITIONAL_EMBEDDING_ALIAS.into();
    };
    let copy = |tensors: &mut Vec<NamedTensor>| {
        let shared = tensors.iter().find(|t| t.name == POSITIONAL_EMBEDDING).unwrap().clone();
        tensors.push(NamedTensor { name: POSITIONAL_EMBEDDING_ALIAS.into(), ..shared });
    };
    let expected = random(&tiny(), 7).find(|t| t.name == POSITIONAL_EMBEDDING).unwrap();
    for dir in [rewritten(rename), rewritten(copy)] {
        assert_eq!(Checkpoint::open(dir.path()).unwrap().tensor(POSITIONAL_EMBEDDING).unwrap(), expected);
    }

    let differ = rewritten(|tensors| {
        copy(tensors);
        tensors.last_mut().unwrap().data[0] += 1.0;
    });
    assert!(matches!(refused(&differ), Error::AliasesDiffer { .. }));
}

#[test]
fn half_precision_is_read_as_f32_and_integers_are_refused() {
    type Encode = fn(f32) -> Vec<u8>;
    type Round = fn(f32) -> f32;
    let cases: [(Dtype, Encode, Round); 2] = [
        (Dtype::F16, |x| f16::from_f32(x).to_le_bytes().to_vec(), |x| f16::from_f32(x).to_f32()),
        (Dtype::BF16, |x| bf16::from_f32(x).to_le_bytes().to_vec(), |x| bf16::from_f32(x).to_f32()),
    ];
    let tensors: Vec<_> = random(&tiny(), 7).collect();
    for (dtype, encode, round) in cases {
        let dir = written();
        write_as(dir.path(), &tensors, dtype, encode);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        for tensor in &tensors {
            let rounded: Vec<f32> = tensor.data.iter().map(|&x| round(x)).collect();
            assert_eq!(checkpoint.tensor(&tensor.name).unwrap().data, rounded, "{}", tensor.name);
        }
    }
    let dir = written();
    write_as(dir.path(), &tensors, Dtype::I32, |x| (x as i32).to_le_bytes().to_vec());
    assert!(matches!(refused(&dir), Error::DataType { .. }));
}

#[test]
fn a_weight_that_is_no_number_is_named_with_its_place() {
    type Encode = fn(f32) -> Vec<u8>;
    let formats: [(Dtype, Encode); 3] = [
        (Dtype::F32, |x| x.to_le_bytes().to_vec()),
        (Dtype::F16, |x| f16::from_f32(x).to_le_bytes().to_vec()),
        (Dtype::BF16, |x| bf16::from_f32(x).to_le_bytes().to_vec()),
    ];
    let name = "mask_decoder.iou_token.weight";
    for (dtype, encode) in formats {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let dir = written();
            let mut tensors: Vec<_> = random(&tiny(), 7).collect();
            tensors.iter_mut().find(|tensor| tensor.name == name).unwrap().data[5] = value;
            write_as(dir.path(), &tensors, dtype, encode);
            let checkpoint = Checkpoint::open(dir.path()).unwrap();
            let error = checkpoint.tensor(name).unwrap_err();
            assert!(
                matches!(&error, Error::NotFinite { name: found, index, .. } if found == name && *index == [0, 5]),
                "{error}"
            );
            let said = error.to_string();
            let place =
                format!("model.safetensors: tensor `{name}` holds {value} at [0, 5]; weights must be finite");
            assert!(said.contains(&place) && said.contains("hint: "), "{said}");
            // Neither a converted nor an exported one is made of it, and a comparison can still look at it.
            let out = dir.path().join("out");
            assert!(matches!(checkpoint.convert(&out), Err(Error::NotFinite { .. })));
            assert!(matches!(checkpoint.file().read_weights(), Err(Error::NotFinite { .. })));
            assert_eq!(checkpoint.file().read_all().unwrap().len(), tensors.len());
        }
    }
    // The positional frequencies, under the name that they do not have in the file.
    let dir = rewritten(|tensors| {
        tensors.iter_mut().find(|tensor| tensor.name == POSITIONAL_EMBEDDING).unwrap().data[0] = f32::NAN;
    });
    let error = Checkpoint::open(dir.path()).unwrap().tensor(POSITIONAL_EMBEDDING_ALIAS).unwrap_err();
    assert!(error.to_string().contains("positional_embedding` holds NaN at [0, 0]"), "{error}");
}

fn write_as(dir: &Path, tensors: &[NamedTensor], dtype: Dtype, encode: fn(f32) -> Vec<u8>) {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|t| t.data.iter().flat_map(|&x| encode(x)).collect()).collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|(t, b)| (&t.name, TensorView::new(dtype, t.shape.clone(), b).unwrap()));
    safetensors::serialize_to_file(views, None, &dir.join(WEIGHTS_FILE)).unwrap();
}

#[test]
fn a_file_cut_at_any_point_is_called_truncated() {
    let dir = written();
    let path = dir.path().join(WEIGHTS_FILE);
    let whole = fs::read(&path).unwrap();
    for length in [0, 1, 7, 8, 9, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let error = refused(&dir);
        assert!(matches!(error, Error::Truncated { .. }), "{length} bytes: {error}");
    }
    let mut longer = whole.clone();
    longer.push(0);
    fs::write(&path, longer).unwrap();
    assert!(matches!(refused(&dir), Error::Truncated { .. }));
}

#[test]
fn a_hostile_header_is_an_error_and_never_a_panic() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("hostile.safetensors");
    let max = u64::MAX;
    let quarter = 1u64 << 61;
    let eight: Vec<_> = (0..8u64)
        .map(|i| {
            let (start, end) = (i * (quarter - 1), (i + 1) * (quarter - 1));
            format!(r#""t{i}":{{"dtype":"U8","shape":[{}],"data_offsets":[{start},{end}]}}"#, quarter - 1)
        })
        .collect();
    for header in [
        String::new(),
        "{".into(),
        "[]".into(),
        "null".into(),
        "\u{0}\u{1}".into(),
        r#"{"x":{}}"#.into(),
        r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#.into(),
        r#"{"x":{"dtype":"F99","shape":[0],"data_offsets":[0,0]}}"#.into(),
        r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,0]}}"#.into(),
        format!(r#"{{"x":{{"dtype":"F32","shape":[{max},{max}],"data_offsets":[0,{max}]}}}}"#),
        format!(r#"{{"x":{{"dtype":"F32","shape":[0],"data_offsets":[{max},{max}]}}}}"#),
        format!("{{{}}}", eight.join(",")),
        "[".repeat(10_000),
    ] {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        fs::write(&path, bytes).unwrap();
        assert!(TensorFile::open(&path).is_err(), "{header:.60}");
    }
    fs::write(&path, [0xff; 64]).unwrap();
    assert!(matches!(TensorFile::open(&path), Err(Error::Malformed { .. })));

    // Headers that agree with the length of the file, and still describe no tensors.
    let entry = |name: &str, dtype: &str, shape: &str, start: usize, end: usize| {
        format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
    };
    let x = entry("x", "F32", "[2]", 0, 8);
    for (entries, data, want) in [
        (vec![x.clone(), entry("y", "F32", "[2]", 4, 12)], 12, "y"),
        // Either may be the one that the library meets first.
        (vec![x.clone(), entry("y", "F32", "[2]", 0, 8)], 8, "invalid offset for tensor"),
        (vec![x.clone(), entry("y", "F32", "[2]", 12, 20)], 20, "y"),
        (vec![entry("x", "F32", "[4294967296,4294967297]", 0, 8)], 8, ""),
        (vec![entry("x", "F32", "[9223372036854775807,2]", 0, 8)], 8, ""),
        (vec![entry("x", "F16", "[2]", 0, 8)], 8, "data type"),
        (vec![x.clone(), x.clone()], 8, "its header has `x` twice"),
        (vec![x.clone(), entry("x", "F32", "[1]", 8, 12)], 12, "its header has `x` twice"),
    ] {
        let header = format!("{{{}}}", entries.join(","));
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(vec![0; data]);
        fs::write(&path, bytes).unwrap();
        let error = TensorFile::open(&path).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{header}: {error}");
        assert!(error.to_string().contains(want), "{header}: {error}");
    }
}

#[test]
fn a_folder_without_a_checkpoint_says_what_is_expected() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("config.json");
    let system = fs::read(&path).unwrap_err();
    let hint = "hint: a folder with config.json and model.safetensors is expected, or a file of weights in the original layout";
    assert_eq!(chain(&refused(&dir)), format!("cannot read {}: {system}\n{hint}", path.display()));

    fs::write(dir.path().join("config.json"), "{}").unwrap();
    fs::write(dir.path().join("pytorch_model.bin"), "PK\u{3}\u{4} and no more").unwrap();
    assert!(chain(&refused(&dir)).contains("pytorch_model.bin: not a readable PyTorch state dict"));
    fs::write(dir.path().join("model.safetensors.index.json"), "").unwrap();
    assert!(chain(&refused(&dir)).contains("hint: the weights are split into shards"));

    fs::write(dir.path().join("config.json"), r#"{"vision_config": {"patch_size": 15}}"#).unwrap();
    let message = chain(&refused(&dir));
    assert!(message.contains("vision_config.image_size: is 1024, but must be divisible"), "{message}");
}
