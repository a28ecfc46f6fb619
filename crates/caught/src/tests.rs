use super::*;

#[test]
fn a_panic_is_expected_while_it_is_caught() {
    assert!(!is_expected());
    let inner = caught(|| {
        assert!(is_expected());
        let nothing: Option<()> = caught(|| panic!("damaged"));
        (nothing, is_expected())
    });
    assert_eq!(inner, Some((None, true)));
    assert!(!is_expected());
    assert!(!caught(|| std::thread::spawn(is_expected).join().unwrap()).unwrap(), "of this thread alone");
}
