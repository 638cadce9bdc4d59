"""
Writes a Hub-ready folder: weights, configuration, processor and code, `results.json`, a model card.

Nothing in it is a pickle.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from .card import find_template, write_card
from .evaluation import write_results


def write_hub_folder(model, processor, output_dir: str | Path, results: dict, facts: dict) -> Path:
    """
    Writes the folder that `push_to_hub` or `hf upload` publishes as it is; returns it.

    Adapters are merged into the weights. `results` is a document of `results_document`; its key `test_unseen`, where
    there is one, holds further metrics. `facts` tell how the model was trained: `dataset`, `split` (of the results),
    `command`, `training`, a dictionary of what else the card shows as a table (steps, batch, seconds, hardware, ...),
    and where they are known those of `published_facts` and `example` (see `write_example`). Both are written as
    `results.json`, `facts` under that key. The card shows figures that already lie in `output_dir/figures`.

    Raises `FileNotFoundError` where the template of the card cannot be found.
    """
    output_dir = Path(output_dir)
    find_template()
    model.save_pretrained(output_dir)
    processor.save_pretrained(output_dir)
    write_results({**results, "facts": facts}, output_dir / "results.json")
    write_card(output_dir)
    return output_dir


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
