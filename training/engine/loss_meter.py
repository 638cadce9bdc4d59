"""What a line of the log tells of the steps since the last one."""

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
        """Starts to measure the speed again, after something that was no training."""
        self.started, self.stories, self.waited = time.perf_counter(), 0, 0.0

    def add(self, loss: torch.Tensor, parts: dict[str, torch.Tensor], stories: int) -> None:
        """Adds a batch; nothing is copied from the device until `compute`."""
        for name, value in {"loss": loss, **parts}.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach().float()
            self.counts[name] = self.counts.get(name, 0) + 1
        self.stories += stories

    def compute(self) -> dict:
        """
        `loss`, `loss_parts` (both only where there was a good step), `stories_per_second` and `waiting_share`, the part
        of its time in which the process that waited longest waited for data; starts again from nothing. Called by every
        process.
        """
        own = {name: (float(value), self.counts[name]) for name, value in self.sums.items()}
        seconds = max(time.perf_counter() - self.started, 1e-9)
        gathered = gather_object([(own, self.stories, self.waited / seconds)])
        means = {}
        for name in dict.fromkeys(name for sums, _, _ in gathered for name in sums):
            found = [sums[name] for sums, _, _ in gathered if name in sums]
            means[name] = sum(total for total, _ in found) / sum(count for _, count in found)
        speed = sum(stories for _, stories, _ in gathered) / seconds
        self.__init__()
        losses = {"loss": means.pop("loss"), "loss_parts": means} if means else {}
        return {**losses, "stories_per_second": speed, "waiting_share": max(share for _, _, share in gathered)}


def memory_in_use(device: torch.device) -> float:
    """GiB: the most that torch had on a GPU so far, or what this process has resident on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return psutil.Process().memory_info().rss / 2**30
