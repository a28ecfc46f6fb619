"""The published recipe's training loop in PyTorch, on the small checkpoint of tests/fixtures/sam-tiny.

Writes tests/fixtures/curve: curve.json (samples; settings, losses, learning rates and gradient norms of each variant),
embeddings.safetensors, and the decoder's weights at the end of the variants of the published loss. Needs torch, torchvision,
transformers, monai, numpy, pillow and safetensors (tests/requirements.txt):

    python tests/reference/curve_reference.py [--out tests/fixtures/curve]

`SamModel`, the losses, `AdamW`, the schedulers and `clip_grad_norm_` are the libraries' own; only the loop is written here.
The learning rate is fifty times the published one, so that a few steps move the weights by far more than the test's tolerance. Masks that are empty or full are among the samples: `ingest` would reject the former, the loss must still be right.
"""

import argparse
import itertools
import json
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from loss_reference import mean_terms
from PIL import Image
from safetensors.torch import save_file
from sam_parity import LOW_RES, SIDE
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
from transformers import SamModel, SamProcessor
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
SEED = 11

# Height and width of each image, and the shape on it. Five make two batches of two and an incomplete one; the three batches make a
# group of two and an incomplete one.
SAMPLES = [((75, 120), "disc"), ((90, 67), "disc"), ((64, 64), "full"), ((50, 81), "empty"), ((100, 60), "rectangle")]
# Masks of no more pixels than there are points to draw, so that every draw is all of them: batches with differing numbers of tokens.
SPECKS = [((24, 32), "three"), ((32, 20), "one"), ((19, 32), "three"), ((32, 32), "one")]

# By the names of the settings in [train].
PUBLISHED = {
    "epochs": 8, "batch_size": 2, "accumulation": 2, "learning_rate": 5e-4, "min_learning_rate": 1e-7, "weight_decay": 0.01,
    "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "schedule": "epoch", "warmup_steps": 0, "clip_norm": 0.0,
    "loss": "dice-ce", "loss_weights": [], "padding": "counted", "prompts": "box",
}
VARIANTS = {
    "published": PUBLISHED,
    # Decay that shows; steps that are clipped and steps that are not.
    "steps": PUBLISHED | {"schedule": "step", "warmup_steps": 3, "clip_norm": 0.35, "weight_decay": 0.5},
    # What SAM was trained with, on points, and no cell outside the image.
    "points": PUBLISHED | {
        "epochs": 4, "batch_size": 3, "accumulation": 1, "loss": "dice-focal", "padding": "ignored", "prompts": "point", "points": 3,
    },
}


def mask_of(height: int, width: int, shape: str) -> np.ndarray:
    """0 and 1, at the original resolution."""
    y, x = np.mgrid[0:height, 0:width]
    return {
        "disc": (y - height * 0.45) ** 2 + (x - width * 0.55) ** 2 < (0.3 * min(height, width)) ** 2,
        "rectangle": (abs(y - height * 0.6) < height * 0.2) & (abs(x - width * 0.4) < width * 0.3),
        "full": np.ones((height, width), bool),
        "empty": np.zeros((height, width), bool),
        "one": (y == height // 3) & (x == width // 2),
        "three": (y == height // 2) & (abs(x - width // 4) < 2),
    }[shape].astype(np.uint8)


def box_of(mask: np.ndarray) -> list[int]:
    """The tight box, maxima inclusive; of an empty mask some box or other."""
    if not mask.any():
        return [10, 12, 55, 40]
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])]


def runs_of(mask: np.ndarray) -> list[int]:
    """Lengths of the runs of equal pixels in row order; the first is of zeros and may be 0."""
    runs = [(value, len(list(group))) for value, group in itertools.groupby(mask.flatten().tolist())]
    return [0] * (runs[0][0] == 1) + [length for _, length in runs]


def low_res_of(mask: np.ndarray) -> np.ndarray:
    """The mask on the decoder's grid: the longest side resized, the rest padded."""
    height, width = mask.shape
    scale = LOW_RES / max(height, width)
    height, width = int(height * scale + 0.5), int(width * scale + 0.5)
    out = np.zeros((LOW_RES, LOW_RES), np.float32)
    out[:height, :width] = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    return out


class Data:
    """The samples as tensors, and as the Rust test wants them."""

    def __init__(self, model: SamModel):
        side = {"height": SIDE, "width": SIDE}
        processor = SamProcessor(SamImageProcessorPil(size={"longest_edge": SIDE}, pad_size=side))
        rng = np.random.default_rng(SEED)
        samples = SAMPLES + SPECKS
        masks = [mask_of(height, width, shape) for (height, width), shape in samples]
        paint = lambda mask: np.where(mask[..., None], [200, 90, 70], [60, 120, 150]) + rng.integers(-40, 40, (*mask.shape, 3))
        pictures = [Image.fromarray(paint(mask).clip(0, 255).astype(np.uint8)) for mask in masks]
        boxes = [box_of(mask) for mask in masks]
        prepared = processor(images=pictures, input_boxes=[[[float(x) for x in box]] for box in boxes], return_tensors="pt")
        self.pixels = prepared["pixel_values"].float()
        with torch.no_grad():
            self.embeddings = model.get_image_embeddings(self.pixels)
        self.boxes = prepared["input_boxes"].float()
        self.points = {}
        for i in range(len(SAMPLES), len(samples)):
            points = [[float(x), float(y)] for y, x in zip(*np.nonzero(masks[i]))]
            self.points[i] = processor(images=pictures[i], input_points=[[points]], return_tensors="pt")["input_points"].float()
        low_res = [low_res_of(mask) for mask in masks]
        self.masks = torch.from_numpy(np.stack(low_res))[:, None]
        # What the image covers of the decoder's grid.
        self.images = [[int(side * LOW_RES / max(mask.shape) + 0.5) for side in mask.shape] for mask in masks]
        sizes = prepared["reshaped_input_sizes"].tolist()
        self.rows = [
            {"size": list(size), "resized": resized, "box": box, "mask": runs_of(mask)}
            for (size, _), resized, box, mask in zip(samples, sizes, boxes, masks)
        ]

    def logits(self, model: SamModel, batch: torch.Tensor, prompts: str, predict) -> torch.Tensor:
        """Of the samples with these numbers. Those with points go one by one: they differ in how many they have."""
        if prompts == "box":
            return predict(model, self.embeddings[batch], self.boxes[batch]).squeeze(1)
        one = lambda i: model(image_embeddings=self.embeddings[i][None], input_points=self.points[i], multimask_output=False)
        return torch.cat([one(i).pred_masks.squeeze(1) for i in batch.tolist()])


def samples_of(s: dict) -> list[int]:
    """The numbers of the samples that a variant trains on."""
    first = len(SAMPLES)
    return list(range(first) if s["prompts"] == "box" else range(first, first + len(SPECKS)))


def scheduler_of(optimizer, s: dict, steps: int):
    """The published schedule turns once an epoch; the other once a step, after a warm-up that reaches the full rate at its end."""
    if s["schedule"] == "epoch":
        return CosineAnnealingLR(optimizer, T_max=s["epochs"], eta_min=s["min_learning_rate"])
    warmup = s["warmup_steps"]
    linear = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    cosine = CosineAnnealingLR(optimizer, T_max=steps - warmup, eta_min=s["min_learning_rate"])
    return SequentialLR(optimizer, [linear, cosine], milestones=[warmup])


def in_single_precision(model: SamModel, embeddings: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """The logits of the single mask."""
    return model(image_embeddings=embeddings, input_boxes=boxes, multimask_output=False).pred_masks


def optimise(s: dict, parameters: list, terms_of, loss_scaling: bool = False) -> dict:
    """The recipe's loop: the steps' losses, learning rates and gradient norms. `terms_of` gives the loss and the two terms of a batch."""
    optimizer = torch.optim.AdamW(
        parameters, lr=s["learning_rate"], weight_decay=s["weight_decay"], betas=(s["beta1"], s["beta2"]), eps=s["epsilon"],
    )
    batches = torch.tensor(samples_of(s)).split(s["batch_size"])
    steps = s["epochs"] * -(-len(batches) // s["accumulation"])
    scheduler = scheduler_of(optimizer, s, steps)
    # Without scaling it hands everything through.
    scaler = torch.amp.GradScaler("cpu", enabled=loss_scaling)
    history = {"loss": [], "dice_loss": [], "ce_loss": [], "learning_rate": [], "gradient_norm": []}
    optimizer.zero_grad()
    for _ in range(s["epochs"]):
        group = []
        for number, batch in enumerate(batches, 1):
            terms = terms_of(batch)
            scaler.scale(terms[0] / s["accumulation"]).backward()
            group.append(terms.detach())
            if number % s["accumulation"] == 0 or number == len(batches):
                scaler.unscale_(optimizer)
                norm = torch.nn.utils.clip_grad_norm_(parameters, s["clip_norm"] or float("inf"))
                for column, mean in zip(["loss", "dice_loss", "ce_loss"], (sum(group) / len(group)).tolist()):
                    history[column].append(mean)
                history["learning_rate"].append(optimizer.param_groups[0]["lr"])
                history["gradient_norm"].append(norm.item())
                group = []
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
                if s["schedule"] == "step":
                    scheduler.step()
        if s["schedule"] == "epoch":
            scheduler.step()
    return history


def train(s: dict, predict=in_single_precision, loss_scaling: bool = False) -> tuple[dict, dict]:
    """Tunes the mask decoder: the result of `optimise`, and the weights at the end."""
    model = SamModel.from_pretrained(FIXTURES / "sam-tiny", attn_implementation="eager", dtype=torch.float32)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("mask_decoder."))
    data = Data(model)
    decoder = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.train()

    def terms_of(batch: torch.Tensor) -> torch.Tensor:
        images = [data.images[i] for i in batch] if s["padding"] == "ignored" else None
        return mean_terms(s, data.logits(model, batch, s["prompts"], predict), data.masks[batch], images)

    history = optimise(s, decoder, terms_of, loss_scaling)
    weights = {name: p.detach().contiguous().clone() for name, p in model.named_parameters() if p.requires_grad}
    return history, weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FIXTURES / "curve", help="where to write the fixture")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    data = Data(SamModel.from_pretrained(FIXTURES / "sam-tiny", attn_implementation="eager", dtype=torch.float32))
    save_file({"embeddings": data.embeddings.contiguous()}, out / "embeddings.safetensors")
    variants = []
    for name, settings in VARIANTS.items():
        history, weights = train(settings)
        file = None
        if settings["loss"] == "dice-ce":
            file = f"{name}.safetensors"
            save_file(weights, out / file)
        samples = samples_of(settings)
        variants.append({"name": name, "settings": settings, "samples": samples, "steps": history, "weights": file})
        print(name, *(f"{key} {values[0]:.4g} to {values[-1]:.4g}" for key, values in history.items()))
    # One line a sample and one a variant.
    lines = lambda rows: ",\n".join(json.dumps(row) for row in rows)
    text = f'{{"samples": [\n{lines(data.rows)}\n], "variants": [\n{lines(variants)}\n]}}\n'
    (out / "curve.json").write_text(text)


if __name__ == "__main__":
    main()
