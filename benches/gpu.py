"""Parity with the CPU and speed beside PyTorch on a GPU, as one table in Markdown; exit code 1 where something is not right.

    python benches/gpu.py [--quick] [--size vit-b] [--bin-dir DIR --xtask DIR/xtask]
    python benches/gpu.py --device cpu --size tiny --quick       # all of it on the CPU: whether this script works

Wants torch and transformers. Data and weights are made here: phantoms, a random checkpoint.

Parity: embeddings in f32, bf16 and f16 (`xtask diff`), and the losses of 50 training steps, against the CPU, which the tests hold to
`transformers`; what each stage notes of its own comparison (embedding, logits, loss, norm) is in the table, too.

Speed, both sides in turn, medians of rounds. Embedding: of two runs with different numbers of images, the difference, so that
neither starting nor compiling kernels counts; PyTorch is `SamModel`'s vision encoder with SDPA in bf16, pixels on the device, after
warm-up, synchronised. Training: epochs after the first, without validation; PyTorch is the published loop on embeddings that are on
the device: bf16 autocast, f32 weights, fused AdamW, DiceCE. Of both the best batch counts, or the recipe's (2, accumulated twice).
Memory is the highest that the driver tells during a run, and PyTorch's own maximum.
"""

import argparse
import csv
import datetime
import json
import pathlib
import statistics
import subprocess
import tempfile
import threading
import time

import torch
from transformers import SamConfig, SamModel

import pipeline
from decoder_step import dice_ce

PRECISIONS = ["f32", "bf16", "f16"]
# Of the largest magnitude; what the stages themselves allow (docs/cuda.md).
TOLERANCE = {"f32": 0.02, "bf16": 0.05, "f16": 0.05}
STEPS = 50
# Hidden, layers, heads, global blocks, MLP, image side, grid, embedding channels.
SHAPES = {
    "tiny": (192, 6, 3, None, 768, 256, 16, 128),
    "vit-b": (768, 12, 12, 4, 3072, 1024, 64, 256),
    "vit-l": (1024, 24, 16, 4, 4096, 1024, 64, 256),
    "vit-h": (1280, 32, 16, 4, 5120, 1024, 64, 256),
}


class Memory:
    """The highest memory in use that the driver tells while this runs, in GB; none without a GPU."""

    def __init__(self, device):
        self.highest, self.ended = None, threading.Event()
        self.thread = threading.Thread(target=self.watch) if device == "cuda" else None

    def watch(self):
        ask = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
        while not self.ended.wait(0.05):
            used = float(subprocess.run(ask, capture_output=True, text=True).stdout.split()[0]) * 2**20 / 1e9
            self.highest = max(self.highest or 0.0, used)

    def __enter__(self):
        if self.thread:
            self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        if self.thread:
            self.thread.join()


class Bench:
    def __init__(self, args, scratch):
        self.args, self.scratch, self.device = args, scratch, args.device
        self.rows, self.wrong = [], []

    def sections(self, images, precision="f32", validation=0.0, **train):
        """A pipeline of phantoms; of every 8 images one is the test part's, which nothing here looks at."""
        return {
            "dataset": {"kind": "phantom", "images": images, "min_width": 300, "max_width": 400},
            "checkpoint": {"kind": "random", "size": self.args.size},
            "split": {"test_share": 0.125, "validation_share": validation},
            "embed": {"precision": precision, "dtype": "f16" if train else "f32"},
            "train": {"precision": precision, "learning_rate": 1e-5, "shuffle": False, **train},
        }

    def run(self, name, sections, *words):
        return pipeline.run(self.args, sections, self.scratch / name, *words)

    def row(self, what, ours, theirs="", note=""):
        self.rows.append((what, ours, theirs, note))
        print(f"{what}: {ours} {theirs} {note}".rstrip(), flush=True)

    def judged(self, what, difference, precision):
        self.row(what, f"{difference:.1e}", "", f"at most {TOLERANCE[precision]:g}")
        if not difference <= TOLERANCE[precision]:
            self.wrong.append(what)

    def synchronised(self):
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    # Parity.

    def embeddings(self):
        for precision in PRECISIONS:
            sections = self.sections(4, precision)
            store = self.scratch / "parity"
            cpu = self.run("parity", sections, "embed", "--device", "cpu")["embed"]
            ours = self.run("parity", sections, "embed", "--device", self.device, "--force", "embed")["embed"]
            ids = [stage["artifacts"]["embeddings"] for stage in (cpu, ours)]
            done = pipeline.xtask(self.args, "diff", *ids, "--store", store, "--json")
            if done.returncode not in (0, 1):
                raise SystemExit(done.stderr)
            self.judged(f"embeddings in {precision} against the CPU", largest(json.loads(done.stdout)), precision)
            self.agreement(ours)

    def agreement(self, stage):
        for note in stage["notes"]:
            if "agrees with the CPU" in note:
                self.row(f"{stage['name']}, by its own comparison", note.rsplit(" ", 1)[1], "", note)

    def losses(self, name, sections, device):
        words = ["train", "--device", device, "--force", "train", "--log", "csv", "--accept-device", "embed"]
        stage = self.run(name, sections, *words)["train"]
        self.agreement(stage)
        path = max((self.scratch / name / "runs").glob("*/train/steps.csv"), key=lambda path: path.stat().st_mtime)
        with open(path) as file:
            return [float(row["loss"]) for row in csv.DictReader(file)]

    def curve(self):
        for precision in PRECISIONS:
            # 8 of 9 images learn, 4 a step.
            sections = self.sections(9, precision, epochs=STEPS // 2, batch_size=2, accumulation=2)
            cpu = self.losses("curve", sections, "cpu")
            ours = self.losses("curve", sections, self.device)
            if len(cpu) != len(ours) or len(cpu) < STEPS:
                raise SystemExit(f"{len(cpu)} and {len(ours)} losses")
            most = max(abs(a - b) / abs(b) for a, b in zip(ours, cpu))
            self.judged(f"losses of {len(cpu)} training steps in {precision} against the CPU", most, precision)

    # Speed.

    def embed_rate(self, batch):
        """Images a second, and memory."""
        few, many = (4, 20) if self.args.quick else (32, 224)
        seconds = []
        for images in (few, many):
            words = ["embed", "--device", self.device, "--force", "embed", "--set", f"runtime.embed_batch={batch}"]
            with Memory(self.device) as memory:
                seconds.append(self.run(f"embed-{images}", self.sections(images, "bf16"), *words)["embed"]["seconds"])
        return (many - few) / max(seconds[1] - seconds[0], 1e-9), memory.highest

    def torch_embed_rate(self, model, batch):
        side = SHAPES[self.args.size][5]
        pixels = torch.randn(batch, 3, side, side, device=self.device, dtype=torch.bfloat16)
        times = 2 if self.args.quick else 8
        with torch.inference_mode():
            model(pixels)
            start = self.synchronised()
            for _ in range(times):
                model(pixels)
            return times * batch / (self.synchronised() - start)

    def embedding(self):
        model = torch_model(self.args.size).vision_encoder.to(self.device, torch.bfloat16).eval()
        batches = [1, 2] if self.args.quick else [1, 2, 4, 8, 16]
        ours, theirs = {batch: [] for batch in batches}, {batch: [] for batch in batches}
        memories = {}
        for _ in range(self.args.rounds):
            for batch in batches:
                rate, memories[batch] = self.embed_rate(batch)
                ours[batch].append(rate)
                theirs[batch].append(self.torch_embed_rate(model, batch))
        medians = [{batch: statistics.median(rates) for batch, rates in side.items()} for side in (ours, theirs)]
        best = [max(side, key=side.get) for side in medians]
        a, b = medians[0][best[0]], medians[1][best[1]]
        self.row("images a second, bf16", f"{a:.1f} (batch {best[0]})", f"{b:.1f} (batch {best[1]})", f"ratio {a / b:.2f}")
        if memories[best[0]]:
            theirs = torch.cuda.max_memory_allocated() / 1e9
            self.row("memory of embedding, GB", f"{memories[best[0]]:.1f}", f"{theirs:.1f}")
        size = 512 if self.device == "cpu" else 8192
        rate = self.matmul_rate(size)
        flops = encoder_flops(self.args.size)
        self.row(
            "share of the rate of a bf16 product", f"{a * flops / rate:.2f}", f"{b * flops / rate:.2f}",
            f"{rate / 1e12:.1f} TFLOP/s at {size} cubed; an image is {flops / 1e12:.3f} TFLOP",
        )

    def matmul_rate(self, size):
        a, b = (torch.randn(size, size, device=self.device, dtype=torch.bfloat16) for _ in range(2))
        a @ b
        start = self.synchronised()
        for _ in range(10):
            a @ b
        return 10 * 2 * size**3 / (self.synchronised() - start)

    def training(self):
        """Steps of 4 samples a second."""
        images, epochs = (17, 4) if self.args.quick else (128, 6)
        sections = self.sections(images, "bf16", epochs=epochs, batch_size=2, accumulation=2)
        sections["embed"]["precision"] = "f32"
        ours, theirs, memory = [], [], None
        for _ in range(self.args.rounds):
            with Memory(self.device) as memory:
                stage = self.run("train", sections, "train", "--device", self.device, "--force", "train")["train"]
            timing = stage["timing"]
            steps = timing["steps"] / epochs
            ours.append(steps / statistics.median(timing["epoch_seconds"][1:]))
            theirs.append(self.torch_step_rate())
        a, b = statistics.median(ours), statistics.median(theirs)
        self.row("training steps a second, bf16, 2 + 2 samples", f"{a:.1f}", f"{b:.1f}", f"ratio {a / b:.2f}")
        if memory and memory.highest:
            self.row("memory of training, GB", f"{memory.highest:.1f}", f"{torch.cuda.max_memory_allocated() / 1e9:.1f}")

    def torch_step_rate(self):
        model = torch_model(self.args.size).to(self.device)
        decoder, device = model.mask_decoder, self.device
        *_, grid, channels = SHAPES[self.args.size]
        fused = device == "cuda"
        optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-5, weight_decay=0.01, fused=fused)
        embeddings = torch.randn(16, channels, grid, grid, device=device, dtype=torch.float16)
        masks = (torch.rand(16, 1, 4 * grid, 4 * grid, device=device) > 0.8).float()
        position = torch.randn(1, channels, grid, grid, device=device).expand(2, -1, -1, -1)
        dense = torch.randn(1, channels, 1, 1, device=device).expand(2, -1, grid, grid)
        tokens = torch.randn(16, 1, 2, channels, device=device)
        steps = 3 if self.args.quick else 50
        for step in range(steps + 2):
            if step == 2:
                start = self.synchronised()
            optimizer.zero_grad(set_to_none=True)
            for part in range(2):
                chosen = torch.randperm(16, device=device)[:2]
                with torch.autocast(device, dtype=torch.bfloat16):
                    picked = embeddings[chosen].float()
                    logits = decoder(picked, position, tokens[chosen], dense, multimask_output=False)[0]
                (dice_ce(logits[:, 0].float(), masks[chosen]) / 2).backward()
            optimizer.step()
        return steps / (self.synchronised() - start)

    def recipe(self):
        """30 epochs on 880 images with 120 for validation."""
        epochs, images, share = (2, 24, 0.2) if self.args.quick else (30, 1143, 0.12)
        sections = self.sections(images, "bf16", share, epochs=epochs, batch_size=2, accumulation=2)
        stages = self.run("recipe", sections, "train", "--device", self.device)
        note = f"{epochs} epochs with validation, {stages['train']['timing']['steps']} steps, all starts included"
        self.row("recipe: embed, s", f"{stages['embed']['seconds']:.1f}", "", f"{images} images")
        self.row("recipe: train, s", f"{stages['train']['seconds']:.1f}", "", note)


def largest(diff):
    """The largest difference of any numbers, as a share of their largest magnitude; infinite where one side has none."""
    if any(numbers["not_finite"]["differing"] for numbers in diff["numbers"]):
        return float("inf")
    return max((numbers["max_relative"] or 0.0 for numbers in diff["numbers"]), default=0.0)


def torch_model(size):
    hidden, layers, heads, every, mlp, side, grid, channels = SHAPES[size]
    globals_ = list(range(layers // every - 1, layers, layers // every)) if every else [2, 5]
    config = SamConfig(
        vision_config=dict(
            hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, global_attn_indexes=globals_,
            mlp_dim=mlp, image_size=side, patch_size=side // grid, output_channels=channels,
            num_pos_feats=channels // 2,
        ),
        prompt_encoder_config=dict(hidden_size=channels, image_size=side, patch_size=side // grid),
        mask_decoder_config=dict(hidden_size=channels, mlp_dim=8 * channels, iou_head_hidden_dim=channels),
    )
    config._attn_implementation = "sdpa"
    return SamModel(config)


def encoder_flops(size):
    """Two for each multiplication of the encoder's products: patches, projections, MLP, scores and values, neck."""
    hidden, layers, _, every, mlp, side, grid, channels = SHAPES[size]
    window, tokens = 14, grid * grid
    padded = (-(-grid // window) * window) ** 2
    whole = every or 2
    projections = tokens * (3 * hidden * hidden + hidden * hidden + 2 * hidden * mlp)
    attention = whole * 2 * tokens * tokens * hidden + (layers - whole) * 2 * padded * window * window * hidden
    ends = tokens * hidden * (3 * (side // grid) ** 2 + channels) + tokens * 9 * channels * channels
    return 2 * (layers * projections + attention + ends)


def header(args):
    line = f"{datetime.date.today()}, torch {torch.__version__}, model {args.size}"
    if args.device == "cuda":
        ask = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader", "--id=0"]
        line += ", " + subprocess.run(ask, capture_output=True, text=True).stdout.strip()
    return line


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--size", choices=list(SHAPES), default="vit-b")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    pipeline.add_arguments(parser)
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("PyTorch finds no GPU; --device cpu tries the script itself")
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(prefix="resect-gpu-") as scratch:
        bench = Bench(args, pathlib.Path(scratch))
        for part in [bench.embeddings, bench.curve, bench.embedding, bench.training, bench.recipe]:
            part()
    print(f"\n{header(args)}\n\n| | Resect | PyTorch | |\n|---|---|---|---|")
    for row in bench.rows:
        print("| " + " | ".join(row) + " |")
    if bench.wrong:
        raise SystemExit("beyond what is allowed: " + "; ".join(bench.wrong))


if __name__ == "__main__":
    main()
