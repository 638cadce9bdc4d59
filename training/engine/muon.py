"""Muon for the matrices of a model, AdamW for everything else, as one optimizer."""

import torch

# Of the quintic iteration, by Keller Jordan (https://kellerjordan.github.io/posts/muon/), and how often it is done.
COEFFICIENTS, ITERATIONS = (3.4445, -4.7750, 2.0315), 5
# Updates have the root mean square of AdamW's with this factor (Liu et al. 2025, arXiv:2502.16982, eq. 4).
RMS = 0.2


class MuonAdamW(torch.optim.AdamW):
    """
    AdamW, in which groups with `muon: True` are updated by Muon instead (Jordan et al. 2024).

    The momentum of a matrix, or of a convolution taken as a matrix of one row an output channel, is replaced by the
    nearest orthogonal matrix, scaled so that both kinds of groups learn at the same rate (Liu et al. 2025). The library's
    `torch.optim.Muon` computes in bfloat16, for which many CPUs have no instructions, takes no convolutions, and is an
    optimizer of its own; otherwise it does the same.

    Args:
        params: groups; those with `muon: True` hold weights of at least two dimensions.
        momentum: share of Muon's momentum that stays at each step.
        kwargs: of `torch.optim.AdamW`.
    """

    def __init__(self, params: list[dict], momentum: float = 0.95, **kwargs: object):
        super().__init__(params, **kwargs)
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update all weights that have a gradient."""
        groups = self.param_groups
        for group in groups:
            if group.get("muon"):
                self._update(group)
        self.param_groups = [group for group in groups if not group.get("muon")]
        try:
            super().step(closure)
        finally:
            self.param_groups = groups

    def _update(self, group: dict) -> None:
        by_shape: dict[tuple[int, int], list] = {}
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            state["momentum_buffer"].lerp_(parameter.grad, 1 - self.momentum)
            update = parameter.grad.lerp(state["momentum_buffer"], self.momentum).flatten(1)
            by_shape.setdefault(tuple(update.shape), []).append((parameter, update))
        for shape, pairs in by_shape.items():
            updates = orthogonalized(torch.stack([update for _, update in pairs]))
            scale = group["lr"] * RMS * max(shape) ** 0.5
            for (parameter, _), update in zip(pairs, updates):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(update.view_as(parameter).to(parameter.dtype), alpha=scale)


def orthogonalized(matrices: torch.Tensor) -> torch.Tensor:
    """Return about the nearest orthogonal matrices of `(N, a, b)`: singular values between 0.7 and 1.2."""
    a, b, c = COEFFICIENTS
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if is_tall else matrices).float()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if is_tall else x
