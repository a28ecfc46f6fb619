use std::collections::BTreeSet;

use super::*;
use crate::config::NAMED_CONFIGS;

#[test]
fn names_are_those_of_the_published_files() {
    for (ours, original) in [
        ("vision_encoder.pos_embed", "image_encoder.pos_embed"),
        ("vision_encoder.patch_embed.projection.bias", "image_encoder.patch_embed.proj.bias"),
        ("vision_encoder.layers.11.attn.rel_pos_h", "image_encoder.blocks.11.attn.rel_pos_h"),
        ("vision_encoder.layers.3.layer_norm2.weight", "image_encoder.blocks.3.norm2.weight"),
        ("vision_encoder.layers.0.mlp.lin1.weight", "image_encoder.blocks.0.mlp.lin1.weight"),
        ("vision_encoder.neck.conv2.weight", "image_encoder.neck.2.weight"),
        ("vision_encoder.neck.layer_norm2.bias", "image_encoder.neck.3.bias"),
        (POSITIONAL_EMBEDDING, "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
        ("prompt_encoder.point_embed.3.weight", "prompt_encoder.point_embeddings.3.weight"),
        ("prompt_encoder.not_a_point_embed.weight", "prompt_encoder.not_a_point_embed.weight"),
        ("prompt_encoder.mask_embed.layer_norm2.weight", "prompt_encoder.mask_downscaling.4.weight"),
        ("prompt_encoder.mask_embed.conv3.bias", "prompt_encoder.mask_downscaling.6.bias"),
        ("mask_decoder.iou_token.weight", "mask_decoder.iou_token.weight"),
        (
            "mask_decoder.transformer.layers.1.layer_norm4.bias",
            "mask_decoder.transformer.layers.1.norm4.bias",
        ),
        (
            "mask_decoder.transformer.layers.0.cross_attn_token_to_image.q_proj.weight",
            "mask_decoder.transformer.layers.0.cross_attn_token_to_image.q_proj.weight",
        ),
        (
            "mask_decoder.transformer.layer_norm_final_attn.weight",
            "mask_decoder.transformer.norm_final_attn.weight",
        ),
        ("mask_decoder.upscale_conv2.weight", "mask_decoder.output_upscaling.3.weight"),
        (
            "mask_decoder.output_hypernetworks_mlps.2.proj_in.weight",
            "mask_decoder.output_hypernetworks_mlps.2.layers.0.weight",
        ),
        (
            "mask_decoder.output_hypernetworks_mlps.2.layers.0.bias",
            "mask_decoder.output_hypernetworks_mlps.2.layers.1.bias",
        ),
        ("mask_decoder.iou_prediction_head.proj_out.bias", "mask_decoder.iou_prediction_head.layers.2.bias"),
    ] {
        assert_eq!(original_name(ours, 3), original);
    }
    // What is no layer of the head keeps its name, so that a check of names finds it.
    for strange in
        ["mask_decoder.iou_prediction_head.norm.bias", "mask_decoder.iou_prediction_head.layers.x.bias"]
    {
        assert_eq!(original_name(strange, 3), strange);
    }
    assert_eq!(
        original_name("mask_decoder.iou_prediction_head.proj_out.bias", 5),
        "mask_decoder.iou_prediction_head.layers.4.bias"
    );
}

#[test]
fn no_two_tensors_get_one_name() {
    for name in NAMED_CONFIGS {
        let config = SamConfig::named(name).unwrap();
        let names = original_names(&config);
        let distinct: BTreeSet<_> = names.values().collect();
        assert_eq!((distinct.len(), names.len()), (tensors(&config).len(), tensors(&config).len()));
        assert!(names.values().all(|name| !name.contains("layer_norm") && !name.contains("vision")));
    }
}
