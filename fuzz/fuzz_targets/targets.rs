//! Targets: their table in Parquet, their masks in Arrow.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resect_fuzz::{begin, contents, folder, joined, parts};
use resect_geometry::{Mask, Size};
use resect_target_records::{Split, Target};
use resect_targets::{Targets, Writer};

const FILES: [&str; 3] = ["targets.json", "targets.parquet", "masks.arrow"];

fn seeds() -> Vec<Vec<u8>> {
    let dir = folder();
    let mut writer = Writer::create(dir.path(), 4).expect("targets");
    for id in ["a", "b"] {
        let target = Target {
            id: id.into(),
            sample: id.into(),
            pixel_hash: "0".repeat(64),
            split: Split::Train,
            given_split: "train".into(),
            group: id.into(),
            height: 5,
            width: 7,
            resized_height: 3,
            resized_width: 4,
            x0: 1,
            y0: 1,
            x1: 3,
            y1: 3,
            area_fraction: 9.0 / 35.0,
            components: 1,
            specks_removed: 0,
            noisy_mask: false,
            touches_border: false,
            near_duplicate_of: String::new(),
        };
        let mask = Mask::from_fn(Size::new(5, 7), |x, y| (1..=3).contains(&x) && (1..=3).contains(&y));
        writer.push(target, &mask).expect("a target");
    }
    writer.finish(&(), &[]).expect("targets");
    vec![joined(&contents(dir.path(), FILES))]
}

fuzz_target!(init: begin("targets", seeds()), |bytes: &[u8]| {
    let dir = folder();
    for (name, content) in FILES.into_iter().zip(parts::<3>(bytes)) {
        std::fs::write(dir.path().join(name), content).expect("a file");
    }
    if let Ok(targets) = Targets::open(dir.path()) {
        for (index, row) in targets.rows().iter().enumerate() {
            targets.low_res(index);
            if row.original().pixels() < 1 << 20 {
                assert_eq!(targets.mask(index).size(), row.original());
            }
        }
        targets.release();
    }
});
