"""References for the tests of the `sam` crate, computed by `transformers`.

    python tests/reference/sam_parity.py [--out tests/fixtures/sam-tiny]
        writes a very small SAM with random weights (config.json, model.safetensors), and beside it reference.safetensors:
        inputs, image embeddings, masks, scores and gradients.
    python tests/reference/sam_parity.py --check DIR
        opens a checkpoint written by Resect with `SamModel.from_pretrained`, and fails unless every key fits.

Needs `torch`, `transformers` (5 or later), `pillow`, `numpy` and `safetensors`.

Every parameter is drawn so that it matters. Left as `SamModel` makes them, relative positions and biases would be zero and the
encoder's weights near 1e-10, and a model that ignored them would pass.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamProcessor, SamPromptEncoderConfig, SamVisionConfig
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

SEED = 20230405
SIDE, PATCH, CHANNELS = 64, 8, 32
LOW_RES = 4 * SIDE // PATCH

# Parameters whose gradients are compared: one from each kind of layer a gradient passes.
GRADIENTS = [
    "iou_token.weight",
    "mask_tokens.weight",
    "transformer.layers.0.self_attn.v_proj.weight",
    "transformer.layers.0.cross_attn_token_to_image.q_proj.weight",
    "transformer.layers.0.cross_attn_image_to_token.out_proj.bias",
    "transformer.layers.0.layer_norm4.weight",
    "transformer.layers.1.self_attn.q_proj.weight",
    "transformer.layers.1.mlp.lin1.weight",
    "transformer.final_attn_token_to_image.k_proj.weight",
    "transformer.layer_norm_final_attn.bias",
    "upscale_conv1.weight",
    "upscale_conv1.bias",
    "upscale_layer_norm.weight",
    "upscale_conv2.weight",
    "output_hypernetworks_mlps.0.layers.0.weight",
    "output_hypernetworks_mlps.0.proj_out.bias",
]


def small_model(heads: int = 4, decoder_eps: float = 1e-6) -> SamModel:
    """A SAM with a grid of 8 tokens, whose windows of 3 need padding, with a global block between two windowed ones.

    `heads` are those of the decoder's attention, `decoder_eps` the epsilon of its blocks' norms.
    """
    vision = SamVisionConfig(
        hidden_size=24, output_channels=CHANNELS, num_hidden_layers=3, num_attention_heads=2, image_size=SIDE,
        patch_size=PATCH, window_size=3, global_attn_indexes=[1], num_pos_feats=CHANNELS // 2, mlp_dim=40,
    )
    prompt = SamPromptEncoderConfig(hidden_size=CHANNELS, image_size=SIDE, patch_size=PATCH, mask_input_channels=16)
    decoder = SamMaskDecoderConfig(
        hidden_size=CHANNELS, mlp_dim=48, num_attention_heads=heads, iou_head_depth=3, iou_head_hidden_dim=20,
        layer_norm_eps=decoder_eps,
    )
    config = SamConfig(
        vision_config=vision.to_dict(), prompt_encoder_config=prompt.to_dict(), mask_decoder_config=decoder.to_dict(),
    )
    model = SamModel._from_config(config, attn_implementation="eager").eval()
    perturb(model)
    return model


def perturb(model: SamModel) -> None:
    """Draws every parameter so that it matters and that activations keep their size."""
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            draw = torch.randn(parameter.shape, generator=generator)
            if "positional_embedding" in name:
                parameter.copy_(draw)
            elif "layer_norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * draw)
            elif parameter.ndim == 1:
                parameter.copy_(0.2 * draw)
            elif "rel_pos" in name or "pos_embed" in name or "embed." in name or "token" in name.split(".")[1]:
                parameter.copy_(0.5 * draw)
            else:
                parameter.copy_(draw / parameter[0].numel() ** 0.5)


def images() -> list[Image.Image]:
    """A wide and a tall image, neither of the model's size."""
    rng = np.random.default_rng(SEED)
    out = []
    for height, width in ((75, 120), (90, 67)):
        y, x = np.mgrid[0:height, 0:width]
        disc = ((y - height * 0.45) ** 2 + (x - width * 0.55) ** 2 < (0.25 * min(height, width)) ** 2)[..., None]
        base = np.where(disc, [200, 90, 70], [60, 120, 150])
        out.append(Image.fromarray((base + rng.integers(-40, 40, (height, width, 3))).clip(0, 255).astype(np.uint8)))
    return out


def cases() -> dict[str, dict]:
    """Prompts in pixels of the original images: per image a list of prompts."""
    boxes = [[[30.0, 12.0, 96.0, 60.0]], [[10.0, 20.0, 55.0, 71.5]]]
    point = [[[[66.0, 34.0]]], [[[37.0, 40.0]]]]
    three = [[[[66.0, 34.0], [5.0, 5.0], [70.5, 40.25]]], [[[37.0, 40.0], [60.0, 80.0], [30.0, 35.0]]]]
    mask = torch.randn((2, 1, LOW_RES, LOW_RES), generator=torch.Generator().manual_seed(SEED + 1)) * 4
    return {
        "box": {"input_boxes": boxes},
        "point": {"input_points": point},
        "background_point": {"input_points": point, "input_labels": [[[0]], [[0]]]},
        "not_a_point": {"input_points": point, "input_labels": [[[-1]], [[-1]]]},
        "box_and_point": {"input_boxes": boxes, "input_points": point},
        "points": {"input_points": three, "input_labels": [[[1, 0, 1]], [[1, 0, 0]]]},
        # Without the level of prompts the processor pads by itself, by one point.
        "padded_points": {"input_points": [three[0][0][:2], point[1][0]], "input_labels": [[1, 0], [1]]},
        "two_boxes": {"input_boxes": [boxes[0] + [[2.0, 3.0, 40.0, 50.0]], boxes[1] + [[20.0, 1.0, 66.0, 30.0]]]},
        "two_prompts": {
            "input_points": [point[0] + [[[20.0, 60.0]]], point[1] + [[[10.0, 80.0]]]],
            "input_boxes": [boxes[0] + [[2.0, 3.0, 40.0, 70.0]], boxes[1] + [[1.0, 40.0, 66.0, 88.0]]],
        },
        "mask": {"input_masks": mask},
        "box_and_mask": {"input_boxes": boxes, "input_masks": mask},
        "nothing": {},
    }


def references(model: SamModel) -> dict[str, torch.Tensor]:
    """Everything the Rust tests compare with."""
    side = {"height": SIDE, "width": SIDE}
    processor = SamProcessor(SamImageProcessorPil(size={"longest_edge": SIDE}, pad_size=side))
    out = {}
    pictures = images()
    prepared = processor(images=pictures, return_tensors="pt")
    pixels = out["pixel_values"] = prepared["pixel_values"].float()
    for i, picture in enumerate(pictures):
        height, width = prepared["reshaped_input_sizes"][i].tolist()
        resized = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
        resized = torch.from_numpy(resized.copy()).permute(2, 0, 1).float()
        again = (resized / 255 - torch.tensor([0.485, 0.456, 0.406])[:, None, None])
        again = again / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
        assert (again - pixels[i, :, :height, :width]).abs().max() < 1e-5, "not the pixels the processor resized to"
        out[f"resized.{i}"] = resized

    with torch.no_grad():
        embeddings = out["image_embeddings"] = model.get_image_embeddings(pixels)
        out["image_position"] = model.get_image_wide_positional_embeddings()
    for name, case in cases().items():
        given = {key: value for key, value in case.items() if key != "input_masks"}
        inputs = processor(images=pictures, return_tensors="pt", point_pad_value=-10, **given)
        inputs = {key: inputs[key] for key in ("input_points", "input_labels", "input_boxes") if key in inputs}
        inputs = {key: value.float() if key != "input_labels" else value for key, value in inputs.items()}
        if "input_masks" in case:
            inputs["input_masks"] = case["input_masks"]
        if "input_points" in inputs and "input_labels" not in inputs:
            inputs["input_labels"] = torch.ones(inputs["input_points"].shape[:3], dtype=torch.int64)
        for key, value in inputs.items():
            out[f"{name}.{key}"] = value.float()
        for kind, multimask in (("single", False), ("multi", True)):
            with torch.no_grad():
                answer = model(image_embeddings=embeddings, multimask_output=multimask, **inputs)
            out[f"{name}.{kind}.logits"] = answer.pred_masks
            out[f"{name}.{kind}.iou"] = answer.iou_scores

    weights = torch.randn((2, 1, 1, LOW_RES, LOW_RES), generator=torch.Generator().manual_seed(SEED + 2))
    out["gradient.weights"] = weights / weights.numel()
    model.zero_grad()
    answer = model(image_embeddings=embeddings, input_boxes=out["box.input_boxes"], multimask_output=False)
    (answer.pred_masks * out["gradient.weights"]).sum().backward()
    parameters = dict(model.mask_decoder.named_parameters())
    for name in GRADIENTS:
        gradient = parameters[name].grad
        out[f"gradient.mask_decoder.{name}"] = gradient
    return {name: value.detach().contiguous().clone() for name, value in out.items()}


def write(folder: Path) -> None:
    """Writes the model and its references."""
    folder.mkdir(parents=True, exist_ok=True)
    model = small_model()
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    save_file(references(model), folder / "reference.safetensors")
    # The library's version would change the file without changing the model.
    config = json.loads((folder / "config.json").read_text())
    config.pop("transformers_version", None)
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    for path in sorted(folder.iterdir()):
        print(f"{path.stat().st_size:>8} {path}")


def check(folder: Path) -> int:
    """Opens a checkpoint, and reports every key that does not fit."""
    model, info = SamModel.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    wrong = 0
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        for key in info.get(kind, ()):
            print(f"{kind}: {key}")
            wrong += 1
    count = sum(parameter.numel() for parameter in model.parameters())
    processor = SamProcessor.from_pretrained(folder, backend="pil")
    inputs = processor(images=images()[0], input_boxes=[[[30.0, 12.0, 96.0, 60.0]]], return_tensors="pt")
    inputs = {key: inputs[key].float() for key in ("pixel_values", "input_boxes")}
    with torch.no_grad():
        masks = model.eval()(**inputs, multimask_output=False).pred_masks
    if not masks.isfinite().all():
        print("the masks are not finite")
        wrong += 1
    print(f"{folder}: {count} parameters, masks {tuple(masks.shape)}, {wrong} problems")
    return min(wrong, 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).resolve().parent.parent / "fixtures" / "sam-tiny"
    parser.add_argument("--out", type=Path, default=default, help="where to write the fixture")
    parser.add_argument("--check", type=Path, metavar="DIR", help="open this checkpoint instead of writing anything")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.check:
        return check(arguments.check)
    write(arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
