"""What Pillow, PyTorch and transformers make of images and masks, for the tests of `ingest` and `geometry`.

Without arguments: writes tests/fixtures/ingest and tests/fixtures/geometry (Pillow, NumPy, PyTorch and transformers
needed).

    python tests/reference/ingest_reference.py

With arguments: compares what the stage wrote for a Hub-style Parquet dataset with Pillow's decoder and resize, with
`SamImageProcessorPil` and with SciPy's labelling (pyarrow, scipy and transformers needed too). OUT holds the folders
`images` and `targets`; masks and speck size as in the default settings.

    python tests/reference/ingest_reference.py --real DATASET --output OUT [--image-column image]
        [--mask-column annotation] [--id-column name]
"""

import argparse
import io
import json
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "ingest"

# Height, width, longest side: up and down, odd ratios, one pixel thin, unchanged.
RESIZES = [
    (37, 53, 64), (53, 37, 16), (100, 75, 33), (13, 120, 64), (64, 64, 64), (7, 5, 40), (1, 9, 20), (61, 97, 96),
    (97, 31, 7), (48, 64, 1), (66, 88, 87),
]  # fmt: skip
# Low-res side, input side, original size, every how many-th value is kept.
UPSCALES = [
    (16, 64, (45, 37), 1), (16, 64, (20, 100), 1), (16, 64, (64, 64), 3), (8, 32, (3, 3), 1), (8, 32, (1, 50), 1),
    (256, 1024, (529, 622), 401), (256, 1024, (487, 332), 211), (256, 1024, (1072, 1920), 2503),
]  # fmt: skip
LOW_RES = 256


def preprocess_shape(height, width, longest):
    """`SamImageProcessor._get_preprocess_shape`, but never below one pixel."""
    scale = longest * 1.0 / max(height, width)
    return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)


def picture(height, width, seed):
    """Edges, gradients and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    smooth = np.stack([x * 255 / max(width - 1, 1), y * 255 / max(height - 1, 1), (x + y) * 3 % 256], axis=-1)
    noise = rng.integers(0, 256, (height, width, 3))
    checks = ((x // 3 + y // 3) % 2 * 255)[..., None]
    blend = np.where((x * 3 < width)[..., None], smooth, np.where((x * 3 < 2 * width)[..., None], noise, checks))
    return Image.fromarray(blend.astype(np.uint8), "RGB")


def mask_bits(height, width, seed):
    """A mask that Rust can make again without a random number generator."""
    y, x = np.mgrid[0:height, 0:width].astype(np.uint32)
    mixed = (x * np.uint32(73856093)) ^ (y * np.uint32(19349663)) ^ np.uint32(seed * 83492791 % 2**32)
    mixed ^= mixed >> np.uint32(13)
    return (mixed * np.uint32(2654435761) >> np.uint32(17) & np.uint32(1)).astype(np.uint8)


def low_res(mask, side):
    """Pillow's nearest resize of a 0/1 mask, zero-padded right and bottom."""
    height, width = preprocess_shape(*mask.shape, side)
    small = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    return np.pad(small, ((0, side - height), (0, side - width)))


def logits(side):
    index = np.arange(side * side, dtype=np.int64)
    return (index * 7919 % 1001 / 100 - 5).astype(np.float32).reshape(side, side)


def write_resizes():
    for number, (height, width, longest) in enumerate(RESIZES):
        source = picture(height, width, number)
        new_height, new_width = preprocess_shape(height, width, longest)
        resized = source.resize((new_width, new_height), Image.Resampling.BILINEAR)
        source.save(FIXTURES / f"resize-{number:02}-source.png", optimize=True)
        resized.save(FIXTURES / f"resize-{number:02}-pillow.png", optimize=True)


def write_nearest():
    rng = np.random.default_rng(0)
    sizes = {(529, 622), (1072, 1920), (487, 332), (1, 1), (1, 700), (256, 256), (255, 257), (513, 511)}
    sizes |= {(int(h), int(w)) for h, w in rng.integers(1, 900, (300, 2))}
    # Long edges at which accumulating the step in floating point leaves the closed form.
    sizes |= {(int(n), int(m)) for n, m in zip(range(257, 1900, 9), rng.integers(1, 1900, 200))}
    cases = []
    for seed, (height, width) in enumerate(sorted(sizes)):
        bits = np.packbits(low_res(mask_bits(height, width, seed), LOW_RES), bitorder="little")
        cases.append([height, width, seed, zlib.crc32(bits.tobytes())])
    lines = ",\n".join(json.dumps(case) for case in cases)
    (FIXTURES / "nearest.json").write_text(f'{{"side": {LOW_RES}, "cases": [\n{lines}\n]}}\n')
    check_processor(sizes)


def check_processor(sizes):
    """The rules above are those of the reference processor."""
    try:
        from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil
    except ImportError:
        print("transformers is not installed: rules not checked against SamImageProcessorPil")
        return
    processor = SamImageProcessorPil()
    for seed, (height, width) in list(enumerate(sorted(sizes)))[:: len(sizes) // 12]:
        if min(preprocess_shape(height, width, LOW_RES)) < 2:
            continue
        mask = mask_bits(height, width, seed)
        blank = Image.new("RGB", (width, height))
        found = processor(images=blank, segmentation_maps=Image.fromarray(mask), return_tensors="np")["labels"][0]
        assert (np.asarray(found).astype(np.uint8) == low_res(mask, LOW_RES)).all(), (height, width)
    print("low-res masks agree with SamImageProcessorPil")


def write_upscales():
    import torch
    import torch.nn.functional as F

    cases, values = [], []
    for side, size, original, stride in UPSCALES:
        resized = preprocess_shape(*original, size)
        grid = torch.from_numpy(logits(side))[None, None]
        full = F.interpolate(grid, (size, size), mode="bilinear", align_corners=False)
        full = full[..., : resized[0], : resized[1]]
        result = F.interpolate(full, original, mode="bilinear", align_corners=False)[0, 0].numpy().ravel()[::stride]
        cases.append(
            {"low_res": side, "input": size, "resized": resized, "original": original, "stride": stride,
             "values": len(result)}  # fmt: skip
        )
        values.append(result.astype("<f4").tobytes())
    (FIXTURES / "upscale.json").write_text(json.dumps(cases, indent=1) + "\n")
    (FIXTURES / "upscale.f32").write_bytes(b"".join(values))


def write_processor():
    """Prompts and masks as `SamProcessor` carries them between the original image and the model, on many sizes."""
    from transformers import SamProcessor
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    import torch

    processor = SamProcessor(SamImageProcessorPil())
    rng = np.random.default_rng(11)
    sizes = [(529, 622), (1072, 1920), (487, 332), (1024, 1024), (1, 700), (3, 2)]
    sizes += [(int(h), int(w)) for h, w in rng.integers(20, 1400, (54, 2))]
    cases = []
    for number, (height, width) in enumerate(sizes):
        x, y = np.sort(rng.uniform(0, width, 2)).round(3), np.sort(rng.uniform(0, height, 2)).round(3)
        box = [float(v) for v in (x[0], y[0], x[1], y[1])]
        if number % 2:
            box = [float(int(v)) for v in box]
        blank = Image.new("RGB", (width, height))
        given = processor(images=blank, input_boxes=[[box]], input_points=[[box[:2]]], return_tensors="pt")
        resized = preprocess_shape(height, width, 1024)
        case = {
            "original": [height, width], "box": box, "model_box": given["input_boxes"][0, 0].float().tolist(),
            "model_point": given["input_points"].reshape(2).float().tolist(),
        }  # fmt: skip
        if number < 30:
            waves = torch.from_numpy(waves_of(number))[None, None]
            masks = processor.post_process_masks([waves], [[height, width]], [list(resized)])
            bits = np.packbits(masks[0][0, 0].numpy().ravel(), bitorder="little")
            case["mask_crc"] = zlib.crc32(bits.tobytes())
        cases.append(case)
    folder = FIXTURES.parent / "geometry"
    folder.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(case) for case in cases)
    (folder / "processor.json").write_text(f"[\n{lines}\n]\n")


def waves_of(seed):
    """Logits that Rust can make again: triangular waves, none of which is zero where it is sampled."""
    y, x = np.mgrid[0:LOW_RES, 0:LOW_RES].astype(np.int64)
    wave = lambda at, period: np.abs(at % period - period // 2)  # noqa: E731
    total = wave(x * 3 + y + seed * 37, 94) - wave(y * 5 - x + 1000 + seed * 11, 122) + wave(x + y, 14)
    return (total.astype(np.float32) + np.float32(0.37)) / np.float32(8)


def rows_of(paths):
    """The rows of Arrow files, one after the other."""
    import pyarrow as pa

    for path in paths:
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source)
            for number in range(reader.num_record_batches):
                yield from reader.get_batch(number).to_pylist()


def compare_real(args):
    import pyarrow.parquet as pq
    from scipy import ndimage
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    def dataset():
        columns = [args.id_column, args.image_column, args.mask_column]
        for path in sorted(Path(args.real).rglob("*.parquet")):
            for batch in pq.ParquetFile(path).iter_batches(32, columns=columns):
                yield from batch.to_pylist()

    out = Path(args.output)
    images = rows_of(sorted((out / "images").glob("images-*.arrow")))
    targets = {row["id"]: row for row in pq.read_table(out / "targets/targets.parquet").to_pylist()}
    masks = dict(zip(targets, rows_of([out / "targets/masks.arrow"])))
    processor = SamImageProcessorPil()
    eight = np.ones((3, 3), dtype=int)
    histogram = np.zeros(256, dtype=np.int64)
    worst, tensor_worst, tensors, masks_differ, boxes_differ, low_res_differ, seen = (0, ""), 0.0, 0, 0, 0, 0, 0
    rows = dataset()
    for row in images:
        sample = next(rows)
        while sample[args.id_column] != row["id"]:
            sample = next(rows)
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(sample[args.image_column]["bytes"]))).convert("RGB")
        shape = (row["height"], row["width"])
        assert (row["original_height"], row["original_width"]) == image.size[::-1], row["id"]
        assert shape == preprocess_shape(*image.size[::-1], max(shape)), row["id"]
        ours = np.frombuffer(row["pixels"], np.uint8).reshape(3, *shape)
        theirs = np.asarray(image.resize(shape[::-1], Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        error = np.abs(ours.astype(np.int16) - theirs)
        histogram += np.bincount(error.ravel(), minlength=256)
        worst = max(worst, (int(error.max()), row["id"]))

        grey = np.asarray(Image.open(io.BytesIO(sample[args.mask_column]["bytes"])).convert("L"))
        labels, count = ndimage.label(grey >= 128, structure=eight)
        areas = np.bincount(labels.ravel())[1:]
        kept = 1 + np.flatnonzero((areas >= 100) | (areas == areas.max()))
        mask = np.isin(labels, kept)
        target, stored = targets[row["id"]], masks[row["id"]]
        bits = np.unpackbits(np.frombuffer(stored["original"], np.uint8), bitorder="little")[: mask.size]
        masks_differ += int((bits.reshape(mask.shape) != mask).any())
        y, x = np.nonzero(mask)
        box = (int(x.min()), int(y.min()), int(x.max()), int(y.max()))
        boxes_differ += int(box != tuple(target[name] for name in ("x0", "y0", "x1", "y1")))
        small = np.asarray(stored["low_res"], np.uint8).reshape(LOW_RES, LOW_RES)
        low_res_differ += int((small != low_res(mask.astype(np.uint8), LOW_RES)).any())

        if seen % 20 == 0 and max(shape) == 1024:
            both = processor(images=image, segmentation_maps=Image.fromarray(mask.astype(np.uint8)), return_tensors="np")
            mean, std = (np.asarray(v, np.float32)[:, None, None] for v in (processor.image_mean, processor.image_std))
            padded = np.zeros((3, 1024, 1024), np.float32)
            padded[:, : shape[0], : shape[1]] = (ours.astype(np.float32) / 255 - mean) / std
            tensor_worst = max(tensor_worst, float((np.abs(padded - both["pixel_values"][0]) * std).max() * 255))
            assert (np.asarray(both["labels"][0]) == small).all(), row["id"]
            tensors += 1
        seen += 1
    total = histogram.sum()
    print(f"{seen} images; |stage - Pillow| of the resized pixels, in steps of 1/255:")
    print(f"  equal {histogram[0] / total:.4%}, 1 off {histogram[1] / total:.4%}, 2 off {histogram[2] / total:.5%}, "
          f"more {histogram[3:].sum() / total:.6%}; mean {histogram @ np.arange(256) / total:.5f}; "
          f"worst {worst[0]} in {worst[1]}")  # fmt: skip
    print(f"  SamImageProcessorPil on {tensors} of them: worst {tensor_worst:.3f} of 1/255 before normalisation, "
          "low-res masks equal")  # fmt: skip
    print(f"masks that differ {masks_differ}, boxes {boxes_differ}, low-res masks {low_res_differ}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", metavar="DATASET")
    parser.add_argument("--output", metavar="OUT")
    parser.add_argument("--image-column", default="image")
    parser.add_argument("--mask-column", default="annotation")
    parser.add_argument("--id-column", default="name")
    args = parser.parse_args()
    if args.real:
        compare_real(args)
        return
    FIXTURES.mkdir(parents=True, exist_ok=True)
    write_resizes()
    write_nearest()
    write_upscales()
    write_processor()


if __name__ == "__main__":
    main()
