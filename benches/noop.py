"""Times `run` and `status` with nothing to do: in a store that holds the pipeline alone, and in one with 10,000 artifacts more.

    python benches/noop.py [--pipeline FILE] [--rounds N] [--artifacts N] [--runs N]

Each command runs in turn with the others, through cargo and without it; medians and the least are printed. `--help` is what starting
costs, with nothing done. Wants the standard library alone, and some 200 MB in the folder for temporary files.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
XTASK = "target/release/xtask"


def call(*command, **options):
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, **options).stdout


def milliseconds(command):
    start = time.perf_counter()
    call(*command)
    return (time.perf_counter() - start) * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pipeline", default="pipeline.toml")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--artifacts", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        alone, full = f"{folder}/alone", f"{folder}/full"
        print(f"{alone}: the pipeline runs once", flush=True)
        call("cargo", "xtask", "run", "--pipeline", args.pipeline, "--store", alone)
        shutil.copytree(alone, full)
        fill = ["cargo", "run", "--quiet", "--release", "--package", "resect-artifact", "--example", "fill_store"]
        print(call(*fill, "--", full, str(args.artifacts), str(args.runs)).strip(), flush=True)

        def nothing_to_do(start, command, store):
            return [*start, command, "--pipeline", args.pipeline, "--store", store]

        starts = {"runner alone": [XTASK], "cargo and runner": ["cargo", "xtask"]}
        cases = {f"{name}, --help": [*start, "--help"] for name, start in starts.items()}
        for name, start in starts.items():
            for command in ["run", "status"]:
                for what, store in [("small store", alone), ("full store", full)]:
                    cases[f"{name}, {command}, {what}"] = nothing_to_do(start, command, store)
        for name, command in cases.items():
            # Once before it counts; and there must be nothing to do.
            said = call(*command)
            if "--store" in command and any(word in said for word in ["ran:", "would run", "may run"]):
                raise SystemExit(f"{name} has something to do:\n{said}")
        times = {name: [] for name in cases}
        for _ in range(args.rounds):
            for name, command in cases.items():
                times[name].append(milliseconds(command))
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {args.rounds} rounds; milliseconds")
        for name, of_case in times.items():
            print(f"{name:<38} median {statistics.median(of_case):6.1f}  least {min(of_case):6.1f}")


if __name__ == "__main__":
    main()
