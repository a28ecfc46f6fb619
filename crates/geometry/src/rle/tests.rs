use super::*;

#[test]
fn runs_go_down_the_columns_and_begin_with_background() {
    let size = Size::new(2, 3);
    assert_eq!(runs(&Mask::from_fn(size, |x, y| x == 1 && y == 0)), [2, 1, 3]);
    assert_eq!(runs(&Mask::from_fn(size, |x, _| x == 0)), [0, 2, 4]);
    assert_eq!(runs(&Mask::empty(size)), [6]);
    assert_eq!(runs(&Mask::from_fn(size, |_, _| true)), [0, 6]);
}

#[test]
fn strings_are_those_of_pycocotools() {
    // From `pycocotools.mask.encode(numpy.asfortranarray(...))["counts"]`.
    assert_eq!(Mask::from_fn(Size::new(2, 3), |x, y| x == 1 && y == 0).to_rle(), "213");
    assert_eq!(disc().to_rle(), EXPECTED_DISC);
}

#[test]
fn what_was_written_is_read() {
    let size = Size::new(37, 53);
    let speckle = Mask::from_fn(size, |x, y| (x * 7 + y * y * 13) % 5 < 2);
    for mask in [disc(), speckle, Mask::empty(size), Mask::from_fn(size, |_, _| true)] {
        assert_eq!(Mask::from_rle(mask.size(), &mask.to_rle()), Ok(mask));
    }
}

#[test]
fn what_is_no_mask_is_refused() {
    for (text, what) in [
        ("213", "run lengths cover less than the mask"),
        ("215", "run lengths cover more than the mask"),
        ("2 3", "run lengths hold a character that is none of theirs"),
        ("P", "run lengths are cut off"),
        ("O", "run lengths hold a negative one"),
        ("PPPPPPPPPPP", "run lengths hold a number that is too large"),
        ("", "run lengths cover less than the mask"),
    ] {
        let size = if text == "213" { Size::new(3, 3) } else { Size::new(2, 3) };
        assert_eq!(Mask::from_rle(size, text).unwrap_err().to_string(), what, "{text:?}");
    }
}

fn disc() -> Mask {
    Mask::from_fn(Size::new(40, 60), |x, y| (x as i64 - 30).pow(2) + (y as i64 - 18).pow(2) < 90)
}

const EXPECTED_DISC: &str = r"hj05P16L2N2N2O000O2O00000001N10001N2N2N4Jch0";
