"""The exponential moving average of the weights, which is what is evaluated and published."""

import torch
from torch.optim.swa_utils import AveragedModel


def average_weights(model: torch.nn.Module, decay: float) -> AveragedModel:
    """
    A copy of `model` (`.module`) whose weights follow at each `update_parameters(model)` as
    `average = d average + (1 - d) weights`, with `d = min(decay, (1 + n) / (10 + n))` at the n-th update: a short run
    is not held back by where it started. The warm-up is that of `tf.train.ExponentialMovingAverage`.

    Raises `ValueError` for a `decay` outside [0, 1).
    """
    if not 0 <= decay < 1:
        raise ValueError(f"ema_decay: found {decay}, expected a number in [0, 1)")

    @torch.no_grad()
    def follow(averages, weights, num_updates):
        n = int(num_updates)
        torch._foreach_lerp_(averages, weights, 1 - min(decay, (1 + n) / (10 + n)))

    averaged = AveragedModel(model, multi_avg_fn=follow)
    averaged.requires_grad_(False)
    averaged.eval()
    return averaged
