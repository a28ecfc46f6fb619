"""MONAI's DiceCELoss and its gradient on small cases, degenerate ones included.

Writes tests/fixtures/loss/dice_ce.json. Needs torch and monai (tests/requirements.txt):

    python tests/reference/loss_reference.py
"""

import argparse
import json
from pathlib import Path

import torch
from monai.losses import DiceCELoss


def cases():
    generator = torch.Generator().manual_seed(0)
    noise = lambda n, s: torch.randn(n, 1, s, s, generator=generator)
    random = (torch.rand(3, 1, 6, 6, generator=generator) > 0.6).float()
    yield "random", 3 * noise(3, 6), random
    yield "empty masks", noise(2, 5), torch.zeros(2, 1, 5, 5)
    yield "full masks", noise(2, 5), torch.ones(2, 1, 5, 5)
    one = torch.zeros(1, 1, 6, 6)
    one[..., 2, 3] = 1
    yield "one pixel", noise(1, 6), one
    yield "saturated and right", 60 * (2 * random - 1), random
    yield "saturated and wrong", 60 * (1 - 2 * random), random
    mixed = torch.stack([torch.zeros(1, 5, 5), torch.ones(1, 5, 5)])
    yield "an empty and a full mask", noise(2, 5), mixed
    yield "full masks, certain", torch.full((1, 1, 4, 4), 40.0), torch.ones(1, 1, 4, 4)
    yield "empty masks, certain of the opposite", torch.full((1, 1, 4, 4), 40.0), torch.zeros(1, 1, 4, 4)
    yield "full masks, certain of the opposite", torch.full((1, 1, 4, 4), -40.0), torch.ones(1, 1, 4, 4)
    yield "empty masks, certain", torch.full((1, 1, 4, 4), -40.0), torch.zeros(1, 1, 4, 4)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(__file__).parents[1] / "fixtures" / "loss" / "dice_ce.json"
    parser.add_argument("--out", type=Path, default=default)
    out = parser.parse_args().out
    loss = DiceCELoss(sigmoid=True, squared_pred=True, reduction="mean")
    rows = []
    for name, logits, masks in cases():
        logits = logits.clone().requires_grad_(True)
        value = loss(logits, masks)
        value.backward()
        rows.append(
            {
                "name": name,
                "shape": list(logits.shape),
                "logits": logits.detach().flatten().tolist(),
                "masks": masks.int().flatten().tolist(),
                "loss": value.item(),
                "gradient": logits.grad.flatten().tolist(),
            }
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
