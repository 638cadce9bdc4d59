"""A small module in training, whose checkpoints the tests write, damage and restore."""

import os
import random
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from storyattn.training.engine.checkpoints import load_checkpoint, read_state, save_checkpoint
from storyattn.training.engine.distributed import full_tensor
from storyattn.training.engine.ema import MovingAverage
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard


class SmallModule(torch.nn.Module):
    """Two weights that are tied, a buffer that is saved and one that is not."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(64, 64), torch.nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.register_buffer("saved", torch.zeros(3))
        self.register_buffer("forgotten", torch.zeros(3), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return `(N, 64)` of `x (N, 64)`."""
        return self.second(self.first(x).relu())


class CheckpointedRun:
    """A training whose steps draw from every random generator, at a rate at which no ReLU dies."""

    def __init__(self, folder: Path, *, sharded: bool = False):
        torch.manual_seed(0)
        self.folder, self.step = folder, 0
        self.accelerator = Accelerator()
        model = SmallModule()
        if sharded:
            fully_shard(model, mesh=init_device_mesh("cpu", (self.accelerator.num_processes,)))
            self.model, self.optimizer = model, torch.optim.AdamW(model.parameters(), lr=0.01)
        else:
            self.model, self.optimizer = self.accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=0.01))
        self.ema = MovingAverage(self.model, 0.9)

    def train(self, steps: int) -> None:
        """Take `steps` steps."""
        for _ in range(steps):
            x = torch.rand(4, 64, device=self.accelerator.device) + random.random() + np.random.rand()  # noqa: NPY002
            self.model(x).square().mean().backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.model.saved.add_(1)
            self.ema.update(self.model)
            self.step += 1

    def save(self, limit: int | None = None, **options) -> Path:
        """Save the current step; returns the checkpoint."""
        state = {"step": self.step, "seconds": 90.0}
        save_checkpoint(self.accelerator, self.model, self.optimizer, self.ema, self.folder, state, limit, **options)
        return self.folder / "checkpoints" / f"step-{self.step}"

    def train_and_save(self, limit: int | None = None, **options) -> Path:
        """Take a step and save it; returns the checkpoint."""
        self.train(1)
        return self.save(limit, **options)

    def load(self, checkpoint: Path) -> None:
        """Go on from a checkpoint."""
        state = read_state(checkpoint)
        load_checkpoint(self.accelerator, self.model, self.optimizer, self.ema, checkpoint, state)
        self.step = state["step"]

    def tensors(self) -> list[torch.Tensor]:
        """Return copies of all that a checkpoint has: weights, buffers, averages, moments."""
        moments = [entry[name] for entry in self.optimizer.state.values() for name in ("exp_avg", "exp_avg_sq", "step")]
        tensors = [*self.model.state_dict().values(), *self.ema.weights.values(), *moments]
        return [full_tensor(tensor.detach()).clone() for tensor in tensors]

    def names(self) -> list[str]:
        """Return the names in the folder of checkpoints."""
        return sorted(path.name for path in (self.folder / "checkpoints").iterdir())


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    """Return whether all tensors are equal, to the last bit."""
    return len(one) == len(other) and all(map(torch.equal, one, other))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# By name: what damages a checkpoint, and what is then said of it.
DAMAGES = {
    "truncated": (lambda path: os.truncate(path / "model.safetensors", 100), "model.safetensors: got 100 bytes"),
    "flipped": (lambda path: _flip(path / "optimizer.safetensors"), "optimizer.safetensors: got SHA-256"),
    "missing": (lambda path: (path / "random-states-0.json").unlink(), "got no random-states-0.json"),
    "unreadable": (lambda path: (path / "state.json").write_text("{"), "state.json: got 1 bytes"),
    "of before": (lambda path: (path / "manifest.json").unlink(), "earlier version and cannot be verified"),
    "no JSON": (lambda path: (path / "manifest.json").write_text("{"), "manifest.json cannot be read"),
    "no manifest": (lambda path: (path / "manifest.json").write_text("[]"), "manifest.json cannot be read"),
    "no files": (
        lambda path: (path / "manifest.json").write_text('{"written": "2026-01-01T00:00:00", "files": {}}'),
        "manifest.json names no model.safetensors",
    ),
}
