use super::*;

#[test]
fn the_plan_states_the_published_models_disk_needs() {
    let line = plan(1000, 1012, 1, Place::Neck, [256, 64, 64], Dtype::F16);
    assert_eq!(line, "1000 distinct of 1012 images, embeddings [256, 64, 64] in f16: 2.1 GB on disk");
    assert!(plan(1000, 1000, 1, Place::Neck, [256, 64, 64], Dtype::F32).ends_with("f32: 4.2 GB on disk"));
    assert!(plan(3, 3, 1, Place::Neck, [256, 64, 64], Dtype::F16).ends_with("f16: 6.3 MB on disk"));
    let line = plan(1000, 1000, 1, Place::Block(6), [64, 64, 768], Dtype::F16);
    assert_eq!(
        line,
        "1000 distinct of 1000 images, tokens that enter block 6 [64, 64, 768] in f16: 6.3 GB on disk"
    );
    let line = plan(1000, 1000, 8, Place::Neck, [256, 64, 64], Dtype::F16);
    assert!(line.starts_with("1000 distinct of 1000 images under 8 views each, "), "{line}");
    assert!(line.ends_with("f16: 16.8 GB on disk"), "{line}");
}
