use super::*;

#[test]
fn queries_come_in_tiles_that_cubes_share_evenly() {
    let of = |side, head| Layout::new(Squares { images: 1, grid: side, window: None, heads: 1, head });
    // ViT-B and ViT-H, windows and whole images.
    assert_eq!(of(14, 64), Layout { queries: 224, planes: 7, width: 96 });
    assert_eq!(of(64, 64), Layout { queries: 4096, planes: 8, width: 192 });
    assert_eq!(of(14, 80), Layout { queries: 224, planes: 7, width: 112 });
    assert_eq!(of(64, 80), Layout { queries: 4096, planes: 8, width: 208 });
    assert_eq!(of(3, 16), Layout { queries: 16, planes: 1, width: 32 });
    for side in 1..70 {
        let Layout { queries, planes, .. } = of(side, 64);
        assert!(queries >= side * side && queries < side * side + 3 * TILE);
        assert!(queries.is_multiple_of(planes * TILE));
    }
}
