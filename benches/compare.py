"""Runs the training step and its PyTorch twin in turn, and prints the medians and their ratio.

    python benches/compare.py [--rounds N] [--threads N] [--step PROGRAM] tiny:4 vit-b:2

Wants torch and transformers. PROGRAM is the benchmark that `cargo bench --workspace --bench step --no-run` builds and names.
Times of a busy machine say little: a process that shares cores with others also shows in the spread that is printed.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent


def milliseconds(command, threads):
    """The median milliseconds a step that a benchmark prints."""
    env = dict(os.environ, RAYON_NUM_THREADS=str(threads), OMP_NUM_THREADS=str(threads))
    words = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.split()
    return float(words[words.index("median") + 1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=["tiny:4", "vit-b:2"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--step", required=True)
    args = parser.parse_args()
    for case in args.cases:
        ours, theirs = [], []
        for _ in range(args.rounds):
            ours.append(milliseconds([args.step, "--steps", "10", case], args.threads))
            twin = [sys.executable, HERE / "decoder_step.py", "--threads", str(args.threads), "--steps", "10", case]
            theirs.append(milliseconds(twin, args.threads))
        a, b = statistics.median(ours), statistics.median(theirs)
        spread = f"{min(ours):.1f}-{max(ours):.1f}, {min(theirs):.1f}-{max(theirs):.1f}"
        print(f"{case}, {args.threads} threads: Resect {a:.1f} ms, PyTorch {b:.1f} ms a step, ratio {a / b:.2f} ({spread})")


if __name__ == "__main__":
    main()
