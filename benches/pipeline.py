"""Running a pipeline from a benchmark: settings to a file, a run to what it said."""

import json
import pathlib
import subprocess

HERE = pathlib.Path(__file__).resolve().parent


def add_arguments(parser):
    parser.add_argument("--xtask", nargs="+", default=["cargo", "xtask"], help="how the runner is called")
    parser.add_argument("--bin-dir", help="stage programs that are built already")


def toml(sections):
    """A pipeline file. Strings and numbers are written in TOML as in JSON."""
    lines = [
        line
        for section, settings in sections.items()
        for line in [f"[{section}]", *(f"{name} = {json.dumps(value)}" for name, value in settings.items())]
    ]
    return "\n".join(lines) + "\n"


def xtask(args, *words):
    """Calls the runner, whatever it answers."""
    command = [*args.xtask, *map(str, words)]
    if args.bin_dir:
        command += ["--bin-dir", args.bin_dir]
    return subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(args, sections, store, *words):
    """Runs a pipeline; what it said of each stage, by name."""
    store.mkdir(parents=True, exist_ok=True)
    pipeline = store / "pipeline.toml"
    pipeline.write_text(toml(sections))
    done = xtask(args, "run", *words, "--json", "--pipeline", pipeline, "--store", store)
    if done.returncode != 0:
        raise SystemExit(f"{done.stderr}\nthe pipeline failed:\n{toml(sections)}")
    return {stage["name"]: stage for stage in json.loads(done.stdout)["stages"]}
