"""The exponential moving average of the weights, which is what is evaluated and published."""

import torch


class MovingAverage:
    """
    `weights`, by the names of those `model.named_parameters()` that are trained, follow at each `update(model)` as
    `average = d average + (1 - d) weights`, with `d = min(decay, (1 + n) / (10 + n))` after `num_updates` n: a short
    run is not held back by where it started. The first update copies. The warm-up is that of
    `tf.train.ExponentialMovingAverage`. Sharded weights stay sharded.

    Raises `ValueError` for a `decay` outside [0, 1).
    """

    def __init__(self, model: torch.nn.Module, decay: float):
        if not 0 <= decay < 1:
            raise ValueError(f"ema_decay: found {decay}, expected a number in [0, 1)")
        self.decay, self.num_updates = decay, 0
        self.weights = {name: weight.clone() for name, weight in _trained(model)}

    @torch.no_grad()
    def update(self, model: torch.nn.Module) -> None:
        """Takes the present weights of `model` in."""
        weights = [weight for _, weight in _trained(model)]
        n = self.num_updates
        if n == 0:
            for average, weight in zip(self.weights.values(), weights):
                average.copy_(weight)
        else:
            decay = min(self.decay, (1 + n) / (10 + n))
            torch._foreach_lerp_(list(self.weights.values()), weights, 1 - decay)
        self.num_updates += 1


def _trained(model: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [(name, weight.detach()) for name, weight in model.named_parameters() if weight.requires_grad]
