"""Freeze, tune or adapt the parts of a model."""

import re

from torch import nn
from transformers.pytorch_utils import Conv1D


def tune_parts(model, args) -> None:
    """
    Freezes parts or gives them adapters, as `vision_tuning`, `text_tuning` and `decoder_tuning` say.

    Raises `ValueError` where there is no PEFT, or nothing in a part that it can adapt.
    """
    for part, module in model.parts.items():
        tuning = getattr(args, f"{part}_tuning")
        if tuning == "frozen":
            module.requires_grad_(False)
        elif tuning == "lora":
            add_adapters(part, module, args.lora_rank, args.lora_alpha)


def add_adapters(part: str, module: nn.Module, rank: int, alpha: float) -> None:
    """
    Gives every linear and ungrouped convolutional layer but the output layer a LoRA adapter (Hu et al. 2022), which
    alone is trained from then on. Errors as of `tune_parts`.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ValueError(f"{part}_tuning: found 'lora' without PEFT, expected it; pip install peft") from error
    output = module.get_output_embeddings()
    layers = {name: layer for name, layer in module.named_modules() if _can_adapt(layer) and layer is not output}
    if not layers:
        raise ValueError(f"{part}_tuning: found no linear or convolutional layer in {type(module).__name__} for lora")
    options = {"target_modules": "|".join(map(re.escape, layers))}
    options["fan_in_fan_out"] = any(isinstance(layer, Conv1D) for layer in layers.values())
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, **options), module)


def _can_adapt(layer: nn.Module) -> bool:
    return isinstance(layer, (nn.Linear, Conv1D)) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
