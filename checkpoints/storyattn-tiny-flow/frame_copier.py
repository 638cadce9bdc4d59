"""Copier and Mover: they take parts of the next frame from the frames so far, at the same place or from elsewhere."""

import torch
import torch.nn.functional as F
from torch import nn

from .configuration_storyattn import StoryAttnConfig
from .layers import select_frames


class ZeroConv(nn.Conv2d):
    """A convolution that starts with weights of zero (after ControlNet, Zhang et al. 2023) and so changes nothing."""


class Copier(nn.Module):
    """Chooses for each pixel between the painted one, the moved one, and those at its place in the frames so far.

    The new light, and whether to use it, is planned cell by cell and interpolated: decided pixel by pixel, it would be
    grained. Whether to paint and whether to move is decided pixel by pixel, because figures have edges.
    """

    def __init__(self, config: StoryAttnConfig):
        super().__init__()
        self.light = ZeroConv(config.hidden_size, 7, 1)
        self.age = nn.Conv2d(config.hidden_size, 2, 1)

    def forward(
        self,
        plan: torch.Tensor,
        choice: torch.Tensor,
        painted: torch.Tensor,
        moved: torch.Tensor | None,
        frames: torch.Tensor,
        source: torch.Tensor,
        visible: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mix N frames of B stories.

        Args:
            plan (`(B * N, D, rows, columns)`): the coarse plan.
            choice (`(B, N, 2, H, W)`): logits of a pixel being new, painted or moved, and of a new one being moved.
            painted (`(B, N, 3, H, W)`), moved (the same or `None`), frames (`(B, T, 3, H, W)`): in [0, 1].
            source (`(B, N)`): index of the last frame.
            visible (`(B, N, T)`, bool): the frames that may be copied.

        Returns:
            frames `(B, N, 3, H, W)` in [0, 1], convex mixtures of painted, moved and copied pixels; and the last frame
            in its new light.
        """
        shape, size = painted.shape[:2], frames.shape[-2:]
        light = F.interpolate(self.light(plan).float(), size, mode="bilinear").unflatten(0, shape)  # (B, N, 7, H, W)
        last = select_frames(frames, source)
        lit = (last * (1 + light[:, :, :3]) + light[:, :, 3:6]).clamp(0, 1)
        older, share = self._older(plan, frames, source, visible, size)
        new, move = choice.sigmoid().split(1, dim=2)
        if moved is not None:
            painted = move * moved + (1 - move) * painted
        relit = light[:, :, 6:].sigmoid()  # (B, N, 1, H, W)
        unlit = older * share + last * (1 - share)
        return new * painted + (1 - new) * (relit * lit + (1 - relit) * unlit), lit

    def _older(
        self,
        plan: torch.Tensor,
        frames: torch.Tensor,
        source: torch.Tensor,
        visible: torch.Tensor,
        size: tuple[int, int],
    ):
        """Average the frames before the last, weighted by age; also return the share in which they replace the last."""
        position = torch.arange(frames.shape[1], device=frames.device)
        before = visible & (position < source[..., None])  # (B, N, T)
        age_map = F.interpolate(self.age(plan).float(), size, mode="bilinear")
        rate, share = age_map.unflatten(0, source.shape).split(1, dim=2)  # (B, N, 1, H, W)
        age = (source[..., None] - position).clamp(min=0)[..., None, None]  # (B, N, T, 1, 1)
        weights = (-F.softplus(rate) * age).masked_fill(~before[..., None, None], -torch.inf)
        any_before = before.any(-1)[..., None, None, None]
        weights = torch.where(any_before, weights, 0.0).softmax(dim=2)
        return torch.einsum("bnthw,btchw->bnchw", weights, frames), (share - 3).sigmoid() * any_before


class Mover(nn.Module):
    """Takes pieces of the frames so far to where they are in the next one.

    Every cell of the plan attends to all cells of the frames that it may see. It takes the mean of their pixels by that
    attention, with a margin of half a cell, and shifts it by up to half a cell each way: by a distribution over pixels
    for rows and one for columns (after the transformations of Finn et al. 2016, whose range is that of their kernel).
    The last frame has a second key, made of the plan, which has read what happens to its cells.
    """

    def __init__(self, config: StoryAttnConfig):
        super().__init__()
        size, self.stride = config.hidden_size, config.frame_stride
        self.plan_norm = nn.LayerNorm(size)
        self.cell_norm = nn.LayerNorm(size, bias=False)  # which would add the same to all scores
        self.query = nn.Linear(size, size)
        self.cell_key = nn.Linear(size, size, bias=False)
        self.plan_key = nn.Linear(size, size, bias=False)
        self.shift = nn.Linear(size, 2 * (self.stride + 1))

    def forward(
        self,
        plan: torch.Tensor,
        cells: torch.Tensor,
        frames: torch.Tensor,
        source: torch.Tensor,
        visible: torch.Tensor,
    ) -> torch.Tensor:
        """Move pieces into N frames of B stories.

        Args:
            plan (`(B, N, P, D)`): the plan of each frame.
            cells (`(B, T, P, D)`), frames (`(B, T, 3, H, W)`): cells of the frames so far, and their pixels in [0, 1].
            source (`(B, N)`): index of the last frame.
            visible (`(B, N, T)`, bool): the frames that may be taken from.

        Returns:
            frames `(B, N, 3, H, W)` in [0, 1].
        """
        plan = self.plan_norm(plan)
        weights = self._attend(plan, self.cell_norm(cells), source, visible).flatten(1, 2)  # (B, N * P, T * P)
        down, across = self._bands(plan.flatten(0, 2))  # (B * N * P, s, 2s)
        stride, size = self.stride, frames.shape[-2:]
        with torch.autocast(frames.device.type, enabled=False):  # pixels keep their precision
            padded = F.pad(frames.flatten(0, 1), [stride // 2] * 4, mode="replicate")
            pieces = F.unfold(padded, 2 * stride, stride=stride)  # (B * T, 3 * 2s * 2s, P)
            pieces = pieces.transpose(1, 2).unflatten(0, frames.shape[:2]).flatten(1, 2)  # (B, T * P, 3 * 2s * 2s)
            taken = (weights @ pieces).view(-1, 3, 2 * stride, 2 * stride)  # (B * N * P, 3, 2s, 2s)
            shifted = down[:, None] @ taken @ across[:, None].transpose(-1, -2)  # (B * N * P, 3, s, s)
            columns = shifted.view(-1, plan.shape[2], 3 * stride * stride).transpose(1, 2)
            return F.fold(columns, size, stride, stride=stride).unflatten(0, plan.shape[:2])

    def _attend(
        self, plan: torch.Tensor, cells: torch.Tensor, source: torch.Tensor, visible: torch.Tensor
    ) -> torch.Tensor:
        """Compute how much each cell takes of every cell of the frames so far: `(B, N, P, T * P)`, in 32 bits."""
        query = self.query(plan) * plan.shape[-1] ** -0.5
        scores = torch.einsum("bnpd,btqd->bnptq", query, self.cell_key(cells)).float()
        plan_scores = (query @ self.plan_key(plan).transpose(-1, -2)).float()  # (B, N, P, P)
        steps = torch.arange(cells.shape[1], device=cells.device)
        last = (source[..., None] == steps)[:, :, None, :, None]  # (B, N, 1, T, 1)
        scores = scores + plan_scores[:, :, :, None] * last
        return scores.masked_fill(~visible[:, :, None, :, None], -torch.inf).flatten(3).softmax(-1)

    def _bands(self, plan: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn plans `(M, D)` into matrices `(M, s, 2s)` that cut s of 2s rows, and of 2s columns, softly shifted."""
        stride = self.stride
        shares = self.shift(plan).float().unflatten(-1, (2, stride + 1)).softmax(-1)  # (M, 2, s + 1)
        rows = F.pad(shares, (0, stride)).repeat(1, 1, stride)[..., : 2 * stride * stride]  # each row one further on
        return rows.unflatten(-1, (stride, 2 * stride)).unbind(1)
