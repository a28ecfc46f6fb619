//! The original key layout and PyTorch files: what comes back, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};

use resect_checkpoint::{
    Checkpoint, Error, Layout, NamedTensor, SamConfig, StateDictError, TensorFile, original_names, random,
    write_random, write_safetensors,
};
use tempfile::TempDir;

/// The decoder's epsilon of the original code.
fn with_original_eps(mut config: SamConfig) -> SamConfig {
    config.decoder.layer_norm_eps = 1e-5;
    config
}

fn tiny() -> SamConfig {
    with_original_eps(SamConfig::named("tiny").unwrap())
}

/// A folder with a random checkpoint in our layout.
fn ours() -> TempDir {
    let dir = TempDir::new().unwrap();
    write_random(dir.path(), &tiny(), 7).unwrap();
    dir
}

fn holds_the_random_weights(checkpoint: &Checkpoint) {
    for expected in random(&tiny(), 7) {
        assert_eq!(checkpoint.tensor(&expected.name).unwrap(), expected);
    }
}

/// Writes the random weights under their original names after a change to them.
fn original(change: impl FnOnce(&mut Vec<NamedTensor>)) -> (TempDir, PathBuf) {
    let names = original_names(&tiny());
    let mut tensors: Vec<_> =
        random(&tiny(), 7).map(|t| NamedTensor { name: names[&t.name].clone(), ..t }).collect();
    change(&mut tensors);
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("sam_tiny.safetensors");
    write_safetensors(&path, tensors, None).unwrap();
    (dir, path)
}

fn refused(path: &Path) -> Error {
    Checkpoint::open(path).unwrap_err()
}

#[test]
fn both_layouts_and_both_formats_come_back_to_the_bit() {
    let ours = ours();
    let checkpoint = Checkpoint::open(ours.path()).unwrap();
    assert_eq!(checkpoint.layout(), Layout::Transformers);
    let dir = TempDir::new().unwrap();
    let (safetensors, pth) = (dir.path().join("a/sam.safetensors"), dir.path().join("b/sam.pth"));
    for path in [&safetensors, &pth] {
        fs::create_dir(path.parent().unwrap()).unwrap();
    }
    checkpoint.write(&safetensors, Layout::Original, None).unwrap();
    checkpoint.write_state_dict(&pth, Layout::Original, None).unwrap();
    for path in [&safetensors, &pth] {
        // The file alone, or the folder it lies in.
        for given in [path.as_path(), path.parent().unwrap()] {
            let read = Checkpoint::open(given).unwrap();
            assert_eq!((read.config(), read.layout()), (&tiny(), Layout::Original));
            assert_eq!((read.config_file(), read.file().path()), (None, path.as_path()));
            holds_the_random_weights(&read);
        }
    }
    let converted = dir.path().join("converted");
    Checkpoint::open(&pth).unwrap().convert(&converted).unwrap();
    let read = |dir: &Path, name: &str| fs::read(dir.join(name)).unwrap();
    for name in ["config.json", "model.safetensors", "preprocessor_config.json"] {
        assert!(read(&converted, name) == read(ours.path(), name), "{name}");
    }
}

#[test]
fn a_config_beside_the_weights_is_followed() {
    let (dir, path) = original(|_| ());
    assert_eq!(Checkpoint::check(dir.path()).unwrap().decoder.layer_norm_eps, 1e-5);
    let mut stated = tiny();
    stated.decoder.layer_norm_eps = 3e-6;
    fs::write(dir.path().join("config.json"), stated.to_json()).unwrap();
    for given in [dir.path(), &path] {
        assert_eq!(Checkpoint::check(given).unwrap(), stated);
    }
}

#[test]
fn published_sizes_are_read_off_the_shapes() {
    for name in ["vit-b", "vit-l", "vit-h", "tiny", "small"] {
        let config = SamConfig::named(name).unwrap();
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("sam.safetensors");
        write_shapes(&path, &config);
        assert_eq!(Checkpoint::check(&path).unwrap(), with_original_eps(config), "{name}");
    }
}

/// A file of the right length that holds zeros, most of which never reach the disk.
fn write_shapes(path: &Path, config: &SamConfig) {
    let names = original_names(config);
    let mut end = 0;
    let entries = resect_checkpoint::tensors(config).into_iter().map(|spec| {
        let start = end;
        end += 2 * spec.elements();
        let entry = serde_json::json!({"dtype": "F16", "shape": spec.shape, "data_offsets": [start, end]});
        (names[&spec.name].clone(), entry)
    });
    let header = serde_json::Value::Object(entries.collect()).to_string();
    fs::write(path, [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()).unwrap();
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
}

#[test]
fn what_does_not_fit_is_named_as_the_file_names_it() {
    let (_dir, path) = original(|tensors| {
        tensors.retain(|t| t.name != "image_encoder.blocks.1.norm1.bias");
        tensors[5].name.push_str(".ema");
    });
    let message = refused(&path).to_string();
    for line in [
        "missing    image_encoder.blocks.1.norm1.bias",
        ".ema",
        "2 missing, 1 unused, 0 misshapen",
        "hint: there is no config.json beside it, and the sizes were read off its own tensors",
    ] {
        assert!(message.contains(line), "`{line}` is not in:\n{message}");
    }
}

#[test]
fn sizes_that_cannot_be_told_are_one_error() {
    type Change = fn(&mut Vec<NamedTensor>);
    fn reshape(tensors: &mut [NamedTensor], name: &str, shape: &[usize]) {
        let tensor = tensors.iter_mut().find(|t| t.name == name).unwrap();
        (tensor.shape, tensor.data) = (shape.to_vec(), vec![0.0; shape.iter().product()]);
    }
    let cases: [(Change, &str); 7] = [
        (|t| t.retain(|t| t.name != "image_encoder.pos_embed"), "`image_encoder.pos_embed` is missing"),
        (
            |t| t.retain(|t| !t.name.contains("rel_pos_h")),
            "`image_encoder.blocks.0.attn.rel_pos_h` is missing",
        ),
        (|t| reshape(t, "image_encoder.pos_embed", &[1, 16, 8, 384]), "16 x 8, which is not square"),
        (|t| reshape(t, "image_encoder.pos_embed", &[16, 384]), "4 axes are expected"),
        (
            |t| reshape(t, "image_encoder.blocks.0.attn.rel_pos_h", &[13, 63]),
            "63 channels a head, which do not fit 384 in all",
        ),
        (|t| reshape(t, "mask_decoder.mask_tokens.weight", &[4, 0]), "must be at least 1, is 0"),
        (
            |t| t.retain(|t| !t.name.contains("iou_prediction_head")),
            "`mask_decoder.iou_prediction_head.layers.0.weight` is missing",
        ),
    ];
    for (change, want) in cases {
        let (_dir, path) = original(change);
        let error = refused(&path);
        let message = error.to_string();
        assert!(matches!(error, Error::Sizes { .. }) && message.contains(want), "{want}: {message}");
        assert!(message.contains("hint: put the model's config.json beside it"), "{message}");
    }
    let (_dir, path) = original(|t| {
        let far = NamedTensor {
            name: format!("image_encoder.blocks.{}.x", usize::MAX),
            shape: vec![0],
            data: vec![],
        };
        t.push(far);
    });
    assert!(matches!(refused(&path), Error::Sizes { .. }));
}

#[test]
fn several_files_of_weights_are_not_guessed_among() {
    let (dir, path) = original(|_| ());
    let other = dir.path().join("sam_other.safetensors");
    fs::copy(&path, &other).unwrap();
    let message = refused(dir.path()).to_string();
    assert!(
        message.contains("several files of weights: sam_other.safetensors, sam_tiny.safetensors"),
        "{message}"
    );
    // A pickle of the same weights is not asked where there is a safetensors file.
    fs::rename(&other, dir.path().join("sam_tiny.pth")).unwrap();
    assert_eq!(Checkpoint::open(dir.path()).unwrap().file().path(), path);
}

/// A PyTorch file of the random weights.
fn pth() -> (TempDir, PathBuf) {
    let ours = ours();
    let path = ours.path().join("sam.pth");
    Checkpoint::open(ours.path()).unwrap().write_state_dict(&path, Layout::Original, None).unwrap();
    (ours, path)
}

#[test]
fn a_pytorch_file_cut_at_any_point_is_an_error() {
    let (dir, path) = pth();
    let whole = fs::read(&path).unwrap();
    let cut = dir.path().join("cut.pth");
    for length in [4, 29, 30, 64, 1000, whole.len() / 2, whole.len() - 30, whole.len() - 1] {
        fs::write(&cut, &whole[..length]).unwrap();
        let error = TensorFile::open(&cut).unwrap_err();
        assert!(
            matches!(error, Error::StateDict { .. } | Error::Truncated { .. }),
            "{length} bytes: {error}"
        );
    }
}

/// A zip archive with these records.
fn archive(records: &[(&str, &[u8])], method: zip::CompressionMethod) -> (TempDir, PathBuf) {
    use std::io::Write;
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("sam.pth");
    let mut archive = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, content) in records {
        archive.start_file(*name, options).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap();
    (dir, path)
}

fn state_dict_error(records: &[(&str, &[u8])]) -> StateDictError {
    let (_dir, path) = archive(records, zip::CompressionMethod::Stored);
    match TensorFile::open(&path) {
        Err(Error::StateDict { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

/// One tensor `x` of `shape` and `strides` at `offset` in a storage of `numbers`, as `torch.save` writes it.
fn pickle_of(storage: &str, numbers: u8, offset: u8, shape: [u8; 2], strides: [u8; 2]) -> Vec<u8> {
    let mut out = b"\x80\x02}q\x00X\x01\x00\x00\x00xctorch._utils\n_rebuild_tensor_v2\n((".to_vec();
    out.extend(b"X\x07\x00\x00\x00storagec");
    out.extend(storage.as_bytes());
    out.extend(b"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK");
    out.extend([numbers, b't', b'Q', b'K', offset]);
    for [a, b] in [shape, strides] {
        out.extend([b'K', a, b'K', b, 0x86]);
    }
    out.extend(b"\x89ccollections\nOrderedDict\n)RtRs.");
    out
}

#[test]
fn tensors_are_found_where_the_pickle_says() {
    let pickle = pickle_of("torch\nFloatStorage", 5, 1, [2, 2], [2, 1]);
    let numbers: Vec<u8> = [9f32, 1.0, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let records: [(&str, &[u8]); 3] =
        [("m/data.pkl", &pickle), ("m/byteorder", b"little"), ("m/data/0", &numbers)];
    let (_dir, path) = archive(&records, zip::CompressionMethod::Stored);
    let file = TensorFile::open(&path).unwrap();
    let expected = NamedTensor { name: "x".into(), shape: vec![2, 2], data: vec![1.0, 2.0, 3.0, 4.0] };
    assert_eq!(file.read_all().unwrap(), [expected]);

    let half: Vec<u8> =
        [9f32, 1.0, 2.0, 3.0, 4.0].iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect();
    let pickle = pickle_of("torch\nHalfStorage", 5, 1, [2, 2], [2, 1]);
    let (_dir, path) =
        archive(&[("m/data.pkl", &pickle), ("m/data/0", &half)], zip::CompressionMethod::Stored);
    assert_eq!(TensorFile::open(&path).unwrap().tensor("x").unwrap().data, [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn a_hostile_pytorch_file_is_an_error_and_nothing_is_run() {
    let good =
        |pickle: &[u8]| state_dict_error(&[("m/data.pkl", pickle), ("m/data/0", &[0; 16])]).to_string();
    let of = |numbers, offset, shape, strides| {
        good(&pickle_of("torch\nFloatStorage", numbers, offset, shape, strides))
    };
    let repeated = |head: &[u8], times: usize, tail: &[u8]| [head.to_vec(), tail.repeat(times)].concat();
    let twice = pickle_of("torch\nFloatStorage", 4, 0, [2, 2], [2, 1]);
    let entry = &twice[5..twice.len() - 1];
    let long_shape = [
        b"\x80\x02}X\x01\x00\x00\x00xctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n".as_slice(),
        b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQK\x00(",
        &b"K\x01".repeat(100),
        b"t)\x89ccollections\nOrderedDict\n)RtRs.",
    ]
    .concat();
    for (message, want) in [
        (good(b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R."), "asks for the Python object `os.system`"),
        (good(b"\x80\x02c__builtin__\neval\n."), "`__builtin__.eval`"),
        (good(&pickle_of("torch\nDoubleStorage", 4, 0, [2, 2], [2, 1])), "`torch.DoubleStorage`"),
        (good(b"\x80\x04."), "another protocol than 2"),
        (good(b"\x80\x02]."), "instruction 0x5d at byte 2"),
        (good(b"\x80\x02i"), "instruction 0x69"),
        (good(b""), "ends early"),
        (good(b"\x80\x02}"), "ends early"),
        (good(b"\x80\x02X\xff\xff\xff\xffabc"), "ends early"),
        (good(b"\x80\x02c"), "ends early"),
        (good(b"\x80\x02."), "takes more than there is"),
        (good(b"\x80\x02("), "ends early"),
        (good(b"\x80\x02(."), "takes more than there is"),
        (good(b"\x80\x02\x87."), "takes more than there is"),
        (good(b"\x80\x02t."), "a mark is missing"),
        (good(b"\x80\x02h\x07."), "recalls what it never kept"),
        (good(b"\x80\x02K\x01Q."), "a tuple is expected"),
        (good(b"\x80\x02)Q."), "a storage is expected"),
        (good(b"\x80\x02})R."), "builds no tensor and no dictionary"),
        (good(b"\x80\x02K\x01}b."), "attributes of what has none"),
        (good(b"\x80\x02K\x01K\x02K\x03s."), "items of what is no dictionary"),
        (good(b"\x80\x02}(K\x01u."), "a name without a value"),
        (good(b"\x80\x02\x8a\xff."), "ends early"),
        (good(&[b"\x80\x02\x8a\x09".as_slice(), &[1; 9], b"."].concat()), "beyond 64 bits"),
        (good(b"\x80\x02K\x01."), "it holds no dictionary"),
        (good(b"\x80\x02}X\x05\x00\x00\x00modelNs."), "it holds `model`, which is no tensor"),
        (good(b"\x80\x02}K\x01Ns."), "whose name is no text"),
        (good(&repeated(b"\x80\x02N", 1 << 20, b"\x85")), "ends early"),
        (good(&repeated(b"\x80\x02", 5 << 20, b"N")), "at most 4194304 are read"),
        (good(&long_shape), "too many axes"),
        (of(4, 0, [2, 2], [1, 2]), "is not stored row by row"),
        (of(4, 1, [2, 2], [2, 1]), "larger than what is stored"),
        (of(4, 0, [255, 255], [255, 1]), "larger than what is stored"),
        (of(8, 0, [2, 2], [2, 1]), "has another length than its tensor says"),
        (state_dict_error(&[("m/x", b"")]).to_string(), "no record `data.pkl`"),
        (
            state_dict_error(&[("m/data.pkl", &pickle_of("torch\nFloatStorage", 4, 0, [2, 2], [2, 1]))])
                .to_string(),
            "no record `m/data/0`",
        ),
        (state_dict_error(&[("m/data.pkl", b""), ("m/byteorder", b"big")]).to_string(), "big-endian"),
        (good(&[&twice[..5], entry, entry, b"."].concat()), "it holds `x` twice"),
    ] {
        assert!(message.contains(want), "`{want}` is not in: {message}");
    }
}

#[test]
fn every_flipped_byte_of_a_pytorch_file_is_an_error_or_a_tensor() {
    let pickle = pickle_of("torch\nFloatStorage", 4, 0, [2, 2], [2, 1]);
    let (_dir, path) =
        archive(&[("m/data.pkl", &pickle), ("m/data/0", &[0; 16])], zip::CompressionMethod::Stored);
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= mask;
            fs::write(&path, bytes).unwrap();
            // Whatever comes of it: no panic, and no tensor that lies elsewhere than in the file.
            if let Ok(file) = TensorFile::open(&path) {
                let tensors = file.read_all().unwrap();
                assert!(
                    tensors.iter().all(|t| t.data.len() == t.shape.iter().product::<usize>()),
                    "byte {at}"
                );
            }
        }
    }
}

#[test]
fn a_tuned_tensor_takes_its_place_and_one_of_another_shape_is_refused() {
    let ours = ours();
    let checkpoint = Checkpoint::open(ours.path()).unwrap();
    let dir = TempDir::new().unwrap();
    let name = "mask_decoder.iou_token.weight";
    let tuned = |shape: &[usize], found: &str| {
        let data = vec![0.5; shape.iter().product()];
        (found == name).then(|| Ok(NamedTensor { name: name.into(), shape: shape.to_vec(), data }))
    };
    let out = dir.path().join("out.safetensors");
    checkpoint.write(&out, Layout::Transformers, Some(&|found: &str| tuned(&[1, 128], found))).unwrap();
    let written = TensorFile::open(&out).unwrap();
    for expected in random(&tiny(), 7) {
        let found = written.tensor(&expected.name).unwrap();
        if expected.name == name {
            assert_eq!(found.data, vec![0.5; 128]);
        } else {
            assert_eq!(found, expected);
        }
    }
    let error =
        checkpoint.write(&out, Layout::Original, Some(&|found: &str| tuned(&[128], found))).unwrap_err();
    assert!(matches!(error, Error::Unwritable { .. }), "{error}");
}
