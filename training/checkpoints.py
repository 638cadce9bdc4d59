"""
Checkpoints from which a run goes on as if it had not been interrupted: `output_dir/checkpoints/step-N`.

Each holds `model.safetensors`, `average.safetensors` (with EMA), `optimizer.safetensors`, `state.json` (configuration,
position, schedule) and `random-states-R.json` of every process R. Nothing is pickled.
"""

import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, load_model, save_file, save_model

FOLDER = "checkpoints"
# Written by the library or by where a configuration came from; says nothing about the model.
IRRELEVANT_KEYS = ("transformers_version", "_name_or_path", "auto_map", "architectures", "dtype", "torch_dtype")


def find_checkpoint(resume: str, output_dir: str | Path) -> Path:
    """
    The folder of a checkpoint: `latest` of `output_dir`, or a path.

    Raises `FileNotFoundError` where there is none.
    """
    if resume == "latest":
        found = list_checkpoints(output_dir)
        if not found:
            folder = Path(output_dir, FOLDER)
            raise FileNotFoundError(f"resume_from_checkpoint: found no checkpoint in {folder}, expected step-N folders")
        return found[-1]
    path = Path(resume).expanduser()
    if not (path / "state.json").is_file():
        raise FileNotFoundError(
            f"resume_from_checkpoint: found no state.json in {str(path)!r}, expected 'latest' or a step-N folder"
        )
    return path


def list_checkpoints(output_dir: str | Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    found = [path for path in Path(output_dir, FOLDER).glob("step-*") if path.name[5:].isdecimal()]
    return sorted(found, key=lambda path: int(path.name[5:]))


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
    accelerator, model, optimizer, average, output_dir: str | Path, state: dict, limit: int | None
) -> None:
    """
    Writes `output_dir/checkpoints/step-{state["step"]}` aside and renames it, then removes all but the newest `limit`.

    Called by every process. `state` is JSON; what the optimizer keeps beside tensors is added to it. `average` is the
    `AveragedModel` or `None`.
    """
    folder = Path(output_dir, FOLDER)
    final, partial = folder / f"step-{state['step']}", folder / f".step-{state['step']}.partial"
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    accelerator.wait_for_everyone()
    states = partial / f"random-states-{accelerator.process_index}.json"
    states.write_text(json.dumps(random_states()), encoding="utf-8")
    if accelerator.is_main_process:
        save_model(accelerator.unwrap_model(model), str(partial / "model.safetensors"))
        if average is not None:
            save_model(average, str(partial / "average.safetensors"))
        tensors, groups = _optimizer_state(optimizer)
        save_file(tensors, partial / "optimizer.safetensors")
        scaler = accelerator.scaler.state_dict() if accelerator.scaler is not None else None
        state = {**state, "optimizer": groups, "scaler": scaler}
        (partial / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        shutil.rmtree(final, ignore_errors=True)
        os.replace(partial, final)
        if limit:
            for old in list_checkpoints(output_dir)[:-limit]:
                shutil.rmtree(old)
    accelerator.wait_for_everyone()


def load_checkpoint(accelerator, model, optimizer, average, checkpoint: Path, state: dict) -> None:
    """
    Restores weights, their average, the optimizer and this process's random states in place.

    Raises `FileNotFoundError` where a file of the checkpoint is missing.
    """
    names = ["model.safetensors", "optimizer.safetensors", f"random-states-{accelerator.process_index}.json"]
    for name in names + (["average.safetensors"] if average is not None else []):
        if not (checkpoint / name).is_file():
            raise FileNotFoundError(f"checkpoint {checkpoint}: found no {name}, expected it beside state.json")
    load_model(accelerator.unwrap_model(model), str(checkpoint / "model.safetensors"))
    if average is not None:
        load_model(average, str(checkpoint / "average.safetensors"))
    tensors = load_file(checkpoint / "optimizer.safetensors")
    optimizer.load_state_dict(_optimizer_state_dict(tensors, state["optimizer"]))
    if accelerator.scaler is not None and state["scaler"] is not None:
        accelerator.scaler.load_state_dict(state["scaler"])
    set_random_states(json.loads((checkpoint / names[-1]).read_text(encoding="utf-8")))


def random_states() -> dict:
    """The states of the random generators of Python, NumPy, torch and this process's GPU, as JSON."""
    name, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return {
        "python": random.getstate(),
        "numpy": [name, keys.tolist(), position, has_gauss, gauss],
        "torch": _to_hex(torch.get_rng_state()),
        "cuda": None if cuda is None else _to_hex(cuda),
    }


def set_random_states(states: dict) -> None:
    """Restores what `random_states` returned."""
    version, keys, gauss = states["python"]
    random.setstate((version, tuple(keys), gauss))
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(_from_hex(states["torch"]))
    if states["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(_from_hex(states["cuda"]))


def _optimizer_state(optimizer) -> tuple[dict[str, torch.Tensor], dict]:
    """The tensors of an optimizer's state by `{parameter}.{name}`; its groups and the values that are no tensors."""
    state_dict = optimizer.state_dict()
    tensors, values = {}, {}
    for parameter, entries in state_dict["state"].items():
        for name, value in entries.items():
            kept = tensors if torch.is_tensor(value) else values
            kept[f"{parameter}.{name}"] = value.contiguous() if torch.is_tensor(value) else value
    return tensors, {"groups": state_dict["param_groups"], "values": values}


def _optimizer_state_dict(tensors: dict[str, torch.Tensor], rest: dict) -> dict:
    state: dict[int, dict] = {}
    for key, value in {**tensors, **rest["values"]}.items():
        parameter, name = key.split(".", 1)
        state.setdefault(int(parameter), {})[name] = value
    return {"state": state, "param_groups": rest["groups"]}


def _flatten(values: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in json.loads(json.dumps(values)).items():
        nested = isinstance(value, dict)
        flat.update(_flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value})
    return flat


def _to_hex(state: torch.Tensor) -> str:
    return state.cpu().numpy().tobytes().hex()


def _from_hex(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8).clone()
