"""Runs `ingest` and its Python twin on the same Parquet files in turn, and prints the medians and their ratio.

    python benches/ingest.py [--rounds N] [--threads N] [--bin-dir DIR] [--write] path/to/kvasir-seg

Wants datasets and transformers (with torch), and 4 GB free in the folder for temporary files.

Ours is the stage as the runner times it, from the start of its program to published artifacts, into a store without them: it
decodes, resizes, segments and audits each sample, draws the validation part, finds near-duplicates, writes Arrow and Parquet,
syncs them to disk, and hashes each file. It keeps u8 pixels, which `embed` normalises and pads.

The twin is one process: `datasets` iterates all samples, Pillow decodes image and mask, and `SamImageProcessorPil` resizes,
normalises and pads both, at its defaults. It keeps nothing. Neither its imports nor the first load, which turns the Parquet
files into the Arrow files of `datasets`, are timed. With --write, it also writes each sample's tensors to a file, unsynced.

Times of a busy machine say little, processor time a little more; both are printed, as median (least-most).
"""

import argparse
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def twin(dataset, cache, write):
    """Seconds for all samples."""
    import datasets
    import numpy
    from transformers import SamImageProcessorPil

    datasets.disable_progress_bars()
    files = {path.name.split("-")[0]: str(path) for path in sorted(dataset.glob("*.parquet"))}
    load = lambda: datasets.load_dataset("parquet", data_files=files, cache_dir=str(cache))
    load()
    start, samples = time.perf_counter(), 0
    processor = SamImageProcessorPil()
    for split in load().values():
        for sample in split:
            # The masks are stored in three channels, and the processor wants one.
            tensors = processor(sample["image"], segmentation_maps=sample["annotation"].convert("L"))
            samples += 1
            if write:
                # One file again and again: a thousand of them are 13 GB.
                numpy.savez(cache / "sample.npz", pixel_values=tensors["pixel_values"][0], labels=tensors["labels"][0])
    print(json.dumps({"seconds": time.perf_counter() - start, "samples": samples}))


def measured(command, **options):
    """What a command prints as JSON, and the processor time of it and what it started."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    if done.returncode:
        sys.exit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return json.loads(done.stdout), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run_ingest(dataset, store, threads, bin_dir):
    """Seconds, processor time of runner and stage, ids of the artifacts, peak memory in bytes."""
    for kind in ("images", "targets"):
        shutil.rmtree(store / kind, ignore_errors=True)
    command = ["cargo", "xtask", "run", "ingest", "--json", "--pipeline", "pipelines/kvasir-local.toml"]
    command += ["--set", f"dataset.path={dataset}", "--set", "checkpoint.size=vit-b", "--store", str(store)]
    command += ["--threads", str(threads)] + (["--bin-dir", bin_dir] if bin_dir else [])
    record, processor = measured(command)
    stage = next(stage for stage in record["stages"] if stage["name"] == "ingest")
    if stage["status"] != "ran":
        sys.exit(f"ingest was {stage['status']}: {stage['reason']}")
    action = json.loads((store / ".resect/actions/ingest" / f"{stage['key']}.json").read_text())
    return stage["seconds"], processor, stage["artifacts"], action["peak_memory"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="of ingest; 0: one for each core")
    parser.add_argument("--bin-dir", help="stage programs built elsewhere")
    parser.add_argument("--write", action="store_true", help="the twin writes its tensors")
    parser.add_argument("--twin", type=pathlib.Path, metavar="CACHE", help=argparse.SUPPRESS)
    args = parser.parse_args()
    dataset = args.dataset.resolve()
    if args.twin:
        return twin(dataset, args.twin, args.write)

    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        store, cache = scratch / "store", scratch / "cache"
        cache.mkdir()
        twin_command = [sys.executable, __file__, str(dataset), "--twin", str(cache)] + ["--write"] * args.write
        offline = dict(os.environ, HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
        # Builds what is to be built, and reads the files once.
        run_ingest(dataset, store, args.threads, args.bin_dir)
        for number in range(args.rounds):
            seconds, processor, artifacts, peak = run_ingest(dataset, store, args.threads, args.bin_dir)
            ours.append((seconds, processor))
            result, processor = measured(twin_command, env=offline)
            theirs.append((result["seconds"], processor))
            load = " ".join(f"{part:.1f}" for part in os.getloadavg())
            print(f"round {number + 1}: ingest {seconds:.1f} s, twin {result['seconds']:.1f} s, load {load}", flush=True)

    def line(name, values, digits=1):
        middle = statistics.median(values)
        print(f"{name}: {middle:.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})")
        return middle

    print(f"{result['samples']} samples, artifacts {', '.join(id[:12] for id in artifacts.values())}, peak {peak / 2**20:.0f} MiB")
    ours_middle = line("ingest, s", [seconds for seconds, _ in ours])
    twin_middle = line("twin, s", [seconds for seconds, _ in theirs])
    line("ingest, s of processor time, cargo and runner included", [processor for _, processor in ours])
    line("twin, s of processor time, imports included", [processor for _, processor in theirs])
    print(f"ingest is {twin_middle / ours_middle:.1f} times as fast")


if __name__ == "__main__":
    main()
