"""The losses of training by MONAI, torchvision and PyTorch, with their gradients, on small cases, degenerate ones included.

Writes tests/fixtures/loss/losses.json. Needs torch, torchvision and monai (tests/requirements.txt):

    python tests/reference/loss_reference.py
"""

import argparse
import json
from pathlib import Path

import torch
from monai.losses import DiceCELoss, DiceFocalLoss, DiceLoss
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.ops import sigmoid_focal_loss

# By the names of the settings in [train].
OBJECTIVES = [
    {"loss": "dice-ce", "loss_weights": []},
    {"loss": "dice-ce", "loss_weights": [0.25, 3.0]},
    {"loss": "dice", "loss_weights": []},
    {"loss": "ce", "loss_weights": []},
    {"loss": "dice-focal", "loss_weights": []},
    {"loss": "dice-focal", "loss_weights": [2.0, 5.0]},
]


def cases():
    """Name, logits, masks and, where the grid is padded, the rows and columns of each sample's image."""
    generator = torch.Generator().manual_seed(0)
    noise = lambda n, s: torch.randn(n, 1, s, s, generator=generator)
    random = (torch.rand(3, 1, 6, 6, generator=generator) > 0.6).float()
    yield "random", 3 * noise(3, 6), random, None
    yield "empty masks", noise(2, 5), torch.zeros(2, 1, 5, 5), None
    yield "full masks", noise(2, 5), torch.ones(2, 1, 5, 5), None
    one = torch.zeros(1, 1, 6, 6)
    one[..., 2, 3] = 1
    yield "one pixel", noise(1, 6), one, None
    yield "saturated and right", 60 * (2 * random - 1), random, None
    yield "saturated and wrong", 60 * (1 - 2 * random), random, None
    mixed = torch.stack([torch.zeros(1, 5, 5), torch.ones(1, 5, 5)])
    yield "an empty and a full mask", noise(2, 5), mixed, None
    yield "full masks, certain", torch.full((1, 1, 4, 4), 40.0), torch.ones(1, 1, 4, 4), None
    yield "empty masks, certain of the opposite", torch.full((1, 1, 4, 4), 40.0), torch.zeros(1, 1, 4, 4), None
    yield "full masks, certain of the opposite", torch.full((1, 1, 4, 4), -40.0), torch.ones(1, 1, 4, 4), None
    yield "empty masks, certain", torch.full((1, 1, 4, 4), -40.0), torch.zeros(1, 1, 4, 4), None
    images = [[6, 4], [3, 6], [6, 6]]
    inside = torch.zeros(3, 1, 6, 6)
    for i, (rows, columns) in enumerate(images):
        inside[i, :, :rows, :columns] = 1
    yield "padded, random", 3 * noise(3, 6), random * inside, images
    yield "padded, empty masks", noise(3, 6), torch.zeros(3, 1, 6, 6), images
    yield "padded, full masks", noise(3, 6), inside, images


def terms(objective: dict, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Loss, Dice term and pixel-wise term; the terms without their weights."""
    kind, weights = objective["loss"], objective["loss_weights"]
    sigmoid = {"sigmoid": True, "squared_pred": True, "reduction": "mean"}
    dice = DiceLoss(**sigmoid)(logits, masks)
    if kind == "dice-focal":
        pixel = sigmoid_focal_loss(logits, masks, alpha=0.25, gamma=2, reduction="mean")
        of_dice, of_pixel = weights or [1.0, 20.0]
        loss = of_dice * dice + of_pixel * pixel
        whole = DiceFocalLoss(**sigmoid, gamma=2.0, alpha=0.25, lambda_dice=of_dice, lambda_focal=of_pixel)
        torch.testing.assert_close(whole(logits, masks), loss, msg="MONAI's focal loss is another one")
        return torch.stack([loss, dice, pixel])
    pixel = binary_cross_entropy_with_logits(logits, masks)
    if kind == "dice-ce":
        of_dice, of_ce = weights or [1.0, 1.0]
        loss = DiceCELoss(**sigmoid, lambda_dice=of_dice, lambda_ce=of_ce)(logits, masks)
    else:
        loss = {"dice": dice, "ce": pixel}[kind]
    return torch.stack([loss, dice, pixel])


def mean_terms(objective: dict, logits: torch.Tensor, masks: torch.Tensor, images: list | None = None) -> torch.Tensor:
    """The means of `terms` over samples. Where there are `images`, only what lies in them counts, and the rest is cut off."""
    if images is None:
        return terms(objective, logits, masks)
    cut = lambda x, i: x[i : i + 1, :, : images[i][0], : images[i][1]]
    return torch.stack([terms(objective, cut(logits, i), cut(masks, i)) for i in range(len(images))]).mean(0)


# Nine digits are all that single precision has.
numbers = lambda x: [float(f"{value:.9g}") for value in x.flatten().tolist()]


def result(logits: torch.Tensor, masks: torch.Tensor, images: list | None, objective: dict) -> dict:
    """What an objective makes of a case."""
    logits = logits.clone().requires_grad_(True)
    values = mean_terms(objective, logits, masks, images)
    values[0].backward()
    settings = objective | {"padding": "counted" if images is None else "ignored"}
    loss, dice, pixel = numbers(values.detach())
    return {"settings": settings, "loss": loss, "dice": dice, "pixel": pixel, "gradient": numbers(logits.grad)}


def row(name: str, logits: torch.Tensor, masks: torch.Tensor, images: list | None) -> dict:
    """A case with what every objective makes of it."""
    return {
        "name": name,
        "shape": list(logits.shape),
        "images": images or [list(logits.shape[2:])] * len(logits),
        "logits": numbers(logits),
        "masks": masks.int().flatten().tolist(),
        "results": [result(logits, masks, images, objective) for objective in OBJECTIVES],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(__file__).parents[1] / "fixtures" / "loss" / "losses.json"
    parser.add_argument("--out", type=Path, default=default)
    out = parser.parse_args().out
    rows = [row(*case) for case in cases()]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


if __name__ == "__main__":
    main()
