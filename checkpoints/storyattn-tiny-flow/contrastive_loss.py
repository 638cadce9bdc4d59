"""The contrastive loss that aligns pictures and captions, over the pairs of one process or of all of them."""

import functools

import torch
import torch.distributed as dist
import torch.nn.functional as F

from .losses import masked_mean

NO_PAIR = -1e4  # far below any logit


def alignment_loss(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    logit_scale: torch.Tensor,
    mask: torch.Tensor,
    count: torch.Tensor | None = None,
    across_processes: bool = False,
) -> torch.Tensor:
    """Compute the symmetric contrastive loss (CLIP, Radford et al. 2021) over the pairs of a batch.

    The negatives of a pair are all other pairs, the other frames of its story among them. Each process scores its
    pairs against all, so that it holds only its share of the square of similarities.

    Args:
        image_embeds, text_embeds (`(B, T, P)`): unit vectors of pictures and of their captions.
        logit_scale (`()`): multiplies their products.
        mask (`(B, T)`, bool): True for the pairs that count.
        count (`()`, *optional*): as in `masked_mean`.
        across_processes (`bool`): the pairs of all processes are negatives, too.

    Returns:
        the loss in nats, `()`.
    """
    with torch.autocast(image_embeds.device.type, enabled=False):  # logits of up to 100 need more than 8 bits
        return _contrast(image_embeds.float(), text_embeds.float(), logit_scale.float(), mask, count, across_processes)


def _contrast(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    logit_scale: torch.Tensor,
    mask: torch.Tensor,
    count: torch.Tensor | None,
    across_processes: bool,
) -> torch.Tensor:
    pairs, mask = torch.cat([image_embeds, text_embeds], dim=-1).flatten(0, 1), mask.flatten()  # (B * T, 2P)
    all_pairs, all_mask, first = gather_pairs(pairs, mask) if across_processes else (pairs, mask, 0)
    images, texts = pairs.chunk(2, dim=-1)
    all_images, all_texts = all_pairs.chunk(2, dim=-1)
    target = first + torch.arange(len(pairs), device=pairs.device)
    losses = 0
    for anchors, candidates in ((images, all_texts), (texts, all_images)):
        logits = (logit_scale * anchors @ candidates.T).masked_fill(~all_mask, NO_PAIR)
        losses = losses + F.cross_entropy(logits, target, reduction="none") / 2
    return masked_mean(losses, mask, count)


@torch.compiler.disable
def gather_pairs(pairs: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Gather `pairs (n, P)` and their `mask (n,)` of all processes, differentiably.

    Returns both, each with the rows of all processes, and the index of the first row of this process.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return pairs, mask, 0
    group, most = backward_group(dist.group.WORLD), torch.tensor(len(pairs), device=pairs.device)
    dist.all_reduce(most, dist.ReduceOp.MAX, group)  # batches may be padded to other numbers of frames
    missing = int(most) - len(pairs)
    all_pairs = GatheredRows.apply(F.pad(pairs, (0, 0, 0, missing)), group)
    all_mask = GatheredRows.apply(F.pad(mask, (0, missing)).to(torch.uint8), group)
    return all_pairs, all_mask.bool(), dist.get_rank() * int(most)


@functools.cache
def backward_group(world: dist.ProcessGroup) -> dist.ProcessGroup:
    """Return a group of all processes of `world` for what happens within a backward pass.

    There gradients are averaged over `world` at the same time, and not in the same order in all processes where they
    have stories of other lengths.
    """
    return dist.new_group(dist.get_process_group_ranks(world))


# Torch has an all-gather with a gradient, but none to rely on from 2.8 to 2.13: `torch.distributed.nn.functional`
# is deprecated in the newest, and the function that it names instead is private and has another name in the oldest.
class GatheredRows(torch.autograd.Function):
    """The rows of all processes, one process after the other; the gradient of a process is the sum of all of theirs."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, rows: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
        """Gather `rows (n, ...)` of each of the P processes of `group`: `(P * n, ...)`."""
        ctx.number, ctx.group = len(rows), group
        gathered = [torch.empty_like(rows) for _ in range(dist.get_world_size(group))]
        dist.all_gather(gathered, rows.contiguous(), group)
        return torch.cat(gathered)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Sum the gradient `(P * n, ...)` over processes and cut out the rows of this one."""
        gradient = gradient.contiguous()
        dist.all_reduce(gradient, group=ctx.group)
        first = dist.get_rank(ctx.group) * ctx.number
        return gradient[first : first + ctx.number], None
