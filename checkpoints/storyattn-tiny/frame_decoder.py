"""FrameDecoder: paints frame t + 1 from the story so far, moves what moves, and copies what stays."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from .configuration_storyattn import StoryAttnConfig
from .frame_copier import Copier, Mover
from .frame_decoder_layer import FrameDecoderLayer
from .frame_noise import NoiseReader, NoisyFrames, ReadNoise
from .layers import ConvBlock, grid_sinusoid, select_frames, sinusoid
from .object_slots import ObjectSlots, PlacedObjects


class FrameDecoderOutput(NamedTuple):
    """
    Output of [`FrameDecoder`] for N frames of B stories, of which the first P are predicted.

    Args:
        frames (`(B, N, 3, H, W)`): in [0, 1].
        painted (`(B, N, 3, H, W)`): the same without anything copied.
        lit (`(B, P, 3, H, W)`): the last frame in its new light; `None` with `use_frame_copy` off.
        moved (`(B, P, 3, H, W)`): pieces of the frames so far; `None` with that or `use_frame_motion` off.
        objects (`PlacedObjects`): what changes, and where; `None` without `object_names`.
    """

    frames: torch.Tensor
    painted: torch.Tensor
    lit: torch.Tensor | None
    moved: torch.Tensor | None
    objects: PlacedObjects | None


class FrameInputs(NamedTuple):
    """
    What [`FrameDecoder`] reads to paint N frames of each of B stories, but for noisy frames.

    Args:
        frames (`(B, T, 3, H, W)`): the frames so far, in [0, 1].
        features (`(B, T, h, w, D)`): their gated feature maps.
        details (`(B, T, C, h', w')`, *optional*): their finer maps.
        context (`(B, N, S, D)`), context_mask (`(B, N, S)`, bool): story state and caption of each frame to paint.
        source (`(B, N)`): index of the frame that each painted frame starts from.
        visible (`(B, N, T)`, bool): the frames that each painted frame may read and copy.
        num_predicted: so many of the N frames, the first ones, are predicted. The others are reconstructed, and copy
            nothing.
    """

    frames: torch.Tensor
    features: torch.Tensor
    details: torch.Tensor | None
    context: torch.Tensor
    context_mask: torch.Tensor
    source: torch.Tensor
    visible: torch.Tensor
    num_predicted: int

    def predicted(self) -> "FrameInputs":
        """Return the same without the frames that are reconstructed."""
        names = ("context", "context_mask", "source", "visible")
        return self._replace(**{name: getattr(self, name)[:, : self.num_predicted] for name in names})


class FramePlan(NamedTuple):
    """
    What [`FrameDecoder`] knows of N frames of B stories before it reads noise.

    Args:
        frames (`(B, T, 3, H, W)`), cells (`(B, T, P, D)`): the frames so far, and their cells.
        start (`(B, N, P, D)`): the cells that each painted frame starts from, with what slots hold.
        context (`(B * N, S, D)`), context_mask (`(B * N, 1, 1, S)`, bool): story state and caption.
        memory (`(B, T * M, D)`), readable (`(B, 1, N * P, T * M)`, bool): cells of the story, and who reads them.
        detail (`(B * N, C, h', w')`, *optional*): finer maps of the frames that are started from.
        source (`(B, N)`), visible (`(B, N, T)`), num_predicted: as in [`FrameInputs`].
        objects (`PlacedObjects`, *optional*): what the slots say.
    """

    frames: torch.Tensor
    cells: torch.Tensor
    start: torch.Tensor
    context: torch.Tensor
    context_mask: torch.Tensor
    memory: torch.Tensor
    readable: torch.Tensor
    detail: torch.Tensor | None
    source: torch.Tensor
    visible: torch.Tensor
    num_predicted: int
    objects: PlacedObjects | None


class FrameDecoder(nn.Module):
    """Plans a frame on a coarse grid, paints it at full resolution, and decides pixel by pixel what to copy instead.

    The cells of a frame attend to one another, to the story state and caption, and to the feature maps of the frames so
    far. From there a convolutional decoder paints. With `use_frame_copy`, each pixel is a mixture of what was painted
    and of the pixels at its place in the frames so far: those of the last frame under a local change of light (gain and
    bias per channel), and those of each frame as they are. With `use_frame_motion`, pieces of these frames may come
    from elsewhere. Painted frames, moved ones and the last one in its new light have a loss each, so that no candidate
    starves the others. A reconstruction never copies.

    With `object_names`, slots say which objects change, and the cells of their boxes start from what they hold.

    As `"flow"` it also reads a noisy version of each frame to predict, and paints the clean frame that it comes from.
    In pure noise there is nothing to read, so there it does the task of a regressing decoder.
    """

    def __init__(self, config: StoryAttnConfig, grid: tuple[int, int], detail_channels: int | None):
        super().__init__()
        size = config.hidden_size
        self.grid, self.frame_grid = grid, config.frame_grid
        self.sharpening, self.radius = config.frame_sharpening, max(config.frame_stride // 4, 1)
        self.task = nn.Parameter(torch.empty(2, size))
        self.context_norm = nn.LayerNorm(size)
        self.memory_norm = nn.LayerNorm(size)
        last = config.num_frame_layers - 1  # nothing reads the context after it
        self.layers = nn.ModuleList(
            FrameDecoderLayer(config, config.use_joint_frame_attention and level < last) for level in range(last + 1)
        )
        self.painter = Painter(config, detail_channels)
        self.copier = Copier(config) if config.use_frame_copy else None
        self.mover = Mover(config) if config.use_frame_copy and config.use_frame_motion else None
        self.noise_reader = NoiseReader(config) if config.samples_frames else None
        self.slots = ObjectSlots(config) if config.object_names else None

    def reset_parameters(self, normal_: Callable) -> None:
        """Fill the embeddings with the initialiser `normal_` of the caller."""
        normal_(self.task, std=0.5)

    def forward(
        self,
        inputs: FrameInputs | FramePlan,
        noisy: NoisyFrames | None = None,
        changing: torch.Tensor | None = None,
        paints: bool = True,
    ) -> FrameDecoderOutput | FramePlan:
        """Plan N frames of each of B stories, and paint them.

        Args:
            inputs: what to paint them from; or a plan that was made of it, once for all steps of a sampling.
            noisy (`NoisyFrames`): as `"flow"`: the P predicted frames with noise.
            changing (`(B, P, names, cells)`, bool, *optional*): true boxes of what changes, see [`ObjectSlots`].
            paints: `False` returns the plan.
        """
        plan = inputs if isinstance(inputs, FramePlan) else self._plan(inputs, changing)
        return self._paint(plan, noisy) if paints else plan

    def _plan(self, inputs: FrameInputs, changing: torch.Tensor | None) -> FramePlan:
        """Compute what is the same for every noise."""
        frames, features, details, context, context_mask, source, visible, num_predicted = inputs
        frames = frames.float()  # pixels keep their precision, whatever the weights have
        cells = self._cells(features, frames.shape[1])  # (B, T, P, D)
        is_reconstructed = torch.arange(source.shape[1], device=source.device) >= num_predicted
        task = self.task[is_reconstructed.long()]  # (N, D)
        start = select_frames(cells, source) + task[:, None].to(cells.dtype)  # (B, N, P, D)
        memory = self.memory_norm(self._coarsened(cells))  # (B, T, M, D)
        readable = visible.repeat_interleave(cells.shape[2], dim=1).repeat_interleave(memory.shape[2], dim=2)[:, None]
        context, context_mask = self.context_norm(context), context_mask[:, :, None, None]
        start, objects = self._placed(start, context, context_mask, num_predicted, changing)
        detail = None if details is None else select_frames(details, source).flatten(0, 1)
        read = context.flatten(0, 1), context_mask.flatten(0, 1), memory.flatten(1, 2), readable
        return FramePlan(frames, cells, start, *read, detail, source, visible, num_predicted, objects)

    def _paint(self, plan: FramePlan, noisy: NoisyFrames | None) -> FrameDecoderOutput:
        """Paint the frames of a plan."""
        source, number = plan.source, plan.num_predicted
        read = None if self.noise_reader is None else self._read_noise(noisy, source.shape[1])
        hidden = self._hidden(plan, read)
        coarse = hidden.transpose(1, 2).unflatten(-1, self.frame_grid)  # (B * N, D, rows, columns)
        noise_details = None if read is None else read.details
        painted, choice = (x.unflatten(0, source.shape) for x in self.painter(coarse, plan.detail, noise_details))
        predicted, lit, moved = painted[:, :number], None, None
        planned = hidden.unflatten(0, source.shape)[:, :number]  # (B, P, cells, D)
        if self.copier is not None:
            choice, source, visible = (x[:, :number] for x in (choice, source, plan.visible))
            moved = None if self.mover is None else self.mover(planned, plan.cells, plan.frames, source, visible)
            coarse = coarse.unflatten(0, painted.shape[:2])[:, :number].flatten(0, 1)
            predicted, lit = self.copier(coarse, choice, predicted, moved, plan.frames, source, visible)
        mixed = torch.cat([self._sharpened(predicted), painted[:, number:]], dim=1)
        return FrameDecoderOutput(mixed, painted, lit, moved, plan.objects)

    def _read_noise(self, noisy: NoisyFrames, number: int) -> ReadNoise:
        """Read the P noisy frames; the rest of `number` frames are reconstructed, as if they were pure noise of 0."""
        missing = number - noisy.level.shape[1]
        pixels = F.pad(noisy.pixels, (0, 0, 0, 0, 0, 0, 0, missing))
        return self.noise_reader(NoisyFrames(pixels, F.pad(noisy.level, (0, missing), value=1.0)))

    def _hidden(self, plan: FramePlan, read: ReadNoise | None) -> torch.Tensor:
        """Run the layers over the cells of all N frames: `(B * N, P, D)`."""
        hidden = plan.start.flatten(0, 1) if read is None else plan.start.flatten(0, 1) + read.cells
        context = plan.context
        for level, layer in enumerate(self.layers):
            modulation = None if read is None else read.modulation[:, level]  # (B * N, 4, 2, D)
            hidden, context = layer(hidden, context, plan.context_mask, plan.memory, plan.readable, modulation)
        return hidden

    def _placed(
        self,
        cells: torch.Tensor,
        context: torch.Tensor,
        context_mask: torch.Tensor,
        num_predicted: int,
        changing: torch.Tensor | None,
    ) -> tuple[torch.Tensor, PlacedObjects | None]:
        """Add to the cells `(B, N, P, D)` of the predicted frames what the slots hold; also return their objects."""
        if self.slots is None:
            return cells, None
        objects, taken = self.slots(*(x[:, :num_predicted] for x in (cells, context, context_mask)), changing)
        return cells + F.pad(taken, (0, 0, 0, 0, 0, cells.shape[1] - num_predicted)), objects

    def _sharpened(self, frames: torch.Tensor) -> torch.Tensor:
        """Sharpen predicted frames `(B, N, 3, H, W)` by unsharp masking, outside of training and where configured.

        The best guess of a picture that cannot be foreseen is the mean of all that might come, in which lines and
        texture are faint. If it were trained with the sharpening, the painter would learn to make them fainter.
        """
        if not self.sharpening or self.training:
            return frames
        side = 2 * self.radius + 1
        means = F.avg_pool2d(frames.flatten(0, 1), side, 1, self.radius, count_include_pad=False)
        return (frames + self.sharpening * (frames - means.view_as(frames))).clamp(0, 1)

    def _coarsened(self, cells: torch.Tensor) -> torch.Tensor:
        """Average cells `(B, T, P, D)` over squares of 2 x 2, as they are read of the frames so far: `(B, T, M, D)`.

        The painted frame starts from cells at full resolution, and attention to more would cost four times as much.
        """
        maps = cells.flatten(0, 1).transpose(1, 2).unflatten(-1, self.frame_grid)
        coarse = F.avg_pool2d(maps, 2, ceil_mode=True)  # (B * T, D, rows / 2, columns / 2)
        return coarse.flatten(2).transpose(1, 2).unflatten(0, cells.shape[:2])

    def _cells(self, features: torch.Tensor, num_frames: int) -> torch.Tensor:
        """Lay feature maps `(B, T, h, w, D)` on the decoder's grid, with codes of place and time: `(B, T, P, D)`."""
        if self.grid != self.frame_grid:
            maps = features.flatten(0, 1).permute(0, 3, 1, 2)
            maps = F.interpolate(maps, self.frame_grid, mode="bilinear").permute(0, 2, 3, 1)
            features = maps.unflatten(0, features.shape[:2])
        cells = features.flatten(2, 3)
        place = grid_sinusoid(*self.frame_grid, cells.shape[-1], cells.device)
        time = sinusoid(torch.arange(num_frames, device=cells.device), cells.shape[-1])[:, None]
        return cells + (place + time).to(cells.dtype)


class Painter(nn.Module):
    """Doubles the resolution of a plan step by step (sub-pixel convolution, Shi et al. 2016) and paints it.

    The last doubling gives the picture itself: three channels, and two with which the copier decides.
    """

    def __init__(self, config: StoryAttnConfig, detail_channels: int | None):
        super().__init__()
        widths = [config.hidden_size, *config.frame_channels]
        self.detail = None if detail_channels is None else nn.Conv2d(detail_channels, widths[1], 1)
        self.grow = nn.ModuleList(nn.Conv2d(a, 4 * b, 1) for a, b in zip(widths, widths[1:]))
        self.blocks = nn.ModuleList(ConvBlock(width) for width in widths[1:])
        self.pixels = nn.Conv2d(widths[-1], 4 * (5 if config.use_frame_copy else 3), 3, padding=1)

    def forward(
        self, plan: torch.Tensor, detail: torch.Tensor | None, noise_details: list[torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Paint a plan.

        Args:
            plan (`(N, D, rows, columns)`): the cells.
            detail (`(N, C, h', w')`, *optional*): finer maps of the frame.
            noise_details (`list`, *optional*): of each level what was read in the noisy frames, `(N, C, h, w)`.

        Returns frames `(N, 3, H, W)` in [0, 1], and the logits `(N, 2, H, W)` with which the copier decides.
        """
        hidden = plan
        for level, (grow, block) in enumerate(zip(self.grow, self.blocks)):
            hidden = F.pixel_shuffle(grow(hidden), 2)
            if level == 0 and self.detail is not None:
                skipped = self.detail(detail)
                if skipped.shape[-2:] != hidden.shape[-2:]:
                    skipped = F.interpolate(skipped, hidden.shape[-2:], mode="bilinear")
                hidden = hidden + skipped
            if noise_details is not None:
                hidden = hidden + noise_details[level]
            hidden = block(hidden)
        pixels = F.pixel_shuffle(self.pixels(hidden), 2).float()
        return pixels[:, :3].sigmoid(), pixels[:, 3:]
