"""How long PyTorch takes for a training step of the mask decoder: the twin of stages/train/benches/step.rs.

    python benches/decoder_step.py [--threads N] [--steps N] [--attention eager|sdpa] tiny:4 vit-b:2    # model:batch

Wants torch and transformers; the loss is MONAI's DiceCELoss, written out. Random weights, random samples, float32.
"""

import argparse
import time

import torch
from torch.nn import functional as F
from transformers import SamMaskDecoderConfig
from transformers.models.sam.modeling_sam import SamMaskDecoder

# Grid, channels, MLP.
SIZES = {"tiny": (16, 128, 512), "small": (32, 128, 512), "vit-b": (64, 256, 2048)}


def dice_ce(logits, masks):
    """DiceCELoss(sigmoid=True, squared_pred=True)."""
    p, g = logits.sigmoid().flatten(1), masks.flatten(1)
    dice = 1 - (2 * (p * g).sum(1) + 1e-5) / ((p * p).sum(1) + (g * g).sum(1) + 1e-5)
    return dice.mean() + F.binary_cross_entropy_with_logits(logits, masks)


def times(name, batch, steps, attention):
    grid, channels, mlp = SIZES[name]
    config = SamMaskDecoderConfig(hidden_size=channels, mlp_dim=mlp, iou_head_hidden_dim=channels)
    config._attn_implementation = attention
    decoder = SamMaskDecoder(config)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-4, weight_decay=1e-2)
    embeddings, position = torch.randn(batch, channels, grid, grid), torch.randn(1, channels, grid, grid)
    position = position.expand(batch, -1, -1, -1)
    tokens = torch.randn(batch, 1, 2, channels)
    dense = torch.randn(1, channels, 1, 1).expand(batch, -1, grid, grid)
    masks = (torch.rand(batch, 1, 4 * grid, 4 * grid) > 0.8).float()
    taken = []
    for step in range(steps + 2):
        start = time.perf_counter()
        optimizer.zero_grad()
        logits = decoder(embeddings, position, tokens, dense, multimask_output=False)[0]
        dice_ce(logits[:, 0], masks).backward()
        optimizer.step()
        if step >= 2:
            taken.append((time.perf_counter() - start) * 1e3)
    return sorted(taken)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=["tiny:4", "vit-b:2"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--attention", default="sdpa")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    for case in args.cases:
        name, batch = case.split(":")
        taken = times(name, int(batch), args.steps, args.attention)
        median = taken[len(taken) // 2]
        print(f"{case} median {median:.2f} ms a step, {median / int(batch):.2f} ms a sample, fastest {taken[0]:.2f} ms")


if __name__ == "__main__":
    main()
