"""The eight views of an image by numpy and Pillow: masks, boxes, pixels, points and low-res masks.

    python tests/reference/views_reference.py

writes `tests/fixtures/geometry/views.json`, of which `crates/geometry/tests/views.rs` reads the rules. numpy and Pillow must agree on
every view. Needs `numpy` and `pillow`.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image

FIXTURE = Path(__file__).parent.parent / "fixtures/geometry/views.json"
# Height and width; one is a square, and the last is halved on the low-res grid, where the nearest rule meets ties.
SIZES = [(5, 7), (11, 4), (6, 6), (21, 32)]
LOW_RES = 16
VIEWS = {
    "identity": (lambda a: a, None),
    "rotate-90": (np.rot90, Image.Transpose.ROTATE_90),
    "rotate-180": (lambda a: np.rot90(a, 2), Image.Transpose.ROTATE_180),
    "rotate-270": (lambda a: np.rot90(a, 3), Image.Transpose.ROTATE_270),
    "flip-horizontal": (np.fliplr, Image.Transpose.FLIP_LEFT_RIGHT),
    "flip-vertical": (np.flipud, Image.Transpose.FLIP_TOP_BOTTOM),
    "transpose": (lambda a: a.T, Image.Transpose.TRANSPOSE),
    "anti-transpose": (lambda a: np.rot90(a, 2).T, Image.Transpose.TRANSVERSE),
}


def seen(array: np.ndarray, view: str) -> np.ndarray:
    """A view of `[h, w]` of u8, by both libraries."""
    by_numpy, by_pillow = VIEWS[view]
    turned = by_numpy(array)
    if by_pillow is not None:
        assert (np.asarray(Image.fromarray(array).transpose(by_pillow)) == turned).all(), view
    return np.ascontiguousarray(turned)


def low_res(mask: np.ndarray) -> np.ndarray:
    """As `SamImageProcessor` carries a mask to the grid of the logits: longest side resized, padded right and bottom."""
    height, width = mask.shape
    scale = LOW_RES / max(height, width)
    height, width = int(height * scale + 0.5), int(width * scale + 0.5)
    small = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    return np.pad(small, ((0, LOW_RES - height), (0, LOW_RES - width)))


def bits(mask: np.ndarray) -> list[str]:
    return ["".join("#" if value else "." for value in row) for row in mask]


def main() -> None:
    rng = np.random.default_rng(6)
    cases = []
    for height, width in SIZES:
        mask = np.zeros((height, width), np.uint8)
        mask[1 : height - 1, : width - 2] = rng.integers(0, 2, (height - 2, width - 2))
        planes = rng.integers(0, 256, (3, height, width), np.uint8)
        x, y = int(rng.integers(width)), int(rng.integers(height))
        point = np.zeros_like(mask)
        point[y, x] = 1
        views = []
        for view in VIEWS:
            turned = seen(mask, view)
            ys, xs = np.nonzero(turned)
            (py,), (px,) = np.nonzero(seen(point, view))
            views.append(
                {
                    "view": view,
                    "mask": bits(turned),
                    "box": [int(v) for v in (xs.min(), ys.min(), xs.max(), ys.max())],
                    "point": [int(px), int(py)],
                    "planes": np.stack([seen(plane, view) for plane in planes]).tobytes().hex(),
                    "low_res": bits(low_res(turned)),
                }
            )
        cases.append({"size": [height, width], "point": [x, y], "views": views})
    FIXTURE.write_text(json.dumps({"low_res": LOW_RES, "cases": cases}, indent=0) + "\n")


if __name__ == "__main__":
    main()
