"""
Checkpoints from which a run goes on as if it had not been interrupted: `output_dir/checkpoints/step-N`.

Each holds `model.safetensors`, `average.safetensors` (with EMA), `optimizer.safetensors`, `state.json` (configuration,
position, schedule), `random-states-R.json` of every process R, and `manifest.json` with the size and sum of each file.
Tensors are full, however many processes held shards of them. Nothing is pickled. `checkpoints/best` is one more name
for the best of them. They are complete or absent at any moment (`atomic_folder`).
"""

import errno
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers.utils import logging

from ..common import atomic_folder
from .distributed import decided_by_main_process, gather_full_tensors, shard_like
from .ema import MovingAverage
from .random_states import random_states, set_random_states

logger = logging.get_logger(__name__)

FOLDER, BEST = "checkpoints", "best"
MODEL, AVERAGE, OPTIMIZER, STATE = "model.safetensors", "average.safetensors", "optimizer.safetensors", "state.json"
EXPECTED_FILES = (MODEL, OPTIMIZER, STATE)
SLACK_BYTES = 2**20  # beside the tensors: headers, the manifest, blocks that are not full
# Written by the library or by where a configuration came from; says nothing about the model.
IRRELEVANT_KEYS = ("transformers_version", "_name_or_path", "auto_map", "architectures", "dtype", "torch_dtype")


def find_checkpoint(resume: str | None, output_dir: str | Path) -> Path | None:
    """
    Return the folder of a complete checkpoint: the newest one of `output_dir` for `latest`, else that of the path.

    `None` where `resume` is. Damaged checkpoints are passed over with a warning. Raises `FileNotFoundError` where there
    is none, `ValueError` for the path of a damaged one.
    """
    if resume is None:
        return None
    if resume == "latest":
        return _find_latest(output_dir)
    path = Path(resume).expanduser()
    if not any((path / name).is_file() for name in (STATE, atomic_folder.MANIFEST)):
        raise FileNotFoundError(
            f"resume_from_checkpoint: got no state.json in {str(path)!r}, expected 'latest' or a step-N folder"
        )
    if problem := verify_checkpoint(path):
        raise ValueError(
            f"resume_from_checkpoint: got {str(path)!r}, which is damaged, expected a whole one: {problem}"
        )
    return path


def list_checkpoints(output_dir: str | Path) -> list[Path]:
    """Return the complete checkpoints of a run, oldest first; their files have the right sizes."""
    return [
        path
        for path in step_folders(output_dir)
        if atomic_folder.find_problem(path, EXPECTED_FILES, hashes=False) is None
    ]


def step_folders(output_dir: str | Path) -> list[Path]:
    """Return the folders `step-N` of a run, damaged ones included, oldest first."""
    folders = Path(output_dir, FOLDER).glob("step-*")
    return sorted((path for path in folders if path.name[5:].isdecimal()), key=step_number)


def step_number(step_folder: Path) -> int:
    """Return the N of a folder `step-N`."""
    return int(step_folder.name[5:])


def verify_checkpoint(checkpoint: Path) -> str | None:
    """Say what is wrong with a checkpoint; `None` where every byte is as it was written."""
    return atomic_folder.find_problem(checkpoint, EXPECTED_FILES)


def read_state(checkpoint: Path) -> dict:
    """Return the `state.json` of a checkpoint; raises `ValueError` where it cannot be read."""
    try:
        return json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"checkpoint {checkpoint}: state.json is no JSON ({error}), expected one of training"
        ) from error


def check_same(kind: str, checkpoint: Path, saved: dict, expected: dict) -> None:
    """
    Refuse a checkpoint whose values differ from those of this run.

    Args:
        kind: what the values describe, for the message.
        checkpoint: the folder, for the message.
        saved: the checkpoint's values, possibly nested.
        expected: this run's values, possibly nested.

    Raises:
        ValueError: with every differing key, the checkpoint's value and this run's.
    """
    saved, expected = _flatten(saved), _flatten(expected)
    keys = [key for key in sorted({*saved, *expected}) if saved.get(key) != expected.get(key)]
    keys = [key for key in keys if key.rsplit(".", 1)[-1] not in IRRELEVANT_KEYS]
    if keys:
        differences = "; ".join(f"{key}: got {saved.get(key)!r}, expected {expected.get(key)!r}" for key in keys)
        raise ValueError(f"checkpoint {checkpoint} is of another {kind}: {differences}")


def save_checkpoint(
    accelerator: Accelerator,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: MovingAverage | None,
    output_dir: str | Path,
    state: dict,
    limit: int | None,
    *,
    best: bool = False,
) -> None:
    """
    Write `output_dir/checkpoints/step-{state["step"]}`, then remove all but the newest `limit` up to it.

    Called by every process.

    Args:
        accelerator: that of the run; the state of its scaler is saved.
        model: the prepared model, possibly sharded or compiled.
        optimizer: the prepared optimizer.
        ema: the moving average of the weights, if there is one.
        output_dir: the folder of the run.
        state: what `state.json` holds, as JSON; the numbers of the optimizer, the scaler and `ema` are added to it.
        limit: how many checkpoints remain; `None` for all.
        best: whether it also becomes `checkpoints/best`, which `limit` does not remove.

    Raises:
        OSError: in every process, where the checkpoint cannot be written; the earlier ones are as they were.
    """
    final = Path(output_dir, FOLDER, f"step-{state['step']}")
    files, state = _tensors_and_state(accelerator, model, optimizer, ema, state)
    generators = gather_object([random_states()])
    texts = {f"random-states-{process}.json": json.dumps(states) for process, states in enumerate(generators)}
    texts[STATE] = json.dumps(state, indent=1)
    tensor_bytes = sum(t.numel() * t.element_size() for tensors in files.values() for t in tensors.values())
    needed = tensor_bytes + sum(map(len, texts.values())) + SLACK_BYTES

    write = partial(_on_main_process, accelerator, final, needed)
    write(_start, final, needed)
    partial_folder = atomic_folder.aside(final, atomic_folder.PARTIAL)
    for name, tensors in files.items():
        write(save_file, gather_full_tensors(accelerator, tensors), partial_folder / name)
    write(_finish, final, texts, limit, best)


def load_checkpoint(
    accelerator: Accelerator,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: MovingAverage | None,
    checkpoint: Path,
    state: dict,
) -> None:
    """
    Restore a run in place: weights, their average, the optimizer and this process's random states.

    The random states of a checkpoint of another number of processes are not restored, with a warning. Arguments as
    those of `save_checkpoint`; `state` is the `state.json` of `checkpoint`.

    Raises:
        FileNotFoundError: where a file of the checkpoint is missing.
        ValueError: where its tensors have other names or shapes.
    """
    for name in [MODEL, OPTIMIZER, *([AVERAGE] if ema is not None else [])]:
        if not (checkpoint / name).is_file():
            raise FileNotFoundError(f"checkpoint {checkpoint}: got no {name}, expected it beside state.json")
    _restore(model_tensors(accelerator.unwrap_model(model, keep_torch_compile=False)), checkpoint / MODEL)
    if ema is not None:
        _restore(ema.weights, checkpoint / AVERAGE)
        ema.num_updates = state["average"]["num_updates"]
    moments = load_file(checkpoint / OPTIMIZER)
    optimizer.load_state_dict(_optimizer_state_dict(optimizer, moments, state["optimizer"]))
    if accelerator.scaler is not None and state["scaler"] is not None:
        accelerator.scaler.load_state_dict(state["scaler"])
    states = [path.name for path in checkpoint.glob("random-states-*.json")]
    if len(states) == accelerator.num_processes:
        path = checkpoint / f"random-states-{accelerator.process_index}.json"
        set_random_states(json.loads(path.read_text(encoding="utf-8")))
    elif accelerator.is_main_process:
        logger.warning(
            f"checkpoint {checkpoint} is of {len(states)} processes and this run of {accelerator.num_processes}: what "
            "the model draws at random, such as dropout, is drawn anew"
        )


def restore_best(checkpoint: Path, output_dir: str | Path, best: dict | None) -> dict | None:
    """
    Make sure that `checkpoints/best` holds the best model so far of a run that goes on from `checkpoint`.

    Args:
        checkpoint: the folder that the run resumes from.
        output_dir: the folder of the run.
        best: the `best` of the checkpoint's state: `step`, `metric` and `value`; `None` where there is none yet.

    Returns:
        `best`, or `None` with a warning where that model is gone.
    """
    best_folder = Path(output_dir, FOLDER, BEST)
    if best is None or best["step"] == read_state(checkpoint)["step"]:
        if best is not None:
            atomic_folder.duplicate(checkpoint, best_folder)
        return best
    if not verify_checkpoint(best_folder) and read_state(best_folder)["step"] == best["step"]:
        return best
    logger.warning(f"{best_folder} does not hold the best model so far, of step {best['step']}: it is chosen anew")
    return None


def model_tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the parameters and persistent buffers of `model`; tied ones once, by the first of their names."""
    state_dict = model.state_dict()  # before the names: it puts weights back into shards where a forward gathered them
    buffers = [name for name, _ in model.named_buffers() if name in state_dict]
    return {name: state_dict[name] for name in [*(name for name, _ in model.named_parameters()), *buffers]}


def _tensors_and_state(
    accelerator: Accelerator,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: MovingAverage | None,
    state: dict,
) -> tuple[dict[str, dict[str, torch.Tensor]], dict]:
    """Return the tensors of each file, possibly sharded, and `state` with the numbers that belong to them."""
    moments, numbers = _optimizer_state(optimizer)
    files = {MODEL: model_tensors(accelerator.unwrap_model(model, keep_torch_compile=False)), OPTIMIZER: moments}
    scaler = None if accelerator.scaler is None else accelerator.scaler.state_dict()
    state = {**state, "optimizer": numbers, "scaler": scaler}
    if ema is not None:
        files[AVERAGE] = ema.weights
        state["average"] = {"num_updates": ema.num_updates}
    return files, state


def _find_latest(output_dir: str | Path) -> Path:
    folder, damaged = Path(output_dir, FOLDER), []
    for path in reversed(step_folders(output_dir)):
        problem = verify_checkpoint(path)
        if problem is None:
            for message in damaged:
                logger.warning(f"checkpoint {message}; {path} is used instead")
            return path
        damaged.append(f"{path} is damaged: {problem}")
    got = "; ".join(["no checkpoint that is whole", *damaged]) if damaged else "no checkpoint"
    raise FileNotFoundError(f"resume_from_checkpoint: got {got} in {folder}, expected step-N folders")


def _start(final: Path, needed: int) -> None:
    atomic_folder.start(final)
    if shutil.disk_usage(final.parent).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _finish(final: Path, texts: dict[str, str], limit: int | None, best: bool) -> None:
    for name, text in texts.items():
        (atomic_folder.aside(final, atomic_folder.PARTIAL) / name).write_text(text, encoding="utf-8")
    atomic_folder.finish(final)
    if best:
        atomic_folder.duplicate(final, final.with_name(BEST))
    if limit:
        older = [path for path in list_checkpoints(final.parent.parent) if step_number(path) <= step_number(final)]
        for path in older[:-limit]:
            atomic_folder.remove(path)


@torch.no_grad()
def _restore(tensors: dict[str, torch.Tensor], path: Path) -> None:
    saved = load_file(path)
    expected = {name: list(tensor.shape) for name, tensor in tensors.items()}
    check_same("model", path, {name: list(tensor.shape) for name, tensor in saved.items()}, expected)
    for name, tensor in tensors.items():
        tensor.copy_(shard_like(saved[name], tensor))


# `torch.distributed.checkpoint.state_dict` would gather and shard these as well, but a run would not resume exactly: it
# creates the state of a weight that has had no gradient yet (step 1, where AdamW has none), and it names weights where
# saved checkpoints number them.
def _optimizer_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict]:
    """Return the tensors of an optimizer's state by `{parameter}.{name}`; its groups and its other values."""
    state_dict = optimizer.state_dict()
    tensors, values = {}, {}
    for parameter, entries in state_dict["state"].items():
        for name, value in entries.items():
            (tensors if torch.is_tensor(value) else values)[f"{parameter}.{name}"] = value
    return tensors, {"groups": state_dict["param_groups"], "values": values}


def _optimizer_state_dict(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], numbers: dict) -> dict:
    """Return the state dict of what `_optimizer_state` returned, sharded like the weights."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state: dict[int, dict] = {}
    for key, value in {**tensors, **numbers["values"]}.items():
        parameter, name = key.split(".", 1)
        if torch.is_tensor(value) and value.shape == weights[int(parameter)].shape:
            value = shard_like(value, weights[int(parameter)])
        state.setdefault(int(parameter), {})[name] = value
    return {"state": state, "param_groups": numbers["groups"]}


def _flatten(values: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in json.loads(json.dumps(values)).items():
        nested = isinstance(value, dict)
        flat.update(_flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value})
    return flat


def _on_main_process(accelerator: Accelerator, final: Path, needed: int, work: Callable, *arguments: object) -> None:
    """Do a part of saving on the main process; every process raises an `OSError` that explains where it fails."""

    def explained() -> None:
        try:
            work(*arguments)
        except (OSError, SafetensorError) as error:
            raise OSError(_explain(error, final, needed)) from error

    decided_by_main_process(accelerator, explained)


def _explain(error: Exception, final: Path, needed: int) -> str:
    """Clean up after a checkpoint that could not be written; return why, and which checkpoint is the last whole one."""
    with suppress(OSError):
        atomic_folder.tidy(final.parent)
    existing = next(path for path in final.absolute().parents if path.is_dir())
    free = shutil.disk_usage(existing).free
    intact = next((path for path in reversed(step_folders(final.parent.parent)) if not verify_checkpoint(path)), None)
    last = f"the last whole checkpoint is {intact}" if intact else "there is no whole checkpoint"
    reason = getattr(error, "strerror", None) or error
    return f"checkpoint {final}: cannot be written ({reason}), got {free} bytes free, expected {needed}; {last}"
