"""Mixed precision in PyTorch: single products, the image encoder, and whole training loops, for the tests of `precision`.

Writes into tests/fixtures/precision: products.safetensors (products and attention with rounded operands, and their gradients; the
image embeddings of tests/fixtures/sam-tiny under `torch.autocast`), curve.json (losses, learning rates and gradient norms of each
variant) and the decoder's weights at the end of each. Needs what curve_reference.py needs:

    python tests/reference/precision_reference.py [--out tests/fixtures/precision]

`bf16` and `f16` are the definition: operands of the decoder's products are rounded, gradients too where they enter a product, and all
else is single precision. `bf16-autocast` and `f16-autocast` are PyTorch's own `torch.autocast`, which also rounds results and biases.
The f16 loops scale the loss with `torch.amp.GradScaler`. The prompt encoder is in single precision throughout: half precision would
move the boxes.
"""

import argparse
import json
from pathlib import Path

import torch
from curve_reference import FIXTURES, VARIANTS, samples_of, train
from safetensors.torch import load_file, save_file
from torch.overrides import TorchFunctionMode
from transformers import SamModel
from transformers.models.sam import modeling_sam

SEED = 5
DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16}


class Rounded(torch.autograd.Function):
    """An operation that is linear in each of two operands, with these rounded; on the way back its gradient is, too."""

    @staticmethod
    def forward(ctx, operation, dtype, a, b):
        ctx.operation, ctx.dtype = operation, dtype
        a, b = (x.to(dtype).float() for x in (a, b))
        ctx.save_for_backward(a, b)
        return operation(a, b)

    @staticmethod
    def backward(ctx, gradient):
        with torch.enable_grad():
            operands = [x.detach().requires_grad_() for x in ctx.saved_tensors]
            result = ctx.operation(*operands)
        return None, None, *torch.autograd.grad(result, operands, gradient.to(ctx.dtype).float())


def attention(dtype, q, k, v, scale):
    """Attention over `[..., tokens, channels]`; the scale multiplies what was summed."""
    scores = Rounded.apply(lambda q, k: (q @ k.transpose(-1, -2)) * scale, dtype, q, k)
    return Rounded.apply(torch.matmul, dtype, scores.softmax(-1), v)


class RoundedProducts(TorchFunctionMode):
    """Rounds the operands of each product of the mask decoder."""

    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.nn.functional.linear:
            x, weight, bias = args
            return Rounded.apply(lambda x, weight: x @ weight.T, self.dtype, x, weight) + bias
        if function is torch.nn.functional.conv_transpose2d:
            x, weight, bias, stride = args[:4]
            upscale = lambda x, weight: torch.nn.functional.conv_transpose2d(x, weight, None, stride)
            return Rounded.apply(upscale, self.dtype, x, weight) + bias[:, None, None]
        if function in (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__):
            return Rounded.apply(torch.matmul, self.dtype, *args)
        return function(*args, **kwargs)


def decoded(model: SamModel, embeddings: torch.Tensor, boxes: torch.Tensor, context) -> torch.Tensor:
    """The logits of the single mask, with the decoder alone in a context."""
    with torch.no_grad():
        sparse, dense = model.prompt_encoder(input_points=None, input_labels=None, input_boxes=boxes, input_masks=None)
        position = model.get_image_wide_positional_embeddings().repeat(len(boxes), 1, 1, 1)
    with context:
        logits, _ = model.mask_decoder(
            image_embeddings=embeddings, image_positional_embeddings=position, sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense, multimask_output=False,
        )
    return logits.float()


def variant(settings: dict, precision: str, autocast: bool) -> tuple[dict, dict]:
    """A training loop in a precision."""
    dtype = DTYPES[precision]
    eager = modeling_sam.eager_attention_forward

    def attend(module, query, key, value, attention_mask, scaling, **kwargs):
        return attention(dtype, query, key, value, scaling).transpose(1, 2).contiguous(), None

    def predict(model, embeddings, boxes):
        context = torch.autocast("cpu", dtype=dtype) if autocast else RoundedProducts(dtype)
        return decoded(model, embeddings, boxes, context)

    if not autocast:
        modeling_sam.eager_attention_forward = attend
    history, weights = train(settings, predict, loss_scaling=precision == "f16")
    modeling_sam.eager_attention_forward = eager
    return history, weights


def products(precision: str) -> dict[str, torch.Tensor]:
    """Products and attention whose values and gradients need exactly the rounding that is meant. Attention has fewer queries than
    keys in one case and more in the other."""
    generator = torch.Generator().manual_seed(SEED)
    draw = lambda *shape: torch.randn(*shape, generator=generator)
    dtype, out = DTYPES[precision], {}

    def case(name: str, operation, operands: dict[str, torch.Tensor]) -> None:
        for operand in operands.values():
            operand.requires_grad_()
        result = operation(*operands.values())
        # Small: in f16 some gradients are subnormal.
        gradient = draw(*result.shape) * 1e-4
        result.backward(gradient)
        out.update({f"{precision}.{name}.{key}": operand.detach() for key, operand in operands.items()})
        out.update({f"{precision}.{name}.{key}.gradient": operand.grad for key, operand in operands.items()})
        out.update({f"{precision}.{name}.result": result.detach(), f"{precision}.{name}.result.gradient": gradient})

    linear = lambda x, weight, bias: Rounded.apply(torch.matmul, dtype, x, weight) + bias
    case("linear", linear, {"x": draw(37, 24), "weight": draw(24, 16), "bias": draw(16)})
    heads = lambda x: x.unflatten(1, (2, 4)).transpose(0, 1)
    attend = lambda q, k, v: attention(dtype, heads(q), heads(k), heads(v), 0.5).transpose(0, 1).flatten(1)
    case("few", attend, {"q": draw(5, 8), "k": draw(33, 8), "v": draw(33, 8)})
    case("many", attend, {"q": draw(33, 8), "k": draw(5, 8), "v": draw(5, 8)})
    return out


def embeddings(precision: str) -> dict[str, torch.Tensor]:
    """Image embeddings under `torch.autocast`."""
    model = SamModel.from_pretrained(FIXTURES / "sam-tiny", attn_implementation="eager", dtype=torch.float32)
    pixels = load_file(FIXTURES / "sam-tiny" / "reference.safetensors")["pixel_values"]
    with torch.no_grad(), torch.autocast("cpu", dtype=DTYPES[precision]):
        return {f"{precision}.image_embeddings": model.get_image_embeddings(pixels).float()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FIXTURES / "precision", help="where to write the fixture")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    tensors = {name: x.contiguous() for p in DTYPES for name, x in (products(p) | embeddings(p)).items()}
    save_file(tensors, out / "products.safetensors")
    variants = []
    # Clipping sees gradients that were divided by the scale.
    for precision, settings in (("bf16", VARIANTS["published"]), ("f16", VARIANTS["steps"])):
        for autocast in (False, True):
            name = precision + ("-autocast" if autocast else "")
            history, weights = variant(settings, precision, autocast)
            if not autocast:
                save_file(weights, out / f"{name}.safetensors")
            row = {"name": name, "settings": settings | {"precision": precision}, "samples": samples_of(settings), "steps": history}
            variants.append(row)
            print(name, *(f"{key} {values[0]:.4g} to {values[-1]:.4g}" for key, values in history.items()))
    (out / "curve.json").write_text("[\n" + ",\n".join(json.dumps(row) for row in variants) + "\n]\n")


if __name__ == "__main__":
    main()
