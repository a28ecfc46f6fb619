//! Files of weights that lie about lengths, offsets and shapes: one error each.

use resect_checkpoint::{
    Checkpoint, NamedTensor, SamConfig, TensorFile, pickle_of, write_random, write_safetensors,
};
use std::io::{Cursor, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fn open(dir: &Path, bytes: &[u8]) -> Result<TensorFile, String> {
    let path = dir.join("weights");
    std::fs::write(&path, bytes).unwrap();
    TensorFile::open(&path).map_err(|error| {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            text += &format!(": {error}");
            source = error.source();
        }
        assert!(text.contains("weights") && text.len() < 1000, "{text}");
        text
    })
}

fn safetensors(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
}

#[test]
fn a_safetensors_file_that_lies_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let entry = |shape: &str, from: &str, to: &str| {
        format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}}}"#)
    };
    let sound = safetensors(&entry("[2]", "0", "8"), 8);
    assert_eq!(open(dir.path(), &sound).unwrap().tensor("a").unwrap().data, [0.0; 2]);
    let largest = u64::MAX.to_string();
    for header in [
        entry("[2]", "0", "16"),
        entry("[2]", "0", &largest),
        entry("[2]", &largest, "8"),
        entry("[2]", "8", "0"),
        entry("[2]", "4", "12"),
        entry("[3]", "0", "8"),
        entry("[4294967296,4294967296]", "0", "8"),
        entry("[18446744073709551615,2]", "0", "8"),
        entry("[-1]", "0", "8"),
        entry("[2]", "0.5", "8"),
        entry("{}", "0", "8"),
        r#"{"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}}"#.into(),
        r#"{"a":7}"#.into(),
        "[]".into(),
        "{".into(),
        "[".repeat(100_000),
        "{\"a\":".repeat(100_000),
    ] {
        assert!(open(dir.path(), &safetensors(&header, 8)).is_err(), "{:.80}", header);
    }
    for length in [0, 7, 9, 1 << 20, 99_999_999, 100_000_000, u64::MAX / 2, u64::MAX - 7, u64::MAX] {
        let mut bytes = sound.clone();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        assert!(open(dir.path(), &bytes).is_err(), "{length}");
    }
    for end in 0..sound.len() {
        assert!(open(dir.path(), &sound[..end]).is_err(), "cut at {end}");
    }
}

/// A zip archive of stored records.
fn archive(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::DEFAULT.compression_method(CompressionMethod::Stored);
    for (name, content) in records {
        zip.start_file(*name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn a_pytorch_file_that_lies_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let pickle = pickle_of(&[("a", &[2]), ("b", &[1, 1])]);
    let records =
        |pickle: &[u8]| archive(&[("x/data.pkl", pickle), ("x/data/0", &[0; 8]), ("x/data/1", &[0; 4])]);
    let sound = records(&pickle);
    assert_eq!(open(dir.path(), &sound).unwrap().shape("b"), Some([1, 1].as_slice()));
    // Shapes beyond what is stored, and beyond all numbers.
    for shape in [&[3usize][..], &[1 << 40], &[usize::MAX >> 1, 4], &[1 << 31, 1 << 31, 1 << 31]] {
        assert!(pickled(dir.path(), shape).is_err(), "{shape:?}");
    }
    // Every byte of the pickle, and every byte of the archive's list of records, which stands at its end.
    let list = sound.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    for value in [0, 1, 0x40, 0x7f, 0x80, 0xff] {
        for at in 0..pickle.len() {
            let mut changed = pickle.clone();
            changed[at] = value;
            let _ = open(dir.path(), &records(&changed)).map(|file| file.read_all());
        }
        for at in list..sound.len() {
            let mut changed = sound.clone();
            changed[at] = value;
            let _ = open(dir.path(), &changed).map(|file| file.read_all());
        }
    }
    for end in 4..sound.len() {
        assert!(open(dir.path(), &sound[..end]).is_err(), "cut at {end}");
    }
}

fn pickled(dir: &Path, shape: &[usize]) -> Result<TensorFile, String> {
    // What is written asks for as many numbers as the shape has, where that is a number.
    let saturated = shape.iter().fold(1usize, |n, &side| n.saturating_mul(side));
    if shape.iter().try_fold(1usize, |n, &side| n.checked_mul(side)).is_none() {
        let mut pickle = pickle_of(&[("a", &[1, 1, 1][..shape.len()])]);
        for &side in shape {
            let one = [0x8a, 8, 1, 0, 0, 0, 0, 0, 0, 0];
            let strides = pickle.windows(3).rposition(|three| three == b"t(\x8a").unwrap_or(0);
            let at = pickle[..strides].windows(10).rposition(|ten| ten == one).unwrap_or(0);
            pickle[at + 2..at + 10].copy_from_slice(&(side as u64).to_le_bytes());
        }
        return open(dir, &archive(&[("x/data.pkl", &pickle), ("x/data/0", &[0; 4])]));
    }
    assert!(saturated > 2);
    open(dir, &archive(&[("x/data.pkl", &pickle_of(&[("a", shape)])), ("x/data/0", &[0; 8])]))
}

/// A record that is packed, and would unpack to gigabytes: it is refused for being packed, and never unpacked.
#[test]
fn a_packed_record_is_never_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = archive(&[("x/data.pkl", &pickle_of(&[("a", &[2])])), ("x/data/0", &[0; 8])]);
    let list = bytes.windows(4).rposition(|four| four == b"PK\x01\x02").unwrap();
    // Of the last record: the method is Deflate, and it is four gigabytes long once unpacked.
    bytes[list + 10] = 8;
    bytes[list + 24..list + 28].copy_from_slice(&0xffff_fff0u32.to_le_bytes());
    let error = open(dir.path(), &bytes).unwrap_err();
    assert!(error.contains("x/data/0"), "{error}");
    assert!(error.contains("compressed") || error.contains("zip archive"), "{error}");
}

#[test]
fn a_file_of_the_right_names_and_other_shapes_names_them() {
    let dir = tempfile::tempdir().unwrap();
    write_random(dir.path(), &SamConfig::named("tiny").unwrap(), 1).unwrap();
    let weights = dir.path().join("model.safetensors");
    let mut tensors: Vec<NamedTensor> = Checkpoint::open(dir.path()).unwrap().file().read_all().unwrap();
    for tensor in &mut tensors {
        tensor.shape = vec![tensor.data.len()];
    }
    write_safetensors(&weights, tensors, None).unwrap();
    let error = Checkpoint::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("misshapen"), "{error}");
}

#[test]
fn sizes_that_cannot_be_are_named() {
    let config: serde_json::Value =
        serde_json::from_str(&SamConfig::named("tiny").unwrap().to_json()).unwrap();
    let check = |config: &serde_json::Value| {
        let config = SamConfig::from_json(&config.to_string()).map_err(|error| error.to_string())?;
        config.validate().map_err(|error| error.to_string())
    };
    assert_eq!(check(&config), Ok(()));
    let mut refused = 0;
    for section in ["vision_config", "prompt_encoder_config", "mask_decoder_config"] {
        for field in config[section].as_object().unwrap().keys() {
            for value in [
                "\"x\"",
                "-1",
                "1e400",
                "0.5",
                "[[]]",
                "{}",
                "true",
                "9007199254740993",
                "18446744073709551615",
            ] {
                let Ok(value) = serde_json::from_str::<serde_json::Value>(value) else { continue };
                let mut changed = config.clone();
                changed[section][field] = value.clone();
                // What is accepted can be listed without filling the memory.
                match check(&changed) {
                    Ok(()) => {}
                    Err(error) => {
                        assert!(error.len() < 400, "{error}");
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(refused > 200, "{refused}");
}
