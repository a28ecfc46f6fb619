use super::*;

#[test]
fn sizes_have_the_names_of_the_original_code() {
    let named = |name: &str| SamConfig::named(name).unwrap();
    assert_eq!(size_name(&named("vit-b")), "vit_b");
    let mut config = named("vit-h");
    config.decoder.layer_norm_eps = 1e-5;
    assert_eq!(size_name(&config), "vit_h");
    config.vision.hidden_size = 640;
    assert_eq!(size_name(&config), "custom");
}

#[test]
fn words_reach_the_shell_whole() {
    assert_eq!(quoted("out/polyp-b"), "out/polyp-b");
    assert_eq!(quoted("it's; rm"), "'it'\\''s; rm'");
    assert_eq!(quoted(""), "''");
}
