"""Runs a benchmark and its PyTorch twin in turn, and prints the medians and their ratio.

    python benches/compare.py [--rounds N] [--threads N] --step PROGRAM tiny:4 vit-b:2 vit-b:4     # a training step
    python benches/compare.py [--rounds N] [--threads N] --encoder PROGRAM vit-b vit-l vit-h       # an image through the encoder
    python benches/compare.py [--rounds N] [--threads N] --step PROGRAM --strategy lora vit-b:1    # a step in which the encoder is tuned
    ... --avx2                                           # PyTorch is kept from AVX-512; build PROGRAM without `x86-v4`

Wants torch and transformers. `cargo bench --workspace --bench step --no-run` (or `encoder`) builds PROGRAM and names it.
Times of a busy machine say little: a process that shares cores with others also shows in the spread that is printed.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
# What each of the libraries that PyTorch multiplies with is told by.
AVX2 = dict(ATEN_CPU_CAPABILITY="avx2", ONEDNN_MAX_CPU_ISA="AVX2", MKL_ENABLE_INSTRUCTIONS="AVX2")


def measured(command, threads, more):
    """The median milliseconds that a benchmark prints, and the megabytes if it prints them."""
    env = dict(os.environ, RAYON_NUM_THREADS=str(threads), OMP_NUM_THREADS=str(threads), **more)
    words = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.split()
    memory = float(words[words.index("memory") + 1]) if "memory" in words else None
    return float(words[words.index("median") + 1]), memory


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--avx2", action="store_true")
    parser.add_argument("--strategy")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--step")
    which.add_argument("--encoder")
    args = parser.parse_args()
    if args.step and args.strategy:
        program, options = args.step, ["--steps", "3", "--strategy", args.strategy]
        twin, what = HERE / "tuning_step.py", "a step"
    elif args.step:
        program, options = args.step, ["--steps", "10"]
        twin, what = HERE / "decoder_step.py", "a step"
    else:
        program, options = args.encoder, ["--runs", "1"]
        twin, what = HERE / "image_encoder.py", "an image"
    for case in args.cases:
        ours, theirs = [], []
        for _ in range(args.rounds):
            ours.append(measured([program, *options, case], args.threads, {}))
            command = [sys.executable, twin, "--threads", str(args.threads), *options, case]
            theirs.append(measured(command, args.threads, AVX2 if args.avx2 else {}))
        times = [[time for time, _ in side] for side in (ours, theirs)]
        a, b = map(statistics.median, times)
        spread = ", ".join(f"{min(side):.1f}-{max(side):.1f}" for side in times)
        line = f"{case}, {args.threads} threads: Resect {a:.1f} ms, PyTorch {b:.1f} ms {what}, ratio {a / b:.2f} ({spread})"
        memories = [[memory for _, memory in side if memory is not None] for side in (ours, theirs)]
        if all(memories):
            a, b = map(statistics.median, memories)
            line += f"; memory {a:.0f} and {b:.0f} MB, ratio {a / b:.2f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
