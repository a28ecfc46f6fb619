//! Views against numpy and Pillow: `tests/reference/views_reference.py` made the fixture.

use resect_geometry::{Mask, PixelBox, Size, View};
use std::path::PathBuf;

#[derive(serde::Deserialize)]
struct Fixture {
    low_res: u32,
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    size: [u32; 2],
    point: [u32; 2],
    views: Vec<Seen>,
}

#[derive(serde::Deserialize)]
struct Seen {
    view: View,
    mask: Vec<String>,
    #[serde(rename = "box")]
    corners: [u32; 4],
    point: [u32; 2],
    planes: String,
    low_res: Vec<String>,
}

impl Seen {
    fn mask(&self) -> Mask {
        mask(&self.mask)
    }

    fn bounds(&self) -> PixelBox {
        let [x0, y0, x1, y1] = self.corners;
        PixelBox { x0, y0, x1, y1 }
    }

    fn planes(&self) -> Vec<u8> {
        let digits = self.planes.as_bytes().chunks(2);
        digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
    }
}

fn mask(rows: &[String]) -> Mask {
    let size = Size::new(rows.len() as u32, rows[0].len() as u32);
    Mask::new(size, rows.iter().flat_map(|row| row.bytes().map(|b| b == b'#')).collect())
}

fn fixture() -> Fixture {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/geometry/views.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn every_view_is_that_of_numpy_and_pillow() {
    let Fixture { low_res, cases } = fixture();
    assert_eq!(cases.len(), 4);
    for case in &cases {
        let size = Size::new(case.size[0], case.size[1]);
        let [first, ..] = &case.views[..] else { panic!("a case has views") };
        assert_eq!((first.view, case.views.len()), (View::Identity, View::ALL.len()));
        for seen in &case.views {
            let view = seen.view;
            let turned = view.mask(&first.mask());
            assert_eq!(turned, seen.mask(), "{size} {view}");
            assert_eq!(view.size(size), turned.size());
            assert_eq!(view.pixel_box(first.bounds(), size), seen.bounds(), "{size} {view}");
            assert_eq!(view.pixel(case.point, size), seen.point, "{size} {view}");
            assert_eq!(view.planes(&first.planes(), size), seen.planes(), "{size} {view}");
            assert_eq!(turned.to_low_res(low_res), mask(&seen.low_res), "{size} {view}");
        }
    }
}

#[test]
fn the_nearest_rule_does_not_mirror() {
    // Why a view's low-res mask is made from its original mask, and not from the low-res mask at hand.
    let mut others = 0;
    for case in &fixture().cases {
        for seen in &case.views {
            let small = |mask: &Mask| mask.resized_nearest(mask.size().with_longest_side(16));
            others += usize::from(small(&seen.mask()) != seen.view.mask(&small(&case.views[0].mask())));
        }
    }
    assert!(others > 0);
}
