"""How long PyTorch takes for a training step in which the image encoder is tuned, and how much memory: the twin of
stages/train/benches/step.rs with `--strategy`.

    python benches/tuning_step.py [--threads N] [--steps N] [--strategy lora|late-lora|full] vit-b:1    # model:batch

Wants torch, transformers and peft; the loss is MONAI's DiceCELoss, written out. Random weights, one random image for all samples of a
batch, float32, and by default the attention that `transformers` uses (sdpa). The whole mask decoder is tuned. `late-lora` runs the
frozen blocks in each step, because peft does not store their tokens.
"""

import argparse
import re
import time
from pathlib import Path

import torch
from decoder_step import dice_ce
from peft import LoraConfig, get_peft_model
from transformers import SamConfig, SamModel

LORA = {
    "lora": (r"vision_encoder\.layers\.\d+\.attn\.qkv", 8),
    "late-lora": (r"vision_encoder\.layers\.(6|7|8|9|10|11)\.(attn\.qkv|mlp\.lin1|mlp\.lin2)", 16),
}


def model_of(name, attention):
    """ViT-B, the size that is compared."""
    assert name == "vit-b", "only vit-b"
    return SamModel._from_config(SamConfig(), attn_implementation=attention)


def times(name, batch, steps, strategy, attention):
    model = model_of(name, attention)
    side = model.config.vision_config.image_size
    tuned = model
    if strategy in LORA:
        modules, rank = LORA[strategy]
        tuned = get_peft_model(model, LoraConfig(r=rank, lora_alpha=rank, target_modules=modules))
    for parameter_name, parameter in model.named_parameters():
        learns = "lora_" in parameter_name or parameter_name.startswith("mask_decoder.")
        parameter.requires_grad_(learns or strategy == "full" and parameter_name.startswith("vision_encoder."))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, weight_decay=1e-2)
    pixels = torch.randn(1, 3, side, side)
    box = torch.tensor([[[0.2 * side, 0.3 * side, 0.7 * side, 0.8 * side]]]).expand(1, batch, 4)
    masks = (torch.rand(batch, 1, side // 4, side // 4) > 0.8).float()
    model.train()
    taken = []
    for step in range(steps + 1):
        start = time.perf_counter()
        optimizer.zero_grad()
        logits = tuned(pixel_values=pixels, input_boxes=box, multimask_output=False).pred_masks[0]
        dice_ce(logits, masks).backward()
        optimizer.step()
        if step >= 1:
            taken.append((time.perf_counter() - start) * 1e3)
    return sorted(taken)


def peak_memory():
    """The largest resident memory so far, in megabytes."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) // 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=["vit-b:1"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--strategy", default="lora", choices=["lora", "late-lora", "full"])
    parser.add_argument("--attention", default="sdpa")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    for case in args.cases:
        name, batch = case.split(":")
        taken = times(name, int(batch), args.steps, args.strategy, args.attention)
        median = taken[len(taken) // 2]
        print(f"{case} median {median:.2f} ms a step, fastest {taken[0]:.2f} ms, peak memory {peak_memory()} MB")


if __name__ == "__main__":
    main()
