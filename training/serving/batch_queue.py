"""A queue of requests, of which those that arrive together and have equal options are read as one batch."""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

RunBatch = Callable[[Hashable, list], Sequence]  # of an operation and items: one result an item


class QueueFullError(RuntimeError):
    """As many requests wait as the queue holds."""


class ClosedError(RuntimeError):
    """The queue takes no more requests: the server ends."""


@dataclass(eq=False)
class _Job:
    """An item of an operation; `future` gets its result."""

    operation: Hashable
    item: object
    future: Future = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)


class BatchQueue:
    """
    Runs items in batches, on a thread of its own.

    Args:
        run: returns the results of the items of a batch, which have an equal operation. A `ValueError` is taken for
            the fault of one item: the items are then run one by one.
        max_batch_size: items of a batch.
        max_wait: seconds that the first item of a batch waits for others.
        max_queue: items that wait.
        observe: is called with the size of every batch.
    """

    def __init__(
        self,
        run: RunBatch,
        max_batch_size: int,
        max_wait: float,
        max_queue: int,
        observe: Callable[[int], object] = lambda size: None,
    ):
        self.run, self.observe = run, observe
        self.max_batch_size, self.max_wait, self.max_queue = max_batch_size, max_wait, max_queue
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """Return how many items wait."""
        return len(self._jobs)

    def submit(self, operation: Hashable, item: object) -> Future:
        """
        Return the future result of an item.

        Args:
            operation: what is done with the item; items of equal operations may be run as one batch.
            item: what `run` is given.

        Raises:
            QueueFullError: where `max_queue` items wait.
            ClosedError: after `close`.
        """
        with self._changed:
            if self._is_closed:
                raise ClosedError("the server ends")
            if len(self._jobs) >= self.max_queue:
                raise QueueFullError(f"got {len(self._jobs)} requests that wait, expected less; try again later")
            job = _Job(operation, item)
            self._jobs.append(job)
            self._changed.notify()
        return job.future

    def close(self) -> None:
        """Take no more items, and return when those that wait have been run."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next_batch():
            running = [job for job in batch if job.future.set_running_or_notify_cancel()]
            if running:
                self.observe(len(running))
                self._run(running)

    def _next_batch(self) -> list[_Job]:
        """Wait for a batch and take it from the queue; empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._is_closed)
            if not self._jobs:
                return []
            first = self._jobs[0]
            until = first.arrived + self.max_wait
            while not self._is_closed and len(self._like(first)) < self.max_batch_size:
                if (seconds := until - time.monotonic()) <= 0:
                    break
                self._changed.wait(seconds)
            batch = self._like(first)
            for job in batch:
                self._jobs.remove(job)
            return batch

    def _like(self, first: _Job) -> list[_Job]:
        return [job for job in self._jobs if job.operation == first.operation][: self.max_batch_size]

    def _run(self, jobs: list[_Job]) -> None:
        """Run jobs of an equal operation, and set their results or errors."""
        try:
            results = self.run(jobs[0].operation, [job.item for job in jobs])
        except Exception as error:
            if isinstance(error, ValueError) and len(jobs) > 1:
                for job in jobs:
                    self._run([job])
            else:
                for job in jobs:
                    job.future.set_exception(error)
        else:
            for job, result in zip(jobs, results, strict=True):
                job.future.set_result(result)
