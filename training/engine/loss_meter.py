"""Average losses, speed and waiting over the steps since the last line of the log."""

import time

import psutil
import torch
from accelerate.utils import gather_object


class LossMeter:
    """Means of the loss and its parts over the batches since the last line of the log, over all processes."""

    def __init__(self):
        self.sums, self.counts, self.stories = {}, {}, 0
        self.restart_clock()

    def restart_clock(self) -> None:
        """Start to measure the speed again, after something other than training."""
        self.started, self.stories, self.waited = time.perf_counter(), 0, 0.0

    def add(self, loss: torch.Tensor, parts: dict[str, torch.Tensor], stories: int) -> None:
        """
        Add a batch; nothing is copied from the device until `compute`.

        Args:
            loss: the loss of the batch, a scalar.
            parts: the unweighted parts of the loss by name, scalars.
            stories: how many stories the batch has.
        """
        for name, value in {"loss": loss, **parts}.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach().float()
            self.counts[name] = self.counts.get(name, 0) + 1
        self.stories += stories

    def compute(self) -> dict:
        """
        Return the means and start again from nothing; called by every process.

        Keys: `loss` and `loss_parts` (both only where a step was good), `stories_per_second`, and `waiting_share`: the
        share of its time that the process which waited longest waited for data, in [0, 1].
        """
        sums = {name: (float(value), self.counts[name]) for name, value in self.sums.items()}
        seconds = max(time.perf_counter() - self.started, 1e-9)
        gathered = gather_object([(sums, self.stories, self.waited / seconds)])
        means = {}
        for name in dict.fromkeys(name for sums, _, _ in gathered for name in sums):
            pairs = [sums[name] for sums, _, _ in gathered if name in sums]
            means[name] = sum(total for total, _ in pairs) / sum(count for _, count in pairs)
        speed = sum(stories for _, stories, _ in gathered) / seconds
        self.__init__()
        losses = {"loss": means.pop("loss"), "loss_parts": means} if means else {}
        return {**losses, "stories_per_second": speed, "waiting_share": max(share for _, _, share in gathered)}


def memory_in_use(device: torch.device) -> float:
    """Return GiB: the most that torch has allocated on a GPU so far, or this process's resident memory on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return psutil.Process().memory_info().rss / 2**30
