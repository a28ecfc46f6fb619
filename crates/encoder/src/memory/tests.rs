use super::*;

#[test]
fn estimates_are_near_what_programs_asked_for() {
    let vit_b = SamConfig::named("vit-b").unwrap();
    // Megabytes, by benches/dry_cuda.sh and its programs.
    for (what, estimate, counted) in [
        ("an image, f32", encoding(&vit_b, Precision::F32, 1), 2109.0),
        ("an image, bf16", encoding(&vit_b, Precision::Bf16, 1), 647.0),
    ] {
        let ratio = estimate as f64 / 1e6 / counted;
        assert!((0.79..1.55).contains(&ratio), "{what}: {:.0} MB, {ratio:.2}", estimate as f64 / 1e6);
    }
}

#[test]
fn larger_models_and_batches_need_more() {
    let of = |name: &str| SamConfig::named(name).unwrap();
    for precision in [Precision::F32, Precision::Bf16] {
        let needs = ["vit-b", "vit-l", "vit-h"].map(|name| encoding(&of(name), precision, 2));
        assert!(needs.is_sorted() && needs[0] < needs[2] / 2, "{needs:?}");
        assert!(encoding(&of("vit-b"), precision, 9) > encoding(&of("vit-b"), precision, 8));
    }
}
