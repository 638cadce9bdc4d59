"""What needs a CUDA device: the precisions of one GPU, compiled blocks, and resuming with a scaler."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_runs import QUICK, read_log, train_with

FLAGS = {**QUICK, "max_train_steps": 40, "learning_rate": 3e-3, "eval_steps": 0, "save_steps": 20, "logging_steps": 1}

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


@pytest.fixture
def train(stories_folder, small_config_file, tmp_path) -> Callable[..., tuple[list[dict], Path]]:
    """Train on the GPU with flags; returns the training lines of the log, and the folder."""

    def run(name: str, **flags) -> tuple[list[dict], Path]:
        data = {"config": small_config_file, "dataset": stories_folder, "output_dir": tmp_path / name}
        train_with({**data, **FLAGS, **flags})
        return [line for line in read_log(tmp_path / name) if "lr" in line], tmp_path / name

    return run


@pytest.mark.parametrize("changes", [{"mixed_precision": "bf16"}, {"mixed_precision": "fp16"}, {"compile": "true"}])
def test_losses_fall_as_in_32_bits(train, changes):
    plain, _ = train("plain", mixed_precision="no")
    lines, folder = train("other", **changes)
    losses, expected = ([line["loss"] for line in run[-5:] if "loss" in line] for run in (lines, plain))
    assert sum(losses) / len(losses) == pytest.approx(sum(expected) / len(expected), rel=0.1)
    assert lines[-1]["bad_steps"] == 0
    assert all(value.isfinite().all() for value in load_file(folder / "model.safetensors").values())


def test_a_scaled_run_resumes_with_its_scale(train):
    _, folder = train("run", mixed_precision="fp16")
    scales = [
        json.loads((folder / "checkpoints" / f"step-{step}" / "state.json").read_text())["scaler"]["scale"]
        for step in (20, 40)
    ]
    assert all(scale > 1 for scale in scales)
    (folder / "checkpoints" / "step-40").rename(folder / "gone")
    lines, _ = train("run", mixed_precision="fp16", resume_from_checkpoint="latest")
    assert [line["step"] for line in lines] == list(range(1, 41))
