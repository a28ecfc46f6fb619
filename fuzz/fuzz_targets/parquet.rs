//! A dataset of one Parquet file, read as `ingest` does. The first byte says which columns are named.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resect_fuzz::{begin, folder, tables};
use resect_ingest_params::{IngestLimits, IngestParams, Layout, MaskParams, SplitBy, SplitParams};

fn seeds() -> Vec<Vec<u8>> {
    let named = |table: Vec<u8>| [[vec![0], table.clone()].concat(), [vec![1], table].concat()];
    tables().into_iter().flat_map(named).collect()
}

fuzz_target!(init: begin("parquet", seeds()), |bytes: &[u8]| {
    let Some((named, table)) = bytes.split_first() else { return };
    let dir = folder();
    std::fs::write(dir.path().join("train-0.parquet"), table).expect("a file");
    let params = IngestParams {
        layout: Layout::Parquet {
            image_column: "image".into(),
            mask_column: "label".into(),
            id_column: if named & 1 == 1 { "name".into() } else { String::new() },
            group_column: String::new(),
        },
        mask: MaskParams { speck_pixels: 0, ..MaskParams::default() },
        split: SplitParams { by: SplitBy::Random, ..SplitParams::default() },
        image_size: 32,
        low_res_size: 8,
        ingest: IngestLimits { max_pixels: 1 << 16, max_bytes: 1 << 20, ..IngestLimits::default() },
    };
    let _ = resect_ingest::outside::samples(dir.path(), &params);
});
