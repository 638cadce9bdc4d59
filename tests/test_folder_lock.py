"""Two trainings in one output folder: the second is refused, and the lock of a process that is gone is free."""

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from accelerate import Accelerator
from storyattn.training.common import folder_lock
from storyattn.training.common.folder_lock import LOCK
from storyattn.training.engine.run_folder import locked_run_folder

pytestmark = pytest.mark.skipif(folder_lock.fcntl is None, reason="this system has no such locks")

# Holds the lock as a training does.
HOLDER = """
import fcntl, os, sys, time
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(descriptor, fcntl.LOCK_EX)
os.write(descriptor, b"process 1 of elsewhere")
print("locked", flush=True)
time.sleep(60)
"""


@pytest.fixture
def accelerator() -> Accelerator:
    return Accelerator()


def test_a_second_training_in_the_folder_is_one_line(refused, accelerator, tmp_path):
    (tmp_path / "run").mkdir()
    with locked_run_folder(accelerator, tmp_path / "run"):
        line = refused(output_dir=tmp_path / "run")
    assert line.startswith(f"error: output_dir: got '{tmp_path / 'run'}', in which process {os.getpid()} of ")
    assert line.endswith("expected a folder that no other training uses")
    assert not (tmp_path / "run" / LOCK).exists()


def test_the_lock_of_a_killed_process_is_free(accelerator, tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path / LOCK)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(ValueError, match="process 1 of elsewhere"), locked_run_folder(accelerator, tmp_path):
            pass
        holder.kill()
    assert (tmp_path / LOCK).exists()
    with locked_run_folder(accelerator, tmp_path):
        assert (tmp_path / LOCK).read_text().startswith(f"process {os.getpid()} of ")


def outlive(started) -> None:
    started.set()
    time.sleep(60)


def test_a_worker_does_not_hold_the_lock_of_its_parent(tmp_path):
    """A worker may outlive a parent that was killed; the run that resumes must not wait for it."""
    descriptor = folder_lock._lock("output_dir", tmp_path)
    started = multiprocessing.get_context("fork").Event()
    worker = multiprocessing.get_context("fork").Process(target=outlive, args=(started,), daemon=True)
    worker.start()
    assert started.wait(10)
    folder_lock._held.clear()
    os.close(descriptor)  # as the system does when the parent is killed
    folder_lock._unlock(folder_lock._lock("output_dir", tmp_path), tmp_path)
    worker.kill()
    worker.join()


def test_a_lock_that_was_removed_meanwhile_does_not_count(tmp_path, monkeypatch):
    """Between opening and locking, the run that held it has ended and another has begun."""
    opened, first = os.open, []

    def open_old(path, *arguments):
        descriptor = opened(path, *arguments)
        if not first:
            first.append(Path(path).stat().st_ino)
            Path(path).unlink()
        return descriptor

    monkeypatch.setattr(folder_lock.os, "open", open_old)
    descriptor = folder_lock._lock("output_dir", tmp_path)
    assert os.path.samestat(os.fstat(descriptor), (tmp_path / LOCK).stat())
    folder_lock._unlock(descriptor, tmp_path)


def test_a_disk_without_locks_is_used_with_a_warning(accelerator, tmp_path, monkeypatch, caplog):
    def refuse(*arguments):
        raise OSError(folder_lock.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(folder_lock.fcntl, "flock", refuse)
    with locked_run_folder(accelerator, tmp_path):
        assert "cannot be locked (No locks available)" in caplog.text
