"""
Read what a picture of StoryWorld shows, by drawing: the state whose picture is nearest to it.

Nothing is learned: the templates are the package's own drawings. The background (setting, weather, time, flags) is the
nearest of all in the part of the picture that nobody covers. Each spot where somebody can stand, hold or drop something
is then filled with what brings the drawing nearest to the picture, or stays empty. So a true picture is read right, and
a painted one as what it looks like most, even where no story draws it (a fox at two places at once). A picture that the
nearest drawing does not explain is unreadable.
"""

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import torch
from PIL import Image

from .characters import CHARACTER_HEIGHT, CHARACTERS
from .pen import FRAME_HEIGHT, FRAME_WIDTH
from .props import PROPS
from .scenery import background, garland
from .settings import ALL_SETTINGS, PLACES
from .stage import FEET, Stage, entities, sprite
from .states import LEFT, SIDES, Figure, Lying, PictureState
from .weather import TIMES, WEATHERS, falling, light_of

# A picture is read if the nearest drawing explains at least this share of its variance.
MIN_EXPLAINED = 0.5
SLICE = 64  # pictures that are read at a time
SWEEPS = 3  # rounds in which every spot is filled anew

FIGURE, HAND, GROUND = "figure", "hand", "ground"
OPTIONS = {FIGURE: tuple(CHARACTERS), HAND: tuple(PROPS), GROUND: tuple(PROPS)}
STANDING = [(place, side) for side in SIDES for place in range(len(PLACES))]
# What can be filled, from back to front as `draw_stage` draws it. The hand of figure n is spot `len(STANDING) + n`.
SPOTS = [(kind, *at) for kind in (FIGURE, HAND) for at in STANDING]
SPOTS += [(GROUND, place, LEFT) for place in range(len(PLACES))]
FIGURES, HANDS, GROUNDS = ([i for i, (of, *_) in enumerate(SPOTS) if of == kind] for kind in (FIGURE, HAND, GROUND))

Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels of the frame


@dataclass(frozen=True)
class Reading:
    """
    What a picture shows.

    `state` is `None` where the picture is unreadable. `explained` is the share of the variance of the picture, around
    its mean colour, that the drawing of the state explains, at least 0; or a bound above it that is too low to go on.
    """

    state: PictureState | None
    explained: float


class StateReader:
    """The reader of pictures of one size (height, width); `state_reader` gives one that is ready."""

    def __init__(self, image_size: tuple[int, int]):
        self.image_size = tuple(image_size)
        self.looks = list(product(ALL_SETTINGS, WEATHERS, TIMES, (False, True)))
        self.backgrounds = np.stack([_background(*look, self.image_size) for look in self.looks])  # (K, H, W, 3)
        self.flat = self.backgrounds.reshape(len(self.looks), -1)
        self.squares = self.flat**2
        # Above this row there is nobody.
        self.free_rows = int((FEET - CHARACTER_HEIGHT) * self.image_size[0] / FRAME_HEIGHT)

    def read(self, frames: torch.Tensor | np.ndarray) -> list[Reading]:
        """
        Read pictures `(N, 3, H, W)` in [0, 1] of the reader's size.

        Raises `ValueError` for another shape.
        """
        frames = np.asarray(frames.detach().float().cpu() if isinstance(frames, torch.Tensor) else frames, np.float32)
        if frames.ndim != 4 or frames.shape[1:] != (3, *self.image_size):
            size = ", ".join(map(str, self.image_size))
            raise ValueError(f"frames: got shape {frames.shape}, expected (N, 3, {size})")
        pictures = np.ascontiguousarray(frames.transpose(0, 2, 3, 1))  # (N, H, W, 3)
        parts = [self._read(pictures[start : start + SLICE]) for start in range(0, len(pictures), SLICE)]
        return [reading for part in parts for reading in part]

    def _read(self, pictures: np.ndarray) -> list[Reading]:
        """Read pictures `(n, H, W, 3)`: the background by the rows where nobody is, then by all that nobody covers."""
        free = np.zeros((len(pictures), *self.image_size), bool)
        free[:, : self.free_rows] = True
        looks, errors = self._nearest_looks(pictures, free)
        variances = self._variances(pictures)
        readings = [Reading(None, _explained(*pair)) for pair in zip(errors, variances)]
        rows = [row for row, reading in enumerate(readings) if reading.explained >= MIN_EXPLAINED]
        fits = {row: self._fit(pictures[row], looks[row]) for row in rows}
        if rows:
            better, _ = self._nearest_looks(pictures[rows], np.stack([fits[row].uncovered() for row in rows]))
        for row, look in zip(rows, better if rows else ()):
            fit = fits[row] if look == looks[row] else self._fit(pictures[row], look)
            explained = _explained(fit.error(), variances[row])
            state = fit.state(*self.looks[look]) if explained >= MIN_EXPLAINED else None
            readings[row] = Reading(state, explained)
        return readings

    def _nearest_looks(self, pictures: np.ndarray, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the background of each picture that is nearest in the pixels that are `free`, and its error there."""
        mask = np.repeat(free.reshape(len(free), -1), 3, axis=1).astype(np.float32)  # (n, H * W * 3)
        seen = pictures.reshape(len(pictures), -1) * mask
        looks = (mask @ self.squares.T - 2 * seen @ self.flat.T).argmin(1)
        return looks, ((seen - self.flat[looks] * mask) ** 2).sum(1)

    def _variances(self, pictures: np.ndarray) -> np.ndarray:
        """Return the summed squared distance of each picture from its mean colour; of a plain one almost 0, never 0."""
        around = pictures - pictures.mean((1, 2), keepdims=True)
        return np.maximum((around**2).sum((1, 2, 3)), 1e-6)

    def _fit(self, picture: np.ndarray, look: int) -> "_Fit":
        _, weather, time, _ = self.looks[look]
        fit = _Fit(picture, self.backgrounds[look], _layers(weather, time, self.image_size))
        fit.fill()
        return fit


@cache
def state_reader(image_size: tuple[int, int]) -> StateReader:
    """Return the reader of pictures of `image_size` (height, width); it is built once."""
    return StateReader(image_size)


def read_picture(picture: Image.Image) -> Reading:
    """Read one picture, at the size that it has."""
    pixels = np.asarray(picture.convert("RGB"), np.float32).transpose(2, 0, 1) / 255
    return state_reader(pixels.shape[1:]).read(pixels[None])[0]


@dataclass(frozen=True)
class _Layer:
    """What a spot can hold, drawn in one light: over a canvas it leaves `canvas * keep + colours` in its box."""

    box: Box
    colours: np.ndarray  # (options, h, w, 3), times opacity
    keep: np.ndarray  # (options, h, w, 1), 1 - opacity


class _Fit:
    """A picture, a background, and what is drawn over it: `filled`, the index of an option by that of its spot."""

    def __init__(self, picture: np.ndarray, canvas: np.ndarray, layers: list[_Layer]):
        self.picture, self.canvas, self.layers = picture, canvas, layers
        self.filled: dict[int, int] = {}
        self.compared: dict[tuple, tuple[float, int]] = {}

    def fill(self) -> None:
        """Fill every spot with what brings the drawing nearest to the picture, or leave it empty."""
        spots = list(FIGURES)
        while spots:  # the figure that explains most comes first: it may reach into the places beside it
            gain, option, spot = max((*self._best(spot), spot) for spot in spots)
            if gain <= 0:
                break
            self.filled[spot] = option
            spots.remove(spot)
        for _ in range(SWEEPS):
            before = dict(self.filled)
            for spot in (*HANDS, *GROUNDS, *FIGURES):
                self._refill(spot)
            if self.filled == before:
                break

    def state(self, setting: str, weather: str, time: str, festive: bool) -> PictureState:
        """Return what is drawn, over the background of these values."""
        names = {spot: OPTIONS[SPOTS[spot][0]][option] for spot, option in self.filled.items()}
        standing = len(STANDING)
        figures = [
            Figure(names[spot], *SPOTS[spot][1:], names.get(spot + standing)) for spot in FIGURES if spot in names
        ]
        ground = [Lying(names[spot], SPOTS[spot][1]) for spot in GROUNDS if spot in names]
        return PictureState(setting, weather, time, festive, tuple(sorted(figures, key=str)), tuple(sorted(ground)))

    def uncovered(self) -> np.ndarray:
        """Return where nothing is drawn over the background: `(H, W)`."""
        free = np.ones(self.picture.shape[:2], bool)
        for spot, option in self.filled.items():
            left, top, right, bottom = self.layers[spot].box
            free[top:bottom, left:right] &= self.layers[spot].keep[option][..., 0] == 1
        return free

    def error(self) -> float:
        """Return the summed squared distance of the drawing from the picture."""
        frame = 0, 0, *self.picture.shape[1::-1]
        drawn = self.canvas
        for spot, option in sorted(self.filled.items()):
            drawn = _over(drawn, frame, self.layers[spot], option)
        return float(((self.picture - drawn) ** 2).sum())

    def _refill(self, spot: int) -> None:
        """Fill a spot anew; a hand without a figure is empty."""
        self.filled.pop(spot, None)
        if spot in HANDS and spot - len(STANDING) not in self.filled:
            return
        gain, option = self._best(spot)
        if gain > 0:
            self.filled[spot] = option
        elif spot in FIGURES:
            self.filled.pop(spot + len(STANDING), None)

    def _best(self, spot: int) -> tuple[float, int]:
        """Return the index of the option of a spot that is nearest to the picture, after its gain over nothing."""
        layer = self.layers[spot]
        others = [other for other in sorted(self.filled) if other != spot]
        near = [(other, self.filled[other]) for other in others if _common(layer.box, self.layers[other].box)]
        key = spot, *near
        if key not in self.compared:
            self.compared[key] = self._compare(spot, layer, near)
        return self.compared[key]

    def _compare(self, spot: int, layer: _Layer, near: list[tuple[int, int]]) -> tuple[float, int]:
        """Return what `_best` does; `near` are the spots that reach into this one, with what fills them."""
        left, top, right, bottom = layer.box
        below = self.canvas[top:bottom, left:right]
        for other, option in near:
            if other < spot:
                below = _over(below, layer.box, self.layers[other], option)
        drawn = np.concatenate([below * layer.keep + layer.colours, below[None]])  # (options + 1, h, w, 3)
        for other, option in near:
            if other > spot:
                drawn = _over(drawn, layer.box, self.layers[other], option)
        errors = ((drawn - self.picture[top:bottom, left:right]) ** 2).reshape(len(drawn), -1).sum(1)
        best = int(errors[:-1].argmin())
        return float(errors[-1] - errors[best]), best


def _explained(error: float, variance: float) -> float:
    return max(0.0, 1 - float(error) / float(variance))


def _common(box: Box, other: Box) -> Box | None:
    """Return the part that two boxes have in common, `None` where there is none."""
    part = max(box[0], other[0]), max(box[1], other[1]), min(box[2], other[2]), min(box[3], other[3])
    return part if part[0] < part[2] and part[1] < part[3] else None


def _over(canvas: np.ndarray, box: Box, layer: _Layer, option: int) -> np.ndarray:
    """Return the part `box` of a canvas, `(..., h, w, 3)`, with an option of a layer drawn over it."""
    common = _common(box, layer.box)
    if common is None:
        return canvas
    inner, outer = _within(box, common), _within(layer.box, common)
    canvas = canvas.copy()
    part = canvas[(..., *inner, slice(None))]
    canvas[(..., *inner, slice(None))] = part * layer.keep[option][outer] + layer.colours[option][outer]
    return canvas


def _within(box: Box, part: Box) -> tuple[slice, slice]:
    """Return the rows and columns of a part, counted from the corner of a box."""
    left, top = box[:2]
    return slice(part[1] - top, part[3] - top), slice(part[0] - left, part[2] - left)


def _background(setting: str, weather: str, time: str, festive: bool, image_size: tuple[int, int]) -> np.ndarray:
    """Return the picture of an empty stage, `(H, W, 3)` float32 in [0, 1]."""
    height, width = image_size
    canvas = background(setting, weather, time, width, height)
    for layer in (garland(width, height) if festive else None, falling(weather, width, height)):
        if layer is not None:
            canvas = canvas + (layer[..., :3] - canvas) * (layer[..., 3:] / 255)
    return canvas / np.float32(255)


@cache
def _layers(weather: str, time: str, image_size: tuple[int, int]) -> list[_Layer]:
    """Return the layer of each of `SPOTS` in one light, behind what falls."""
    return [_layer(spot, weather, time, image_size) for spot in SPOTS]


def _layer(spot: tuple[str, int, str], weather: str, time: str, image_size: tuple[int, int]) -> _Layer:
    height, width = image_size
    light, front = light_of(weather, time), falling(weather, width, height)
    kind = spot[0]
    pixels, corner = [], None
    for name in OPTIONS[kind]:
        entity, of, left, top = _entity(spot, name)
        pixels.append(sprite(entity, of, width, height, light))
        corner = round(left * width / FRAME_WIDTH), round(top * height / FRAME_HEIGHT)
    (x, y), (rows, columns) = corner, pixels[0].shape[:2]
    box = max(0, x), max(0, y), min(width, x + columns), min(height, y + rows)
    drawn = np.stack(pixels)[:, box[1] - y : box[3] - y, box[0] - x : box[2] - x]
    colours, opacity = drawn[..., :3] / 255, drawn[..., 3:]
    if front is not None:
        part = front[box[1] : box[3], box[0] : box[2]] / 255
        colours = colours + (part[..., :3] - colours) * part[..., 3:]
    return _Layer(box, np.float32(colours * opacity), np.float32(1 - opacity))


def _entity(spot: tuple[str, int, str], name: str) -> tuple[str, str, float, float]:
    """Return name, kind, left and top of what is drawn at a spot, by the package's own rules."""
    kind, place, side = spot
    who, other = list(CHARACTERS)[:2]
    if kind == FIGURE:
        who, other = name, next(character for character in CHARACTERS if character != name)
    stage = Stage(ALL_SETTINGS[0], WEATHERS[0], TIMES[0], (who, other) if side == LEFT else (other, who))
    if kind == GROUND:
        return entities(stage.changed(lying={name: place}))[0]
    held = {name: who} if kind == HAND else {}
    return entities(stage.changed(where={who: place}, held=held))[-1]
