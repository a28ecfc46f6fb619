//! Files of weights: safetensors and PyTorch's zip archives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resect_checkpoint::{NamedTensor, TensorFile, pickle_of, write_safetensors};
use resect_fuzz::{begin, folder};
use std::io::Write;
use zip::write::SimpleFileOptions;

fn seeds() -> Vec<Vec<u8>> {
    let dir = folder();
    let path = dir.path().join("file");
    let tensor = |name: &str, shape: &[usize]| NamedTensor {
        name: name.into(),
        shape: shape.to_vec(),
        data: vec![0.5; shape.iter().product()],
    };
    let tensors = [tensor("image_encoder.patch_embed.proj.weight", &[4, 3, 2, 2]), tensor("b", &[3])];
    write_safetensors(&path, tensors, Some(("format", "pt"))).expect("a file of weights");
    let safetensors = std::fs::read(&path).expect("it is there");

    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::DEFAULT.compression_method(zip::CompressionMethod::Stored);
    let pickle = pickle_of(&[("a.weight", &[2, 3]), ("b", &[1])]);
    for (name, content) in [
        ("archive/data.pkl", pickle.as_slice()),
        ("archive/byteorder", b"little"),
        ("archive/data/0", &[0; 24]),
        ("archive/data/1", &[0; 4]),
    ] {
        zip.start_file(name, stored).and_then(|()| Ok(zip.write_all(content)?)).expect("a record");
    }
    vec![safetensors, zip.finish().expect("an archive").into_inner()]
}

fuzz_target!(init: begin("checkpoint", seeds()), |bytes: &[u8]| {
    let dir = folder();
    let path = dir.path().join("file");
    std::fs::write(&path, bytes).expect("a file");
    let Ok(file) = TensorFile::open(&path) else { return };
    for name in file.names() {
        let elements: Option<usize> =
            file.shape(name).and_then(|shape| shape.iter().try_fold(1usize, |n, &side| n.checked_mul(side)));
        if let Ok(tensor) = file.tensor(name) {
            assert_eq!(Some(tensor.data.len()), elements);
        }
    }
    // Sizes are read off the shapes where there is no config.json.
    let _ = resect_checkpoint::Checkpoint::check(&path);
});
