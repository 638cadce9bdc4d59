"""Round, store and average weights."""

import json
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ..common.files import replaced_at_end, write_text

Model = TypeVar("Model", bound=nn.Module)


@torch.no_grad()
def mean_of_weights(first: Model, second: Model, share: float) -> Model:
    """Change the weights of `second` to the weighted mean of those of both models; return it.

    Args:
        first: model whose weights count with `1 - share`.
        second: model whose weights count with `share`; it is changed in place.
        share: number in [0, 1].

    Raises:
        ValueError: where `first` lacks a weight of `second`, or has one of another shape.
    """
    # Tied weights are in these dictionaries once.
    others, weights = (dict([*model.named_parameters(), *model.named_buffers()]) for model in (first, second))
    for name, weight in weights.items():
        other = others.get(name)
        if other is None or other.shape != weight.shape:
            shape = "none" if other is None else tuple(other.shape)
            raise ValueError(f"{name}: got {shape} in the first model, expected {tuple(weight.shape)} as in the second")
        if weight.is_floating_point():
            weight.lerp_(other.to(weight.dtype), 1 - share)
    return second


@torch.no_grad()
def round_weights(model: nn.Module, dtype: str) -> None:
    """Round all weights to what `dtype` can hold, in place, so that a model is measured as it will be stored.

    Raises:
        ValueError: for weights beyond the range of `dtype`.
    """
    for name, weight in model.state_dict().items():  # which shares its memory with the model
        if weight.is_floating_point():
            rounded = weight.to(getattr(torch, dtype)).to(weight.dtype)
            if weight.isfinite().all() and not rounded.isfinite().all():
                largest = f"weights of up to {weight.abs().max().item():.3g} in {name}"
                raise ValueError(f"save_dtype: got {largest}, expected what {dtype} can hold; or bfloat16, or float32")
            weight.copy_(rounded)


def store_weights(folder: Path, dtype: str) -> None:
    """Store the weights of a saved model in `dtype`: float16 and bfloat16 take half of the space.

    `config.json` keeps the precision that the model computes in, so that it is loaded as before.
    """
    if dtype == "float32":
        return
    size = 0
    for path in folder.glob("*.safetensors"):
        tensors = load_file(path)
        stored = {name: t.to(getattr(torch, dtype)) if t.is_floating_point() else t for name, t in tensors.items()}
        size += sum(tensor.nbytes for tensor in stored.values())
        with replaced_at_end(path) as partial:
            save_file(stored, partial, metadata={"format": "pt"})
    for path in folder.glob("*.safetensors.index.json"):
        index = json.loads(path.read_text(encoding="utf-8"))
        index["metadata"]["total_size"] = size
        write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", path)
