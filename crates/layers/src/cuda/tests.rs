use super::*;

#[test]
fn what_is_missing_is_an_error_and_no_panic() {
    match resect_device::gpus() {
        // A machine with a GPU: it can be used, and there is none of that number.
        Ok(_) => assert!(matches!(open(99), Err(DeviceError::NoSuchGpu { index: 99, .. }))),
        Err(expected) => assert_eq!(open(0).map(drop).unwrap_err().to_string(), expected.to_string()),
    }
    if let Err(reason) = compile((8, 0)) {
        assert!(
            reason.contains("NVRTC") || reason.contains("CUDA toolkit") || reason.contains("error"),
            "{reason}"
        );
    }
}
