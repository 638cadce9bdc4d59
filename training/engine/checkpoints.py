"""
Checkpoints from which a run goes on as if it had not been interrupted: `output_dir/checkpoints/step-N`.

Each holds `model.safetensors`, `average.safetensors` (with EMA), `optimizer.safetensors`, `state.json` (configuration,
position, schedule), `random-states-R.json` of every process R, and `manifest.json` with the size and sum of each file.
Tensors are whole, however many processes had their parts. Nothing is pickled. `checkpoints/best` is one more name for
the best of them. They are complete or absent at any moment (`atomic_folder`).
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
from accelerate.utils import gather_object
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers.utils import logging

from . import atomic_folder
from .distributed import decided_by_main_process, gather_whole, placed_like
from .random_states import random_states, set_random_states

logger = logging.get_logger(__name__)

FOLDER, BEST = "checkpoints", "best"
MODEL, AVERAGE, OPTIMIZER, STATE = "model.safetensors", "average.safetensors", "optimizer.safetensors", "state.json"
EXPECTED = (MODEL, OPTIMIZER, STATE)
SLACK = 2**20  # bytes beside the tensors: headers, the manifest, blocks that are not full
# Written by the library or by where a configuration came from; says nothing about the model.
IRRELEVANT_KEYS = ("transformers_version", "_name_or_path", "auto_map", "architectures", "dtype", "torch_dtype")


def find_checkpoint(resume: str, output_dir: str | Path) -> Path:
    """
    The folder of a whole checkpoint: for `latest` the newest one of `output_dir`, else that of the path.

    Damaged ones are passed over with a warning. Raises `FileNotFoundError` where there is none, `ValueError` for a path
    of a damaged one.
    """
    if resume == "latest":
        return _find_latest(output_dir)
    path = Path(resume).expanduser()
    if not any((path / name).is_file() for name in (STATE, atomic_folder.MANIFEST)):
        raise FileNotFoundError(
            f"resume_from_checkpoint: found no state.json in {str(path)!r}, expected 'latest' or a step-N folder"
        )
    if problem := verify_checkpoint(path):
        raise ValueError(f"resume_from_checkpoint: found {str(path)!r} damaged, expected a whole one: {problem}")
    return path


def list_checkpoints(output_dir: str | Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first; their files have the right sizes."""
    return [
        path for path in step_folders(output_dir) if atomic_folder.find_problem(path, EXPECTED, hashes=False) is None
    ]


def step_folders(output_dir: str | Path) -> list[Path]:
    """The folders `step-N` of a run, damaged ones included, oldest first."""
    return sorted((path for path in Path(output_dir, FOLDER).glob("step-*") if path.name[5:].isdecimal()), key=_step)


def verify_checkpoint(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, in words; `None` where every byte is as it was written."""
    return atomic_folder.find_problem(checkpoint, EXPECTED)


def read_state(checkpoint: Path) -> dict:
    """The `state.json` of a checkpoint; raises `ValueError` where it cannot be read."""
    try:
        return json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"checkpoint {checkpoint}: state.json is no JSON ({error}), expected one of training"
        ) from error


def check_same(kind: str, checkpoint: Path, found: dict, expected: dict) -> None:
    """
    Refuses a checkpoint whose `found` values differ from those `expected` by this run, both possibly nested.

    Raises `ValueError` that names every differing key with the checkpoint's value and this run's.
    """
    found, expected = _flatten(found), _flatten(expected)
    keys = [key for key in sorted({*found, *expected}) if found.get(key) != expected.get(key)]
    keys = [key for key in keys if key.rsplit(".", 1)[-1] not in IRRELEVANT_KEYS]
    if keys:
        named = "; ".join(f"{key}: found {found.get(key)!r}, expected {expected.get(key)!r}" for key in keys)
        raise ValueError(f"checkpoint {checkpoint} is of another {kind}: {named}")


def save_checkpoint(
    accelerator,
    model,
    optimizer,
    average,
    output_dir: str | Path,
    state: dict,
    limit: int | None,
    *,
    best: bool = False,
) -> None:
    """
    Writes `output_dir/checkpoints/step-{state["step"]}`, then removes all but the newest `limit` up to it. With `best`
    it is kept as `checkpoints/best` as well, whatever `limit` is.

    Called by every process. `state` is JSON; what the optimizer, the scaler and `average`, a `MovingAverage` or `None`,
    keep beside tensors is added to it. Raises `OSError` in every process where the checkpoint cannot be written; the
    earlier ones are as they were.
    """
    final = Path(output_dir, FOLDER, f"step-{state['step']}")
    moments, rest = _optimizer_state(optimizer)
    files = {MODEL: model_tensors(accelerator.unwrap_model(model, keep_torch_compile=False)), OPTIMIZER: moments}
    scaler = None if accelerator.scaler is None else accelerator.scaler.state_dict()
    state = {**state, "optimizer": rest, "scaler": scaler}
    if average is not None:
        files[AVERAGE] = average.weights
        state["average"] = {"num_updates": average.num_updates}
    generators = gather_object([random_states()])
    texts = {f"random-states-{process}.json": json.dumps(states) for process, states in enumerate(generators)}
    texts[STATE] = json.dumps(state, indent=1)
    tensor_bytes = sum(t.numel() * t.element_size() for tensors in files.values() for t in tensors.values())
    needed = tensor_bytes + sum(map(len, texts.values())) + SLACK

    write = partial(_on_main_process, accelerator, final, needed)
    write(_start, final, needed)
    for name, tensors in files.items():
        write(save_file, gather_whole(accelerator, tensors), atomic_folder.aside(final, atomic_folder.PARTIAL) / name)
    write(_finish, final, texts, limit, best)


def load_checkpoint(accelerator, model, optimizer, average, checkpoint: Path, state: dict) -> None:
    """
    Restores weights, their average, the optimizer and this process's random states in place; of a checkpoint of another
    number of processes all but the latter, which is told.

    Raises `FileNotFoundError` where a file of the checkpoint is missing, `ValueError` where tensors are other ones.
    """
    for name in [MODEL, OPTIMIZER, *([AVERAGE] if average is not None else [])]:
        if not (checkpoint / name).is_file():
            raise FileNotFoundError(f"checkpoint {checkpoint}: found no {name}, expected it beside state.json")
    _restore(model_tensors(accelerator.unwrap_model(model, keep_torch_compile=False)), checkpoint / MODEL)
    if average is not None:
        _restore(average.weights, checkpoint / AVERAGE)
        average.num_updates = state["average"]["num_updates"]
    moments = load_file(checkpoint / OPTIMIZER)
    optimizer.load_state_dict(_optimizer_state_dict(optimizer, moments, state["optimizer"]))
    if accelerator.scaler is not None and state["scaler"] is not None:
        accelerator.scaler.load_state_dict(state["scaler"])
    states = [path.name for path in checkpoint.glob("random-states-*.json")]
    if len(states) == accelerator.num_processes:
        own = checkpoint / f"random-states-{accelerator.process_index}.json"
        set_random_states(json.loads(own.read_text(encoding="utf-8")))
    elif accelerator.is_main_process:
        logger.warning(
            f"checkpoint {checkpoint} is of {len(states)} processes and this run of {accelerator.num_processes}: what "
            "is drawn at random within the model, such as dropout, is drawn anew"
        )


def keep_best(checkpoint: Path, output_dir: str | Path, best: dict | None) -> dict | None:
    """
    Makes sure that `checkpoints/best` holds what a run that goes on from `checkpoint` takes for its `best` so far;
    returns that, or `None` with a warning where it is not to be had.
    """
    kept = Path(output_dir, FOLDER, BEST)
    if best is None or best["step"] == read_state(checkpoint)["step"]:
        if best is not None:
            atomic_folder.duplicate(checkpoint, kept)
        return best
    if not verify_checkpoint(kept) and read_state(kept)["step"] == best["step"]:
        return best
    logger.warning(f"{kept} does not hold the best model so far, of step {best['step']}; the best is sought anew")
    return None


def model_tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The parameters and persistent buffers of `model`, those that are tied once, by the first of their names."""
    kept = model.state_dict()  # before the names: it puts weights back into shards where a forward gathered them
    buffers = [name for name, _ in model.named_buffers() if name in kept]
    return {name: kept[name] for name in [*(name for name, _ in model.named_parameters()), *buffers]}


def _find_latest(output_dir: str | Path) -> Path:
    folder, damaged = Path(output_dir, FOLDER), []
    for path in reversed(step_folders(output_dir)):
        problem = verify_checkpoint(path)
        if problem is None:
            for told in damaged:
                logger.warning(f"checkpoint {told}; {path} is used instead")
            return path
        damaged.append(f"{path} is damaged: {problem}")
    found = "; ".join(["no checkpoint that is whole", *damaged]) if damaged else "no checkpoint"
    raise FileNotFoundError(f"resume_from_checkpoint: found {found} in {folder}, expected step-N folders")


def _step(path: Path) -> int:
    return int(path.name[5:])


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
        older = [path for path in list_checkpoints(final.parent.parent) if _step(path) <= _step(final)]
        for path in older[:-limit]:
            atomic_folder.remove(path)


@torch.no_grad()
def _restore(tensors: dict[str, torch.Tensor], path: Path) -> None:
    found = load_file(path)
    expected = {name: list(tensor.shape) for name, tensor in tensors.items()}
    check_same("model", path, {name: list(tensor.shape) for name, tensor in found.items()}, expected)
    for name, tensor in tensors.items():
        tensor.copy_(placed_like(found[name], tensor))


def _optimizer_state(optimizer) -> tuple[dict[str, torch.Tensor], dict]:
    """The tensors of an optimizer's state by `{parameter}.{name}`; its groups and the values that are no tensors."""
    state_dict = optimizer.state_dict()
    tensors, values = {}, {}
    for parameter, entries in state_dict["state"].items():
        for name, value in entries.items():
            (tensors if torch.is_tensor(value) else values)[f"{parameter}.{name}"] = value
    return tensors, {"groups": state_dict["param_groups"], "values": values}


def _optimizer_state_dict(optimizer, tensors: dict[str, torch.Tensor], rest: dict) -> dict:
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state: dict[int, dict] = {}
    for key, value in {**tensors, **rest["values"]}.items():
        parameter, name = key.split(".", 1)
        if torch.is_tensor(value) and value.shape == weights[int(parameter)].shape:
            value = placed_like(value, weights[int(parameter)])
        state.setdefault(int(parameter), {})[name] = value
    return {"state": state, "param_groups": rest["groups"]}


def _flatten(values: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in json.loads(json.dumps(values)).items():
        nested = isinstance(value, dict)
        flat.update(_flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value})
    return flat


def _on_main_process(accelerator, final: Path, needed: int, work: Callable, *arguments) -> None:
    """A part of saving, on the main process; where it fails, every process gets an `OSError` that tells what stands."""

    def explained() -> None:
        try:
            work(*arguments)
        except (OSError, SafetensorError) as error:
            raise OSError(_explain(error, final, needed)) from error

    decided_by_main_process(accelerator, explained)


def _explain(error: Exception, final: Path, needed: int) -> str:
    """Clears up after a checkpoint that could not be written and says what there was and is."""
    with suppress(OSError):
        atomic_folder.tidy(final.parent)
    existing = next(path for path in final.absolute().parents if path.is_dir())
    free = shutil.disk_usage(existing).free
    intact = next((path for path in reversed(step_folders(final.parent.parent)) if not verify_checkpoint(path)), None)
    last = f"the last whole checkpoint is {intact}" if intact else "there is no whole checkpoint"
    reason = getattr(error, "strerror", None) or error
    return f"checkpoint {final}: cannot be written ({reason}), found {free} bytes free, expected {needed}; {last}"
