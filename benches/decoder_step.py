"""How long PyTorch takes for a training step of the mask decoder: the twin of stages/train/benches/step.rs.

    python benches/decoder_step.py [--threads N] [--steps N] [--attention eager|sdpa] tiny:4 vit-b:2    # model:batch

Wants torch and transformers; the loss is MONAI's DiceCELoss, written out. Random weights, random samples, float32. `--count` says
instead how many operators compute something in forward, loss and backward (a GPU has a kernel or more for each), in float32 and with
autocast to bfloat16; AdamW, fused, is not among them.
"""

import argparse
import time

import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import SamMaskDecoderConfig
from transformers.models.sam.modeling_sam import SamMaskDecoder

# Grid, channels, MLP.
SIZES = {"tiny": (16, 128, 512), "small": (32, 128, 512), "vit-b": (64, 256, 2048)}


def dice_ce(logits, masks):
    """DiceCELoss(sigmoid=True, squared_pred=True)."""
    p, g = logits.sigmoid().flatten(1), masks.flatten(1)
    dice = 1 - (2 * (p * g).sum(1) + 1e-5) / ((p * p).sum(1) + (g * g).sum(1) + 1e-5)
    return dice.mean() + F.binary_cross_entropy_with_logits(logits, masks)


class Counted(TorchDispatchMode):
    """Counts operators that compute: no views, no allocations."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        returns = operator._schema.returns
        view = returns and all(value.alias_info is not None and not value.alias_info.is_write for value in returns)
        named = operator._schema.name
        self.count += not (view or named.startswith(("aten::empty", "aten::_unsafe_view", "aten::detach")))
        return operator(*args, **(kwargs or {}))


def prepared(name, batch, attention):
    """A decoder, and what a forward pass and its loss are computed from."""
    grid, channels, mlp = SIZES[name]
    config = SamMaskDecoderConfig(hidden_size=channels, mlp_dim=mlp, iou_head_hidden_dim=channels)
    config._attn_implementation = attention
    decoder = SamMaskDecoder(config)
    embeddings, position = torch.randn(batch, channels, grid, grid), torch.randn(1, channels, grid, grid)
    position = position.expand(batch, -1, -1, -1)
    tokens = torch.randn(batch, 1, 2, channels)
    dense = torch.randn(1, channels, 1, 1).expand(batch, -1, grid, grid)
    masks = (torch.rand(batch, 1, 4 * grid, 4 * grid) > 0.8).float()
    return decoder, (embeddings, position, tokens, dense), masks


def counts(name, batch, attention):
    decoder, given, masks = prepared(name, batch, attention)
    found = []
    for autocast in (False, True):
        decoder.zero_grad()
        with Counted() as counted:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
                logits = decoder(*given, multimask_output=False)[0]
            dice_ce(logits[:, 0].float(), masks).backward()
        found.append(counted.count)
    return found


def times(name, batch, steps, attention):
    decoder, given, masks = prepared(name, batch, attention)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-4, weight_decay=1e-2)
    taken = []
    for step in range(steps + 2):
        start = time.perf_counter()
        optimizer.zero_grad()
        logits = decoder(*given, multimask_output=False)[0]
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
    parser.add_argument("--count", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    for case in args.cases:
        name, batch = case.split(":")
        if args.count:
            single, narrow = counts(name, int(batch), args.attention)
            print(f"{case} {single} operators, {narrow} with autocast")
            continue
        taken = times(name, int(batch), args.steps, args.attention)
        median = taken[len(taken) // 2]
        print(f"{case} median {median:.2f} ms a step, {median / int(batch):.2f} ms a sample, fastest {taken[0]:.2f} ms")


if __name__ == "__main__":
    main()
