"""Checkpoints of a small module: what they hold, that they restore to the bit, and which of them remain."""

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from checkpointed_run import CheckpointedRun, same
from forked_programs import fork_processes, wait_for_all
from safetensors.torch import load_file
from storyattn.training.common import atomic_folder
from storyattn.training.engine.checkpoints import find_checkpoint, read_state, verify_checkpoint
from storyattn.training.engine.distributed import decided_by_main_process


@pytest.fixture
def run(tmp_path) -> CheckpointedRun:
    return CheckpointedRun(tmp_path / "run")


def test_a_loaded_run_goes_on_as_if_nothing_had_been(run):
    run.train(3)
    checkpoint = run.save()
    run.train(2)
    again = CheckpointedRun(run.folder)
    again.train(1)
    again.load(checkpoint)
    assert again.step == 3 and again.ema.num_updates == 3
    again.train(2)
    assert same(run.tensors(), again.tensors())
    torch.rand(1)
    again.train(1)
    run.train(1)
    assert not same(run.tensors(), again.tensors())


def test_tied_weights_are_written_once_and_buffers_that_are_saved(run):
    checkpoint = run.train_and_save()
    weights = {"first.weight", "first.bias", "second.bias"}
    assert set(load_file(checkpoint / "model.safetensors")) == {*weights, "saved"}
    average = load_file(checkpoint / "average.safetensors")
    assert set(average) == weights
    assert all(torch.equal(average[name], run.ema.weights[name].cpu()) for name in weights)


def test_a_compiled_model_has_the_names_of_its_module(run):
    plain = load_file(run.train_and_save() / "model.safetensors")
    run.model = torch.compile(run.model, backend="eager")
    checkpoint = run.save()
    assert set(load_file(checkpoint / "model.safetensors")) == set(plain)
    run.load(checkpoint)


def test_the_manifest_has_the_size_and_sum_of_every_file(run):
    checkpoint = run.train_and_save()
    files = json.loads((checkpoint / "manifest.json").read_text())["files"]
    assert set(files) == {path.name for path in checkpoint.iterdir()} - {"manifest.json"}
    expected = {"model", "average", "optimizer", "random-states-0", "state"}
    assert {name.split(".")[0] for name in files} == expected
    for name, entry in files.items():
        content = (checkpoint / name).read_bytes()
        assert entry == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert verify_checkpoint(checkpoint) is None
    assert not list((run.folder / "checkpoints").glob(".*"))


def test_other_weights_are_refused(run):
    checkpoint = run.train_and_save()
    run.model.extra = torch.nn.Parameter(torch.zeros(2))
    with pytest.raises(ValueError, match=r"another model: extra: got None, expected \[2\]"):
        run.load(checkpoint)


def test_the_best_stays_whatever_the_limit(run):
    run.train_and_save(2)
    best = run.train_and_save(2, best=True)
    best_folder = run.folder / "checkpoints" / "best"
    assert all((best_folder / path.name).samefile(path) for path in best.iterdir())
    for _ in range(3):
        run.train_and_save(2)
    assert run.names() == ["best", "step-4", "step-5"]
    assert verify_checkpoint(best_folder) is None and read_state(best_folder)["step"] == 2
    run.train_and_save(2, best=True)
    assert run.names() == ["best", "step-5", "step-6"] and read_state(best_folder)["step"] == 6


def test_the_best_is_copied_where_nothing_can_be_linked(run, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    best = run.train_and_save(best=True)
    best_folder = run.folder / "checkpoints" / "best"
    assert verify_checkpoint(best_folder) is None and not (best_folder / "state.json").samefile(best / "state.json")


def test_later_checkpoints_of_a_run_that_was_left_do_not_count(run):
    run.train(1)
    for run.step in (5, 9):
        run.save()
    for run.step in (6, 7):
        run.save(1)
    assert run.names() == ["step-7", "step-9"]


def in_process(folder: Path) -> None:
    """Train with shards, save, fail to save, and go on from what was saved."""
    run = CheckpointedRun(folder, sharded=True)
    run.train(2)
    saved = run.tensors()
    run.save(best=True)
    run.train(1)
    atomic_folder.finish = fail_to_finish
    with pytest.raises(OSError, match="Input/output error.*the last whole checkpoint is .*step-2"):
        run.save()
    again = CheckpointedRun(folder, sharded=True)
    again.load(decided_by_main_process(run.accelerator, find_checkpoint, "latest", folder))
    assert same(again.tensors(), saved)
    again.train(1)
    assert same(again.tensors(), run.tensors())
    assert again.model.first.weight.to_local().shape[0] == 32
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        decided_by_main_process(run.accelerator, find_checkpoint, "latest", folder / "nowhere")
    torch.distributed.destroy_process_group()


def fail_to_finish(final: Path) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_two_processes_with_shards_write_whole_tensors_and_share_errors(tmp_path):
    with fork_processes(2, in_process, tmp_path / "run", log=tmp_path / "log") as programs:
        assert wait_for_all(programs) == [0, 0], (tmp_path / "log").read_text()[-3000:]
    checkpoint = find_checkpoint("latest", tmp_path / "run")
    assert (checkpoint / "random-states-1.json").is_file()
    alone = CheckpointedRun(tmp_path / "alone")
    alone.load(checkpoint)
    weights = load_file(checkpoint / "model.safetensors")
    assert weights["first.weight"].shape == (64, 64)
    assert torch.equal(alone.model.first.weight.cpu(), weights["first.weight"])
    alone.train(1)
