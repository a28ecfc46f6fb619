use super::*;

#[test]
fn too_little_memory_names_what_would_fit() {
    let needed = |batch: usize| (2 + batch as u64) << 30;
    let check = |free: u64, batch| fits(&Device::Cuda(1), free << 30, needed, batch, "runtime.decode_batch");
    assert!(check(10, 8).is_ok());
    let error = check(6, 8).unwrap_err().to_string();
    for part in ["cuda:1", "10.7 GB", "6.4 GB", "runtime.decode_batch = 8", "4 would fit"] {
        assert!(error.contains(part), "{part} is not in\n{error}");
    }
    let error = check(2, 8).unwrap_err().to_string();
    assert!(error.contains("not even 1"), "{error}");
    let error = fits(&Device::Cuda(0), 6 << 30, needed, 8, "--decode-batch").unwrap_err().to_string();
    assert!(error.contains("--decode-batch 8 takes about"), "{error}");
    assert!(error.contains("hint: --decode-batch 4, "), "{error}");
}
