//! Embeddings: their index in Parquet, their numbers in Arrow.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resect_embeddings::{Embeddings, Writer};
use resect_fuzz::{begin, contents, folder, joined, parts};
use resect_geometry::View;
use resect_numeric::Dtype;

const FILES: [&str; 3] = ["embeddings.json", "index.parquet", "embeddings-00000.arrow"];

fn seeds() -> Vec<Vec<u8>> {
    let seed = |dtype| {
        let dir = folder();
        let writer = Writer::new(dir.path(), [2, 3, 3], dtype);
        writer.write_shard(0, &[0.25; 36]).expect("a shard");
        writer.finish(&[("0a", View::Identity), ("0b", View::Identity)]).expect("an index");
        joined(&contents(dir.path(), FILES))
    };
    vec![seed(Dtype::F16), seed(Dtype::F32)]
}

fuzz_target!(init: begin("embeddings", seeds()), |bytes: &[u8]| {
    let dir = folder();
    for (name, content) in FILES.into_iter().zip(parts::<3>(bytes)) {
        std::fs::write(dir.path().join(name), content).expect("a file");
    }
    if let Ok(embeddings) = Embeddings::open(dir.path()) {
        let length: usize = embeddings.shape().iter().product();
        for (hash, view) in embeddings.rows() {
            let mut values = Vec::new();
            assert!(embeddings.append_to(hash, view, &mut values));
            assert_eq!(values.len(), length);
            embeddings.fetch(hash, view);
            embeddings.release(hash, view);
        }
    }
});
