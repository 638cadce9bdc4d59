"""How a detector is trained; the flags of the command have these defaults."""

from dataclasses import dataclass


@dataclass
class TrainingOptions:
    """How a detector is trained; `check_every` counts steps between two measurements."""

    steps: int = 7000
    batch_size: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    check_every: int = 250
    seed: int = 0
