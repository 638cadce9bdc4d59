"""Several processes against one: the same losses and weights with a whole model in each, and with its shards."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import SMALL_CONFIG, draw_story, write_data_set
from forked_programs import ROOT, fork_processes, train_program, wait_for_all
from safetensors.torch import load_file
from training_runs import checkpoint_tensors, read_log, train_with

KINDS = ("DDP", "FSDP2")
FLAGS = {"max_train_steps": 6, "warmup_steps": 2, "logging_steps": 1, "eval_steps": 3, "save_steps": 3}
FLAGS |= {"eval_batch_size": 4, "max_eval_windows": 4, "max_test_windows": 4, "max_grad_norm": 0.5}

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch has no gloo here")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict:
    """Flags of a configuration without dropout, and of stories of unequal length some of whose captions are missing."""
    folder = tmp_path_factory.mktemp("processes")
    config = json.loads(json.dumps(SMALL_CONFIG))
    config["text_config"] |= {"dropout": 0.0, "attention_dropout": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    seeds = {"train": range(22), "validation": range(100, 104), "test": range(200, 204)}
    write_data_set(folder, {split: [draw_story(seed, 1 + seed % 4) for seed in seeds[split]] for split in seeds})
    return {"config": folder / "config.json", "dataset": folder}


def run(kind: str, output_dir: Path, flags: dict, *, results: bool = False) -> None:
    """Train in two processes on the CPU to the end; they print to `{output_dir}.log`."""
    log = output_dir.parent / f"{output_dir.name}.log"
    flags = {**flags, "output_dir": output_dir}
    with fork_processes(2, train_program, flags, kind == "FSDP2", results, log=log) as programs:
        assert wait_for_all(programs) == [0, 0], log.read_text()[-3000:]


def all_tensors(output_dir: Path, step: int = 6) -> dict[str, torch.Tensor]:
    """Return all tensors of a checkpoint, by file and name."""
    return {
        f"{name}/{key}": value
        for name in ("model", "average", "optimizer")
        for key, value in checkpoint_tensors(output_dir, step, name).items()
    }


def read_losses(output_dir: Path) -> list[dict]:
    """Return the training lines of a run's log."""
    return [line for line in read_log(output_dir) if "loss" in line]


def alignment_of(line: dict) -> float:
    return line["loss_parts"]["alignment"]


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory, one_thread) -> Path:
    """A run of one process with batches of six stories."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    train_with({**FLAGS, **data, "train_batch_size": 6, "output_dir": folder})
    return folder


@pytest.fixture(scope="module", params=KINDS)
def together(request, data, tmp_path_factory) -> tuple[str, Path, dict]:
    """The same in two processes with batches of three."""
    folder = tmp_path_factory.mktemp(request.param) / "run"
    flags = {**FLAGS, **data, "train_batch_size": 3}
    run(request.param, folder, flags, results=True)
    return request.param, folder, flags


@pytest.mark.slow
def test_two_processes_train_as_one(alone, together):
    _, folder, _ = together
    losses, expected = read_losses(folder), read_losses(alone)
    assert len(losses) == len(expected) == 6
    for name, read in {"norm": lambda line: line["grad_norm"], "alignment": alignment_of}.items():
        apart = [abs(read(line) / read(other) - 1) for line, other in zip(losses, expected)]
        assert max(apart) < 1e-5, (name, apart)
    for line, other in zip(losses, expected):
        assert line["loss"] == pytest.approx(other["loss"], rel=1e-5)
    trained, expected = all_tensors(folder), all_tensors(alone)
    assert trained.keys() == expected.keys()
    for name in expected:
        if not name.startswith("optimizer/"):
            assert torch.allclose(trained[name], expected[name], rtol=0, atol=1e-4), name
    published = load_file(folder / "model.safetensors")
    assert all(
        torch.allclose(value, trained[f"average/{name}"]) for name, value in published.items() if "lm_" not in name
    )


@pytest.mark.slow
def test_two_processes_resume_where_they_were(together, tmp_path):
    kind, folder, flags = together
    shutil.copytree(folder / "checkpoints" / "step-3", tmp_path / "run" / "checkpoints" / "step-3")
    run(kind, tmp_path / "run", {**flags, "resume_from_checkpoint": "latest"})
    trained, expected = all_tensors(tmp_path / "run"), all_tensors(folder)
    assert trained.keys() == expected.keys() and all(torch.equal(trained[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_shards_compute_in_bfloat16_what_whole_models_do(data, tmp_path):
    """The first losses are of the same weights; counts and targets must not be rounded."""
    flags = {**FLAGS, **data, "train_batch_size": 3, "max_train_steps": 2, "eval_steps": 0, "save_steps": 0}
    for kind in KINDS:
        run(kind, tmp_path / kind, {**flags, "mixed_precision": "bf16"})
    shards, whole = (read_losses(tmp_path / kind) for kind in ("FSDP2", "DDP"))
    for name, part in whole[0]["loss_parts"].items():
        assert shards[0]["loss_parts"][name] == pytest.approx(part, rel=1e-3), name
    assert shards[1]["loss"] == pytest.approx(whole[1]["loss"], rel=0.02)


@pytest.mark.slow
def test_a_run_of_one_process_goes_on_in_two(alone, data, tmp_path):
    shutil.copytree(alone / "checkpoints" / "step-3", tmp_path / "run" / "checkpoints" / "step-3")
    run("FSDP2", tmp_path / "run", {**FLAGS, **data, "train_batch_size": 3, "resume_from_checkpoint": "latest"})
    trained, expected = all_tensors(tmp_path / "run"), all_tensors(alone)
    assert all(
        torch.allclose(trained[name], expected[name], rtol=0, atol=1e-4) for name in expected if "optimizer" not in name
    )
    assert "is of 1 processes and this run of 2" in (tmp_path / "run.log").read_text()


@pytest.mark.slow
def test_two_processes_stop_early_together(data, tmp_path):
    """Weights that stay as they are get no better."""
    flags = {**FLAGS, **data, "train_batch_size": 3, "max_train_steps": 8, "eval_steps": 2}
    flags["early_stopping_patience"] = 2
    run("DDP", tmp_path / "run", {**flags, "learning_rate": 1e-30, "weight_decay": 0, "use_ema": "false"}, results=True)
    assert "stopped early, after step 6 of 8" in (tmp_path / "run.log").read_text()
    assert (tmp_path / "run" / "checkpoints" / "step-6").is_dir() and (tmp_path / "run" / "results.json").exists()


@pytest.mark.slow
def test_processes_without_a_group_are_refused(data, tmp_path):
    flags = {**FLAGS, **data, "output_dir": tmp_path / "run"}
    log = tmp_path / "run.log"
    with fork_processes(2, train_program, flags, log=log, ACCELERATE_USE_CPU="false") as programs:
        assert set(wait_for_all(programs)) <= {2, None}
    assert "error: processes: got 2 without a process group" in log.read_text()


@pytest.mark.slow
def test_two_processes_end_together_at_a_signal(data, tmp_path):
    """A signal that `torchrun` has and passes on."""
    flags = {**FLAGS, **data, "train_batch_size": 3, "max_train_steps": 100000, "eval_steps": 0, "save_steps": 0}
    metrics, log = tmp_path / "run" / "metrics.jsonl", tmp_path / "run.log"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", ROOT / "train.py"]
    command += [f"--{name}={value}" for name, value in {**flags, "output_dir": tmp_path / "run"}.items()]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    with log.open("w") as file:
        process = subprocess.Popen(list(map(str, command)), stdout=file, stderr=file, env=environment, cwd=ROOT)
    until = time.monotonic() + 120
    while not (metrics.exists() and len(metrics.read_text().splitlines()) > 3):
        assert process.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) != 0
    text = log.read_text()
    assert text.count("stopped by SIGTERM after step") == 1 and "--resume_from_checkpoint latest" in text
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    states = sorted(path.name for path in checkpoint.glob("random-states-*"))
    assert states == ["random-states-0.json", "random-states-1.json"]
