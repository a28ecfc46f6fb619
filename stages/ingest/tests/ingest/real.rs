//! The real dataset: its oddities are counted on the files (see its README).

use crate::support::*;
use resect_ingest_params::{IngestLimits, IngestParams, Layout, MaskParams, SplitParams};
use std::path::PathBuf;

/// `$RESECT_SHARED/data/kvasir-seg`, or the folder `shared` beside the checkout.
fn dataset() -> PathBuf {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("RESECT_SHARED").map_or_else(beside, PathBuf::from);
    let path = shared.join("data/kvasir-seg");
    assert!(
        path.is_dir(),
        "no Kvasir-SEG at {}; set RESECT_SHARED to the folder that holds data/kvasir-seg",
        path.display()
    );
    path
}

fn kvasir(limit: u32) -> IngestParams {
    IngestParams {
        layout: Layout::Parquet {
            image_column: "image".into(),
            mask_column: "annotation".into(),
            id_column: "name".into(),
            group_column: String::new(),
        },
        mask: MaskParams::default(),
        split: SplitParams::default(),
        image_size: 1024,
        low_res_size: 256,
        ingest: IngestLimits { limit, ..IngestLimits::default() },
    }
}

#[test]
#[ignore = "needs the real images: cargo xtask test runs it where ../shared/data/kvasir-seg is (RESECT_SHARED)"]
fn the_first_sixty_of_each_split() {
    let output = run(&dataset(), &kvasir(60)).unwrap();
    let audit = &output.audit;
    assert_eq!((audit.samples, audit.rejected, output.images.len()), (120, 0, 120));
    assert_eq!(audit.splits.values().map(|part| part.samples).collect::<Vec<_>>(), [54, 6, 60]);
    // JPEG masks, all of them; most boxes would be wrong without a threshold.
    assert_eq!(audit.masks.noisy, 120);
    assert!(audit.masks.box_moves_above_zero > 100);
    for image in output.images.iter() {
        assert_eq!(image.resized, image.original.with_longest_side(1024));
    }
    for (index, row) in output.targets.rows().iter().enumerate() {
        let mask = output.targets.mask(index);
        assert_eq!(mask.bounding_box(), Some(row.bounding_box()), "{}", row.id);
    }
}
