use super::*;
use resect_geometry::{Size, View};
use resect_images::ImageRef;

#[test]
fn each_row_gets_its_own_embedding_or_none_does() {
    let size = Size::new(1, 1);
    let image = ImageRef { id: "a", pixel_hash: "h", original: size, resized: size, pixels: &[0, 0, 0] };
    let rows = [Row { image, view: View::Identity }; 2];
    let hints = Hints { earlier: Vec::new() };
    let complete = |encoded: &[f32]| hints.complete(&rows, encoded, 2);
    assert_eq!(complete(&[1.0, 2.0, 3.0, 4.0]).unwrap(), [1.0, 2.0, 3.0, 4.0]);
    for wrong in [&[1.0, 2.0][..], &[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]] {
        assert!(matches!(complete(wrong), Err(EmbedError::Misaligned { rows: 2 })), "{wrong:?}");
    }
}
