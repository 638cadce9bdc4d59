"""Lock the output folder of a run, so that no second training writes into it."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from accelerate import Accelerator
from transformers.utils import logging

from .distributed import decided_by_main_process

try:
    import fcntl
except ImportError:  # Windows has no such locks, and a run goes without
    fcntl = None

logger = logging.get_logger(__name__)

LOCK = ".lock"
# What disks without locks answer.
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
_held: set[int] = set()  # descriptors of this process


@contextmanager
def locked_run_folder(accelerator: Accelerator, output_dir: str | Path) -> Iterator[None]:
    """
    Keep other trainings out of `output_dir` until the end of the block.

    The main process holds the lock for all processes of the run. The system releases it when that process ends in any
    way, so that nothing is left to remove by hand.

    Raises:
        ValueError: in every process, where another training holds the lock.
    """
    descriptor = decided_by_main_process(accelerator, _lock, Path(output_dir))
    try:
        yield
    finally:
        if accelerator.is_main_process and descriptor is not None:
            _unlock(descriptor, Path(output_dir))


def _lock(output_dir: Path) -> int | None:
    """Return the descriptor that holds the lock; `None` where the disk or the system has no locks."""
    if fcntl is None:
        return None
    path = output_dir / LOCK
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip() or "another process"
            os.close(descriptor)
            if error.errno in UNSUPPORTED:
                logger.warning(f"output_dir: {path} cannot be locked ({error.strerror}); start no second run there")
                return None
            raise ValueError(
                f"output_dir: got {str(output_dir)!r}, in which {holder} is training, expected a folder that no other "
                "training uses"
            ) from error
        if _is_same_file(descriptor, path):
            break
        os.close(descriptor)  # the run that had it has just ended and removed it
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} of {socket.gethostname()}\n".encode(), 0)
    _held.add(descriptor)
    return descriptor


def _unlock(descriptor: int, output_dir: Path) -> None:
    _held.discard(descriptor)
    with suppress(OSError):
        (output_dir / LOCK).unlink()
    os.close(descriptor)


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _let_go() -> None:
    """Close the locks in a process that was forked: a worker that outlives its run must not hold them."""
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
