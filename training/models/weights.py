"""Round, store and average weights."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


@torch.no_grad()
def mean_of_weights(first, second, share: float):
    """`second` with `share` of its weights and the rest of `first`; raises `ValueError` where shapes differ."""
    # Weights that are tied are among these once.
    others, weights = (dict([*model.named_parameters(), *model.named_buffers()]) for model in (first, second))
    for name, weight in weights.items():
        other = others.get(name)
        if other is None or other.shape != weight.shape:
            found = "none" if other is None else tuple(other.shape)
            raise ValueError(
                f"{name}: found {found} in the first model, expected {tuple(weight.shape)} as the second's"
            )
        if weight.is_floating_point():
            weight.lerp_(other.to(weight.dtype), 1 - share)
    return second


@torch.no_grad()
def round_weights(model: torch.nn.Module, dtype: str) -> None:
    """
    Leaves of all weights what `dtype` can hold, so that a model is measured as it will be stored. Raises `ValueError`
    for weights beyond its range.
    """
    for name, weight in model.state_dict().items():  # which shares its memory with the model
        if weight.is_floating_point():
            rounded = weight.to(getattr(torch, dtype)).to(weight.dtype)
            if weight.isfinite().all() and not rounded.isfinite().all():
                found = f"weights of up to {weight.abs().max().item():.3g} in {name}"
                raise ValueError(f"save_dtype: found {found}, expected what {dtype} can hold; or bfloat16, or float32")
            weight.copy_(rounded)


def store_weights(folder: Path, dtype: str) -> None:
    """
    Stores the weights of a saved model in `dtype`: float16 and bfloat16 take half of the space. `config.json` keeps the
    precision that the model computes in, so it is loaded as before.
    """
    if dtype == "float32":
        return
    size = 0
    for path in folder.glob("*.safetensors"):
        tensors = load_file(path)
        stored = {name: t.to(getattr(torch, dtype)) if t.is_floating_point() else t for name, t in tensors.items()}
        size += sum(tensor.nbytes for tensor in stored.values())
        partial = path.with_name(f"{path.name}.partial")
        save_file(stored, partial, metadata={"format": "pt"})
        partial.replace(path)  # broken off while they are written, the weights are still those of before
    for path in folder.glob("*.safetensors.index.json"):
        index = json.loads(path.read_text(encoding="utf-8"))
        index["metadata"]["total_size"] = size
        path.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")
