"""NoiseReader: what makes the frame decoder a generative one. It reads a noisy frame, and how much of it is noise."""

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from .configuration_storyattn import StoryAttnConfig
from .frame_copier import ZeroConv
from .layers import ConvBlock, sinusoid

# In training, the share of frames that are pure noise; the levels of the others have a logistic normal distribution
# (Esser et al. 2024) of this mean and spread. With 0.8 for both, one level in fifty was below 0.3, where the last of
# four steps of a sampling starts.
PURE_NOISE_SHARE, LEVEL_MEAN, LEVEL_SPREAD = 0.25, 0.4, 1.0
# Spread of the noise, for pixels in [-1, 1]. Pictures are redundant: with a spread of 1 what happens in them can be
# seen at a level of 0.9, above nearly all that training and sampling pass through; then most samples are alike.
NOISE_SCALE = 2.0
PIXEL_SPREAD = 0.5  # about that of frames in [-1, 1]


class ZeroLinear(nn.Linear):
    """A linear layer that starts with weights of zero, as [`ZeroConv`] does."""


class NoisyFrames(NamedTuple):
    """
    N noisy frames of each of B stories.

    Args:
        pixels (`(B, N, 3, H, W)`): `(1 - level) * (2 * frame - 1) + level * NOISE_SCALE * noise`, for frames in [0, 1]
            and noise of spread 1.
        level (`(B, N)`): how much of them is noise, from 0 to 1.
    """

    pixels: torch.Tensor
    level: torch.Tensor


class ReadNoise(NamedTuple):
    """
    What [`NoiseReader`] reads in the noisy frames of all stories, M = B * N.

    Args:
        cells (`(M, P, D)`): of the noisy frames, which are added to those of the plan.
        details (`list` of `(M, C, h, w)`): the same for each level of the painter, the coarsest first.
        modulation (`(M, layers, 4, 2, D)`): scale and shift of the four norms of each layer, by the noise level.
    """

    cells: torch.Tensor
    details: list[torch.Tensor]
    modulation: torch.Tensor


class NoiseReader(nn.Module):
    """Reads noisy frames into the cells and every level of the painter, and their level into the norms.

    Convolutions halve the resolution from level to level: the first half of a U-Net (Ronneberger et al. 2015), whose
    second half is the painter. The noise level scales and shifts all norms (after Peebles & Xie 2023). The outputs
    start at 0, so that a regressing decoder with it paints what it did without.
    """

    def __init__(self, config: StoryAttnConfig):
        super().__init__()
        size, widths = config.hidden_size, config.frame_channels[::-1]  # the finest level first
        self.num_layers = config.num_frame_layers
        self.pixels = nn.Conv2d(12, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(ConvBlock(width) for width in widths)
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise([*widths, size]))
        self.details = nn.ModuleList(ZeroConv(width, width, 1) for width in widths)
        self.cells = ZeroConv(size, size, 1)
        self.level = nn.Sequential(nn.Linear(size, size), nn.SiLU())
        self.of_blocks = nn.ModuleList(ZeroLinear(size, 2 * width) for width in widths)
        self.of_layers = ZeroLinear(size, 8 * size * self.num_layers)

    def forward(self, noisy: NoisyFrames) -> ReadNoise:
        """Read noisy frames."""
        dtype = self.cells.weight.dtype
        level = self.level(sinusoid(1000 * noisy.level.flatten(), self.cells.weight.shape[0]).to(dtype))  # (M, D)
        hidden = self.pixels(F.pixel_unshuffle(_of_unit_spread(noisy).flatten(0, 1).to(dtype), 2))
        details = []
        for block, of_block, detail, shrink in zip(self.blocks, self.of_blocks, self.details, self.shrink):
            hidden = block(hidden, of_block(level))
            details.insert(0, detail(hidden))
            hidden = shrink(hidden)
        cells = self.cells(hidden).flatten(2).transpose(1, 2)  # (M, P, D)
        modulation = self.of_layers(level).unflatten(-1, (self.num_layers, 4, 2, -1))
        return ReadNoise(cells, details, modulation)


def _of_unit_spread(noisy: NoisyFrames) -> torch.Tensor:
    """Divide noisy pixels by their spread at each level."""
    level = noisy.level[..., None, None, None]
    return noisy.pixels * (((1 - level) * PIXEL_SPREAD).square() + (level * NOISE_SCALE).square()).rsqrt()


def draw_levels(shape: tuple[int, int], device: torch.device) -> torch.Tensor:
    """Draw the noise levels `(B, N)` of a training step: 1 for `PURE_NOISE_SHARE`, else logistic normal."""
    levels = (LEVEL_MEAN + LEVEL_SPREAD * torch.randn(shape, device=device)).sigmoid()
    return torch.where(torch.rand(shape, device=device) < PURE_NOISE_SHARE, 1.0, levels)


def add_noise(frames: torch.Tensor, levels: torch.Tensor) -> NoisyFrames:
    """Add noise of `levels (B, N)` to frames `(B, N, 3, H, W)` in [0, 1], at random."""
    clean, share = 2 * frames.float() - 1, levels[..., None, None, None]
    return NoisyFrames((1 - share) * clean + share * NOISE_SCALE * torch.randn_like(clean), levels)
