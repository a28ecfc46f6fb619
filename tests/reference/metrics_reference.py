"""Metrics of masks by MONAI and NumPy, of paired differences by SciPy, of means by SciPy's bootstrap, degenerate cases included.

Writes tests/fixtures/metrics/metrics.json. Needs torch, monai, scipy and numpy (tests/requirements.txt):

    python tests/reference/metrics_reference.py
"""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance, compute_iou, compute_surface_dice
from scipy import ndimage, stats

warnings.filterwarnings("ignore")
TOLERANCES = [0.0, 1.0, 2.0, 3.5]


def blob(rng, shape, share, smooth):
    """A random mask with borders as smooth as `smooth` pixels."""
    field = ndimage.gaussian_filter(rng.normal(size=shape), smooth)
    return field > np.quantile(field, 1 - share)


def cases():
    rng = np.random.default_rng(7)
    for i in range(6):
        shape = (int(rng.integers(20, 50)), int(rng.integers(20, 60)))
        truth = blob(rng, shape, 0.3, 3)
        yield f"blobs {i}", ndimage.shift(truth.astype(float), rng.integers(-4, 5, 2), order=0) > 0.5, truth
    yield "unrelated blobs, several components", blob(rng, (40, 33), 0.4, 2), blob(rng, (40, 33), 0.2, 2)
    yield "speckle", rng.random((24, 31)) > 0.5, blob(rng, (24, 31), 0.3, 3)
    yield "equal", (same := blob(rng, (19, 23), 0.3, 2)), same

    def rectangle(shape, y0, y1, x0, x1):
        mask = np.zeros(shape, bool)
        mask[y0:y1, x0:x1] = True
        return mask

    shape = (21, 30)
    one = rectangle(shape, 4, 5, 7, 8)
    square = rectangle(shape, 3, 12, 5, 16)
    yield "one pixel each, far apart", rectangle(shape, 20, 21, 29, 30), one
    yield "one pixel in a square", one, square
    yield "square for one pixel", square, one
    yield "at the border", rectangle(shape, 0, 9, 0, 30), rectangle(shape, 0, 11, 4, 30)
    yield "everything", np.ones(shape, bool), square
    yield "truth is everything", square, np.ones(shape, bool)
    yield "a line", rectangle(shape, 10, 11, 0, 30), rectangle(shape, 8, 9, 3, 20)
    yield "nothing predicted", np.zeros(shape, bool), square
    yield "no truth", square, np.zeros(shape, bool)
    yield "neither", np.zeros(shape, bool), np.zeros(shape, bool)
    ring = rectangle(shape, 2, 18, 3, 25) & ~rectangle(shape, 6, 14, 8, 20)
    yield "a ring", ring, rectangle(shape, 2, 18, 3, 25)


def of_masks():
    for name, predicted, truth in cases():
        tensors = [torch.from_numpy(mask)[None, None].float() for mask in (predicted, truth)]
        finite = lambda x: float(x) if np.isfinite(float(x)) else None
        truthful = bool(truth.any())
        both = (predicted & truth).sum()
        yield {
            "name": name,
            "height": truth.shape[0],
            "predicted": "".join("#" if p else "." for p in predicted.ravel()),
            "truth": "".join("#" if p else "." for p in truth.ravel()),
            "dice": finite(compute_dice(*tensors)),
            "iou": finite(compute_iou(*tensors)),
            "precision": float(both / predicted.sum()) if truthful and predicted.any() else None,
            "recall": float(both / truth.sum()) if truthful else None,
            "hd95": finite(compute_hausdorff_distance(*tensors, include_background=True, percentile=95)),
            "surface_dice": [
                # Without truth MONAI gives 0 where something is predicted; Resect gives no figure at all.
                finite(compute_surface_dice(*tensors, [tolerance], include_background=True)) if truthful else None
                for tolerance in TOLERANCES
            ],
        }


def of_differences():
    rng = np.random.default_rng(3)
    samples = {
        "few": rng.normal(0.1, 1, 9),
        "fifty": rng.normal(0.3, 1, 50),
        "fifty-one": rng.normal(0.3, 1, 51),
        "many": rng.normal(0.2, 1, 300),
        "clear": rng.normal(2, 1, 40),
        "ties": np.round(rng.normal(0.5, 2, 60)),
        "zeros": np.where(rng.random(70) < 0.3, 0, rng.normal(0.2, 1, 70)),
        "zeros, few": np.array([0.0, 0.5, -0.25, 1.0, 2.0, -3.0, 0.0, 4.0]),
        "one": np.array([0.5]),
    }
    for name, differences in samples.items():
        untied = len(np.unique(np.abs(differences))) == len(differences) and not (differences == 0).any()
        method = "exact" if untied and len(differences) <= 50 else "asymptotic"
        p = stats.wilcoxon(differences, zero_method="wilcox", correction=False, method=method).pvalue
        yield {"name": name, "differences": differences.tolist(), "p": float(p)}


def of_means():
    rng = np.random.default_rng(5)
    for name, values in {"uniform": rng.random(120), "skewed": rng.beta(8, 1, 200), "few": rng.random(8)}.items():
        interval = stats.bootstrap(
            (values,), np.mean, n_resamples=100_000, method="percentile", confidence_level=0.95, rng=rng
        ).confidence_interval
        yield {
            "name": name,
            "values": values.tolist(),
            "interval": [float(interval.low), float(interval.high)],
            "quantiles": [[q, float(np.quantile(values, q))] for q in (0, 0.025, 0.3, 0.5, 0.95, 1)],
        }


def of_scores():
    rng = np.random.default_rng(11)
    predicted = np.clip(rng.normal(0.7, 0.25, 90), -0.1, 1.2)
    actual = np.clip(predicted + rng.normal(-0.1, 0.15, 90), 0, 1)
    bins = np.clip((predicted * 10).astype(int), 0, 9)
    gaps = [abs(predicted[bins == b].mean() - actual[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    return {
        "pairs": np.stack([predicted, actual], 1).tolist(),
        "counts": np.bincount(bins, minlength=10).tolist(),
        "bias": float((predicted - actual).mean()),
        "mean_absolute_error": float(np.abs(predicted - actual).mean()),
        "expected_calibration_error": float(sum(gaps)),
        "correlation": float(stats.pearsonr(predicted, actual).statistic),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(__file__).parents[1] / "fixtures/metrics/metrics.json"
    parser.add_argument("--out", type=Path, default=default)
    out = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    found = {
        "tolerances": TOLERANCES,
        "masks": list(of_masks()),
        "differences": list(of_differences()),
        "means": list(of_means()),
        "scores": of_scores(),
    }
    out.write_text(json.dumps(found, indent=1) + "\n")
