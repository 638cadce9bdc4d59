"""Keep the state of a detector's training in one file without pickle, so that a killed training continues exactly."""

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

MOMENTS = ("exp_avg", "exp_avg_sq")  # of AdamW
WEIGHTS = "weights"


def save_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.AdamW, step: int, options: dict) -> None:
    """
    Write weights, moments and the number of steps; an earlier file is replaced at once.

    Args:
        path: the file.
        model: the network.
        optimizer: its optimizer, after at least one step.
        step: steps that are done.
        options: what the training is a function of; only the same training may continue.
    """
    tensors = {f"{WEIGHTS}.{name}": value for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        tensors |= {f"{moment}.{name}": optimizer.state[parameter][moment] for moment in MOMENTS}
    partial = path.with_name(f".{path.name}.partial")
    metadata = {"step": str(step), "options": json.dumps(options)}
    save_file({name: value.contiguous() for name, value in tensors.items()}, partial, metadata)
    os.replace(partial, path)


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.AdamW, options: dict) -> int:
    """
    Restore the training that `save_checkpoint` has written and return its number of steps.

    Nothing is restored, and 0 returned, where there is no such file, it cannot be read, or it is of other options.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            if metadata["options"] != json.dumps(options):
                return 0
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    except (FileNotFoundError, SafetensorError):
        return 0
    step = int(metadata["step"])
    model.load_state_dict({name: tensors[f"{WEIGHTS}.{name}"] for name in model.state_dict()})
    for name, parameter in model.named_parameters():
        moments = {moment: torch.empty_like(parameter).copy_(tensors[f"{moment}.{name}"]) for moment in MOMENTS}
        optimizer.state[parameter] = {"step": torch.tensor(float(step)), **moments}
    return step
