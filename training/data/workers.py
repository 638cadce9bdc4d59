"""Worker processes of a loader: signals do not end them, and they end with the iteration."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from ..common.interruption import signals_held

Batch = TypeVar("Batch")


def load_batches(loader: Iterable[Batch]) -> Iterator[Batch]:
    """Yield the batches of a loader; end its worker processes when the iteration ends or is closed.

    The `worker_init_fn` of the loader should be `leave_signals_to_parent`.
    """
    with signals_held():  # a worker inherits this and lets go once it ignores signals
        iterator = iter(loader)
    try:
        yield from iterator
    finally:
        _end_workers(iterator)


def _end_workers(iterator: Iterator) -> None:
    """End the workers of an iterator of `DataLoader`; other iterators have none."""
    if hasattr(iterator, "_shutdown_workers"):
        iterator._shutdown_workers()
    # The loader ends workers that do not answer by SIGTERM, which they ignore.
    for worker in getattr(iterator, "_workers", []):
        if worker.is_alive():
            worker.kill()
