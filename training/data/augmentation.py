"""What training changes about a window of a story: one view of all its frames, and captions that are hidden."""

import random
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in a grey of the same brightness (ITU-R BT.601)
GREY = 127.5  # what contrast leaves as it is


@dataclass(frozen=True)
class Augmentation:
    """
    How far training may go from the stories as they are; by default nowhere.

    A window gets one crop, one change of colours and one flip for all its frames, so that whatever is the same in two
    frames still is. Drawn by seed, epoch and story alone, as `draw_tasks` does.

    - `crop`: largest share of both sides that is cut off, at a random place; the rest has its old proportions and is
      enlarged to the whole.
    - `colour`: brightness, contrast and saturation are multiplied by factors of `1 - colour` to `1 + colour`; hues
      stay, for captions name them.
    - `flip`: half of the windows are mirrored. Not for stories whose captions say left and right, or that show writing.
    - `caption_dropout`: share of captions that are hidden, each by itself, see `draw_tasks`.
    """

    crop: float = 0.0
    colour: float = 0.0
    flip: bool = False
    caption_dropout: float = 0.0

    def changes(self) -> dict[str, float | bool]:
        """What is switched on, by name."""
        return {name: value for name, value in asdict(self).items() if value}

    def apply(self, pixels: np.ndarray, seed: int, epoch: int, story: int | str) -> np.ndarray:
        """Frames `(n, height, width, 3)`, uint8, of a window as training sees them."""
        if not (self.crop or self.colour or self.flip):
            return pixels
        rng = random.Random(f"{seed}/{epoch}/{story}/view")
        # All are drawn whatever is switched on: one of them changes nothing about the others.
        box = _draw_box(rng, self.crop, *pixels.shape[1:3])
        matrix = _draw_colours(rng, self.colour)
        flipped = rng.random() < 0.5 and self.flip
        return np.stack([self._view(Image.fromarray(frame), box, matrix, flipped) for frame in pixels])

    def _view(self, frame: Image.Image, box: tuple, matrix: tuple, flipped: bool) -> np.ndarray:
        if self.crop:
            frame = frame.resize(frame.size, Image.Resampling.BICUBIC, box=box)
        if self.colour:
            frame = frame.convert("RGB", matrix)
        return np.asarray(frame.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flipped else frame)


UNCHANGED = Augmentation()


def _draw_box(rng: random.Random, crop: float, height: int, width: int) -> tuple[float, float, float, float]:
    """Left, upper, right and lower edge, in pixels."""
    share = rng.uniform(0, crop)
    left, upper = (rng.random() * share * side for side in (width, height))
    return left, upper, left + (1 - share) * width, upper + (1 - share) * height


def _draw_colours(rng: random.Random, colour: float) -> tuple[float, ...]:
    """
    Three rows, each from red, green, blue (0 to 255) and 1 to a new channel: first saturation is changed, then
    contrast, then brightness.
    """
    saturation, contrast, brightness = (rng.uniform(1 - colour, 1 + colour) for _ in range(3))
    scale, shift = brightness * contrast, brightness * (1 - contrast) * GREY
    rows = (
        [scale * ((1 - saturation) * luma + saturation * (channel == source)) for source, luma in enumerate(LUMA)]
        for channel in range(3)
    )
    return tuple(value for row in rows for value in (*row, shift))


def augmentation_of(args) -> Augmentation:
    """What the flags change about the windows of training; evaluations see stories as they are."""
    return Augmentation(args.augment_crop, args.augment_colour, args.augment_flip, args.caption_dropout)
