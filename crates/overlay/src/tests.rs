use super::*;

#[test]
fn a_canvas_is_enlarged_or_reduced_to_its_bounds_with_its_proportions() {
    let sizes = [(100, 50), (600, 300), (4000, 2000), (1, 1)];
    let found = sizes.map(|(w, h)| canvas(&RgbImage::new(w, h), 512, 1600).dimensions());
    assert_eq!(found, [(512, 256), (600, 300), (1600, 800), (512, 512)]);
}
