"""What Resect asks of the CUDA driver, counted by one that computes nothing; benches/dry_cuda.sh prepares and starts it.

    python benches/dry_cuda.py --bin-dir target/release --step PROGRAM --work DIR [tiny] [vit-b]

`embed`, `train` and `evaluate` are run as the runner starts them. Nothing is computed, so each must end with the comparison with the
CPU; until then all of its kernels were compiled and launched. Any other end is a failure: NVRTC's message is printed, and the exit
code is 1. A training step is the difference between two runs of the bench of `stages/train`; its time is the host's
alone, which has to be less than the GPU's for the GPU to be kept busy.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys

PIPELINE = """
[dataset]
kind = "phantom"
images = 12
min_width = 144
max_width = 208
[checkpoint]
kind = "random"
size = "{size}"
[train]
epochs = 1
batch_size = 2
accumulation = 1
"""
PRECISIONS = ["f32", "bf16", "f16"]
# A first start: weights up, one image, a step on the fixed problem, which is in f32, or a first batch, down again; then the comparison,
# which must fail. Kernels of training in all precisions are compiled by the bench of a step.
CASES = [("embed", precision) for precision in PRECISIONS] + [("train", "f32"), ("evaluate", "f32")]
STEPS = 20


def counted(command, work):
    """How a command ended, what it said, and what its last process counted."""
    counts = work / "counts.jsonl"
    counts.unlink(missing_ok=True)
    env = dict(os.environ, DRY_CUDA_COUNTS=str(counts))
    run = subprocess.run(command, env=env, capture_output=True, text=True)
    lines = counts.read_text().splitlines() if counts.exists() else []
    return run.returncode, run.stdout + run.stderr, json.loads(lines[-1]) if lines else None


def reasons(said):
    """NVRTC's messages, without the sources that follow them, each once."""
    found = re.findall(r"\[Compilation Error\](.*?)\[Source\]", said, re.DOTALL)
    return list(dict.fromkeys(" ".join(reason.split()) for reason in found)) or [said[-2000:]]


def line(name, counts, per=1, took=""):
    """Prints what was counted, for each of so many; memory is what was held at most, `took` the host's time."""
    cells = [counts["modules"], counts["launches"], counts["up"]["count"], counts["up"]["bytes"] / 1e6, counts["down"]["count"]]
    cells += [counts["down"]["bytes"] / 1e6, counts["synchronisations"]]
    cells = [f"{cell / per:.6g}" for cell in cells] + [f"{counts['device']['peak'] / 1e6:.0f}", took]
    print("| " + " | ".join([name, *cells]) + " |", flush=True)


def more(whole, part):
    """What the one counted and the other did not."""
    if isinstance(whole, dict):
        return {name: more(of, part.get(name, {} if isinstance(of, dict) else 0)) for name, of in whole.items()}
    return whole - part


def stage(args, size, stage, precision):
    """Whether a stage came to the comparison."""
    pipeline = args.work / f"{size}.toml"
    pipeline.write_text(PIPELINE.format(size=size))
    common = [args.bin_dir / "xtask", "run", stage, "--pipeline", pipeline, "--store", args.work / "store", "--bin-dir", args.bin_dir]
    common += ["--set", f"device.{stage}=cuda"]
    if stage != "evaluate":
        common += ["--set", f"{stage}.precision={precision}"]
    _, said, counts = counted(common, args.work)
    if "does not compute what the CPU does" in said and counts and not counts["refused"]:
        line(f"{size}, {stage}, {precision}: a start", counts)
        return True
    for reason in reasons(said) + list(counts["refused"] if counts else []):
        print(f"{size}, {stage}, {precision}: {reason}", file=sys.stderr)
    return False


def step(args, size, precision):
    """A training step on four samples, two batches of the recipe: what a run of twice as many steps asks for on top."""
    runs, took = [], ""
    for steps in (STEPS, 2 * STEPS):
        words = [args.step, "--cuda", "--steps", str(steps), f"{size}:4"] + [f"--{precision}"] * (precision != "f32")
        code, said, counts = counted(words, args.work)
        if code != 0 or counts["refused"]:
            print(f"{size}, step, {precision}: {reasons(said)}", file=sys.stderr)
            return False
        runs.append(counts)
        took = re.search(r"median ([0-9.]+) ms", said).group(1)
    line(f"{size}, {precision}: a training step", dict(more(runs[1], runs[0]), device=runs[1]["device"]), STEPS, took)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sizes", nargs="*", default=["tiny", "vit-b"])
    for name in ("bin-dir", "step", "work"):
        parser.add_argument(f"--{name}", type=lambda path: pathlib.Path(path).absolute(), required=True)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    print("| what | kernels | launches | copies up | MB | copies down | MB | synchronisations | device memory, MB | host, ms |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    done = []
    for size in args.sizes or ["tiny", "vit-b"]:
        done += [stage(args, size, *case) for case in CASES]
        done += [step(args, size, precision) for precision in PRECISIONS]
    sys.exit(0 if all(done) else 1)


if __name__ == "__main__":
    main()
