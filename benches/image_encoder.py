"""The image encoder in PyTorch, as `crates/encoder/benches/encoder.rs` runs it: transformers' SamModel with SDPA, random weights.

    python benches/image_encoder.py [--threads N] [--runs N] [--bf16] vit-b

Prints the median milliseconds of an image and the most memory that the process had since the model was made.
"""

import argparse
import pathlib
import statistics
import time

import torch
from transformers import SamConfig, SamModel, SamVisionConfig

SIZES = {
    "vit-b": {},
    "vit-l": dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, global_attn_indexes=[5, 11, 17, 23], mlp_dim=4096),
    "vit-h": dict(hidden_size=1280, num_hidden_layers=32, num_attention_heads=16, global_attn_indexes=[7, 15, 23, 31], mlp_dim=5120),
}


def peak_memory():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) // 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=SIZES)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--bf16", action="store_true")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    config = SamConfig(vision_config=SamVisionConfig(**SIZES[args.model]).to_dict())
    model = SamModel._from_config(config, attn_implementation="sdpa").eval()
    pixels = torch.randn(1, 3, 1024, 1024)
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    times = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
        for _ in range(args.runs + 1):
            began = time.perf_counter()
            model.get_image_embeddings(pixels)
            times.append((time.perf_counter() - began) * 1e3)
    times = times[1:]
    median = statistics.median(times)
    print(f"{args.model} median {median:.1f} ms an image, fastest {min(times):.1f} ms, peak memory {peak_memory()} MB")


if __name__ == "__main__":
    main()
