"""Small models as other programs save them, with what `transformers` computes from each.

    python tests/reference/original_layout.py --out DIR
        writes, of one perturbed small model,
        DIR/transformers, DIR/half, DIR/bfloat16       as `save_pretrained` does, in three precisions
        DIR/pytorch_bin                                the same names as a PyTorch file
        DIR/original/sam.safetensors, DIR/pth/sam.pth  by the names of the original code, without a config.json
        DIR/half_pth/sam.pth                           that in half precision
        DIR/reference{,-half,-bfloat16}.safetensors    an input and what comes out

The decoder has the epsilon of the original code and as many heads, so that all of them are the same function.
"""

import argparse
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from sam_parity import SEED, perturb
from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

SIDE, PATCH, CHANNELS = 64, 8, 32

# Beginnings of names, `transformers` to original, the longer first. (`blocks` and `.norm` follow by themselves.)
RENAMED = {
    "vision_encoder.patch_embed.projection": "image_encoder.patch_embed.proj",
    "vision_encoder.neck.conv1": "image_encoder.neck.0",
    "vision_encoder.neck.layer_norm1": "image_encoder.neck.1",
    "vision_encoder.neck.conv2": "image_encoder.neck.2",
    "vision_encoder.neck.layer_norm2": "image_encoder.neck.3",
    "vision_encoder.layers": "image_encoder.blocks",
    "vision_encoder": "image_encoder",
    "shared_image_embedding.positional_embedding": "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    "prompt_encoder.point_embed": "prompt_encoder.point_embeddings",
    "prompt_encoder.mask_embed.conv1": "prompt_encoder.mask_downscaling.0",
    "prompt_encoder.mask_embed.layer_norm1": "prompt_encoder.mask_downscaling.1",
    "prompt_encoder.mask_embed.conv2": "prompt_encoder.mask_downscaling.3",
    "prompt_encoder.mask_embed.layer_norm2": "prompt_encoder.mask_downscaling.4",
    "prompt_encoder.mask_embed.conv3": "prompt_encoder.mask_downscaling.6",
    "mask_decoder.upscale_conv1": "mask_decoder.output_upscaling.0",
    "mask_decoder.upscale_layer_norm": "mask_decoder.output_upscaling.1",
    "mask_decoder.upscale_conv2": "mask_decoder.output_upscaling.3",
}
NETWORKS = ("mask_decoder.output_hypernetworks_mlps.", "mask_decoder.iou_prediction_head.")


def original_name(name: str) -> str:
    """The name in the original code of a parameter of `SamModel`; networks have three layers."""
    if name.startswith(NETWORKS):
        # In this order: the hidden layer 0 becomes 1 before the first one becomes 0.
        for ours, original in ((".layers.0.", ".layers.1."), (".proj_in.", ".layers.0."), (".proj_out.", ".layers.2.")):
            if ours in name:
                return name.replace(ours, original)
    for ours, original in RENAMED.items():
        if name.startswith(ours):
            name = original + name.removeprefix(ours)
            break
    return name.replace(".layer_norm", ".norm")


def original_state_dict(model: SamModel) -> dict[str, torch.Tensor]:
    """The model's weights by their original names. The frequencies, which `transformers` has twice, are there once."""
    weights = model.state_dict()
    weights.pop("prompt_encoder.shared_embedding.positional_embedding", None)
    return {original_name(name): value.contiguous().clone() for name, value in weights.items()}


def small_model() -> SamModel:
    """A SAM with a grid of 8 tokens, windows of 3, and a global block between two windowed ones."""
    vision = SamVisionConfig(
        hidden_size=24, output_channels=CHANNELS, num_hidden_layers=3, num_attention_heads=2, image_size=SIDE,
        patch_size=PATCH, window_size=3, global_attn_indexes=[1], num_pos_feats=CHANNELS // 2, mlp_dim=40,
    )
    prompt = SamPromptEncoderConfig(hidden_size=CHANNELS, image_size=SIDE, patch_size=PATCH, mask_input_channels=16)
    decoder = SamMaskDecoderConfig(
        hidden_size=CHANNELS, mlp_dim=48, num_attention_heads=8, iou_head_depth=3, iou_head_hidden_dim=20,
        layer_norm_eps=1e-5,
    )
    config = SamConfig(
        vision_config=vision.to_dict(), prompt_encoder_config=prompt.to_dict(), mask_decoder_config=decoder.to_dict(),
    )
    model = SamModel._from_config(config, attn_implementation="eager").eval()
    perturb(model)
    return model


def reference(model: SamModel) -> dict[str, torch.Tensor]:
    """An input and what comes out, in the form of `crates/sam/examples/parity.rs`."""
    pixels = torch.randn((1, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(SEED))
    cases = {
        "box": {"input_boxes": torch.tensor([[[10.0, 12.5, 50.0, 41.0]]])},
        "points": {
            "input_points": torch.tensor([[[[20.0, 30.0], [55.0, 4.0]]]]),
            "input_labels": torch.tensor([[[1, 0]]]),
        },
    }
    out = {"pixel_values": pixels}
    with torch.no_grad():
        embeddings = out["image_embeddings"] = model.get_image_embeddings(pixels)
        for name, inputs in cases.items():
            out |= {f"{name}.{key}": value.float() for key, value in inputs.items()}
            for kind, multimask in (("single", False), ("multi", True)):
                answer = model(image_embeddings=embeddings, multimask_output=multimask, **inputs)
                out[f"{name}.{kind}.logits"] = answer.pred_masks
                out[f"{name}.{kind}.iou"] = answer.iou_scores
    return {name: value.contiguous().clone() for name, value in out.items()}


def write(folder: Path) -> None:
    """Writes everything."""
    def inside(name: str) -> Path:
        (folder / name).mkdir(parents=True, exist_ok=True)
        return folder / name

    model = small_model()
    model.save_pretrained(inside("transformers"))
    save_file(original_state_dict(model), inside("original") / "sam.safetensors")
    torch.save(original_state_dict(model), inside("pth") / "sam.pth")
    torch.save(model.state_dict(), inside("pytorch_bin") / "pytorch_model.bin")
    model.config.save_pretrained(inside("pytorch_bin"))
    save_file(reference(model), folder / "reference.safetensors")
    for name, dtype in (("half", torch.float16), ("bfloat16", torch.bfloat16)):
        rounded = small_model().to(dtype)
        rounded.save_pretrained(inside(name))
        if name == "half":
            torch.save(original_state_dict(rounded), inside("half_pth") / "sam.pth")
        save_file(reference(rounded.float()), folder / f"reference-{name}.safetensors")
    print(f"{len(original_state_dict(model))} tensors")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where to write")
    write(parser.parse_args().out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
