"""Opens an adapter that `cargo xtask export --format peft` wrote, with peft.

    python tests/reference/check_adapter.py ADAPTER --base BASE --merged EXPORT

`PeftModel.from_pretrained` must open ADAPTER over BASE and give the masks of EXPORT, the same checkpoint exported for `transformers` with
LoRA merged; `merge_and_unload` must give its weights. BASE alone must give other masks.
"""

import argparse
import warnings
from pathlib import Path

import torch
from peft import PeftModel
from sam_parity import images
from transformers import SamModel, SamProcessor

TOLERANCE = 1e-5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--merged", type=Path, required=True)
    args = parser.parse_args()
    processor = SamProcessor.from_pretrained(args.merged)
    merged, base = (SamModel.from_pretrained(folder).eval() for folder in (args.merged, args.base))
    with warnings.catch_warnings():
        # A tensor that the adapter lacks is a warning in peft.
        warnings.simplefilter("error", UserWarning)
        peft = PeftModel.from_pretrained(SamModel.from_pretrained(args.base), args.adapter).eval()

    image = next(iter(images()))
    inputs = processor(images=image, input_boxes=[[[4.0, 6.0, 40.0, 30.0]]], return_tensors="pt")
    inputs = {key: inputs[key].float() for key in ("pixel_values", "input_boxes")}
    with torch.no_grad():
        found, expected, untuned = (
            model(**inputs, multimask_output=False).pred_masks for model in (peft, merged, base)
        )
    scale = expected.abs().max()
    off, moved = ((other - expected).abs().max() / scale for other in (found, untuned))
    print(f"adapter: masks off by {off:.1e}; tuning moved them by {moved:.1e}")
    assert off <= TOLERANCE < moved

    unloaded = peft.merge_and_unload().state_dict()
    worst = 0.0
    for name, tensor in merged.state_dict().items():
        worst = max(worst, ((unloaded[name] - tensor).abs().max() / tensor.abs().max().clamp(min=1e-6)).item())
    print(f"merged: weights off by {worst:.1e}")
    assert worst <= TOLERANCE


if __name__ == "__main__":
    main()
