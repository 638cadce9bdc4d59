"""The losses of StoryAttn. Every one is an average over what is there: masked frames and captions count for nothing."""

import functools

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from .vision_encoder import feature_maps

CHANGED_THRESHOLD = 2 / 255  # a pixel has changed when one of its channels differs by more
NO_PAIR = -1e4  # far below any logit
LOCAL_CHANGE = 0.3  # a change of less than this share of the frame is something that moves, not another light or place


def masked_mean(values: torch.Tensor, mask: torch.Tensor, count: torch.Tensor | None = None) -> torch.Tensor:
    """Mean of `values` over the places where `mask`, of the same leading shape, is True; 0 where none is.

    `count` takes the place of their number, where a mean is over more than these.
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
    """L1, MSE and edge loss of `predicted` and `target (B,N,3,H,W)` in [0, 1] over frames `mask (B,N)`.

    Edges are compared as means over `edge_window` x `edge_window` pixels.
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
    """`(B,N,H,W)`, bool: where frames `target` differ from `last`, both `(B,N,3,H,W)` in [0, 1]."""
    return (target - last).abs().amax(2) > CHANGED_THRESHOLD


def changed_loss(predicted, target, changed, mask, count=None) -> torch.Tensor:
    """L1 of `predicted` and `target (B,N,3,H,W)` in [0, 1] over the pixels `changed (B,N,H,W)` of frames `mask (B,N)`.

    Each frame counts the same, however little of it changes: else a change of light, which is everywhere, would
    outweigh a figure that walks. Frames without a change are not to be in the mask.
    """
    errors = ((predicted - target).abs().mean(2) * changed).sum((-2, -1)) / changed.sum((-2, -1)).clamp(min=1)
    return masked_mean(errors, mask, count)


def sobel_magnitude(images: torch.Tensor) -> torch.Tensor:
    """Gradient magnitude of each channel of `images (N,3,H,W)` by the 3x3 Sobel operator (Sobel & Feldman 1968)."""
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    across = padded[..., 2:] - padded[..., :-2]
    down = padded[..., 2:, :] - padded[..., :-2, :]
    gradient_x = (across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]) / 4
    gradient_y = (down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]) / 4
    return (gradient_x.square() + gradient_y.square() + 1e-6).sqrt()


def moving_cells(frames: torch.Tensor, mask: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Where each frame differs from the others of its story, as shares of its cells `(B,T,h,w)` that sum to 1, or to 0.

    What moves through a story differs from most of its other frames; where it stood in one of them, from that one
    alone; and what came to stay, from the frames before. Only changes of less than `LOCAL_CHANGE` of the frame count.
    `frames (B,T,3,H,W)` are in [0, 1], `mask (B,T)` is True for those that are there.
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
    """Divergence (Kullback & Leibler 1951) of the mean map from where a frame differs from the others of its story.

    What a story is about is what changes in it, and one frame alone can tell which things in it tend to. `maps
    (B,T,heads,h,w)` sum to 1, `target (B,T,h,w)` as well in the frames `mask (B,T)`.
    """
    divergence = target * (target.clamp(min=1e-8).log() - maps.mean(2).clamp(min=1e-8).log())
    return masked_mean(divergence.sum((-2, -1)), mask, count)


def caption_loss(
    logits: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor, count: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean cross-entropy per token: `logits (B,N,L,V)` at i against token i + 1 of `input_ids (B,N,L)`."""
    # Shifted are the targets, as logits are large and slices of them would be copied.
    targets, there = (F.pad(values[..., 1:], (0, 1)).flatten() for values in (input_ids, attention_mask.bool()))
    losses = F.cross_entropy(logits.flatten(0, 2).float(), targets, reduction="none")
    return masked_mean(losses, there, count)


def alignment_loss(image_embeds, text_embeds, logit_scale, mask, count=None, across_processes=False) -> torch.Tensor:
    """Symmetric contrastive loss (CLIP, Radford et al. 2021) over the pairs `mask (B,T)` of the batch.

    The negatives of a pair are all other pairs, the other frames of its story among them, and with `across_processes`
    those of all processes. Each process scores its own pairs against all, so that memory is its share of the square.
    `image_embeds` and `text_embeds (B,T,P)` are unit vectors, `logit_scale` multiplies their products.
    """
    with torch.autocast(image_embeds.device.type, enabled=False):  # logits of up to 100 need more than 8 bits
        return _contrast(image_embeds.float(), text_embeds.float(), logit_scale.float(), mask, count, across_processes)


def _contrast(image_embeds, text_embeds, logit_scale, mask, count, across_processes: bool) -> torch.Tensor:
    pairs, there = torch.cat([image_embeds, text_embeds], dim=-1).flatten(0, 1), mask.flatten()  # (B * T, 2P)
    everything, known, first = gather_pairs(pairs, there) if across_processes else (pairs, there, 0)
    images, texts = pairs.chunk(2, dim=-1)
    all_images, all_texts = everything.chunk(2, dim=-1)
    target = first + torch.arange(len(pairs), device=pairs.device)
    losses = 0
    for one, other in ((images, all_texts), (texts, all_images)):
        logits = (logit_scale * one @ other.T).masked_fill(~known, NO_PAIR)
        losses = losses + F.cross_entropy(logits, target, reduction="none") / 2
    return masked_mean(losses, there, count)


@torch.compiler.disable
def gather_pairs(pairs: torch.Tensor, there: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
    """`pairs (n,P)` of all processes, differentiably, which of them are there, and the index of the first own one."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return pairs, there, 0
    group, most = own_group(dist.group.WORLD), torch.tensor(len(pairs), device=pairs.device)
    dist.all_reduce(most, dist.ReduceOp.MAX, group)  # batches may be padded to other numbers of frames
    missing = int(most) - len(pairs)
    everything = GatheredRows.apply(F.pad(pairs, (0, 0, 0, missing)), group)
    known = GatheredRows.apply(F.pad(there, (0, missing)).to(torch.uint8), group)
    return everything, known.bool(), dist.get_rank() * int(most)


@functools.cache
def own_group(world):
    """A group of all processes of `world` for what happens within a backward pass.

    There gradients are averaged over `world` at the same time, and not in the same order in all processes where they
    have stories of other lengths.
    """
    return dist.new_group(dist.get_process_group_ranks(world))


class GatheredRows(torch.autograd.Function):
    """The rows of all processes, one process after the other; the gradient of a process is the sum of all of theirs."""

    @staticmethod
    def forward(ctx, rows: torch.Tensor, group) -> torch.Tensor:
        """`rows (n, ...)` of each of the P processes of `group`: `(P * n, ...)`."""
        ctx.number, ctx.group = len(rows), group
        gathered = [torch.empty_like(rows) for _ in range(dist.get_world_size(group))]
        dist.all_gather(gathered, rows.contiguous(), group)
        return torch.cat(gathered)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Gradient of all rows `(P * n, ...)` to that of the own ones."""
        gradient = gradient.contiguous()
        dist.all_reduce(gradient, group=ctx.group)
        first = dist.get_rank(ctx.group) * ctx.number
        return gradient[first : first + ctx.number], None


class PerceptualLoss:
    """L1 between channel-normalised feature maps of a frozen network (after LPIPS, Zhang et al. 2018, unweighted).

    The network's weights are detached, so gradients reach the pictures alone. Not a module: it is in no checkpoint.
    """

    def __init__(self, network: nn.Module, mean: list[float], std: list[float]):
        self.network, self.mean, self.std = network, mean, std

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Normalised maps of `images (N,3,H,W)` in [0, 1]."""
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        frozen = {f"network.{name}": value.detach() for name, value in self.network.named_parameters()}
        normalised = ((images - mean) / std).to(next(self.network.parameters()).dtype)
        return unit_channels(torch.func.functional_call(_Maps(self.network), frozen, (normalised,)))

    def distances(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """`(N,)`: distance of `predicted` and `target (N,3,H,W)` in [0, 1], in [0, 2], averaged over the maps."""
        with torch.no_grad():
            wanted = self.features(target)
        return self.distances_to(predicted, wanted)

    def distances_to(self, predicted: torch.Tensor, wanted: list[torch.Tensor]) -> torch.Tensor:
        """As `distances`, to pictures whose maps are `wanted`, as `features` gives them."""
        levels = [
            (a - b).abs().sum(1).mean((1, 2)) / a.shape[1] ** 0.5 for a, b in zip(self.features(predicted), wanted)
        ]
        return torch.stack(levels).mean(0)


def unit_channels(maps: list[torch.Tensor]) -> list[torch.Tensor]:
    """Maps `(N,C,h,w)` with channels of length 1 at every place, in 32 bits."""
    return [F.normalize(level.float(), dim=1) for level in maps]


class _Maps(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return feature_maps(self.network, images)
