"""Change windows of stories for training: one view for all frames of a window, and hidden captions."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from ..arguments import TrainingArguments

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in a grey of the same brightness (ITU-R BT.601)
GREY = 127.5  # the level that a change of contrast leaves as it is
# The words of a side, alone or as a part of one such as "leftmost". "Right above" and "all right" name no side.
SIDES = re.compile(
    r"(?<!all )\b(left|right)(?=(?:most|hand|wards?|side)?\b)"
    r"(?! (?:now|away|after|next|above|below|under|underneath|behind|beside)\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Augmentation:
    """How far training may change the stories; by default not at all.

    All frames of a window get the same crop, the same change of colours and the same flip, so what is equal in two
    frames stays equal. The changes are drawn by seed, epoch and story alone, as in `draw_tasks`.

    Attributes:
        crop: largest share of both sides that is cut off, in [0, 1), at a random place. The rest keeps its proportions
            and is enlarged to the size of the frame.
        colour: brightness, contrast and saturation are multiplied by factors from `1 - colour` to `1 + colour`. Hues
            stay, because captions name them.
        flip: mirror half of the windows, and exchange left and right in their captions, see `mirrored_caption`. Not for
            stories whose frames show writing, or whose captions use "left" for "went away".
        caption_dropout: share of captions that are hidden, in [0, 1), each independently; see `draw_tasks`.
    """

    crop: float = 0.0
    colour: float = 0.0
    flip: bool = False
    caption_dropout: float = 0.0

    def changes(self) -> dict[str, float | bool]:
        """Return the settings that are switched on, by name."""
        return {name: value for name, value in asdict(self).items() if value}

    def apply(self, pixels: np.ndarray, seed: int, epoch: int, story: int | str) -> np.ndarray:
        """Return the frames of a window as training sees them.

        Args:
            pixels: frames of one window, `(n, height, width, 3)`, uint8.
            seed: seed of the run.
            epoch: epoch in which the window is read.
            story: number or id of its story.

        Returns:
            Frames of the same shape and type; `pixels` itself where no view is switched on.
        """
        if not (self.crop or self.colour or self.flip):
            return pixels
        rng = random.Random(f"{seed}/{epoch}/{story}/view")
        # Both are drawn, also where one is switched off: so neither changes what the other draws.
        box = _draw_box(rng, self.crop, *pixels.shape[1:3])
        matrix = _draw_colours(rng, self.colour)
        flipped = self.is_flipped(seed, epoch, story)
        return np.stack([self._view(Image.fromarray(frame), box, matrix, flipped) for frame in pixels])

    def mover(self, seed: int, epoch: int, story: int | str) -> Callable[[np.ndarray], np.ndarray]:
        """Return the function to where boxes of a frame lie in what `apply` makes of it, for the same arguments.

        It takes and gives left, upper, right and lower edges `(n, 4)`, as shares of the frame.
        """
        rng, flipped = random.Random(f"{seed}/{epoch}/{story}/view"), self.is_flipped(seed, epoch, story)
        left, upper, right, lower = _draw_box(rng, self.crop, 1, 1)
        first, size = (np.array(pair * 2, np.float32) for pair in ([left, upper], [right - left, lower - upper]))

        def move(edges: np.ndarray) -> np.ndarray:
            moved = ((edges - first) / size).clip(0, 1)
            return _mirrored(moved) if flipped else moved

        return move

    def is_flipped(self, seed: int, epoch: int, story: int | str) -> bool:
        """Return whether `apply` mirrors a window, whose captions then change their sides."""
        return self.flip and random.Random(f"{seed}/{epoch}/{story}/flip").random() < 0.5

    def _view(self, frame: Image.Image, box: tuple, matrix: tuple, flipped: bool) -> np.ndarray:
        if self.crop:
            frame = frame.resize(frame.size, Image.Resampling.BICUBIC, box=box)
        if self.colour:
            frame = frame.convert("RGB", matrix)
        return np.asarray(frame.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flipped else frame)


UNCHANGED = Augmentation()


def _mirrored(edges: np.ndarray) -> np.ndarray:
    """Return boxes `(n, 4)` of shares of a frame as they lie in the mirrored frame."""
    return np.stack([1 - edges[:, 2], edges[:, 1], 1 - edges[:, 0], edges[:, 3]], axis=1)


def mirrored_caption(caption: str | None) -> str | None:
    """Exchange left and right in an English caption, for its mirrored frame; `None` stays `None`."""
    return None if caption is None else SIDES.sub(_other_side, caption)


def _other_side(match: re.Match) -> str:
    """Return the other side, with capitals as in the match."""
    word = match.group()
    other = "right" if word.lower() == "left" else "left"
    return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other


def _draw_box(rng: random.Random, crop: float, height: int, width: int) -> tuple[float, float, float, float]:
    """Draw the left, upper, right and lower edge of a crop, in pixels."""
    share = rng.uniform(0, crop)
    left, upper = (rng.random() * share * side for side in (width, height))
    return left, upper, left + (1 - share) * width, upper + (1 - share) * height


def _draw_colours(rng: random.Random, colour: float) -> tuple[float, ...]:
    """Draw a matrix `(3, 4)` of colours, row by row.

    A row gives a new channel from red, green, blue (0 to 255) and 1. The matrix changes saturation first, then
    contrast, then brightness.
    """
    saturation, contrast, brightness = (rng.uniform(1 - colour, 1 + colour) for _ in range(3))
    scale, shift = brightness * contrast, brightness * (1 - contrast) * GREY
    rows = (
        [scale * ((1 - saturation) * luma + saturation * (channel == source)) for source, luma in enumerate(LUMA)]
        for channel in range(3)
    )
    return tuple(value for row in rows for value in (*row, shift))


def augmentation_of(args: TrainingArguments) -> Augmentation:
    """Return the augmentation of the training windows; evaluations see the stories unchanged."""
    return Augmentation(args.augment_crop, args.augment_colour, args.augment_flip, args.caption_dropout)
