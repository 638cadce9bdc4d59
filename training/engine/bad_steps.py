"""Steps whose loss or gradient is not finite: they are counted and left out, and too many in a row end the run."""

from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import gather_object
from transformers.utils import logging

from .checkpoints import list_checkpoints
from .distributed import decided_by_main_process

logger = logging.get_logger(__name__)


class BadSteps:
    """
    Count the bad steps of a run in `output_dir`: `total` and `in_a_row`, of which fewer than `limit` are allowed.

    Its methods are called by every process.
    """

    def __init__(self, accelerator: Accelerator, output_dir: Path, limit: int):
        self.accelerator, self.output_dir, self.limit = accelerator, output_dir, limit
        self.total, self.in_a_row = 0, 0

    def add_good(self) -> None:
        """Count a step that was taken."""
        self.in_a_row = 0

    def add(self, step: int, loss: float, grad_norm: float) -> None:
        """
        Count `step` as bad and warn of it.

        Args:
            step: the number of the step, from 1.
            loss: the mean loss of this process's batches.
            grad_norm: the norm of the gradient of all processes.

        Raises:
            ValueError: for the `limit`-th bad step in a row.
        """
        self.total, self.in_a_row = self.total + 1, self.in_a_row + 1
        loss = sum(gather_object([loss])) / self.accelerator.num_processes
        message = f"step {step}: got a loss of {loss:g} and a gradient of norm {grad_norm:g}"
        if self.accelerator.is_main_process:
            logger.warning(f"{message}, expected finite numbers; the step is left out ({self.in_a_row} in a row)")
        decided_by_main_process(self.accelerator, self._check, message)

    def _check(self, message: str) -> None:
        if self.in_a_row >= self.limit:
            checkpoints = list_checkpoints(self.output_dir)
            raise ValueError(
                f"training: {message}, and {self.in_a_row} such steps in a row, expected fewer than --max_bad_steps "
                f"{self.limit}; the last good checkpoint is {checkpoints[-1] if checkpoints else 'none'}; a lower "
                "--learning_rate or --mixed_precision no may help"
            )
