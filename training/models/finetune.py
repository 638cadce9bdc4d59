"""Freeze, tune or adapt the parts of a model."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from storyattn import StoryAttnForConditionalGeneration
from torch import nn
from transformers.pytorch_utils import Conv1D

if TYPE_CHECKING:
    from ..arguments import ModelArguments


def tune_parts(model: StoryAttnForConditionalGeneration, args: ModelArguments) -> None:
    """Freeze parts or give them adapters, as `vision_tuning`, `text_tuning`, `decoder_tuning`, `trained_parts` say.

    Raises:
        ValueError: where PEFT is not installed, a part has no layer that it can adapt, or there is no such part.
    """
    for part, module in model.parts.items():
        tuning = getattr(args, f"{part}_tuning")
        if tuning == "frozen":
            module.requires_grad_(False)
        elif tuning == "lora":
            add_adapters(part, module, args.lora_rank, args.lora_alpha)
    if args.trained_parts is not None:
        freeze_others(model, [name.strip() for name in args.trained_parts.split(",")])


def freeze_others(model: StoryAttnForConditionalGeneration, names: list[str]) -> None:
    """Freeze every weight that is in no part of these names, of the model or of its encoding half.

    Raises:
        ValueError: where there is no such part.
    """
    parts = {**dict(model.model.named_children()), **dict(model.named_children())}
    if unknown := [name for name in names if name not in parts]:
        raise ValueError(f"trained_parts: got {unknown[0]!r}, expected names among {', '.join(sorted(parts))}")
    trained = {parameter for name in names for parameter in parts[name].parameters() if parameter.requires_grad}
    for parameter in model.parameters():
        parameter.requires_grad_(parameter in trained)


def add_adapters(part: str, module: nn.Module, rank: int, alpha: float) -> None:
    """Give every linear and ungrouped convolutional layer but the output layer a LoRA adapter (Hu et al. 2022).

    From then on the adapters alone are trained.

    Args:
        part: `vision`, `text` or `decoder`, for error messages.
        module: the part, which is changed in place.
        rank: rank of the adapters, above 0.
        alpha: what the adapters are multiplied with, times `rank`; above 0.

    Raises:
        ValueError: where PEFT is not installed, or `module` has no such layer.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ValueError(f"{part}_tuning: got 'lora' without PEFT, expected it installed: pip install peft") from error
    output = module.get_output_embeddings()
    layers = {name: layer for name, layer in module.named_modules() if _can_adapt(layer) and layer is not output}
    if not layers:
        given = f"'lora' for {type(module).__name__}, which has no linear or convolutional layer"
        raise ValueError(f"{part}_tuning: got {given}, expected 'tuned' or 'frozen'")
    options = {"target_modules": "|".join(map(re.escape, layers))}
    options["fan_in_fan_out"] = any(isinstance(layer, Conv1D) for layer in layers.values())
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, **options), module)


def _can_adapt(layer: nn.Module) -> bool:
    return isinstance(layer, (nn.Linear, Conv1D)) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
