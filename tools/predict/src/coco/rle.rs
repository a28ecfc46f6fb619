//! COCO's run lengths (`cocoapi`, `maskApi.c`, `rleEncode` and `rleToString`).

use resect_geometry::{Mask, Size};

/// The mask as a string: lengths of alternating runs of background and foreground down the columns, from the third on as the
/// difference to the run two before, in groups of five bits from the lowest, a sixth saying that more follow, offset by 48.
pub(crate) fn encode(mask: &Mask) -> String {
    let runs = runs(mask);
    let mut text = String::new();
    for (index, &run) in runs.iter().enumerate() {
        let mut rest = if index > 2 { run - runs[index - 2] } else { run };
        loop {
            let bits = (rest & 0x1f) as u8;
            rest >>= 5;
            let more = if bits & 0x10 != 0 { rest != -1 } else { rest != 0 };
            text.push(char::from(bits + if more { 0x20 } else { 0 } + 48));
            if !more {
                break;
            }
        }
    }
    text
}

/// Run lengths down the columns, background first (none, where the first pixel is foreground).
fn runs(mask: &Mask) -> Vec<i64> {
    let Size { height, width } = mask.size();
    let mut runs = Vec::new();
    let (mut inside, mut length) = (false, 0);
    for (x, y) in (0..width).flat_map(|x| (0..height).map(move |y| (x, y))) {
        if mask.get(x, y) != inside {
            runs.push(length);
            (inside, length) = (!inside, 0);
        }
        length += 1;
    }
    runs.push(length);
    runs
}

#[cfg(test)]
mod tests {
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
        assert_eq!(encode(&Mask::from_fn(Size::new(2, 3), |x, y| x == 1 && y == 0)), "213");
        let disc =
            Mask::from_fn(Size::new(40, 60), |x, y| (x as i64 - 30).pow(2) + (y as i64 - 18).pow(2) < 90);
        assert_eq!(encode(&disc), EXPECTED_DISC);
    }

    const EXPECTED_DISC: &str = r"hj05P16L2N2N2O000O2O00000001N10001N2N2N4Jch0";
}
