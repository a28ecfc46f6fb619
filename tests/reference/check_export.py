"""Opens what `cargo xtask export` wrote, unchanged, with the programs it is for.

    python tests/reference/check_export.py EXPORT [--untuned BASE] [--original FOLDER]
                                           [--predicted FILE --image IMAGE --box X0,Y0,X1,Y1]

EXPORT must open with `SamModel.from_pretrained` (no key missing, unexpected or misshapen) and `SamProcessor.from_pretrained`, and
its card with `huggingface_hub`. BASE must give other logits. FOLDER, an export in the original layout, must hold the same
weights, as safetensors and as a PyTorch file. FILE, the logits of `cargo xtask predict` with that image and box, must be those of
the exported model.
"""

import argparse
import sys
from pathlib import Path

import torch
import yaml
from huggingface_hub import ModelCard
from original_layout import original_state_dict
from PIL import Image
from safetensors.torch import load_file
from sam_parity import images
from transformers import SamModel, SamProcessor

TOLERANCE = 1e-4


def opened(folder: Path) -> SamModel:
    """The model, as a user opens it."""
    model, info = SamModel.from_pretrained(folder, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        assert not info.get(kind), f"{folder}: {kind} {info[kind]}"
    types = {parameter.dtype for parameter in model.parameters()}
    assert types == {torch.float32}, f"{folder}: {types}"
    return model.eval()


def logits(model: SamModel, processor: SamProcessor, image: Image.Image, box: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """What the model gives for a box, and its scores."""
    inputs = processor(images=image, input_boxes=[[box]], return_tensors="pt")
    inputs = {key: inputs[key].float() for key in ("pixel_values", "input_boxes")}
    with torch.no_grad():
        answer = model(**inputs, multimask_output=False)
    assert answer.pred_masks.isfinite().all(), "the masks are not finite"
    return answer.pred_masks, answer.iou_scores


def check_card(path: Path) -> None:
    """The metadata must be what the Hub takes, and must say what the table says."""
    text = path.read_text()
    head = yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))
    card = ModelCard(text)
    assert card.data.library_name == "transformers" and card.data.pipeline_tag == "mask-generation", head
    assert isinstance(head["license"], str) and "sam" in head["tags"], head
    results = card.data.eval_results or []
    named = {result.metric_name: result for result in results}
    for result in results:
        assert 0 <= result.metric_value <= 1 and result.dataset_split == "test", result
        row = next(line for line in card.text.splitlines() if line.startswith("| this model |"))
        assert f"{result.metric_value:.4f}" in row, f"{result.metric_name} is not in the model's row: {row}"
    # The Hub takes what stands there for this model's: no baseline may.
    assert sorted(named) == ["Dice at original resolution", "IoU at original resolution"], sorted(named)
    print(f"card: {len(results)} figures, {results[0].dataset_name}")


def same(found: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    error = ((found.reshape(-1) - expected.reshape(-1)).abs().max() / expected.abs().max()).item()
    assert error <= TOLERANCE, f"{what}: off by {error:.1e}"
    print(f"{what}: off by {error:.1e}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path)
    parser.add_argument("--untuned", type=Path, metavar="BASE")
    parser.add_argument("--original", type=Path, metavar="FOLDER")
    parser.add_argument("--predicted", type=Path, metavar="FILE")
    parser.add_argument("--image", type=Path)
    parser.add_argument("--box", type=lambda text: [float(x) for x in text.split(",")])
    arguments = parser.parse_args()

    model = opened(arguments.export)
    processor = SamProcessor.from_pretrained(arguments.export, backend="pil")
    SamProcessor.from_pretrained(arguments.export)
    check_card(arguments.export / "README.md")
    picture, box = images()[0], [30.0, 12.0, 96.0, 60.0]
    ours, _ = logits(model, processor, picture, box)
    if arguments.untuned:
        base, _ = logits(opened(arguments.untuned), processor, picture, box)
        difference = (ours - base).abs().max().item()
        assert difference > 1e-3, f"the tuned model gives what the base gives, to {difference}"
        print(f"tuning moved a logit by {difference:.3g}")
    if arguments.original:
        expected = original_state_dict(model)
        [safetensors], [pth] = arguments.original.glob("*.safetensors"), arguments.original.glob("*.pth")
        for found in (load_file(safetensors), torch.load(pth, weights_only=True), torch.load(pth, weights_only=False, mmap=True)):
            assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
            assert all(torch.equal(found[name], expected[name]) for name in expected)
        print(f"original: {len(expected)} tensors, twice")
    if arguments.predicted:
        predicted = load_file(arguments.predicted)
        expected, scores = logits(model, processor, Image.open(arguments.image).convert("RGB"), arguments.box)
        same(predicted["logits"], expected, "logits of predict")
        same(predicted["iou_scores"], scores, "scores of predict")
    return 0


if __name__ == "__main__":
    sys.exit(main())
