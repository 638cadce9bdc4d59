"""
Draw canvases of CoDraw at any size, and say what of each piece of clip art can be seen.

Each picture is scaled once for each depth and flip, to twice the size of the frame and with premultiplied alpha. A
canvas is drawn at twice its size and reduced, so that thin parts stay visible.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from .clip_art import CANVAS_HEIGHT, CANVAS_WIDTH, DEPTH_SCALES, TYPES, ClipArt

BACKGROUND = "background.png"
OVERSAMPLING = 2  # a canvas is drawn so many times larger than the frame
OPAQUE = 0.1  # alpha from which on a pixel belongs to a picture's extent
MIN_VISIBLE = 0.2  # share of a picture from which on it counts as visible
MIN_SIDE = 16  # pixels of a frame


@dataclass(frozen=True)
class Sighting:
    """
    What of a piece of clip art a frame shows.

    `box` is `[x1, y1, x2, y2]` in pixels of the frame, x2 and y2 exclusive: the extent of the picture, clipped to the
    frame, whatever covers it; empty where it lies outside. `share` is the part of the picture, 0 to 1, that lies in the
    frame and is not covered.
    """

    clip_art: ClipArt
    box: list[int]
    share: float

    @property
    def is_visible(self) -> bool:
        """Whether enough of it shows to count: `MIN_VISIBLE` of the picture."""
        return bool(self.box) and self.share >= MIN_VISIBLE


@dataclass(frozen=True)
class _Sprite:
    """A picture as it is drawn, cut to its extent; its center is `(center_x, center_y)` from the cut's corner."""

    color: np.ndarray  # (h, w, 3), 0 to 255, premultiplied
    alpha: np.ndarray  # (h, w, 1), 0 to 1
    center_x: float
    center_y: float


class CanvasRenderer:
    """
    Draws canvases with the pictures in a folder.

    Args:
        folder: has `background.png` and the pictures of the clip art, PNG with alpha.
        image_size: height and width of the frames in pixels, at least 16 each; the canvas is stretched to them.

    Raises:
        ValueError: for another size, and where a picture is missing or cannot be read.
    """

    def __init__(self, folder: str | Path, image_size: tuple[int, int] = (96, 120)):
        if len(image_size) != 2 or min(image_size) < MIN_SIDE:
            raise ValueError(f"image_size: got {image_size}, expected height and width of at least {MIN_SIDE} pixels")
        self.folder, self.image_size = Path(folder), tuple(image_size)
        self.height, self.width = (side * OVERSAMPLING for side in image_size)
        background = self._open(BACKGROUND).convert("RGB").resize((self.width, self.height), Image.Resampling.BOX)
        self.background = np.asarray(background, dtype=np.float32)
        self.sprite = lru_cache(maxsize=None)(self._load_sprite)

    def draw(self, objects: list[ClipArt]) -> np.ndarray:
        """Return the frame `(height, width, 3)`, uint8, of a canvas with `objects`."""
        canvas = self.background.copy()
        for clip_art in drawing_order(objects):
            sprite = self.sprite(clip_art.group, clip_art.number, clip_art.depth, clip_art.flip)
            target, part = self._place(sprite, clip_art)
            canvas[target] *= 1 - sprite.alpha[part]
            canvas[target] += sprite.color[part]
        rows = sum(canvas[step::OVERSAMPLING] for step in range(OVERSAMPLING))
        total = sum(rows[:, step::OVERSAMPLING] for step in range(OVERSAMPLING))
        return (total / OVERSAMPLING**2 + 0.5).clip(0, 255).astype(np.uint8)

    def look(self, objects: list[ClipArt]) -> list[Sighting]:
        """Return what the frame shows of each of `objects`, in their order."""
        uncovered = np.ones((self.height, self.width, 1), dtype=np.float32)
        sightings = {}
        for clip_art in reversed(drawing_order(objects)):
            sprite = self.sprite(clip_art.group, clip_art.number, clip_art.depth, clip_art.flip)
            target, part = self._place(sprite, clip_art)
            alpha = sprite.alpha[part]
            share = float((alpha * uncovered[target]).sum() / sprite.alpha.sum())
            uncovered[target] *= 1 - alpha
            sightings[clip_art] = Sighting(clip_art, _box(target), share)
        return [sightings[clip_art] for clip_art in objects]

    def _place(self, sprite: _Sprite, clip_art: ClipArt) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Return the rows and columns of the canvas that a sprite covers, and those of the sprite that lie there."""
        top = round(clip_art.y * self.height / CANVAS_HEIGHT - sprite.center_y)
        left = round(clip_art.x * self.width / CANVAS_WIDTH - sprite.center_x)
        rows, columns = sprite.alpha.shape[:2]
        target_rows, part_rows = _overlap(top, rows, self.height)
        target_columns, part_columns = _overlap(left, columns, self.width)
        return (target_rows, target_columns), (part_rows, part_columns)

    def _load_sprite(self, group: str, number: int, depth: int, flip: bool) -> _Sprite:
        file = ClipArt(group, number, 0, 0, depth, flip).file
        picture = self._open(file)
        if flip:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        scale = DEPTH_SCALES[depth]
        width = max(1, round(picture.width * scale * self.width / CANVAS_WIDTH))
        height = max(1, round(picture.height * scale * self.height / CANVAS_HEIGHT))
        pixels = picture.convert("RGBa").resize((width, height), Image.Resampling.HAMMING)
        values = np.asarray(pixels, dtype=np.float32)
        alpha = values[..., 3:] / 255
        rows, columns = (np.flatnonzero((alpha[..., 0] >= OPAQUE).any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            raise ValueError(f"source: {self.folder / file} is all transparent, expected a picture")
        top, left = int(rows[0]), int(columns[0])
        cut = slice(top, int(rows[-1]) + 1), slice(left, int(columns[-1]) + 1)
        return _Sprite(values[cut][..., :3].copy(), alpha[cut].copy(), width / 2 - left, height / 2 - top)

    def _open(self, name: str) -> Image.Image:
        try:
            with Image.open(self.folder / name) as picture:
                return picture.convert("RGBA")
        except FileNotFoundError:
            raise ValueError(f"source: got no picture {name} in {self.folder}, expected the clip art") from None
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise ValueError(f"source: {self.folder / name} cannot be read: {error}") from error


def drawing_order(objects: list[ClipArt]) -> list[ClipArt]:
    """Return `objects` as they are drawn: the sky, then from far to near, within a depth by their type."""
    return sorted(objects, key=lambda clip_art: (clip_art.group != "s", -clip_art.depth, TYPES.index(clip_art.group)))


def _overlap(start: int, length: int, limit: int) -> tuple[slice, slice]:
    """Return where `length` pixels from `start` on lie in `[0, limit)`, and which of them do."""
    first, last = min(max(start, 0), limit), max(min(start + length, limit), 0)
    last = max(first, last)
    return slice(first, last), slice(first - start, last - start)


def _box(target: tuple[slice, slice]) -> list[int]:
    rows, columns = target
    if rows.start == rows.stop or columns.start == columns.stop:
        return []
    return [
        columns.start // OVERSAMPLING,
        rows.start // OVERSAMPLING,
        ceil(columns.stop / OVERSAMPLING),
        ceil(rows.stop / OVERSAMPLING),
    ]
