"""The loss of a generative frame decoder: next frames that are predicted from noisy ones."""

import torch
import torch.nn.functional as F

from .frame_noise import NOISE_SCALE
from .losses import masked_mean, sobel_magnitude

# Below the first noise level a division would let frames that are nearly clean outweigh all others. Where more than the
# second is noise, the clean frame is a mean of many, which no loss of fine structure should sharpen.
LEAST_LEVEL, MOST_LEVEL_OF_DETAIL = 0.05, 0.65
USUAL_CHANGE = 0.1  # share of the pixels that an event changes, for a scale like that of the other losses
NORMALISING = 0.01  # added to a loss that is divided by its own value


def flow_loss(
    predicted: torch.Tensor,
    target: torch.Tensor,
    levels: torch.Tensor,
    mask: torch.Tensor,
    count: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute the squared error of clean frames that are predicted from noisy ones.

    Over the square of the noise level it is the error of the velocity from frame to noise (flow matching, Lipman et al.
    2023, with a prediction of the clean frame). The level that counts is that of noise of spread 1 which hides as much,
    at least 0.05. All pixels of all frames weigh the same: weights that depend on the true frame, such as those of
    `relative_loss`, would change how often each future is sampled.

    Args:
        predicted, target (`(B, N, 3, H, W)`): frames in [0, 1].
        levels (`(B, N)`): the noise levels, from 0 to 1.
        mask (`(B, N)`, bool): True for the frames that count.
        count (`()`, *optional*): as in `masked_mean`.

    Returns:
        the loss, `()`.
    """
    errors = (predicted - target).square().mean((2, 3, 4)) / USUAL_CHANGE
    return masked_mean(errors / _noise_share(levels).square(), mask, count)


def _noise_share(levels: torch.Tensor) -> torch.Tensor:
    """Return the levels at which noise of spread 1 hides as much as that of `NOISE_SCALE` does at `levels`."""
    return (NOISE_SCALE * levels / (1 + (NOISE_SCALE - 1) * levels)).clamp(min=LEAST_LEVEL)


def candidate_flow_loss(
    candidate: torch.Tensor,
    target: torch.Tensor,
    changed: torch.Tensor,
    levels: torch.Tensor,
    mask: torch.Tensor,
    count: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute the squared error of one of the frames that a prediction is mixed of, over the square of the noise level.

    It is the mean over all pixels, and that over the changed ones. Without it nothing would paint where the mixture
    copies, and the mixture would go on to copy.

    Args:
        candidate (`(B, N, 3, H, W)`): frames in [0, 1].
        changed (`(B, N, H, W)`, bool): the pixels that changed.
        target, levels, mask, count: as in `flow_loss`.

    Returns:
        the loss, `()`.
    """
    errors = (candidate - target).square().mean(2)
    of_changed = (errors * changed).sum((-2, -1)) / changed.sum((-2, -1)).clamp(min=1)
    errors = errors.mean((-2, -1)) + of_changed
    return masked_mean(errors / _noise_share(levels).square(), mask, count)


def detail_losses(
    predicted: torch.Tensor,
    target: torch.Tensor,
    distances: torch.Tensor | None,
    mask: torch.Tensor,
    count: torch.Tensor | None = None,
    edge_window: int = 1,
) -> dict[str, torch.Tensor]:
    """Compute L1, edge loss and perceptual distance of frames, each over its own mean, so that only directions count.

    Over the value of each frame, a future in which little happens would weigh most and be sampled too often.

    Args:
        predicted, target (`(B, N, 3, H, W)`): frames in [0, 1].
        distances (`(B, N)`, *optional*): their perceptual distances.
        mask (`(B, N)`, bool): True for the frames that count.
        count (`()`, *optional*): as in `masked_mean`.
        edge_window (`int`): as in `pixel_losses`.

    Returns:
        `l1`, `edge` and, with distances, `perceptual`, each `()`.
    """
    edges = sobel_magnitude(predicted.flatten(0, 1)) - sobel_magnitude(target.flatten(0, 1))
    edges = F.avg_pool2d(edges, edge_window, ceil_mode=True).unflatten(0, mask.shape)
    values = {"l1": (predicted - target).abs().mean((2, 3, 4)), "edge": edges.abs().mean((2, 3, 4))}
    if distances is not None:
        values["perceptual"] = distances
    means = {name: (masked_mean(value.detach(), mask) + NORMALISING) for name, value in values.items()}
    return {name: masked_mean(value / means[name], mask, count) for name, value in values.items()}
