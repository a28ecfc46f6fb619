//! The bytes do not depend on the number of threads.

use crate::support::*;
use resect_ingest_params::Targets;

#[test]
fn one_two_and_seven_threads_write_the_same_bytes() {
    let folder = Folder::with_samples(90);
    folder.remove("masks/s17.png");
    folder.file("images/s40.png", b"broken");
    let mut params = params();
    params.split.validation_share = 0.2;
    params.mask.targets = Targets::Components;
    let hashes = [1, 2, 7].map(|threads| run_on(folder.dir.path(), &params, threads).unwrap().hashes());
    let names: Vec<&str> = hashes[0].iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "images/images-00000.arrow",
            "images/images-00001.arrow",
            "images/images.json",
            "targets/audit.json",
            "targets/masks.arrow",
            "targets/rejected.json",
            "targets/targets.json",
            "targets/targets.parquet",
        ]
    );
    assert_eq!(hashes[0], hashes[1]);
    assert_eq!(hashes[0], hashes[2]);
}
