"""Pictures of every kind, and whether `ingest` made of them what `transformers` makes.

    python tests/reference/preprocess_parity.py --make DIR [--real DATASET]
        writes three folder datasets below DIR: `grey` (masks of two or more grey values, for mask.threshold = 128), `binary`
        (0 and 1, for mask.threshold = 1) and `labels` (palette indices, for mask.labels = [2]). With a Parquet dataset in the
        Hub's layout, some of its images are in `grey`: as they are, and once more as lossless PNG.
    python tests/reference/preprocess_parity.py --check DIR/grey --output OUT
        compares the artifacts in OUT/images and OUT/targets with `SamImageProcessorPil`, image by image, and fails unless
        lossless images have the same bytes before normalisation and every low-res mask and box is the same.

Needs `numpy`, `pillow`, `pyarrow` and `transformers` (5 or later).
"""

import argparse
import io
import sys
import zlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from ingest_reference import rows_of
from PIL import Image, ImageOps

LOSSY = (".jpg", ".webp")
LABEL = 2


def scene(height: int, width: int, seed: int) -> np.ndarray:
    """A picture with edges, gradients and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    disc = ((y - height * 0.45) ** 2 + (x - width * 0.55) ** 2 < (0.25 * min(height, width)) ** 2)[..., None]
    base = np.where(disc, [200, 90, 70], [60, 120, 150]) + (30 * np.sin(x / 17) + 20 * np.cos(y / 11))[..., None]
    return (base + rng.integers(-20, 20, (height, width, 3))).clip(0, 255).astype(np.uint8)


def blob(height: int, width: int) -> np.ndarray:
    """A mask of 0 and 1 whose box touches no border."""
    y, x = np.mgrid[0:height, 0:width]
    return ((y - height * 0.45) ** 2 + (x - width * 0.55) ** 2 < (0.25 * min(height, width)) ** 2).astype(np.uint8)


def png16(path: Path, samples: np.ndarray) -> None:
    """A PNG of 16-bit samples, grey or RGB; Pillow writes no RGB of 16 bits."""
    height, width = samples.shape[:2]
    rows = samples.astype(">u2").reshape(height, -1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([16, 2 if samples.ndim == 3 else 0, 0, 0, 0])
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def turned(image: Image.Image, orientation: int) -> tuple[Image.Image, Image.Exif]:
    """The picture as a camera stores it that says `orientation`, with the EXIF data that say it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    return (image if orientation == 1 else image.transpose(stored[orientation])), exif


def write_images(folder: Path) -> dict[str, tuple[int, int]]:
    """Pictures of every kind; their upright sizes by name."""
    folder.mkdir(parents=True)
    height, width = 211, 333
    pixels = scene(height, width, 5)
    image = Image.fromarray(pixels)
    alpha = Image.fromarray(np.mgrid[0:height, 0:width][1].astype(np.uint8))
    see_through = image.copy()
    see_through.putalpha(alpha)
    grey_alpha = image.convert("L")
    grey_alpha.putalpha(alpha)
    palette = image.quantize(colors=64)
    few = image.quantize(colors=4)
    for name, picture in {
        "rgb.png": image, "grey.png": image.convert("L"), "alpha.png": see_through, "grey-alpha.png": grey_alpha,
        "palette.png": palette, "palette-of-four.png": few, "one-bit.png": image.convert("1"), "rgb.bmp": image,
        "palette.bmp": palette, "rgb.tif": image, "grey.tif": image.convert("L"),
    }.items():  # fmt: skip
        stem, suffix = name.split(".")
        picture.save(folder / f"{stem}-{suffix}.{suffix}")
    palette.save(folder / "palette-see-through.png", transparency=3)
    image.save(folder / "lossless.webp", lossless=True)
    image.save(folder / "photograph.jpg", quality=92)
    image.convert("L").save(folder / "grey-photograph.jpg", quality=92)
    image.save(folder / "lossy.webp", quality=90)
    for orientation in range(1, 9):
        stored, exif = turned(image, orientation)
        stored.save(folder / f"exif-{orientation}.jpg", quality=95, exif=exif)
        stored.save(folder / f"exif-{orientation}-png.png", exif=exif)
    wide = pixels.astype(np.uint16) * 257 - (pixels > 100) * np.uint16(100)
    png16(folder / "wide.png", wide)
    png16(folder / "grey-wide.png", wide[..., 0])
    return {path.stem: (height, width) for path in folder.iterdir()}


def write_real(folder: Path, dataset: Path, count: int) -> dict[str, np.ndarray]:
    """Some images of a Parquet dataset, as they are and as PNG; their binary masks by name."""
    masks = {}
    for path in sorted(dataset.rglob("*.parquet")):
        table = pq.ParquetFile(path)
        rows = next(table.iter_batches(count, columns=["name", "image", "annotation"])).to_pylist()
        for row in rows:
            image = ImageOps.exif_transpose(Image.open(io.BytesIO(row["image"]["bytes"]))).convert("RGB")
            name = Path(row["name"]).stem
            (folder / f"real-{name}.jpg").write_bytes(row["image"]["bytes"])
            image.save(folder / f"real-{name}-png.png", compress_level=1)
            mask = np.asarray(Image.open(io.BytesIO(row["annotation"]["bytes"])).convert("L")) >= 128
            # The dataset's isolated corner pixels would be removed as specks.
            mask[0, 0] = False
            masks[f"real-{name}"] = masks[f"real-{name}-png"] = mask.astype(np.uint8)
    return masks


def make(folder: Path, real: Path | None) -> None:
    """Writes the datasets."""
    sizes = write_images(folder / "grey/images")
    (folder / "grey/masks").mkdir()
    kinds = ["grey", "palette", "rgb", "jpeg", "one-bit", "alpha", "wide"]
    for number, (name, size) in enumerate(sorted(sizes.items())):
        mask = blob(*size)
        path = folder / "grey/masks" / name
        white = Image.fromarray(mask * 255)
        match kinds[number % len(kinds)]:
            case "grey":
                white.save(path.with_suffix(".png"))
            case "palette":
                indexed = Image.fromarray(mask, "P")
                indexed.putpalette([0, 0, 0, 255, 255, 255])
                indexed.save(path.with_suffix(".png"))
            case "rgb":
                white.convert("RGB").save(path.with_suffix(".bmp"))
            case "jpeg":
                white.convert("RGB").save(path.with_suffix(".jpg"), quality=75)
            case "one-bit":
                white.convert("1").save(path.with_suffix(".png"))
            case "alpha":
                white.convert("RGBA").save(path.with_suffix(".png"))
            case "wide":
                png16(path.with_suffix(".png"), mask.astype(np.uint16) * 65535)
    if real:
        for name, mask in write_real(folder / "grey/images", real, 6).items():
            Image.fromarray(mask * 255).save(folder / "grey/masks" / f"{name}.png")
    for dataset, levels in (("binary", [0, 1]), ("labels", [0, LABEL])):
        for part in ("images", "masks"):
            (folder / dataset / part).mkdir(parents=True)
        for number, (height, width) in enumerate(((120, 200), (201, 97), (64, 64))):
            Image.fromarray(scene(height, width, number)).save(folder / dataset / f"images/{number}.png")
            mask = np.array(levels, np.uint8)[blob(height, width)]
            path = folder / dataset / f"masks/{number}.png"
            if dataset == "labels":
                # Another label beside the one that is asked for, in colours that grey values would mix up.
                mask[: height // 8, : width // 8] = 1
                picture = Image.fromarray(mask, "P")
                picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
                picture.save(path)
            elif number == 1:
                png16(path, mask.astype(np.uint16))
            else:
                Image.fromarray(mask).save(path)


def expected_mask(path: Path, dataset: str) -> np.ndarray:
    """A mask file's foreground, by the rule of its dataset."""
    image = Image.open(path)
    if dataset == "labels":
        return (np.asarray(image) == LABEL).astype(np.uint8)
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        return (values >= (1 if dataset == "binary" else 32768)).astype(np.uint8)
    if image.mode == "P" or image.mode == "RGBA":
        image = image.convert("RGB")
    return (np.asarray(image.convert("L")) >= (1 if dataset == "binary" else 128)).astype(np.uint8)


def narrowed(path: Path) -> Image.Image:
    """A picture as the processor gets it. Pillow clips 16-bit grey at 255, which turns it white: Resect scales it instead."""
    image = Image.open(path)
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    return ImageOps.exif_transpose(image)


def check(folder: Path, out: Path) -> int:
    """Compares every image and mask; returns the number of things that differ."""
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    images = {row["id"]: row for row in rows_of(sorted((out / "images").glob("images-*.arrow")))}
    targets = {row["id"]: row for row in pq.read_table(out / "targets/targets.parquet").to_pylist()}
    masks = dict(zip(targets, rows_of([out / "targets/masks.arrow"])))
    processor = SamImageProcessorPil()
    mean, std = (np.asarray(v, np.float64)[:, None, None] for v in (processor.image_mean, processor.image_std))
    problems, lossless_worst, lossy = 0, 0.0, np.zeros(256, np.int64)
    files = sorted((folder / "images").iterdir())
    for path in files:
        mask_path = next((folder / "masks").glob(f"{path.stem}.*"))
        mask = expected_mask(mask_path, folder.name)
        both = processor(images=narrowed(path), segmentation_maps=Image.fromarray(mask), return_tensors="np")
        row, target = images[path.stem], targets[path.stem]
        height, width = (int(side) for side in both["reshaped_input_sizes"][0])
        ours = np.frombuffer(row["pixels"], np.uint8).reshape(3, height, width).astype(np.float64)
        values = both["pixel_values"][0].astype(np.float64)
        theirs = (values[:, :height, :width] * std + mean) * 255
        padding = np.abs(values[:, height:]).max(initial=0) + np.abs(values[:, :, width:]).max(initial=0)
        off = np.abs(ours - theirs)
        is_lossy = path.suffix in LOSSY and path.stem != "lossless"
        if is_lossy:
            lossy += np.bincount(off.round().astype(int).ravel(), minlength=256)
        else:
            lossless_worst = max(lossless_worst, float(off.max()))
        y, x = np.nonzero(mask)
        box = [int(v) for v in (x.min(), y.min(), x.max(), y.max())]
        # What the processor was trained with cannot be far off: a turned or mixed-up picture is off by tens.
        checks = {
            "pixels": off.max() < 0.01 if not is_lossy else off.mean() < 2,
            "padding": padding == 0,
            "original size": [target["height"], target["width"]] == [int(v) for v in both["original_sizes"][0]],
            "box": box == [target[side] for side in ("x0", "y0", "x1", "y1")],
            "low-res mask": (np.asarray(masks[path.stem]["low_res"]).reshape(256, 256) == both["labels"][0]).all(),
        }
        for what, equal in checks.items():
            if not equal:
                problems += 1
                print(f"{path.name} with {mask_path.name}: {what} differs (pixels by {off.max():.2f})")
    print(f"{folder.name}: {len(files)} images, lossless ones at most {lossless_worst:.3f} of 1/255 off")
    if total := lossy.sum():
        worst = int(np.flatnonzero(lossy).max())
        print(
            f"  decoded from JPEG or lossy WebP: equal {lossy[0] / total:.3%}, 1 off {lossy[1] / total:.3%}, "
            f"2 off {lossy[2] / total:.4%}, more {lossy[3:].sum() / total:.5%}, worst {worst}"
        )
    print(f"{problems} problems")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--make", type=Path, metavar="DIR")
    parser.add_argument("--real", type=Path, metavar="DATASET")
    parser.add_argument("--check", type=Path, metavar="DATASET")
    parser.add_argument("--output", type=Path, metavar="OUT")
    arguments = parser.parse_args()
    if arguments.make:
        make(arguments.make, arguments.real)
        return 0
    return min(check(arguments.check, arguments.output), 1)


if __name__ == "__main__":
    sys.exit(main())
