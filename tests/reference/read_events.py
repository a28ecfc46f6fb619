"""Holds what --log tensorboard wrote against history.parquet and epochs.parquet, read by TensorBoard's own reader.

    read_events.py LOGS CHECKPOINT
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def scalars(folder):
    """Tag to pairs of step and value."""
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]
    }


def expected(checkpoint):
    steps = parquet.read_table(checkpoint / "history.parquet").to_pylist()
    epochs = parquet.read_table(checkpoint / "epochs.parquet").to_pylist()
    found = {}
    for row in steps:
        for column, value in row.items():
            if column not in ("epoch", "step") and value is not None:
                found.setdefault(f"train/{column}", []).append((row["step"], float(np.float32(value))))
    last = {row["epoch"]: row["step"] for row in steps}
    for row in epochs:
        for column, value in row.items():
            if column.startswith("validation_") and value is not None:
                tag = column.replace("validation_", "validation/", 1)
                found.setdefault(tag, []).append((last.get(row["epoch"], 0), float(np.float32(value))))
    return found


def main():
    logs, checkpoint = (Path(argument) for argument in sys.argv[1:])
    found, wanted = scalars(logs), expected(checkpoint)
    assert found == wanted, (found, wanted)
    count = sum(len(values) for values in found.values())

    # A writer that was killed within its last record: all before it can be read.
    with tempfile.TemporaryDirectory() as folder:
        [events] = logs.glob("events.out.tfevents.*")
        cut = Path(folder) / events.name
        shutil.copyfile(events, cut)
        with cut.open("r+b") as file:
            file.truncate(cut.stat().st_size - 7)
        rest = scalars(folder)
        assert all(values == wanted[tag][: len(values)] for tag, values in rest.items())
        left = sum(len(values) for values in rest.values())
        assert count - 5 <= left < count, (left, count)

    print(f"{', '.join(sorted(found))}: {count} scalars agree, {left} after a cut")


if __name__ == "__main__":
    main()
