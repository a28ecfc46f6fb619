use super::*;

#[test]
fn an_override_is_of_the_packages_that_its_specification_names() {
    let package = Package::of("image", "1.20.3");
    for spec in [
        "image",
        "image@1",
        "image@1.20",
        "image:1.20.3",
        "https://github.com/rust-lang/crates.io-index#image@1.20.3",
        "https://example.org/image#1.20.3",
        "https://example.org/image",
    ] {
        assert!(is_meant(spec, &package), "{spec}");
    }
    for spec in [
        "images",
        "image@1.2",
        "image@2",
        "https://example.org/image#2.0.0",
        "https://example.org/images",
        "",
    ] {
        assert!(!is_meant(spec, &package), "{spec}");
    }
}

#[test]
fn the_profile_and_those_that_inherit_from_it_count() {
    let profiles = |text: &str| Value::Table(text.parse().unwrap());
    let names = |text: &str, named| -> Vec<String> {
        parts(Some(&profiles(text)), named, &BTreeSet::new()).into_iter().map(|(name, _)| name).collect()
    };
    let text = "
        release.opt-level = 3
        dev.opt-level = 0
        bench.opt-level = 1
        dist.inherits = 'release'
        small.inherits = 'dist'
        loop.inherits = 'loop'
        fast.inherits = 'dev'";
    assert_eq!(names(text, "release"), ["profile dist", "profile release", "profile small"]);
    assert_eq!(names(text, "debug"), ["profile dev", "profile fast"]);
}
