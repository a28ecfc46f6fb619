use super::*;

#[test]
fn what_is_no_number_is_refused_in_either_format() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for dtype in [Dtype::F16, Dtype::F32] {
            let error = check("polyp-7", &[0.0, value, 1.0], dtype, Precision::F32).unwrap_err();
            assert!(matches!(&error, EmbedError::NotFinite { id, .. } if id == "polyp-7"), "{error}");
        }
    }
    for (precision, hint) in
        [(Precision::F32, "weights are damaged"), (Precision::F16, "set embed.precision = \"bf16\"")]
    {
        let error = check("a", &[f32::NAN], Dtype::F32, precision).unwrap_err().to_string();
        assert!(error.contains(&format!("computed in {precision}")) && error.contains(hint), "{error}");
    }
}

#[test]
fn what_half_precision_cannot_hold_is_refused_there_alone() {
    let last_held = f32::from_bits(BEYOND_HALF.to_bits() - 1);
    assert!(check("a", &[1.0, -last_held], Dtype::F16, Precision::F32).is_ok());
    assert!(check("a", &[1.0, -BEYOND_HALF], Dtype::F32, Precision::F32).is_ok());
    let error = check("a", &[1.0, -BEYOND_HALF, 7.0], Dtype::F16, Precision::F32).unwrap_err().to_string();
    assert!(error.contains("-65520") && error.contains("embed.dtype = \"f32\""), "{error}");
}
