use super::*;

#[test]
fn numbers_read_well() {
    assert_eq!(figure(Some(0.81249)), "0.812");
    for none in [None, Some(f64::NAN), Some(f64::INFINITY)] {
        assert_eq!([figure(none), signed(none), metric("hd95", none)], ["–"; 3]);
    }
    assert_eq!((signed(Some(0.0731)), signed(Some(-0.02))), ("+0.073".into(), "−0.020".into()));
    assert_eq!((signed(Some(-0.0001)), signed(Some(0.0))), ("0.000".into(), "0.000".into()));
    assert_eq!(
        (p_value(0.0004), p_value(0.04)),
        ("p\u{a0}<\u{a0}0.001".into(), "p\u{a0}=\u{a0}0.040".into())
    );
    assert_eq!(interval(Some([0.5, 0.25])), "0.500 to 0.250");
    assert_eq!(
        (duration(7.25), duration(200.0), duration(7500.0)),
        ("7.2 s".into(), "3 min 20 s".into(), "2 h 5 min".into())
    );
    assert_eq!((memory(300 << 20), memory(3 << 29)), ("300 MiB".into(), "1.5 GiB".into()));
    assert_eq!((moment("2026-11-26T11:47:12.1Z"), moment("é")), ("2026-11-26 11:47 UTC".into(), "é".into()));
    assert_eq!((count(1, "target"), count(0, "image")), ("1 target".into(), "0 images".into()));
}
