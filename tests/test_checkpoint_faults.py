"""Checkpoints are whole or absent when a process is killed or a disk is full while they are written."""

import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from checkpointed_run import CheckpointedRun
from storyattn.training.engine import checkpoints
from storyattn.training.engine.checkpoints import find_checkpoint, read_state, verify_checkpoint


@pytest.fixture
def run(tmp_path) -> CheckpointedRun:
    return CheckpointedRun(tmp_path / "run")


class Killed(BaseException):
    """Stand for a kill: nothing that handles errors may run."""


# Replaced by what fails: every way in which saving changes the disk.
CHANGES = {
    os: ("replace", "fsync", "mkdir", "link", "unlink", "rmdir"),
    Path: ("write_text",),
    checkpoints: ("save_file",),
}


def fail_at(monkeypatch, number: int, error: BaseException) -> list[str]:
    """Let the change of that number, and all that follow, raise; return the list that names those before it."""
    done = []

    def failing(name: str, change: Callable) -> Callable:
        def changed(*arguments, **options) -> object:
            if len(done) >= number:
                raise error
            done.append(name)
            return change(*arguments, **options)

        return changed

    for owner, changes in CHANGES.items():
        for name in changes:
            monkeypatch.setattr(owner, name, failing(name, getattr(owner, name)))
    return done


def each_failure(
    monkeypatch,
    error: BaseException,
    prepare: Callable[[], CheckpointedRun],
    save: Callable[[CheckpointedRun], object],
) -> Iterator[tuple[CheckpointedRun, BaseException]]:
    """Call `save(prepare())` so that it fails at its first change, at its second ..., until it does not fail."""
    number = 0
    while True:
        run = prepare()
        with monkeypatch.context() as patch:
            done = fail_at(patch, number, error)
            try:
                save(run)
            except type(error) as raised:
                caught = raised
            else:
                assert number > 10 and len(done) == number
                return
        yield run, caught
        number += 1


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path, monkeypatch):
    """While a third one is written, the first is removed, and the best is replaced."""

    def prepare() -> CheckpointedRun:
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        run = CheckpointedRun(tmp_path / "run")
        run.train_and_save(2, best=True)
        run.train_and_save(2)
        run.train(1)
        return run

    for run, _ in each_failure(monkeypatch, Killed(), prepare, lambda run: run.save(2, best=True)):
        latest = find_checkpoint("latest", run.folder)
        assert latest.name in ("step-2", "step-3")
        assert all(verify_checkpoint(path) is None for path in checkpoints.step_folders(run.folder))
        again = CheckpointedRun(run.folder)
        again.load(latest)
        again.train(4 - again.step)
        again.save(2)
        assert not list((run.folder / "checkpoints").glob(".*"))
        best = run.folder / "checkpoints" / "best"
        assert verify_checkpoint(best) is None and read_state(best)["step"] in (1, 3)


def test_a_kill_while_a_checkpoint_is_replaced_leaves_it_or_the_new_one(tmp_path, monkeypatch):
    def prepare() -> CheckpointedRun:
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        run = CheckpointedRun(tmp_path / "run")
        run.train_and_save()
        run.train_and_save()
        run.train(1)
        run.step = 2
        return run

    for run, _ in each_failure(monkeypatch, Killed(), prepare, lambda run: run.save()):
        assert find_checkpoint("latest", run.folder).name in ("step-1", "step-2")
        run.step = 5
        run.save()
        assert run.names() == ["step-1", "step-2", "step-5"]
        replaced = run.folder / "checkpoints" / "step-2"
        assert verify_checkpoint(replaced) is None and read_state(replaced)["average"]["num_updates"] in (2, 3)


def failed_save(run: CheckpointedRun, earlier: Path) -> OSError:
    """Save where that must fail, and check that the earlier checkpoint is as it was; return the error."""
    with pytest.raises(OSError) as raised:
        run.save()
    text = str(raised.value)
    assert f"step-{run.step}: cannot be written" in text and f"the last whole checkpoint is {earlier}" in text
    assert "bytes free, expected" in text
    assert run.names() == [earlier.name] and verify_checkpoint(earlier) is None
    return raised.value


def test_an_error_at_any_moment_says_what_stands(tmp_path, monkeypatch):
    """A disk that is full from some moment on: nothing can be written any more, not even removed."""

    def prepare() -> CheckpointedRun:
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        run = CheckpointedRun(tmp_path / "run")
        run.train_and_save()
        run.train(1)
        return run

    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for run, error in each_failure(monkeypatch, full, prepare, lambda run: run.save()):
        assert "step-2: cannot be written (No space left on device)" in str(error)
        assert "the last whole checkpoint is " in str(error) and "step-" in str(error).rsplit("is ", 1)[1]
        run.save()
        assert run.names() == ["step-1", "step-2"]


def test_too_little_space_is_noticed_before_anything_is_written(run, monkeypatch):
    earlier = run.train_and_save()
    run.train(1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1234))
    monkeypatch.setattr(checkpoints, "save_file", None)
    text = str(failed_save(run, earlier))
    expected = int(text.split("expected ")[1].split(";")[0])
    size = sum(path.stat().st_size for path in earlier.iterdir())
    assert "got 1234 bytes free" in text and size < expected < size + 2 * checkpoints.SLACK_BYTES


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
    assert run.names() == ["step-1", "step-2"]


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
def test_a_full_disk_is_reported(noticed, small_disk, monkeypatch):
    run = CheckpointedRun(small_disk / "run")
    monkeypatch.setattr(checkpoints, "SLACK_BYTES", 2**12)
    earlier = run.train_and_save()
    run.train(1)
    if noticed == "while writing":
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2**40))
    assert "No space left on device" in str(failed_save(run, earlier))


def test_a_disk_that_is_read_only_is_reported(small_disk, monkeypatch):
    run = CheckpointedRun(small_disk / "run")
    monkeypatch.setattr(checkpoints, "SLACK_BYTES", 2**12)
    earlier = run.train_and_save()
    run.train(1)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert "Read-only file system" in str(failed_save(run, earlier))


def test_a_folder_that_cannot_be_written_is_reported(run, monkeypatch):
    earlier = run.train_and_save()
    run.train(1)

    def refuse(path, mode=0o777):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "mkdir", refuse)
    assert "(Permission denied)" in str(failed_save(run, earlier))


def test_a_file_in_place_of_the_folder_is_reported(run):
    run.folder.mkdir()
    (run.folder / "checkpoints").write_text("")
    with pytest.raises(OSError, match=r"\(File exists\), got .* there is no whole checkpoint"):
        run.train_and_save()
