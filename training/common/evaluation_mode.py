"""Switch a model to evaluation and back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """Put `model` into evaluation mode without gradients; at the end every module gets back the mode it had.

    What is drawn at random, such as the noise of frames that are sampled, is the same each time, and what is drawn
    afterwards does not depend on it.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            yield
    finally:
        for module, mode in modes:
            module.training = mode
