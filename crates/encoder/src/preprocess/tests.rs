use super::*;

#[test]
fn padding_is_zero_after_normalising_and_black_is_not() {
    let out = normalise(&[0, 255, 0, 255, 0, 255], 1, 2, 3).unwrap();
    assert_eq!(out.len(), 27);
    assert!((out[0] - -0.485 / 0.229).abs() < 1e-6 && (out[1] - 0.515 / 0.229).abs() < 1e-6);
    assert_eq!(out[2..9], [0.0; 7]);
}

#[test]
fn images_that_are_not_what_they_claim_are_refused() {
    for (pixels, height, width, want) in
        [(0, 0, 4, "no pixels"), (15, 5, 1, "larger than"), (11, 2, 2, "12 bytes are expected")]
    {
        let message = normalise(&vec![0; pixels], height, width, 4).unwrap_err().to_string();
        assert!(message.contains(want), "{message}");
    }
}
