use super::*;

#[test]
fn single_pixels_are_speckle_and_a_filled_image_is_not() {
    let size = Size::new(9, 12);
    let speckle = Mask::from_fn(size, |x, y| (x + y) % 2 == 0);
    let truth = Mask::from_fn(size, |x, y| (2..6).contains(&x) && (3..8).contains(&y));
    assert!(is_speckle(&speckle, &truth) && !is_speckle(&Mask::from_fn(size, |_, _| true), &truth));
}

#[test]
fn file_names_hold_nothing_a_file_system_minds() {
    assert_eq!(file_name(3, "seq 1/frame:2#1"), "03-seq_1_frame_2_1.png");
    assert_eq!(file_name(100, "../é"), "100-..__.png");
    assert_eq!(file_name(1, &"x".repeat(300)).len(), 87);
}

#[test]
fn a_box_at_the_far_corner_stays_on_the_canvas() {
    for (canvas, original) in [((512, 300), Size::new(30, 51)), ((3, 2), Size::new(1000, 1500))] {
        let mut canvas = RgbImage::new(canvas.0, canvas.1);
        let (x1, y1) = (original.width - 1, original.height - 1);
        draw_box(&mut canvas, PixelBox { x0: x1, y0: y1, x1, y1 }, original);
        let (x, y) = (canvas.width() - 1, canvas.height() - 1);
        assert_eq!(*canvas.get_pixel(x, y), PROMPT);
    }
}
