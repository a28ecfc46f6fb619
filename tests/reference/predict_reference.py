"""Holds `cargo xtask predict` against `transformers` and `pycocotools`.

    python tests/reference/predict_reference.py --make DIR
        writes a small SAM with random weights (DIR/model), images, prompts files, and cases.json: for each case the arguments of
        `cargo xtask predict`.
    python tests/reference/predict_reference.py --check DIR
        after every case was run with `--logits --out DIR/out/<case>`: compares logits, IoU scores and masks with `SamModel` and
        `SamProcessor` (Pillow's resize), and the COCO files with the masks.

Every prompt is given to the reference alone: what it answers must not depend on what else was asked of the image.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from safetensors.numpy import load_file
from scipy.ndimage import binary_fill_holes
from transformers import SamModel, SamProcessor
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from sam_parity import SIDE, small_model

TOLERANCE = 1e-4
# Logits that rounding moves across 0: none on most machines.
DIFFERING_PIXELS = 1e-3

BOXES = [[12.0, 9.0, 70.0, 58.5], [3.0, 4.0, 40.0, 50.0], [50.25, 20.0, 90.0, 66.0], [30.0, 30.0, 30.0, 30.0]]
POINTS = [[45.0, 30.0, 1], [5.5, 60.0, 0], [80.0, 10.0, 1]]


def flag(values: list) -> str:
    return ",".join(f"{value:g}" for value in values)


def cases() -> list[dict]:
    """Name, image, prompts (box, points, mask) and how they are written on the command line."""
    boxes = [{"box": box} for box in BOXES]
    mixed = [
        {"box": BOXES[0]},
        {"points": POINTS[:1]},
        {"box": BOXES[1], "points": POINTS},
        {"points": POINTS},
        {"box": BOXES[2], "points": POINTS[:2]},
        {"points": [[20.0, 20.0, -1]]},
        {"box": BOXES[3]},
    ]
    out = []
    for image in ("wide.png", "tall.png", "grey.png"):
        stem = image.split(".")[0]
        for multimask in (False, True):
            add = lambda name, prompts, args: out.append({
                "name": f"{stem}-{name}{'-multimask' if multimask else ''}",
                "image": image,
                "multimask": multimask,
                "prompts": prompts,
                "args": args + (["--multimask"] if multimask else []),
            })
            add("box", boxes[:1], ["--box", flag(BOXES[0])])
            add("boxes", boxes, [part for box in BOXES for part in ("--box", flag(box))])
            add("points", [{"points": POINTS}], [part for point in POINTS for part in ("--point", flag(point))])
            both = ["--box", flag(BOXES[0])] + [part for point in POINTS for part in ("--point", flag(point))]
            add("box-and-points", [{"box": BOXES[0], "points": POINTS}], both)
            add("mixed", mixed, ["--prompts", f"{stem}-mixed.json"])
            add("mask", [{"box": BOXES[0], "mask": "mask.safetensors"}], ["--box", flag(BOXES[0]), "--mask", "mask.safetensors"])
    return out


def make(folder: Path) -> None:
    from safetensors.numpy import save_file

    model = small_model()
    model.save_pretrained(folder / "model")
    side = {"height": SIDE, "width": SIDE}
    SamImageProcessorPil(size={"longest_edge": SIDE}, pad_size=side).save_pretrained(folder / "model")
    rng = np.random.default_rng(7)
    for name, height, width in (("wide.png", 67, 101), ("tall.png", 201, 91), ("grey.png", 67, 91)):
        y, x = np.mgrid[0:height, 0:width]
        disc = ((y - height * 0.45) ** 2 + (x - width * 0.5) ** 2 < (0.3 * min(height, width)) ** 2)[..., None]
        pixels = np.where(disc, [200, 90, 70], [60, 120, 150]) + rng.integers(-40, 40, (height, width, 3))
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        (image.convert("L") if name == "grey.png" else image).save(folder / name)
    low_res = 4 * SIDE // 8
    logits = (4 * rng.standard_normal((1, 1, low_res, low_res))).astype(np.float32)
    save_file({"logits": logits, "iou_scores": np.ones((1, 1), np.float32)}, folder / "mask.safetensors")
    listed = cases()
    for case in listed:
        if "mixed" in case["name"] and not case["multimask"]:
            prompts = [{"image": case["image"], **prompt} for prompt in case["prompts"]]
            (folder / f"{case['image'].split('.')[0]}-mixed.json").write_text(json.dumps(prompts))
    (folder / "cases.json").write_text(json.dumps(listed))
    print(f"{len(listed)} cases")


def answer(model, processor, picture, prompt: dict, multimask: bool, folder: Path):
    """Logits, scores and masks of the reference for one prompt."""
    given = {}
    if "box" in prompt:
        given["input_boxes"] = [[prompt["box"]]]
    if "points" in prompt:
        given["input_points"] = [[[point[:2] for point in prompt["points"]]]]
        given["input_labels"] = [[[int(point[2]) for point in prompt["points"]]]]
    inputs = processor(images=picture, return_tensors="pt", **given)
    sizes = inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")
    inputs = {key: value.float() if key != "input_labels" else value for key, value in inputs.items()}
    if "mask" in prompt:
        inputs["input_masks"] = torch.from_numpy(load_file(folder / prompt["mask"])["logits"])
    with torch.no_grad():
        output = model(**inputs, multimask_output=multimask)
    masks = processor.image_processor.post_process_masks(list(output.pred_masks), *sizes)[0][0]
    return output.pred_masks[0, 0].numpy(), output.iou_scores[0, 0].numpy(), masks.numpy()


def off(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape, (found.shape, expected.shape)
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def read_mask(path: Path) -> np.ndarray:
    image = Image.open(path)
    assert image.mode == "L", path
    pixels = np.asarray(image)
    assert set(np.unique(pixels)) <= {0, 255}, path
    return pixels == 255


def shoelace(polygon: list[float]) -> float:
    x, y = np.array(polygon[0::2], float), np.array(polygon[1::2], float)
    return 0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))


def check_coco(out: Path, masks: list[np.ndarray], scores: list[float]) -> int:
    """Compares the COCO files with the masks; how many pixels `pycocotools` fills differently from the polygons."""
    runs, polygons = COCO(str(out / "coco.json")), COCO(str(out / "coco-polygons.json"))
    assert len(runs.anns) == len(masks)
    differing = 0
    for number, (mask, score) in enumerate(zip(masks, scores)):
        annotation = runs.anns[number + 1]
        assert (runs.annToMask(annotation) == mask).all(), f"{out}: run lengths of prompt {number}"
        area = coco_mask.area(annotation["segmentation"])
        assert annotation["area"] == area == mask.sum()
        assert annotation["bbox"] == coco_mask.toBbox(annotation["segmentation"]).tolist() or area == 0
        assert annotation["prompt"] == number and abs(annotation["score"] - score) < 1e-6
        if area == 0:
            assert number + 1 not in polygons.anns
            continue
        outlined = polygons.anns[number + 1]
        filled = binary_fill_holes(mask, structure=np.ones((3, 3)))
        enclosed = sum(shoelace(polygon) for polygon in outlined["segmentation"])
        assert enclosed == filled.sum() == outlined["area"], f"{out}: polygons of prompt {number}"
        differing += int((polygons.annToMask(outlined) != filled).sum())
    return differing


def check(folder: Path) -> int:
    torch.set_num_threads(1)
    model = SamModel.from_pretrained(folder / "model", attn_implementation="eager").eval()
    processor = SamProcessor(SamImageProcessorPil.from_pretrained(folder / "model"))
    worst = {"logits": 0.0, "scores": 0.0}
    differing = pixels = prompts = polygon_pixels = 0
    for case in json.loads((folder / "cases.json").read_text()):
        out, stem = folder / "out" / case["name"], case["image"].split(".")[0]
        picture = Image.open(folder / case["image"]).convert("RGB")
        found = load_file(out / f"{stem}.safetensors")
        chosen, scores = [], []
        for number, prompt in enumerate(case["prompts"]):
            logits, iou, masks = answer(model, processor, picture, prompt, case["multimask"], folder)
            worst["logits"] = max(worst["logits"], off(found["logits"][number], logits))
            worst["scores"] = max(worst["scores"], off(found["iou_scores"][number], iou))
            name = stem if number == 0 else f"{stem}-{number}"
            written = [f"{name}.mask-{i + 1}.png" for i in range(len(masks))] if case["multimask"] else [f"{name}.png"]
            for file, expected in zip(written, masks):
                mask = read_mask(out / file)
                assert mask.shape == expected.shape, (file, mask.shape, expected.shape)
                differing += int((mask != expected).sum())
                pixels += mask.size
            best = int(found["iou_scores"][number].argmax())
            chosen.append(read_mask(out / f"{name}.png"))
            scores.append(float(found["iou_scores"][number][best]))
            assert not case["multimask"] or (chosen[-1] == read_mask(out / written[best])).all()
            prompts += 1
        assert found["logits"].shape[0] == len(case["prompts"])
        polygon_pixels += check_coco(out, chosen, scores)
    print(
        f"{prompts} prompts: logits off by {worst['logits']:.1e}, IoU scores by {worst['scores']:.1e}; "
        f"{differing} of {pixels} mask pixels differ; run lengths exact, areas of polygons exact, "
        f"{polygon_pixels} pixels filled differently"
    )
    good = max(worst.values()) <= TOLERANCE and differing <= DIFFERING_PIXELS * pixels
    print("agree" if good else "DIFFER")
    return 0 if good else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--make", type=Path, metavar="DIR")
    what.add_argument("--check", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    if arguments.make:
        make(arguments.make)
        return 0
    return check(arguments.check)


if __name__ == "__main__":
    sys.exit(main())
