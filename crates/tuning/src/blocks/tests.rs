use super::*;

#[test]
fn blocks_are_read_as_they_are_written() {
    for (text, blocks) in [
        ("\"all\"", Blocks::All),
        ("\"late\"", Blocks::Late),
        ("\"6..\"", Blocks::From(6)),
        ("[0,1,10,11]", Blocks::List(vec![0, 1, 10, 11])),
    ] {
        assert_eq!(serde_json::from_str::<Blocks>(text).unwrap(), blocks);
        assert_eq!(serde_json::to_string(&blocks).unwrap(), text);
    }
    for text in ["\"some\"", "\"..6\"", "6", "[-1]", "[\"0\"]"] {
        let error = serde_json::from_str::<Blocks>(text).unwrap_err().to_string();
        assert!(error.contains("\"late\""), "{error}");
    }
}

#[test]
fn a_choice_must_fit_the_model() {
    assert_eq!(Blocks::All.of(3).unwrap(), [0, 1, 2]);
    assert_eq!(Blocks::Late.of(12).unwrap(), [6, 7, 8, 9, 10, 11]);
    assert_eq!(Blocks::Late.of(3).unwrap(), [1, 2]);
    assert_eq!(Blocks::From(2).of(4).unwrap(), [2, 3]);
    assert_eq!(Blocks::List(vec![0, 3]).of(4).unwrap(), [0, 3]);
    for blocks in [
        Blocks::From(4),
        Blocks::List(vec![]),
        Blocks::List(vec![1, 0]),
        Blocks::List(vec![2, 2]),
        Blocks::List(vec![4]),
    ] {
        assert!(blocks.of(4).is_err(), "{blocks}");
    }
}
