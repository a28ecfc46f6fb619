"""Opens the artifacts of a store with pyarrow, pandas, polars and DuckDB and checks that they say what they should.

    python tests/reference/read_artifacts.py IMAGES TARGETS EMBEDDINGS CHECKPOINT EVALUATION

Each argument is an artifact's folder. Exits with 0 when everything holds.
"""

import json
import sys
from pathlib import Path

import duckdb
import jsonschema
import numpy as np
import pandas
import polars
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
from pycocotools import mask
from safetensors.numpy import load_file


def table(folder: Path, prefix: str) -> pa.Table:
    """All shards of a kind of tensor, memory-mapped, as one table."""
    shards = sorted(folder.glob(f"{prefix}*.arrow"))
    assert shards, f"{folder} has no {prefix}*.arrow"
    return pa.concat_tables(pa.ipc.open_file(pa.memory_map(str(shard))).read_all() for shard in shards)


def main() -> int:
    images, targets, embeddings, checkpoint, evaluation = map(Path, sys.argv[1:])

    pictures = table(images, "images-")
    header = json.loads((images / "images.json").read_text())
    assert header["format"].startswith("resect-images/1."), header
    assert pictures.num_rows == header["rows"]
    for row in pictures.select(["height", "width", "pixels"]).to_pylist():
        pixels = np.frombuffer(row["pixels"], np.uint8).reshape(3, row["height"], row["width"])
        assert max(pixels.shape) == header["longest_side"]
        assert pixels.std() > 0

    count = pq.read_metadata(targets / "targets.parquet").num_rows
    masks = table(targets, "masks")
    assert masks.num_rows == count
    low_res = masks.column("low_res").combine_chunks()
    assert isinstance(low_res.type, pa.FixedShapeTensorType), low_res.type
    low_res = low_res.to_numpy_ndarray()
    assert set(np.unique(low_res)) == {0, 1}
    listed = pq.read_table(targets / "targets.parquet").to_pylist()
    for row, packed in zip(listed, masks.column("original").to_pylist()):
        bits = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little")
        truth = bits[: row["height"] * row["width"]].reshape(row["height"], row["width"])
        ys, xs = np.nonzero(truth)
        assert (xs.min(), ys.min(), xs.max(), ys.max()) == (row["x0"], row["y0"], row["x1"], row["y1"]), row["id"]
        assert abs(truth.mean() - row["area_fraction"]) < 1e-9
    assert {row["split"] for row in listed} <= {"train", "validation", "test"}
    assert len(pandas.read_parquet(targets / "targets.parquet")) == count

    vectors = table(embeddings, "embeddings-").column("embedding").combine_chunks()
    shape = json.loads((embeddings / "embeddings.json").read_text())["shape"]
    assert list(vectors.type.shape) == shape
    values = vectors.to_numpy_ndarray()
    assert np.isfinite(values.astype(np.float32)).all()
    index = pq.read_table(embeddings / "index.parquet").to_pylist()
    assert {row["pixel_hash"] for row in index} == set(pictures.column("pixel_hash").to_pylist())
    views = {row["view"] for row in index}
    assert len({(row["pixel_hash"], row["view"]) for row in index}) == len(index) == len(values)
    assert "identity" in views and len(index) % len(views) == 0, views

    tuned = load_file(checkpoint / "tuned.safetensors")
    assert all(name.startswith("mask_decoder.") for name in tuned)
    history = pq.read_table(checkpoint / "history.parquet").to_pydict()
    assert history["step"] == list(range(1, len(history["step"]) + 1))
    epochs = pq.read_table(checkpoint / "epochs.parquet").to_pydict()
    assert epochs["epoch"] == list(range(len(epochs["epoch"]))) and epochs["train_loss"][0] is None

    scores = read_evaluation(evaluation, listed, masks)
    print(f"{pictures.num_rows} images, {count} targets, {len(values)} embeddings of {shape}, {scores} scores")
    return 0


def read_evaluation(evaluation: Path, targets: list[dict], masks: pa.Table) -> int:
    """Checks the tables of an evaluation against metrics.json and the masks against the figures; how many rows of figures."""
    metrics = json.loads((evaluation / "metrics.json").read_text())
    schema = Path(__file__).parents[2] / "docs/schema/metrics.schema.json"
    jsonschema.Draft202012Validator(json.loads(schema.read_text())).validate(metrics)

    # Three readers, one table.
    path = evaluation / "samples.parquet"
    samples = pandas.read_parquet(path)
    of_polars = polars.read_parquet(path)
    of_duckdb = dict(duckdb.sql(f"select method, avg(dice) from '{path}' group by method").fetchall())
    assert list(samples.columns) == of_polars.columns
    for row in metrics["methods"]:
        stated = row["all"]["original"]["dice"]
        of_method = samples[samples.method == row["method"]]
        assert abs(of_method.dice.mean() - stated["mean"]) < 1e-9, row["method"]
        assert abs(of_polars.filter(polars.col("method") == row["method"])["dice"].mean() - stated["mean"]) < 1e-9
        assert abs(of_duckdb[row["method"]] - stated["mean"]) < 1e-9
        assert stated["interval"][0] <= stated["mean"] <= stated["interval"][1]

    # The masks are COCO's, and score what is stated.
    row_of = {row["id"]: i for i, row in enumerate(targets)}
    packed = masks.column("original").to_pylist()
    for row in pandas.read_parquet(evaluation / "masks.parquet").itertuples():
        found = mask.decode({"size": [row.height, row.width], "counts": row.counts}).astype(bool)
        bits = np.unpackbits(np.frombuffer(packed[row_of[row.id]], np.uint8), bitorder="little")
        truth = bits[: row.height * row.width].reshape(row.height, row.width).astype(bool)
        stated = samples[(samples.id == row.id) & (samples.method == row.method)].iloc[0]
        assert abs(2 * (found & truth).sum() / (found.sum() + truth.sum()) - stated.dice) < 1e-12, row.id

    swept = pandas.read_parquet(evaluation / "sweep.parquet")
    for point in metrics["sweep"]:
        rows = swept[swept.prompt == point["prompt"]]
        rows = rows if point["amount"] is None else rows[rows.amount == point["amount"]]
        for decoder in point["decoders"]:
            mean = rows[rows.method == decoder["method"]].dice.mean()
            assert abs(mean - decoder["dice"]["mean"]) < 1e-9, point
    return len(samples)


if __name__ == "__main__":
    sys.exit(main())
