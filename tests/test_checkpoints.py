"""Checkpoints of a small module: whole or absent whatever happens, restored to the bit, passed over where damaged."""

import errno
import hashlib
import json
import os
import random
import resource
import shutil
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from storyattn.training.cli import checkpoints as checkpoints_cli
from storyattn.training.engine import atomic_folder, checkpoints
from storyattn.training.engine.checkpoints import (
    find_checkpoint,
    list_checkpoints,
    load_checkpoint,
    read_state,
    save_checkpoint,
    verify_checkpoint,
)
from storyattn.training.engine.distributed import decided_by_main_process, whole
from storyattn.training.engine.ema import MovingAverage
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard


class Killed(BaseException):
    """Stands for a kill: nothing that handles errors may run."""


class SmallModule(torch.nn.Module):
    """Two weights that are tied, a buffer that is kept and one that is not."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(64, 64), torch.nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.register_buffer("kept", torch.zeros(3))
        self.register_buffer("forgotten", torch.zeros(3), persistent=False)

    def forward(self, x):
        return self.second(self.first(x).relu())


class Run:
    """A training whose steps draw from every random generator."""

    def __init__(self, folder: Path, *, sharded: bool = False):
        torch.manual_seed(0)
        self.folder, self.step = folder, 0
        self.accelerator = Accelerator()
        model = SmallModule()
        if sharded:
            fully_shard(model, mesh=init_device_mesh("cpu", (self.accelerator.num_processes,)))
            self.model, self.optimizer = model, torch.optim.AdamW(model.parameters(), lr=0.1)
        else:
            self.model, self.optimizer = self.accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=0.1))
        self.average = MovingAverage(self.model, 0.9)

    def train(self, steps: int) -> None:
        for _ in range(steps):
            x = torch.rand(4, 64, device=self.accelerator.device) + random.random() + np.random.rand()  # noqa: NPY002
            self.model(x).square().mean().backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.model.kept.add_(1)
            self.average.update(self.model)
            self.step += 1

    def save(self, limit: int | None = None, **options) -> Path:
        state = {"step": self.step, "seconds": 90.0}
        save_checkpoint(
            self.accelerator, self.model, self.optimizer, self.average, self.folder, state, limit, **options
        )
        return self.folder / "checkpoints" / f"step-{self.step}"

    def train_and_save(self, limit: int | None = None, **options) -> Path:
        self.train(1)
        return self.save(limit, **options)

    def load(self, checkpoint: Path) -> None:
        state = read_state(checkpoint)
        load_checkpoint(self.accelerator, self.model, self.optimizer, self.average, checkpoint, state)
        self.step = state["step"]

    def tensors(self) -> list[torch.Tensor]:
        moments = [entry[name] for entry in self.optimizer.state.values() for name in ("exp_avg", "exp_avg_sq", "step")]
        kept = [*self.model.state_dict().values(), *self.average.weights.values(), *moments]
        return [whole(tensor.detach()).clone() for tensor in kept]


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(tmp_path / "run")


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


def hidden(run: Run) -> list[str]:
    return [path.name for path in (run.folder / "checkpoints").glob(".*")]


def names(run: Run) -> list[str]:
    return sorted(path.name for path in (run.folder / "checkpoints").iterdir())


# What is written and restored


def test_a_loaded_run_goes_on_as_if_nothing_had_been(run):
    run.train(3)
    checkpoint = run.save()
    run.train(2)
    again = Run(run.folder)
    again.train(1)
    again.load(checkpoint)
    assert again.step == 3 and again.average.num_updates == 3
    again.train(2)
    assert same(run.tensors(), again.tensors())
    torch.rand(1)
    again.train(1)
    run.train(1)
    assert not same(run.tensors(), again.tensors())


def test_tied_weights_are_written_once_and_buffers_that_are_kept(run):
    checkpoint = run.train_and_save()
    weights = {"first.weight", "first.bias", "second.bias"}
    assert set(load_file(checkpoint / "model.safetensors")) == {*weights, "kept"}
    average = load_file(checkpoint / "average.safetensors")
    assert set(average) == weights
    assert all(torch.equal(average[name], run.average.weights[name].cpu()) for name in weights)


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
    assert verify_checkpoint(checkpoint) is None and not hidden(run)


def test_other_weights_are_refused(run):
    checkpoint = run.train_and_save()
    run.model.extra = torch.nn.Parameter(torch.zeros(2))
    with pytest.raises(ValueError, match=r"another model: extra: found None, expected \[2\]"):
        run.load(checkpoint)


# Kills


# Replaced by what fails: every way in which saving changes the disk.
CHANGES = {
    os: ("replace", "fsync", "mkdir", "link", "unlink", "rmdir"),
    Path: ("write_text",),
    checkpoints: ("save_file",),
}


def fail_at(monkeypatch, number: int, error: BaseException) -> list[str]:
    """Lets the change of that number, and all that follow, raise; gives the list that names those before it."""
    done = []

    def failing(name, change):
        def changed(*arguments, **options):
            if len(done) >= number:
                raise error
            done.append(name)
            return change(*arguments, **options)

        return changed

    for owner, changes in CHANGES.items():
        for name in changes:
            monkeypatch.setattr(owner, name, failing(name, getattr(owner, name)))
    return done


def each_failure(monkeypatch, error: BaseException, prepare, save):
    """Calls `save(prepare())` so that it fails at its first change, at its second ..., until it does not fail."""
    number = 0
    while True:
        subject = prepare()
        with monkeypatch.context() as patch:
            done = fail_at(patch, number, error)
            try:
                save(subject)
            except type(error) as raised:
                caught = raised
            else:
                assert number > 10 and len(done) == number
                return
        yield subject, caught
        number += 1


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path, monkeypatch):
    """While a third one is written, the first is removed, and the best is replaced."""

    def prepare() -> Run:
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        run = Run(tmp_path / "run")
        run.train_and_save(2, best=True)
        run.train_and_save(2)
        run.train(1)
        return run

    for run, _ in each_failure(monkeypatch, Killed(), prepare, lambda run: run.save(2, best=True)):
        latest = find_checkpoint("latest", run.folder)
        assert latest.name in ("step-2", "step-3")
        assert all(verify_checkpoint(path) is None for path in checkpoints.step_folders(run.folder))
        again = Run(run.folder)
        again.load(latest)
        again.train(4 - again.step)
        again.save(2)
        assert not hidden(run)
        best = run.folder / "checkpoints" / "best"
        assert verify_checkpoint(best) is None and read_state(best)["step"] in (1, 3)


def test_a_kill_while_a_checkpoint_is_replaced_leaves_it_or_the_new_one(tmp_path, monkeypatch):
    def prepare() -> Run:
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        run = Run(tmp_path / "run")
        run.train_and_save()
        run.train_and_save()
        run.train(1)
        run.step = 2
        return run

    for run, _ in each_failure(monkeypatch, Killed(), prepare, lambda run: run.save()):
        assert find_checkpoint("latest", run.folder).name in ("step-1", "step-2")
        run.step = 5
        run.save()
        assert names(run) == ["step-1", "step-2", "step-5"]
        replaced = run.folder / "checkpoints" / "step-2"
        assert verify_checkpoint(replaced) is None and read_state(replaced)["average"]["num_updates"] in (2, 3)


# Disks that are full or cannot be written


@pytest.fixture
def refused(run):
    """Saves where that must fail, and checks that the earlier checkpoint is as it was; gives the error's text."""

    def save() -> str:
        earlier = run.train_and_save()
        run.train(1)
        return str(failed_save(run, earlier))

    return save


def failed_save(run: Run, earlier: Path) -> OSError:
    with pytest.raises(OSError) as raised:
        run.save()
    text = str(raised.value)
    assert f"step-{run.step}: cannot be written" in text and f"the last whole checkpoint is {earlier}" in text
    assert "bytes free, expected" in text
    assert names(run) == [earlier.name] and verify_checkpoint(earlier) is None
    return raised.value


def test_an_error_at_any_moment_says_what_stands(tmp_path, monkeypatch):
    """A disk that is full from some moment on: nothing can be written any more, not even removed."""

    def prepare() -> Run:
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        run = Run(tmp_path / "run")
        run.train_and_save()
        run.train(1)
        return run

    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for run, error in each_failure(monkeypatch, full, prepare, lambda run: run.save()):
        assert "step-2: cannot be written (No space left on device)" in str(error)
        assert "the last whole checkpoint is " in str(error) and "step-" in str(error).rsplit("is ", 1)[1]
        run.save()
        assert names(run) == ["step-1", "step-2"]


def test_too_little_space_is_told_before_anything_is_written(run, monkeypatch):
    earlier = run.train_and_save()
    run.train(1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1234))
    monkeypatch.setattr(checkpoints, "save_file", None)
    text = str(failed_save(run, earlier))
    expected = int(text.split("expected ")[1].split(";")[0])
    size = sum(path.stat().st_size for path in earlier.iterdir())
    assert "found 1234 bytes free" in text and size < expected < size + 2 * checkpoints.SLACK


def test_a_disk_that_fills_up_leaves_nothing_behind(run):
    """By the limit of the size of a file, which everybody may set: safetensors fails in the middle of its writing."""
    earlier = run.train_and_save()
    run.train(1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, hard))  # the weights have 16,384 bytes
    try:
        error = failed_save(run, earlier)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "File too large" in str(error)
    run.save()
    assert names(run) == ["step-1", "step-2"]


@pytest.fixture
def small_disk(tmp_path):
    """The folder of a file system with room for a single checkpoint."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("noticed", ["before", "while writing"])
def test_a_full_disk_is_told(noticed, small_disk, monkeypatch):
    run = Run(small_disk / "run")
    monkeypatch.setattr(checkpoints, "SLACK", 2**12)
    earlier = run.train_and_save()
    run.train(1)
    if noticed == "while writing":
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2**40))
    assert "No space left on device" in str(failed_save(run, earlier))


def test_a_disk_that_is_read_only_is_told(small_disk, monkeypatch):
    run = Run(small_disk / "run")
    monkeypatch.setattr(checkpoints, "SLACK", 2**12)
    earlier = run.train_and_save()
    run.train(1)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert "Read-only file system" in str(failed_save(run, earlier))


def test_a_folder_that_cannot_be_written_is_told(run, monkeypatch):
    earlier = run.train_and_save()
    run.train(1)

    def refuse(path, mode=0o777):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "mkdir", refuse)
    assert "(Permission denied)" in str(failed_save(run, earlier))


def test_a_file_in_place_of_the_folder_is_told(run):
    run.folder.mkdir()
    (run.folder / "checkpoints").write_text("")
    with pytest.raises(OSError, match=r"\(File exists\), found .* there is no whole checkpoint"):
        run.train_and_save()


# Damage


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "truncated": (lambda path: os.truncate(path / "model.safetensors", 100), "model.safetensors: found 100 bytes"),
    "flipped": (lambda path: flip(path / "optimizer.safetensors"), "optimizer.safetensors: found SHA-256"),
    "missing": (lambda path: (path / "random-states-0.json").unlink(), "found no random-states-0.json"),
    "unreadable": (lambda path: (path / "state.json").write_text("{"), "state.json: found 1 bytes"),
    "of before": (lambda path: (path / "manifest.json").unlink(), "earlier version and cannot be verified"),
    "no JSON": (lambda path: (path / "manifest.json").write_text("{"), "manifest.json cannot be read"),
    "no manifest": (lambda path: (path / "manifest.json").write_text("[]"), "manifest.json cannot be read"),
    "no files": (
        lambda path: (path / "manifest.json").write_text('{"written": "2026-01-01T00:00:00", "files": {}}'),
        "manifest.json names no model.safetensors",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over(damage, run, caplog):
    damages, told = DAMAGES[damage]
    earlier, later = run.train_and_save(), run.train_and_save()
    assert find_checkpoint("latest", run.folder) == later
    damages(later)
    assert told in verify_checkpoint(later)
    assert find_checkpoint("latest", run.folder) == earlier
    (warning,) = [record.getMessage() for record in caplog.records]
    assert f"{later} is damaged: " in warning and told in warning and f"{earlier} is used instead" in warning
    with pytest.raises(ValueError) as raised:
        find_checkpoint(str(later), run.folder)
    assert str(later) in str(raised.value) and told in str(raised.value)
    assert find_checkpoint(str(earlier), run.folder) == earlier

    damages(earlier)
    with pytest.raises(FileNotFoundError) as missing:
        find_checkpoint("latest", run.folder)
    assert str(earlier) in str(missing.value) and str(later) in str(missing.value) and told in str(missing.value)


def test_only_complete_checkpoints_are_listed(run):
    first, second, third = (run.train_and_save() for _ in range(3))
    assert list_checkpoints(run.folder) == [first, second, third]
    os.truncate(second / "model.safetensors", 100)
    (first / "manifest.json").unlink()
    assert list_checkpoints(run.folder) == [third]


# The best, and the limit


def test_the_best_stays_whatever_the_limit(run):
    run.train_and_save(2)
    best = run.train_and_save(2, best=True)
    kept = run.folder / "checkpoints" / "best"
    assert all((kept / path.name).samefile(path) for path in best.iterdir())
    for _ in range(3):
        run.train_and_save(2)
    assert names(run) == ["best", "step-4", "step-5"]
    assert verify_checkpoint(kept) is None and read_state(kept)["step"] == 2
    run.train_and_save(2, best=True)
    assert names(run) == ["best", "step-5", "step-6"] and read_state(kept)["step"] == 6


def test_the_best_is_copied_where_nothing_can_be_linked(run, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    best = run.train_and_save(best=True)
    kept = run.folder / "checkpoints" / "best"
    assert verify_checkpoint(kept) is None and not (kept / "state.json").samefile(best / "state.json")


def test_later_checkpoints_of_a_run_that_was_left_do_not_count(run):
    run.train(1)
    for run.step in (5, 9):
        run.save()
    for run.step in (6, 7):
        run.save(1)
    assert names(run) == ["step-7", "step-9"]


# Several processes


def in_process(rank: int, port: int, folder: Path) -> None:
    """Trains with shards, saves, fails to save, and goes on from what was saved."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1")
    os.environ.update(MASTER_PORT=str(port), ACCELERATE_USE_CPU="true")
    torch.set_num_threads(1)
    run = Run(folder, sharded=True)
    run.train(2)
    saved = run.tensors()
    run.save(best=True)
    run.train(1)
    atomic_folder.finish = fail_to_finish
    with pytest.raises(OSError, match="Input/output error.*the last whole checkpoint is .*step-2"):
        run.save()
    again = Run(folder, sharded=True)
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
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    torch.multiprocessing.spawn(in_process, (port, tmp_path / "run"), nprocs=2)
    checkpoint = find_checkpoint("latest", tmp_path / "run")
    assert (checkpoint / "random-states-1.json").is_file()
    alone = Run(tmp_path / "alone")
    alone.load(checkpoint)
    weights = load_file(checkpoint / "model.safetensors")
    assert weights["first.weight"].shape == (64, 64)
    assert torch.equal(alone.model.first.weight.cpu(), weights["first.weight"])
    alone.train(1)


# The command


@pytest.fixture
def listed(capsys):
    """Runs `storyattn checkpoints`; gives its exit status and lines."""

    def run_command(folder: Path) -> tuple[int, list[str]]:
        capsys.readouterr()
        try:
            checkpoints_cli.main([str(folder)])
            status = 0
        except SystemExit as ended:
            status = ended.code
        told = capsys.readouterr()
        return status, [*told.out.splitlines(), *told.err.splitlines()]

    return run_command


def test_checkpoints_are_listed(run, listed):
    run.train_and_save(best=True)
    run.train(1)
    state = {"step": 2, "seconds": 630.0, "eval": {"loss": 1.25}}
    state["command"] = "train.py --output_dir 'my run' --resume_from_checkpoint latest"
    save_checkpoint(run.accelerator, run.model, run.optimizer, run.average, run.folder, state, None)
    status, (header, first, second, best, *_, command) = listed(run.folder)
    assert status == 0 and header.split()[:3] == ["checkpoint", "written", "MB"]
    assert first.split()[0] == "step-1" and first.split()[-4:] == ["1.5", "-", "best", "yes"]
    assert second.split()[0] == "step-2" and second.split()[-4:] == ["10.5", "1.2500", "-", "yes"]
    assert best.startswith("best (step 1) ") and best.endswith(" yes")
    size = sum(path.stat().st_size for path in (run.folder / "checkpoints" / "step-2").iterdir())
    assert second.split()[3] == f"{size / 1e6:.1f}"
    assert command == state["command"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_listed_as_such(damage, run, listed):
    damages, told = DAMAGES[damage]
    run.train_and_save()
    damages(run.train_and_save())
    status, lines = listed(run.folder)
    assert status == 1 and lines[1].endswith(" yes") and " no: " in lines[2] and told in lines[2]


def test_a_folder_without_checkpoints_is_one_line_and_status_2(tmp_path, listed):
    status, (line,) = listed(tmp_path)
    assert status == 2 and "got no checkpoint in" in line
    status, (line,) = listed(tmp_path / "nowhere")
    assert status == 2 and "expected the output_dir of a run" in line
