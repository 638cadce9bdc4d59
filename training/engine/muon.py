"""Muon for the matrices of a model and AdamW for everything else, as one optimizer."""

from collections import defaultdict

import torch
from torch import nn
from torch.distributed.tensor import DTensor

# Of the quintic iteration (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/), and how often it is done.
COEFFICIENTS, ITERATIONS = (3.4445, -4.7750, 2.0315), 5
# With this factor updates are as large as those of AdamW (root mean square; Liu et al. 2025, arXiv:2502.16982, eq. 4).
UPDATE_SIZE = 0.2


class MuonAdamW(torch.optim.AdamW):
    """
    AdamW, in which groups with `use_muon: True` are updated by Muon (Jordan et al. 2024) instead.

    The update of a matrix is its momentum, replaced by about the nearest orthogonal matrix. So all its directions are
    learned equally fast, also those that few words or pixels ask for. A convolution is a matrix of one row an output
    channel. `torch.optim.Muon` does the same always in bfloat16, which many CPUs do not compute, takes no convolutions,
    and would be a second optimizer.

    Args:
        params: groups; those of Muon hold weights of at least two dimensions.
        momentum: decay of Muon's mean of the gradient, in [0, 1).
        precision: type of numbers in which matrices are made orthogonal; bfloat16 suffices (Jordan et al. 2024).
        kwargs: of `torch.optim.AdamW`.
    """

    def __init__(
        self,
        params: list[dict],
        momentum: float = 0.95,
        precision: torch.dtype = torch.float32,
        **kwargs: object,
    ):
        super().__init__(params, **kwargs)
        self.momentum, self.precision = momentum, precision

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update all weights that have a gradient.

        Raises:
            ValueError: for a sharded matrix.
        """
        groups = self.param_groups
        for group in groups:
            if group["use_muon"]:
                self._update(group)
        self.param_groups = [group for group in groups if not group["use_muon"]]
        try:
            super().step(closure)
        finally:
            self.param_groups = groups

    def _update(self, group: dict) -> None:
        """Update the matrices of a group, those of one shape together."""
        updates = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            if isinstance(parameter, DTensor):
                raise ValueError("optimizer: got muon with sharded weights, expected adamw")
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros(())  # which `AdamW` expects of every weight when it restores its state
                state["momentum_buffer"] = torch.zeros_like(parameter)
            momentum = state["momentum_buffer"]
            state["step"] += 1
            momentum.lerp_(parameter.grad, 1 - self.momentum)
            update = parameter.grad.lerp(momentum, self.momentum).flatten(1)
            updates[update.shape].append((parameter, update))
        for shape, pairs in updates.items():
            orthogonal = orthogonalized(torch.stack([update for _, update in pairs]), self.precision)
            size = group["lr"] * UPDATE_SIZE * max(shape) ** 0.5
            for (parameter, _), update in zip(pairs, orthogonal):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(update.view_as(parameter), alpha=size)


def orthogonalized(matrices: torch.Tensor, precision: torch.dtype = torch.float32) -> torch.Tensor:
    """Return about the nearest orthogonal matrices of `(N, a, b)`, with singular values between 0.6 and 1.3."""
    a, b, c = COEFFICIENTS
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if is_tall else matrices).float()
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).to(precision)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if is_tall else x).to(matrices.dtype)


def muon_weights(model: nn.Module) -> set[nn.Parameter]:
    """Return the matrices that Muon updates: those of linear layers and full convolutions, which map all to all.

    Embeddings, which are rows one by one, and what shares their weights are left out.
    """
    embeddings = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    matrices = {
        module.weight
        for module in model.modules()
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
    }
    return matrices - embeddings
