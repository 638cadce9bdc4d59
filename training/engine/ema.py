"""The exponential moving average of the weights, which is evaluated and published."""

import torch


class MovingAverage:
    """
    Exponential moving average (EMA) of the trained weights of `model`: `weights`, by their `named_parameters()` names.

    Each `update(model)` computes `average = d average + (1 - d) weights`, with `d = min(decay, (1 + n) / (10 + n))`
    after `num_updates` n, so that the first weights do not hold back a short run. The first update copies. The warm-up
    is that of `tf.train.ExponentialMovingAverage`. Sharded weights stay sharded.

    Raises `ValueError` for a `decay` outside [0, 1).
    """

    def __init__(self, model: torch.nn.Module, decay: float):
        if not 0 <= decay < 1:
            raise ValueError(f"ema_decay: got {decay}, expected a number in [0, 1)")
        self.decay, self.num_updates = decay, 0
        self.weights = {name: weight.clone() for name, weight in _trained_weights(model)}

    @torch.no_grad()
    def update(self, model: torch.nn.Module) -> None:
        """Move the average towards the present weights of `model`."""
        weights = [weight for _, weight in _trained_weights(model)]
        n = self.num_updates
        if n == 0:
            for average, weight in zip(self.weights.values(), weights):
                average.copy_(weight)
        else:
            decay = min(self.decay, (1 + n) / (10 + n))
            torch._foreach_lerp_(list(self.weights.values()), weights, 1 - decay)
        self.num_updates += 1


def _trained_weights(model: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [(name, weight.detach()) for name, weight in model.named_parameters() if weight.requires_grad]
