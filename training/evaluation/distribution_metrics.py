"""Compare many painted frames with many true ones in the features of a network: FID and KID."""

import torch


class DistributionMetrics:
    """
    Collects features of painted and of true frames.

    Both measures depend on the network and on the number of frames: they compare models on the same frames alone, and
    not with numbers that are published in features of Inception.
    """

    def __init__(self):
        self.painted: list[torch.Tensor] = []
        self.true: list[torch.Tensor] = []

    def update(self, painted: torch.Tensor, true: torch.Tensor) -> None:
        """Add features `(N, D)` of painted frames, and of true ones."""
        self.painted.append(painted.double().cpu())
        self.true.append(true.double().cpu())

    def compute(self) -> dict[str, float | None]:
        """Return `fid` and `kid`; `None` for fewer than two frames."""
        if sum(map(len, self.true)) < 2:
            return {"fid": None, "kid": None}
        painted, true = torch.cat(self.painted), torch.cat(self.true)
        return {"fid": frechet_distance(painted, true), "kid": kernel_distance(painted, true)}


def frechet_distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """
    Return the Fréchet distance of two normal distributions (FID, Heusel et al. 2017).

    It is `|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`, of means and covariances of the features. The trace of the root
    is the sum of the singular values of `A1 A2'`, where `Ai' Ai = Ci`.

    Args:
        one: features `(n, D)`, at least two.
        other: features `(m, D)`, at least two.
    """
    roots = []
    for features in (one, other):
        centred = (features - features.mean(0)) / (len(features) - 1) ** 0.5
        roots.append(torch.linalg.qr(centred, mode="r").R)  # (min(n, D), D), of the same covariance
    means = (one.mean(0) - other.mean(0)).square().sum()
    traces = sum(root.square().sum() for root in roots)
    shared = torch.linalg.svdvals(roots[0] @ roots[1].T).sum()
    return max(0.0, float(means + traces - 2 * shared))


def kernel_distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """
    Return the squared maximum mean discrepancy with the kernel `(x y / D + 1)^3` (KID, Bińkowski et al. 2018).

    It is the unbiased estimate over all pairs, in place of a mean over random subsets; so it may be a little below 0.

    Args:
        one: features `(n, D)`, at least two.
        other: features `(m, D)`, at least two.
    """
    width = one.shape[1]

    def kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a @ b.T / width + 1) ** 3

    within = [
        (values.sum() - values.diagonal().sum()) / (len(values) * (len(values) - 1))
        for values in (kernel(one, one), kernel(other, other))
    ]
    return float(sum(within) - 2 * kernel(one, other).mean())
