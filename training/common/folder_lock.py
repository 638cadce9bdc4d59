"""Lock the output folder of a training, so that no second one writes into it."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from transformers.utils import logging

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
def locked_folder(field: str, folder: str | Path) -> Iterator[None]:
    """
    Keep other processes that call this out of `folder`, which exists, until the end of the block.

    The system releases the lock when the process ends in any way, so that nothing is left to remove by hand.

    Raises `ValueError`, which names the flag `field`, where another process holds the lock.
    """
    descriptor = _lock(field, Path(folder))
    try:
        yield
    finally:
        if descriptor is not None:
            _unlock(descriptor, Path(folder))


def _lock(field: str, folder: Path) -> int | None:
    """Return the descriptor that holds the lock; `None` where the disk or the system has no locks."""
    if fcntl is None:
        return None
    path = folder / LOCK
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip() or "another process"
            os.close(descriptor)
            if error.errno in UNSUPPORTED:
                logger.warning(f"{field}: {path} cannot be locked ({error.strerror}); start no second run there")
                return None
            raise ValueError(
                f"{field}: got {str(folder)!r}, in which {holder} is training, expected a folder that no other "
                "training uses"
            ) from error
        if _is_same_file(descriptor, path):
            break
        os.close(descriptor)  # the run that had it has just ended and removed it
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} of {socket.gethostname()}\n".encode(), 0)
    _held.add(descriptor)
    return descriptor


def _unlock(descriptor: int, folder: Path) -> None:
    _held.discard(descriptor)
    with suppress(OSError):
        (folder / LOCK).unlink()
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
