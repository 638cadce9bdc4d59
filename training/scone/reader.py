"""
Read which state a picture shows, slot by slot, by the nearest of the patches that the renderer draws.

Nothing is learned: the templates are the renderer's. So a true picture is read right, and a painted one is read as what
it looks like most in each part of each slot, even where no legal state looks so (a hat without a person).
"""

from dataclasses import dataclass
from functools import cache
from itertools import permutations, product

import numpy as np
import torch
from PIL import Image

from ..storyworld.pen import FRAME_HEIGHT
from . import people
from .pictures import LAYOUTS, cell_box, check_image_size, patch
from .states import ALCHEMY, DOMAINS, NOTHING, SCENE, TANGRAMS, State, domain_named

SLICE = 256  # pictures that are read at a time


@dataclass(frozen=True)
class Reading:
    """
    What a picture shows.

    `state` is read part by part and may be illegal; `legal` is the legal state whose parts are nearest to the picture
    together, the same as `state` where that is legal. `margin` is that of the least certain part: 1 for a true picture,
    0 where it is half-way between two symbols.
    """

    state: State
    legal: State
    margin: float


class StateReader:
    """The reader of a domain's pictures of one size; `state_reader` gives one that is ready."""

    def __init__(self, domain: str, image_size: tuple[int, int]):
        self.shape = domain_named(domain)
        self.domain, self.image_size = domain, check_image_size(image_size)
        self.symbols = NOTHING + self.shape.symbols
        self.parts = {
            (slot, part): _Part(domain, slot, part, self.image_size, self.symbols)
            for slot, part in product(range(self.shape.num_slots), range(self.shape.parts))
        }

    def read(self, frames: torch.Tensor | np.ndarray) -> list[Reading]:
        """
        Read pictures `(N, 3, H, W)` in [0, 1] of the reader's size.

        Raises `ValueError` for another shape.
        """
        frames = np.asarray(frames.detach().float().cpu() if isinstance(frames, torch.Tensor) else frames, np.float32)
        if frames.ndim != 4 or frames.shape[1:] != (3, *self.image_size):
            raise ValueError(
                f"frames: got shape {frames.shape}, expected (N, 3, {', '.join(map(str, self.image_size))})"
            )
        readings = []
        for start in range(0, len(frames), SLICE):
            readings += self._read(frames[start : start + SLICE])
        return readings

    def _read(self, frames: np.ndarray) -> list[Reading]:
        distances = np.zeros((len(frames), self.shape.num_slots, self.shape.parts, len(self.symbols)), np.float32)
        margins = np.full(len(frames), np.inf, np.float32)
        for (slot, part), templates in self.parts.items():
            distances[:, slot, part], certain = templates.compare(frames)
            margins = np.minimum(margins, certain)
        nearest = distances.argmin(-1)  # (N, slots, parts)
        legal = LEGAL[self.domain](distances)
        return [
            Reading(self._state(seen), self._state(snapped), float(margin))
            for seen, snapped, margin in zip(nearest, legal, margins)
        ]

    def _state(self, indices: np.ndarray) -> State:
        return State(self.domain, tuple("".join(self.symbols[index] for index in slot) for slot in indices))


@cache
def state_reader(domain: str, image_size: tuple[int, int]) -> StateReader:
    """Return the reader of a domain's pictures of `image_size` (height, width); it is built once."""
    return StateReader(domain, image_size)


def read_state(picture: Image.Image, domain: str) -> Reading:
    """Read one picture of a domain, at the size that it has."""
    pixels = np.asarray(picture.convert("RGB"), np.float32).transpose(2, 0, 1) / 255
    return state_reader(domain, pixels.shape[1:]).read(pixels[None])[0]


class _Part:
    """What a part of a slot can look like: a rectangle of the picture, and the templates of each symbol in it."""

    def __init__(self, domain: str, slot: int, part: int, image_size: tuple[int, int], symbols: str):
        self.box = _part_box(domain, slot, part, image_size)
        looks: dict[bytes, tuple[np.ndarray, int]] = {}
        for symbol, pixels in _looks(domain, slot, part, image_size):
            looks.setdefault(pixels.tobytes(), (pixels, symbols.index(symbol)))
        flat = [pixels.transpose(2, 0, 1).ravel() / np.float32(255) for pixels, _ in looks.values()]
        self.templates = np.stack(flat).astype(np.float32)  # (K, 3 * h * w)
        self.symbol_of = np.array([symbol for _, symbol in looks.values()])  # (K,)
        self.num_symbols = len(symbols)
        self.squares = (self.templates**2).sum(1)
        self.apart = self.squares[:, None] + self.squares - 2 * self.templates @ self.templates.T  # (K, K)

    def compare(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """
        Compare pictures `(N, 3, H, W)` with all templates.

        Returns the squared distance `(N, symbols)` to each symbol's nearest template, and the margin `(N,)` of the
        nearest symbol before the next one.
        """
        left, top, right, bottom = self.box
        seen = frames[:, :, top:bottom, left:right].reshape(len(frames), -1)
        squared = (seen**2).sum(1, keepdims=True) + self.squares - 2 * seen @ self.templates.T  # (N, K)
        nearest = squared.argmin(1)
        others = np.where(self.symbol_of == self.symbol_of[nearest][:, None], np.inf, squared)
        second, rows = others.argmin(1), np.arange(len(frames))
        margin = (squared[rows, second] - squared[rows, nearest]) / self.apart[nearest, second]
        distances = [squared[:, self.symbol_of == symbol].min(1) for symbol in range(self.num_symbols)]
        return np.stack(distances, axis=1), margin


def _part_box(domain: str, slot: int, part: int, image_size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a part; of a person the shirt with arms (part 0) and what is on the head (1)."""
    if domain == ALCHEMY:
        return cell_box(domain, slot, part, image_size)
    left, top, right, bottom = cell_box(domain, slot, 0, image_size)
    if domain == SCENE:
        first, last = ((people.BODY_TOP, people.BODY_BOTTOM), (0, people.HAT_HEIGHT))[part]
        down = image_size[0] / FRAME_HEIGHT
        top, bottom = top + round(first * down), top + round(last * down)
    return left, top, right, bottom


def _looks(domain: str, slot: int, part: int, image_size: tuple[int, int]) -> list[tuple[str, np.ndarray]]:
    """Each symbol of a part with a look that it can have, `(h, w, 3)` uint8: on each shirt the same hat, and so on."""
    symbols = DOMAINS[domain].symbols
    cell = part if LAYOUTS[domain].cells > 1 else 0
    contents = [NOTHING, *symbols]
    if domain == SCENE:
        contents = [NOTHING * 2, *(shirt + hat for shirt, hat in product(symbols, NOTHING + symbols))]
    _, cell_top, *_ = cell_box(domain, slot, cell, image_size)
    _, top, _, bottom = _part_box(domain, slot, part, image_size)
    rows = slice(top - cell_top, bottom - cell_top)
    return [
        (content[part if domain == SCENE else 0], patch(domain, slot, cell, content, image_size)[rows])
        for content in contents
    ]


def _legal_scene(distances: np.ndarray) -> np.ndarray:
    """Of each place the nearest of: nobody, or any shirt with any hat or none; symbols `(N, slots, 2)`."""
    shirt, hat = distances[:, :, 0], distances[:, :, 1]
    best_shirt, best_hat = shirt[..., 1:].argmin(-1) + 1, hat.argmin(-1)
    nobody = shirt[..., 0] + hat[..., 0] < shirt[..., 1:].min(-1) + hat.min(-1)
    return np.where(nobody[..., None], 0, np.stack([best_shirt, best_hat], axis=-1))


def _legal_alchemy(distances: np.ndarray) -> np.ndarray:
    """Of each beaker the nearest height, and up to it the nearest colour of each unit; symbols `(N, slots, 4)`."""
    empty, full = distances[..., 0], distances[..., 1:].min(-1)  # (N, slots, 4)
    parts = distances.shape[2]
    of_height = [full[..., :high].sum(-1) + empty[..., high:].sum(-1) for high in range(parts + 1)]
    height = np.stack(of_height, axis=-1).argmin(-1)
    return np.where(np.arange(parts) < height[..., None], distances[..., 1:].argmin(-1) + 1, 0)


def _legal_tangrams(distances: np.ndarray) -> np.ndarray:
    """The nearest of all rows; symbols `(N, slots, 1)`."""
    rows = _tangram_rows(distances.shape[1])  # (R, slots)
    total = sum(distances[:, slot, 0, rows[:, slot]] for slot in range(rows.shape[1]))  # (N, R)
    return rows[total.argmin(-1)][..., None]


@cache
def _tangram_rows(num_slots: int) -> np.ndarray:
    """All legal rows as indices of symbols, 0 for no figure: `(R, slots)`."""
    figures = range(1, len(DOMAINS[TANGRAMS].symbols) + 1)
    rows = [row for count in range(num_slots + 1) for row in permutations(figures, count)]
    return np.array([row + (0,) * (num_slots - len(row)) for row in rows])


LEGAL = {SCENE: _legal_scene, ALCHEMY: _legal_alchemy, TANGRAMS: _legal_tangrams}
