"""A ViT-B of full size, by `transformers`: every parameter perturbed, and what it gives for one picture.

    python tests/reference/full_size_parity.py --out DIR
        writes DIR/vit-b (config.json, model.safetensors) and DIR/reference.safetensors: the prepared picture, image embeddings,
        and logits and scores for boxes and points, single and multi.

Needs what `sam_parity.py` needs. Takes a minute and 4 GB of memory.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from sam_parity import SEED, perturb
from transformers import SamConfig, SamModel, SamProcessor
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil


def picture() -> Image.Image:
    """Blobs and noise, wider than high, and not of the model's size."""
    rng = np.random.default_rng(SEED)
    height, width = 534, 712
    y, x = np.mgrid[0:height, 0:width]
    out = np.stack([60 + 40 * np.sin(x / 31 + c) + 30 * np.cos(y / (17 + 5 * c)) for c in range(3)], axis=-1)
    for row, column, radius, colour in ((200, 300, 90, (190, 80, 60)), (380, 560, 60, (90, 160, 70))):
        out[(y - row) ** 2 + (x - column) ** 2 < radius**2] = colour
    return Image.fromarray((out + rng.integers(-25, 25, out.shape)).clip(0, 255).astype(np.uint8))


def cases() -> dict[str, dict]:
    """Prompts in pixels of the picture."""
    return {
        "box": {"input_boxes": [[[205.0, 108.0, 395.0, 294.0]]]},
        "two_boxes": {"input_boxes": [[[205.0, 108.0, 395.0, 294.0], [500.0, 320.0, 622.5, 441.0]]]},
        "point": {"input_points": [[[[300.0, 200.0]]]], "input_labels": [[[1]]]},
        "points": {"input_points": [[[[300.0, 200.0], [20.0, 500.0], [560.5, 380.25]]]], "input_labels": [[[1, 0, 1]]]},
        "box_and_point": {
            "input_boxes": [[[205.0, 108.0, 395.0, 294.0]]],
            "input_points": [[[[250.0, 150.0]]]],
            "input_labels": [[[0]]],
        },
    }


def write(folder: Path) -> None:
    """Writes the model and its references."""
    model = SamModel._from_config(SamConfig(), attn_implementation="eager").eval()
    perturb(model)
    model.save_pretrained(folder / "vit-b")
    processor = SamProcessor(SamImageProcessorPil())
    pixels = processor(images=[picture()], return_tensors="pt")["pixel_values"].float()
    out = {"pixel_values": pixels}
    with torch.no_grad():
        embeddings = out["image_embeddings"] = model.get_image_embeddings(pixels)
        for name, case in cases().items():
            inputs = processor(images=[picture()], return_tensors="pt", **case)
            inputs = {key: inputs[key] for key in case}
            inputs = {key: value.float() if key != "input_labels" else value for key, value in inputs.items()}
            out |= {f"{name}.{key}": value.float() for key, value in inputs.items()}
            for kind, multimask in (("single", False), ("multi", True)):
                answer = model(image_embeddings=embeddings, multimask_output=multimask, **inputs)
                out[f"{name}.{kind}.logits"] = answer.pred_masks
                out[f"{name}.{kind}.iou"] = answer.iou_scores
    save_file({name: value.contiguous().clone() for name, value in out.items()}, folder / "reference.safetensors")
    spread = {name: f"{out[name].std():.3g}" for name in ("image_embeddings", "box.single.logits", "points.multi.logits")}
    print(f"{sum(p.numel() for p in model.parameters())} parameters; standard deviations {spread}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where to write")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    write(arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
