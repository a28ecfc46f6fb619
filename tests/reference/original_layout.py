"""Small models as other programs save them, with what those programs compute from each.

    python tests/reference/original_layout.py --out DIR
        writes, of one perturbed small model,
        DIR/transformers, DIR/half, DIR/bfloat16       as `save_pretrained` does, in three precisions
        DIR/pytorch_bin                                the same names as a PyTorch file
        DIR/original/sam.safetensors, DIR/pth/sam.pth  by the names of the original code, without a config.json
        DIR/half_pth/sam.pth                           that in half precision
        DIR/reference{,-half,-bfloat16}.safetensors    an input and what `transformers` makes of it
        DIR/reference-original.safetensors             what the original code (`segment_anything`) makes of the .pth
    python tests/reference/original_layout.py --registry FOLDER
        opens an export of the size of ViT-B in the original layout as its users do, and fails unless every weight fits.

The decoder has the epsilon of the original code and as many heads, so that all of them are the same function.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from sam_parity import CHANNELS, PATCH, SEED, SIDE, small_model
from segment_anything import sam_model_registry
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from transformers import SamModel

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


def original_model() -> SamModel:
    """A small model with what the original code has fixed: eight heads, and PyTorch's default epsilon in the decoder's blocks."""
    return small_model(heads=8, decoder_eps=1e-5)


CASES = {
    "box": {"input_boxes": torch.tensor([[[10.0, 12.5, 50.0, 41.0]]])},
    "points": {
        "input_points": torch.tensor([[[[20.0, 30.0], [55.0, 4.0]]]]),
        "input_labels": torch.tensor([[[1, 0]]]),
    },
}


def pixel_values() -> torch.Tensor:
    """An input, prepared."""
    return torch.randn((1, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(SEED))


def reference(model: SamModel) -> dict[str, torch.Tensor]:
    """The input and what comes out, in the form of `crates/sam/examples/parity.rs`."""
    out = {"pixel_values": pixel_values()}
    with torch.no_grad():
        embeddings = out["image_embeddings"] = model.get_image_embeddings(out["pixel_values"])
        for name, inputs in CASES.items():
            out |= {f"{name}.{key}": value.float() for key, value in inputs.items()}
            for kind, multimask in (("single", False), ("multi", True)):
                answer = model(image_embeddings=embeddings, multimask_output=multimask, **inputs)
                out[f"{name}.{kind}.logits"] = answer.pred_masks
                out[f"{name}.{kind}.iou"] = answer.iou_scores
    return {name: value.contiguous().clone() for name, value in out.items()}


def original_code(weights: Path) -> Sam:
    """The small model, built by the original code as its `build_sam` builds the published ones, and loaded strictly."""
    grid = SIDE // PATCH
    sam = Sam(
        image_encoder=ImageEncoderViT(
            img_size=SIDE, patch_size=PATCH, embed_dim=24, depth=3, num_heads=2, mlp_ratio=40 / 24, out_chans=CHANNELS,
            qkv_bias=True, norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), use_rel_pos=True, window_size=3,
            global_attn_indexes=[1],
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=CHANNELS, image_embedding_size=(grid, grid), input_image_size=(SIDE, SIDE), mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3, transformer_dim=CHANNELS, iou_head_depth=3, iou_head_hidden_dim=20,
            transformer=TwoWayTransformer(depth=2, embedding_dim=CHANNELS, mlp_dim=48, num_heads=8),
        ),
    )
    sam.load_state_dict(torch.load(weights, weights_only=True))
    return sam.eval()


def original_reference(sam: Sam) -> dict[str, torch.Tensor]:
    """The same input and what the original code makes of it."""
    out = {"pixel_values": pixel_values()}
    with torch.no_grad():
        embeddings = out["image_embeddings"] = sam.image_encoder(out["pixel_values"])
        for name, inputs in CASES.items():
            out |= {f"{name}.{key}": value.float() for key, value in inputs.items()}
            points = (inputs["input_points"][0], inputs["input_labels"][0]) if "input_points" in inputs else None
            boxes = inputs["input_boxes"][0] if "input_boxes" in inputs else None
            sparse, dense = sam.prompt_encoder(points=points, boxes=boxes, masks=None)
            for kind, multimask in (("single", False), ("multi", True)):
                masks, scores = sam.mask_decoder(
                    image_embeddings=embeddings, image_pe=sam.prompt_encoder.get_dense_pe(),
                    sparse_prompt_embeddings=sparse, dense_prompt_embeddings=dense, multimask_output=multimask,
                )
                out[f"{name}.{kind}.logits"], out[f"{name}.{kind}.iou"] = masks, scores
    return {name: value.contiguous().clone() for name, value in out.items()}


def check_registry(folder: Path) -> None:
    """The one line by which users of the original code open a checkpoint."""
    sam = sam_model_registry["vit_b"](checkpoint=str(folder / "sam_vit_b.pth"))
    weights = load_file(folder / "sam_vit_b.safetensors")
    found = sam.state_dict()
    assert found.keys() == weights.keys(), found.keys() ^ weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    print(f"the registry opens {sum(value.numel() for value in weights.values())} parameters")


def write(folder: Path) -> None:
    """Writes everything."""
    def inside(name: str) -> Path:
        (folder / name).mkdir(parents=True, exist_ok=True)
        return folder / name

    model = original_model()
    model.save_pretrained(inside("transformers"))
    save_file(original_state_dict(model), inside("original") / "sam.safetensors")
    torch.save(original_state_dict(model), inside("pth") / "sam.pth")
    torch.save(model.state_dict(), inside("pytorch_bin") / "pytorch_model.bin")
    model.config.save_pretrained(inside("pytorch_bin"))
    save_file(reference(model), folder / "reference.safetensors")
    sam = original_code(folder / "pth" / "sam.pth")
    save_file(original_reference(sam), folder / "reference-original.safetensors")
    for name, dtype in (("half", torch.float16), ("bfloat16", torch.bfloat16)):
        rounded = original_model().to(dtype)
        rounded.save_pretrained(inside(name))
        if name == "half":
            torch.save(original_state_dict(rounded), inside("half_pth") / "sam.pth")
        save_file(reference(rounded.float()), folder / f"reference-{name}.safetensors")
    print(f"{len(original_state_dict(model))} tensors")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="where to write")
    parser.add_argument("--registry", type=Path, metavar="FOLDER", help="open this export instead of writing anything")
    arguments = parser.parse_args()
    if arguments.registry:
        check_registry(arguments.registry)
    elif arguments.out:
        write(arguments.out)
    else:
        parser.error("--out or --registry must be given")
    return 0


if __name__ == "__main__":
    sys.exit(main())
