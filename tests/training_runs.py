"""What the tests of training share: flags of a quick run, the command, and what a run has left."""

import json
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import torch
from safetensors.torch import load_file
from storyattn.training import train as train_module
from storyattn.training.engine import loop as loop_module
from storyattn.training.engine.checkpoints import list_checkpoints

QUICK = {"train_batch_size": 4, "eval_batch_size": 4, "warmup_steps": 2, "max_eval_windows": 4, "max_test_windows": 4}
# 24 stories in batches of 4, two to a step: three steps an epoch, so that steps 4 and 8 lie within epochs.
RUN = {"max_train_steps": 8, "gradient_accumulation_steps": 2, "eval_steps": 4, "save_steps": 4, "logging_steps": 1}
TIMES = ("stories_per_second", "waiting_share", "memory_gib")  # what differs between runs that are the same


def train_with(flags: dict, *, pictures: bool = False, results: bool = True) -> None:
    """Run the command with flags by name; `None` leaves a flag out.

    Args:
        flags: the flags.
        pictures: draw at every evaluation what the model paints, and the curves of the losses; half of a short run.
        results: evaluate and export the trained model.
    """
    argv = [f"--{name}={value}" for name, value in flags.items() if value is not None]
    with ExitStack() as patches:
        for module, names, wanted in (
            (loop_module, ("evaluation_picture", "loss_curves"), pictures),
            (train_module, ("evaluate", "export"), results),
        ):
            if not wanted:
                patches.enter_context(mock.patch.multiple(module, **dict.fromkeys(names, mock.DEFAULT)))
        train_module.main(argv)


def read_log(folder: Path) -> list[dict]:
    """Return the lines of `metrics.jsonl`."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def checkpoint_tensors(folder: Path, step: int | str, name: str = "model") -> dict[str, torch.Tensor]:
    """Return the tensors of a file of a run's checkpoint, given by its step or as `best`."""
    checkpoint = step if isinstance(step, str) else f"step-{step}"
    return load_file(folder / "checkpoints" / checkpoint / f"{name}.safetensors")


def last_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights of the last checkpoint of a run."""
    return load_file(list_checkpoints(folder)[-1] / "model.safetensors")


def same_tensors(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Return whether names and values are equal, to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
