"""Tuning of the image encoder in PyTorch, on the small checkpoint of tests/fixtures/sam-tiny.

Writes tests/fixtures/tuning: tuning.json (settings, losses, learning rates and gradient norms of each variant), pixels.safetensors (the
resized images), and for each variant its gradients before the first step, the tuned weights at the end and, for LoRA, the adapter that it
starts from as a folder that peft reads. Needs torch, transformers, peft, monai, numpy, pillow and safetensors (tests/requirements.txt):

    python tests/reference/tuning_reference.py [--out tests/fixtures/tuning]

`SamModel`, LoRA (`peft`), the losses, `AdamW` and the scheduler are the libraries' own; only the loop is written here. The samples are
those of curve_reference.py with a box. The adapters do not start from zero: a zero factor would hide errors of the other one.
"""

import argparse
import json
from pathlib import Path

import torch
from curve_reference import FIXTURES, PUBLISHED, SAMPLES, Data, optimise, samples_of
from loss_reference import mean_terms
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import SamModel

SEED = 5
SETTINGS = PUBLISHED | {"epochs": 10, "batch_size": 2, "accumulation": 2, "learning_rate": 2e-4}

# By the names of the settings in [train.encoder]. peft names layers by a regular expression.
VARIANTS = {
    "lora": {
        "encoder": {"tune": "lora", "targets": ["qkv"], "rank": 4, "alpha": 8.0},
        "modules": r"vision_encoder\.layers\.\d+\.attn\.qkv",
    },
    "late-lora": {
        "encoder": {"tune": "lora", "blocks": [1, 2], "targets": ["qkv", "proj", "mlp"], "rank": 2, "alpha": 2.0},
        "modules": r"vision_encoder\.layers\.[12]\.(attn\.qkv|attn\.proj|mlp\.lin1|mlp\.lin2)",
    },
    "full": {"encoder": {"tune": "full"}},
}


def base_model() -> SamModel:
    return SamModel.from_pretrained(FIXTURES / "sam-tiny", attn_implementation="eager", dtype=torch.float32)


def pixels_of(processed: torch.Tensor) -> torch.Tensor:
    """The resized pixels, 0 to 255, from what the processor made of them; zeros beyond the image."""
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    raw = (processed * std + mean) * 255
    pixels = raw.round()
    inside = processed.abs().sum(1, keepdim=True) > 0
    assert ((raw - pixels).abs() * inside).max() < 1e-3
    return pixels * inside


def tuned_model(variant: dict, out: Path | None) -> tuple[SamModel, dict]:
    """The model with the tuned parameters, by the names that the tuned weights are saved under. The adapter goes to `out`."""
    model = base_model()
    if variant["encoder"]["tune"] == "lora":
        encoder = variant["encoder"]
        config = LoraConfig(
            r=encoder["rank"], lora_alpha=encoder["alpha"], target_modules=variant["modules"], lora_dropout=0.0, bias="none",
        )
        peft = get_peft_model(model, config)
        generator = torch.Generator().manual_seed(SEED)
        with torch.no_grad():
            for name, parameter in peft.named_parameters():
                if "lora_" in name:
                    parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
        if out is not None:
            peft.save_pretrained(out)
            (out / "README.md").unlink(missing_ok=True)
            # No path of the machine that made it.
            path = out / "adapter_config.json"
            written = json.loads(path.read_text()) | {"base_model_name_or_path": "sam-tiny"}
            path.write_text(json.dumps(written, indent=2) + "\n")
    tuned = {}
    for name, parameter in model.named_parameters():
        is_tuned = "lora_" in name or name.startswith("mask_decoder.")
        if variant["encoder"]["tune"] == "full":
            is_tuned |= name.startswith("vision_encoder.")
        parameter.requires_grad_(is_tuned)
        if is_tuned:
            tuned[name.replace(".default", "")] = parameter
    return model, tuned


def mean_loss(model: SamModel, data: Data, pixels: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
    """Loss, Dice term and pixel-wise term of a batch."""
    logits = model(pixel_values=pixels[batch], input_boxes=data.boxes[batch], multimask_output=False).pred_masks.squeeze(1)
    return mean_terms(SETTINGS, logits, data.masks[batch], None)


def gradients_of(variant: dict, data: Data, pixels: torch.Tensor) -> dict:
    """The gradients of a step over all batches, before any weight moves."""
    model, tuned = tuned_model(variant, None)
    model.train()
    batches = torch.tensor(samples_of(SETTINGS)).split(SETTINGS["batch_size"])
    for batch in batches:
        (mean_loss(model, data, pixels, batch)[0] / len(batches)).backward()
    return {name: p.grad.clone().contiguous() for name, p in tuned.items() if p.grad is not None}


def train(variant: dict, data: Data, pixels: torch.Tensor) -> tuple[dict, dict]:
    """The steps' losses, learning rates and gradient norms, and the weights at the end."""
    model, tuned = tuned_model(variant, None)
    model.train()
    history = optimise(SETTINGS, list(tuned.values()), lambda batch: mean_loss(model, data, pixels, batch))
    weights = {name: p.detach().contiguous().clone() for name, p in tuned.items()}
    return history, weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FIXTURES / "tuning", help="where to write the fixture")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    data = Data(base_model())
    pixels = data.pixels[: len(SAMPLES)]
    save_file({"pixels": pixels_of(pixels).contiguous()}, out / "pixels.safetensors")
    variants = []
    for name, variant in VARIANTS.items():
        adapter = out / name if variant["encoder"]["tune"] == "lora" else None
        tuned_model(variant, adapter)
        history, weights = train(variant, data, pixels)
        save_file(gradients_of(variant, data, pixels), out / f"{name}-gradients.safetensors")
        save_file(weights, out / f"{name}-weights.safetensors")
        settings = SETTINGS | {"encoder": variant["encoder"]}
        variants.append({"name": name, "settings": settings, "samples": samples_of(SETTINGS), "steps": history})
        print(name, *(f"{key} {values[0]:.4g} to {values[-1]:.4g}" for key, values in history.items()))
    text = "[\n" + ",\n".join(json.dumps(variant) for variant in variants) + "\n]\n"
    (out / "tuning.json").write_text(text)


if __name__ == "__main__":
    main()
