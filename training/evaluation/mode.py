"""Switch a model to evaluation and back."""

from contextlib import contextmanager

import torch


@contextmanager
def _evaluating(model):
    """Evaluation mode without gradients; every module gets back the mode it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _chunks(count: int, size: int) -> list[range]:
    return [range(start, min(start + size, count)) for start in range(0, count, size)]
