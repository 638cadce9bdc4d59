"""The losses of pixels, captions and attention; masked frames and captions count for nothing in any of them."""

import math

import torch
import torch.nn.functional as F

# A pixel has changed when one of its channels differs by more than two of 255 levels. The threshold lies halfway to the
# third level, where no rounding of float32 reaches it.
CHANGED_THRESHOLD = 2.5 / 255
LOCAL_CHANGE = 0.3  # a change of less than this share of the frame is something that moves, not another light or place


def masked_mean(values: torch.Tensor, mask: torch.Tensor, count: torch.Tensor | None = None) -> torch.Tensor:
    """Average values over the places of a mask.

    Args:
        values (`(*mask.shape, ...)`): what is averaged; further dimensions are averaged first.
        mask (bool): True for the places that count; the mean is 0 where there is none.
        count (`()`, *optional*): divides the sum in place of the number of places, where a mean is over more batches.

    Returns:
        the mean, `()`.
    """
    per_place = values.flatten(mask.dim()).mean(-1) if values.dim() > mask.dim() else values
    number = mask.sum() if count is None else count
    return (per_place * mask).sum() / torch.where(number > 0, number, 1)


def pixel_losses(
    predicted: torch.Tensor,
    target: torch.Tensor,
    mask: torch.Tensor,
    count: torch.Tensor | None = None,
    edge_window: int = 1,
) -> dict[str, torch.Tensor]:
    """Compute L1, mean squared error and edge loss of frames.

    Args:
        predicted, target (`(B, N, 3, H, W)`): frames in [0, 1].
        mask (`(B, N)`, bool): True for the frames that count.
        count (`()`, *optional*): as in `masked_mean`.
        edge_window (`int`): side, in pixels, of the squares over which edges are averaged before they are compared.

    Returns:
        `l1`, `mse` and `edge`, each `()`.
    """
    difference = predicted - target
    edges = sobel_magnitude(predicted.flatten(0, 1)) - sobel_magnitude(target.flatten(0, 1))
    edges = F.avg_pool2d(edges, edge_window, ceil_mode=True)
    return {
        "l1": masked_mean(difference.abs(), mask, count),
        "mse": masked_mean(difference.square(), mask, count),
        "edge": masked_mean(edges.abs().unflatten(0, mask.shape), mask, count),
    }


def changed_pixels(target: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """Mark the pixels `(..., H, W)`, bool, in which `target` differs from `last`, both `(..., 3, H, W)` in [0, 1]."""
    return (target - last).abs().amax(-3) > CHANGED_THRESHOLD


def changed_loss(
    predicted: torch.Tensor,
    target: torch.Tensor,
    changed: torch.Tensor,
    mask: torch.Tensor,
    count: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute the L1 of frames over the pixels that changed.

    Each frame counts the same, however little of it changes. Else a change of light, which is everywhere, would
    outweigh a figure that walks.

    Args:
        predicted, target (`(B, N, 3, H, W)`): frames in [0, 1].
        changed (`(B, N, H, W)`, bool): the pixels that changed.
        mask (`(B, N)`, bool): True for the frames that count; frames without a change must not be among them.
        count (`()`, *optional*): as in `masked_mean`.

    Returns:
        the loss, `()`.
    """
    errors = ((predicted - target).abs().mean(2) * changed).sum((-2, -1)) / changed.sum((-2, -1)).clamp(min=1)
    return masked_mean(errors, mask, count)


def relative_loss(
    predicted: torch.Tensor,
    target: torch.Tensor,
    changed: torch.Tensor,
    mask: torch.Tensor,
    count: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute the L1 of frames, summed over all pixels, relative to the number of pixels that changed.

    Unlike `changed_loss` it counts what changed in the prediction alone: where two could leave, to erase both costs as
    much as to leave both. A frame of which less than a hundredth changed counts as if a hundredth had.

    Args:
        predicted, target, changed, mask, count: as in `changed_loss`.

    Returns:
        the loss, `()`.
    """
    errors = (predicted - target).abs().mean(2).sum((-2, -1))
    least = math.ceil(changed.shape[-2] * changed.shape[-1] / 100)
    return masked_mean(errors / changed.sum((-2, -1)).clamp(min=least), mask, count)


def sobel_magnitude(images: torch.Tensor) -> torch.Tensor:
    """Compute the gradient magnitude `(N, C, H, W)` of each channel of `images (N, C, H, W)`; edges are repeated."""
    gradient_x, gradient_y = sobel_gradients(F.pad(images, (1, 1, 1, 1), mode="replicate"))
    return (gradient_x.square() + gradient_y.square() + 1e-6).sqrt()


def sobel_gradients(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the horizontal and vertical gradient of `images (..., H, W)` inside the border, `(..., H - 2, W - 2)`.

    The 3x3 Sobel operator (Sobel & Feldman 1968) over 4, so that a step from 0 to 1 has a gradient of 1.
    """
    across = images[..., 2:] - images[..., :-2]
    down = images[..., 2:, :] - images[..., :-2, :]
    gradient_x = (across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]) / 4
    gradient_y = (down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]) / 4
    return gradient_x, gradient_y


def moving_cells(frames: torch.Tensor, mask: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Find where each frame differs from the other frames of its story.

    What moves through a story differs from most of its other frames. The place where it stood in one frame differs
    in that frame alone, and what came to stay differs from the frames before. Only changes of less than
    `LOCAL_CHANGE` of the frame count.

    Args:
        frames (`(B, T, 3, H, W)`): in [0, 1].
        mask (`(B, T)`, bool): False for padding.
        grid (`tuple[int, int]`): rows h and columns w of the cells.

    Returns:
        shares `(B, T, h, w)` of the cells, which sum to 1 in each frame, or to 0 where nothing moves.
    """
    cells = frames.new_zeros(*mask.shape, *grid)
    for lag in range(1, mask.shape[1]):
        changed = changed_pixels(frames[:, lag:], frames[:, :-lag]).float()
        local = mask[:, lag:] & mask[:, :-lag] & (changed.mean((-2, -1)) < LOCAL_CHANGE)
        moved = F.adaptive_avg_pool2d(changed, grid) * local[..., None, None]
        cells[:, lag:] += moved
        cells[:, :-lag] += moved
    return cells / cells.sum((-2, -1), keepdim=True).clamp(min=1e-6)


def attention_loss(
    maps: torch.Tensor, target: torch.Tensor, mask: torch.Tensor, count: torch.Tensor | None = None
) -> torch.Tensor:
    """Compute the divergence (Kullback & Leibler 1951) of the mean attention map from `moving_cells`.

    What a story is about is what changes in it, and a single frame shows which things tend to change.

    Args:
        maps (`(B, T, heads, h, w)`): attention, which sums to 1 over each map.
        target (`(B, T, h, w)`): shares that sum to 1 in the frames of the mask.
        mask (`(B, T)`, bool): True for the frames that count.
        count (`()`, *optional*): as in `masked_mean`.

    Returns:
        the loss in nats, `()`.
    """
    divergence = target * (target.clamp(min=1e-8).log() - maps.mean(2).clamp(min=1e-8).log())
    return masked_mean(divergence.sum((-2, -1)), mask, count)


def caption_loss(
    logits: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor, count: torch.Tensor | None = None
) -> torch.Tensor:
    """Compute the mean cross-entropy per token of captions.

    Args:
        logits (`(B, N, L, V)`): position i predicts token i + 1.
        input_ids, attention_mask (`(B, N, L)`): the captions; padding has the mask 0.
        count (`()`, *optional*): as in `masked_mean`.

    Returns:
        the loss in nats, `()`.
    """
    # The targets are shifted and not the logits: a slice of the logits, which are large, would be copied.
    targets, mask = (F.pad(values[..., 1:], (0, 1)).flatten() for values in (input_ids, attention_mask.bool()))
    losses = F.cross_entropy(logits.flatten(0, 2).float(), targets, reduction="none")
    return masked_mean(losses, mask, count)
