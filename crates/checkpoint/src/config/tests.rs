use super::*;

#[test]
fn named_configs_are_valid_and_survive_json() {
    for name in NAMED_CONFIGS {
        let config = SamConfig::named(name).unwrap();
        assert_eq!(config.validate(), Ok(()), "{name}");
        assert_eq!(SamConfig::from_json(&config.to_json()).unwrap(), config, "{name}");
    }
    assert_eq!(SamConfig::named("vit-z"), None);
    let b = SamConfig::named("vit-b").unwrap();
    assert_eq!((b.grid(), b.low_res(), b.window(2), b.window(3)), (64, 256, None, Some(14)));
}

#[test]
fn missing_and_null_fields_take_the_defaults_of_transformers() {
    let b = SamConfig::named("vit-b").unwrap();
    for text in
        ["{}", r#"{"vision_config": null}"#, r#"{"vision_config": {"mlp_dim": null, "pruned_heads": {}}}"#]
    {
        assert_eq!(SamConfig::from_json(text).unwrap(), b, "{text}");
    }
    let text = r#"{"vision_config": {"hidden_size": 96, "mlp_ratio": 2.5, "image_size": [512, 512]}}"#;
    let config = SamConfig::from_json(text).unwrap();
    assert_eq!((config.vision.mlp_dim, config.vision.image_size), (240, 512));
}

#[test]
fn a_field_of_the_wrong_type_is_named() {
    for (text, want) in [
        ("[]", "not a JSON object"),
        ("{", "not JSON"),
        (r#"{"model_type": "clip"}"#, "`clip` is another model"),
        (r#"{"model_type": 3}"#, "`3` is another model"),
        (r#"{"vision_config": {"mlp_ratio": "4"}}"#, "vision_config.mlp_ratio: not a number"),
        (r#"{"vision_config": 3}"#, "vision_config: not an object"),
        (r#"{"vision_config": {"hidden_size": "768"}}"#, "vision_config.hidden_size: invalid type"),
        (r#"{"vision_config": {"hidden_size": -1}}"#, "vision_config.hidden_size: invalid value"),
        (r#"{"vision_config": {"hidden_act": "silu"}}"#, "vision_config.hidden_act: unknown variant `silu`"),
        (r#"{"prompt_encoder_config": {"image_size": [512, 256]}}"#, "not square"),
        (r#"{"prompt_encoder_config": {"image_size": "x"}}"#, "expected a side in pixels"),
    ] {
        let message = SamConfig::from_json(text).unwrap_err();
        assert!(message.contains(want), "{text}: {message}");
    }
}

#[test]
fn impossible_sizes_are_refused_by_field() {
    type Edit = fn(&mut SamConfig);
    let cases: [(Edit, &str); 16] = [
        (|c| c.vision.hidden_size = 0, "vision_config.hidden_size"),
        (|c| c.vision.hidden_size = usize::MAX, "vision_config.hidden_size"),
        (|c| c.vision.num_hidden_layers = 60_000, "vision_config.num_hidden_layers"),
        (|c| c.vision.num_attention_heads = 7, "vision_config.hidden_size"),
        (|c| c.vision.image_size = 1000, "vision_config.image_size"),
        (|c| c.vision.num_channels = 1, "vision_config.num_channels"),
        (|c| c.vision.global_attn_indexes.push(12), "vision_config.global_attn_indexes"),
        (|c| c.vision.layer_norm_eps = f64::NAN, "vision_config.layer_norm_eps"),
        (|c| c.prompt.image_size = 512, "prompt_encoder_config.image_size"),
        (|c| c.prompt.hidden_size = 128, "prompt_encoder_config.hidden_size"),
        (|c| c.vision.num_pos_feats = 64, "prompt_encoder_config.hidden_size"),
        (|c| c.prompt.num_point_embeddings = 5, "prompt_encoder_config.num_point_embeddings"),
        (|c| c.prompt.mask_input_channels = 6, "prompt_encoder_config.mask_input_channels"),
        (|c| c.decoder.hidden_size = 512, "mask_decoder_config.hidden_size"),
        (|c| c.decoder.num_attention_heads = 3, "mask_decoder_config.num_attention_heads"),
        (|c| c.decoder.iou_head_depth = 1, "mask_decoder_config.iou_head_depth"),
    ];
    for (edit, field) in cases {
        let mut config = SamConfig::named("vit-b").unwrap();
        edit(&mut config);
        assert_eq!(config.validate().unwrap_err().field, field);
    }
}
