use super::*;

#[test]
fn estimates_are_near_what_programs_asked_for() {
    let vit_b = SamConfig::named("vit-b").unwrap();
    // Megabytes, by benches/dry_cuda.sh and its programs.
    for (what, estimate, counted) in [
        ("a prompt", decoding(&vit_b, 1), 438.0),
        ("8 prompts", decoding(&vit_b, 8), 668.0),
        ("16 prompts", decoding(&vit_b, 16), 1775.0),
        ("a sample", training(&vit_b, 1), 522.0),
        ("4 samples", training(&vit_b, 4), 940.0),
        ("16 samples", training(&vit_b, 16), 3612.0),
        ("32 samples", training(&vit_b, 32), 5784.0),
    ] {
        let ratio = estimate as f64 / 1e6 / counted;
        assert!((0.79..1.55).contains(&ratio), "{what}: {:.0} MB, {ratio:.2}", estimate as f64 / 1e6);
    }
}

#[test]
fn larger_batches_need_more() {
    let vit_b = SamConfig::named("vit-b").unwrap();
    for need in [decoding, training] {
        assert!(need(&vit_b, 9) > need(&vit_b, 8));
    }
}
