"""Time and peak memory of each stage against images, prompts per image, batch size and threads: a table, a plot, the figures as JSON.

    pip install matplotlib pillow
    python benches/scaling.py                    # all of it, about ten minutes on two cores; writes docs/scaling.{json,svg,md}
    python benches/scaling.py --draw             # table and plot anew, from docs/scaling.json
    python benches/scaling.py --images 20 40 --out /tmp/scaling --size small --epochs 1

Each case is a run of the pipeline in a store of its own, on data that it makes: phantoms where the number of images, batch size or
threads vary, and images with so many discs on a grid, one target each, where prompts per image do. Times are those that the runner
records: of the work alone, neither building nor hashing. Memory is the largest resident memory of the stage's process, in which
mapped pages of files count.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import tempfile

import pipeline

HERE = pathlib.Path(__file__).resolve().parent
STAGES = ["ingest", "embed", "train", "evaluate"]
# Each sweep with its axis, and whether it is logarithmic.
SWEEPS = {"images": "images", "prompts": "prompts per image", "batch": "batch size", "threads": "threads"}
# Seen on white and on black.
COLOURS = {"ingest": "#8c6bd1", "embed": "#d9822b", "train": "#2b8cc4", "evaluate": "#3a9d5d"}
GREY = "#808080"
BEGIN, END = "<!-- figures: benches/scaling.py -->", "<!-- end of figures -->"


def disc_images(folder, images, prompts):
    """Writes images with `prompts` discs each, on a grid, and their masks; the last quarter is the test part."""
    from PIL import Image, ImageDraw

    side, across = 320, next(n for n in range(1, 100) if n * n >= prompts)
    cell = side / across
    for part in ["images", "masks"]:
        (folder / part).mkdir(parents=True)
    for i in range(images):
        image = Image.effect_noise((side, side), 40).convert("RGB")
        mask = Image.new("L", (side, side))
        for k in range(prompts):
            x, y = (k % across + 0.5) * cell, (k // across + 0.5) * cell
            radius = cell * (0.25 + 0.05 * ((i + k) % 4))
            bounds = [x - radius, y - radius, x + radius, y + radius]
            ImageDraw.Draw(image).ellipse(bounds, fill=(200, 80 + i % 50, 60))
            ImageDraw.Draw(mask).ellipse(bounds, fill=255)
        image.save(folder / "images" / f"{i:05}.png")
        mask.save(folder / "masks" / f"{i:05}.png")
    rows = [f"{i:05},{'test' if 4 * i >= 3 * images else 'train'}" for i in range(images)]
    (folder / "splits.csv").write_text("\n".join(["id,split", *rows]) + "\n")


def run(args, sections):
    """Runs a pipeline in a new store; seconds and bytes of each stage."""
    with tempfile.TemporaryDirectory(prefix="resect-scaling-") as store:
        store, found = pathlib.Path(store), {}
        for name, stage in pipeline.run(args, sections, store).items():
            action = json.loads((store / ".resect" / "actions" / name / f"{stage['key']}.json").read_text())
            found[name] = {"seconds": stage["seconds"], "peak_bytes": action["peak_memory"]}
        return found


def sections(args, dataset, batch=4, runtime=None, **others):
    """The pipeline of a case."""
    train = {"epochs": args.epochs, "batch_size": batch, "accumulation": 1, "learning_rate": 1e-3, "jitter": 4}
    checkpoint = {"kind": "random", "size": args.size}
    return {"dataset": dataset, "checkpoint": checkpoint, "train": train, "runtime": runtime or {}, **others}


def phantoms(images):
    """The data of the default pipeline."""
    return {"kind": "phantom", "images": images, "min_width": 144, "max_width": 208}


def cases(args, scratch):
    """Sweep, its value, pipeline."""
    base = args.images[0]
    for images in args.images:
        yield "images", images, sections(args, phantoms(images))
    for prompts in args.prompts:
        folder = scratch / f"prompts-{prompts}"
        disc_images(folder, base, prompts)
        # The discs of one image look like those of the next.
        others = {"mask": {"targets": "components", "speck_pixels": 20}, "ingest": {"duplicate_distance": 0}}
        yield "prompts", prompts, sections(args, {"kind": "folder", "path": str(folder)}, **others)
        shutil.rmtree(folder)
    for batch in args.batches:
        runtime = {"embed_batch": batch, "decode_batch": batch}
        yield "batch", batch, sections(args, phantoms(base), batch, runtime)
    for threads in args.threads:
        yield "threads", threads, sections(args, phantoms(base), runtime={"threads": threads})


def measure(args):
    rows = []
    with tempfile.TemporaryDirectory(prefix="resect-scaling-") as scratch:
        for sweep, value, of_case in cases(args, pathlib.Path(scratch)):
            stages = run(args, of_case)
            rows.append({"sweep": sweep, "value": value, "stages": stages, "load": round(os.getloadavg()[0], 1)})
            print(f"{SWEEPS[sweep]} {value}: " + ", ".join(
                f"{name} {found['seconds']:.1f} s {found['peak_bytes'] / 2**20:.0f} MiB" for name, found in stages.items()
            ), flush=True)
    machine = f"{os.cpu_count()} cores, {processor()}"
    return {"machine": machine, "model": args.size, "epochs": args.epochs, "base_images": args.images[0], "cases": rows}


def processor():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def table(figures):
    """Markdown: a row for each case, seconds and MiB of each stage."""
    lines = ["| | | " + " | ".join(f"{stage}, s | MiB" for stage in STAGES) + " | load |"]
    lines += ["|---|--:|" + "--:|" * (2 * len(STAGES) + 1)]
    last = None
    for case in figures["cases"]:
        cells = []
        for stage in STAGES:
            found = case["stages"][stage]
            cells += [f"{found['seconds']:.1f}", f"{found['peak_bytes'] / 2**20:.0f}"]
        name = SWEEPS[case["sweep"]] if case["sweep"] != last else ""
        last = case["sweep"]
        lines.append(f"| {name} | {case['value']:,} | " + " | ".join(cells) + f" | {case['load']} |")
    about = (
        f"Model `{figures['model']}`, {figures['epochs']} epochs, {figures['base_images']} images where they do not vary; "
        f"{figures['machine']}. `load` is the system's after the case: what is above the number of cores was others' work."
    )
    return "\n".join([about, "", *lines])


def plot(figures, path):
    import matplotlib

    matplotlib.use("svg")
    # Text stays text and nothing is random: a small file that changes where figures do.
    matplotlib.rcParams.update({
        "svg.fonttype": "none", "svg.hashsalt": "resect", "font.size": 9, "font.family": "sans-serif", "text.color": GREY,
        "axes.labelcolor": GREY, "axes.edgecolor": GREY, "xtick.color": GREY, "ytick.color": GREY, "grid.color": GREY,
        "grid.alpha": 0.25, "axes.grid": True, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    })
    from matplotlib import pyplot

    sweeps = [sweep for sweep in SWEEPS if any(case["sweep"] == sweep for case in figures["cases"])]
    figure, axes = pyplot.subplots(2, len(sweeps), figsize=(2.6 * len(sweeps), 4.8), sharey="row", squeeze=False)
    for column, sweep in enumerate(sweeps):
        chosen = [case for case in figures["cases"] if case["sweep"] == sweep]
        values = [case["value"] for case in chosen]
        for stage in STAGES:
            seconds = [case["stages"][stage]["seconds"] for case in chosen]
            mebibytes = [case["stages"][stage]["peak_bytes"] / 2**20 for case in chosen]
            for row, numbers in enumerate([seconds, mebibytes]):
                axes[row, column].plot(values, numbers, "o-", color=COLOURS[stage], label=stage, markersize=3.5, linewidth=1.4)
        for row in range(2):
            axis = axes[row, column]
            axis.set_xscale("log")
            axis.set_xticks(values, [f"{value:,}" for value in values])
            axis.minorticks_off()
        axes[0, column].set_yscale("log")
        for which in [axes[0, column].yaxis.set_major_formatter, axes[0, column].yaxis.set_minor_formatter]:
            which(lambda value, _: f"{value:g}" if f"{value:g}".strip("0.")[0] in "125" else "")
        axes[1, column].set_xlabel(SWEEPS[sweep])
    # All columns share it, so not before all are drawn.
    axes[1, 0].set_ylim(bottom=0)
    axes[0, 0].set_ylabel("seconds")
    axes[1, 0].set_ylabel("peak memory, MiB")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=len(STAGES))
    figure.tight_layout(rect=(0, 0, 1, 0.94))
    figure.savefig(path, transparent=True, metadata={"Date": None})


def write(figures, out):
    out.mkdir(parents=True, exist_ok=True)
    (out / "scaling.json").write_text(json.dumps(figures, indent=1) + "\n")
    plot(figures, out / "scaling.svg")
    page = out / "scaling.md"
    text = page.read_text() if page.exists() else f"# Scaling\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n{table(figures)}\n\n{END}{after}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[100, 300, 1000], help="the first is that of all other sweeps")
    parser.add_argument("--prompts", type=int, nargs="*", default=[1, 4, 16])
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 2, 4, 8])
    powers = [2**i for i in range(16) if 2**i < os.cpu_count()]
    parser.add_argument("--threads", type=int, nargs="*", default=[*powers, os.cpu_count()])
    parser.add_argument("--size", default="tiny", help="of the random model: tiny, small, vit-b, ...")
    parser.add_argument("--epochs", type=int, default=4)
    pipeline.add_arguments(parser)
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parent / "docs")
    parser.add_argument("--draw", action="store_true", help="measure nothing: table and plot from the JSON that is there")
    args = parser.parse_args()
    figures = json.loads((args.out / "scaling.json").read_text()) if args.draw else measure(args)
    write(figures, args.out)
    print(table(figures))


if __name__ == "__main__":
    main()
