use std::collections::BTreeSet;

use super::*;
use crate::config::NAMED_CONFIGS;

#[test]
fn vit_b_has_the_published_parameter_counts() {
    let counts = parameter_counts(&SamConfig::named("vit-b").unwrap());
    let expected = ParameterCounts {
        vision_encoder: 89_670_912,
        prompt_encoder: 6_220,
        mask_decoder: 4_058_340,
        shared: 256,
    };
    assert_eq!(counts, expected);
    assert_eq!(counts.total(), 93_735_728);
}

#[test]
fn every_name_occurs_once() {
    for name in NAMED_CONFIGS {
        let specs = tensors(&SamConfig::named(name).unwrap());
        let names: BTreeSet<_> = specs.iter().map(|s| &s.name).collect();
        assert_eq!(names.len(), specs.len(), "{name}");
        assert!(specs.iter().all(|s| s.elements() > 0), "{name}");
    }
}

#[test]
fn what_the_configuration_switches_off_is_not_in_the_table() {
    let mut config = SamConfig::named("tiny").unwrap();
    (config.vision.qkv_bias, config.vision.use_abs_pos, config.vision.use_rel_pos) = (false, false, false);
    let off = |name: &str| {
        ["qkv.bias", "pos_embed", "rel_pos_h", "rel_pos_w"].iter().any(|end| name.ends_with(end))
    };
    assert!(!tensors(&config).iter().any(|s| off(&s.name)));
}
