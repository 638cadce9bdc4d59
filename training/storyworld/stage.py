"""What is on stage at one moment of a story, and its picture with the exact boxes of all that is visible."""

from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
from PIL import Image

from .characters import HEIGHT as TALL
from .characters import WIDTH as WIDE
from .characters import draw_character
from .pen import HEIGHT, WIDTH
from .props import HEIGHT as PROP_TALL
from .props import WIDTH as PROP_WIDE
from .props import draw_prop
from .scenery import PLACES, SETTINGS, background, falling, garland, light_of

FEET, FLOOR = 55.0, 62.5  # y of the characters' feet, and of what lies on the ground
ASIDE = 7.0  # how far from the middle of a place its two standing positions are
IN_HAND = -2.2, 21.0  # where a held prop ends: beyond the character's outer edge, and below its top


@dataclass(frozen=True)
class Stage:
    """
    One moment. `cast[0]` is the hero, who stands to the left of a landmark, `cast[1]` the friend, to its right.

    `where` gives the place (0, 1, 2) of each character on stage. `lying` gives the place of props on the ground,
    `held` who holds a prop: one a character.
    """

    setting: str
    weather: str
    time: str
    cast: tuple[str, str]
    where: dict[str, int] = field(default_factory=dict)
    lying: dict[str, int] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    festive: bool = False

    def changed(self, **values) -> "Stage":
        """The same moment with other values."""
        return replace(self, **values)

    def holding(self, who: str) -> str | None:
        """The prop that `who` holds."""
        return next((prop for prop, holder in self.held.items() if holder == who), None)

    def look(self) -> tuple:
        """What its picture is drawn from: two moments of the same look have the same picture."""
        figures = sorted((who, place, who == self.cast[0]) for who, place in self.where.items())
        props = sorted(self.lying.items()), sorted(self.held.items())
        return self.setting, self.weather, self.time, self.festive, figures, *props

    def landmark(self, place: int) -> str:
        """The landmark at a place."""
        return SETTINGS[self.setting]["landmarks"][place]


def draw_stage(stage: Stage, image_size: tuple[int, int]) -> tuple[Image.Image, list[dict]]:
    """
    The RGB picture, `image_size` (height, width), and the boxes of what is visible in it.

    A box is `{"entity", "kind": "character" | "prop", "box": [x1, y1, x2, y2]}` in pixels, x2 and y2 exclusive: the
    extent of the pixels that the entity covers and nothing covers in turn.
    """
    height, width = image_size
    canvas = background(stage.setting, stage.weather, stage.time, width, height).copy()
    owner = np.zeros((height, width), np.uint8)
    light = light_of(stage.weather, stage.time)
    entities = _entities(stage)
    for number, (name, kind, left, top) in enumerate(entities, start=1):
        _paste(
            canvas,
            owner,
            number,
            _sprite(name, kind, width, height, light),
            left * width / WIDTH,
            top * height / HEIGHT,
        )
    if stage.festive:
        _overlay(canvas, garland(width, height))
    drops = falling(stage.weather, width, height)
    if drops is not None:
        _overlay(canvas, drops)
    boxes = [
        {"entity": name, "kind": kind, "box": box}
        for number, (name, kind, _, _) in enumerate(entities, start=1)
        if (box := _extent(owner == number))
    ]
    return Image.fromarray(np.rint(canvas).clip(0, 255).astype(np.uint8)), boxes


def _entities(stage: Stage) -> list[tuple[str, str, float, float]]:
    """Name, kind, left and top (design units) of all entities, from back to front."""
    characters, props = [], []
    for who, place in stage.where.items():
        side = -1 if who == stage.cast[0] else 1
        left, top = PLACES[place] + side * ASIDE - WIDE / 2, FEET - TALL
        characters.append((who, "character", left, top))
        prop = stage.holding(who)
        if prop:
            outward = left + IN_HAND[0] if side < 0 else left + WIDE - IN_HAND[0] - PROP_WIDE
            props.append((prop, "prop", outward, top + IN_HAND[1] - PROP_TALL))
    props += [(prop, "prop", PLACES[place] - PROP_WIDE / 2, FLOOR - PROP_TALL) for prop, place in stage.lying.items()]
    return characters + props


@cache
def _sprite(name: str, kind: str, width: int, height: int, light: tuple[float, float, float]) -> np.ndarray:
    """An entity in a light, `(h, w, 4)` float32: colours in [0, 255], alpha in [0, 1]."""
    scale_x, scale_y = width / WIDTH, height / HEIGHT
    draw = draw_character if kind == "character" else draw_prop
    picture = draw(name, max(scale_x, scale_y))
    wide, tall = (WIDE, TALL) if kind == "character" else (PROP_WIDE, PROP_TALL)
    size = round(wide * scale_x), round(tall * scale_y)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BOX)
    sprite = np.asarray(picture, np.float32).copy()
    sprite[..., :3] *= np.float32(light)
    sprite[..., 3] /= 255
    return sprite


def _paste(canvas: np.ndarray, owner: np.ndarray, number: int, sprite: np.ndarray, left: float, top: float) -> None:
    """Lays a sprite over the canvas and notes the pixels that are now its own; what lies outside is cut off."""
    x, y = round(left), round(top)
    x1, y1 = max(0, x), max(0, y)
    x2, y2 = min(canvas.shape[1], x + sprite.shape[1]), min(canvas.shape[0], y + sprite.shape[0])
    part = sprite[y1 - y : y2 - y, x1 - x : x2 - x]
    alpha = part[..., 3:]
    region = canvas[y1:y2, x1:x2]
    region += (part[..., :3] - region) * alpha
    owner[y1:y2, x1:x2][alpha[..., 0] >= 0.5] = number


def _overlay(canvas: np.ndarray, layer: np.ndarray) -> None:
    canvas += (layer[..., :3] - canvas) * (layer[..., 3:] / 255)


def _extent(mask: np.ndarray) -> list[int]:
    """`[x1, y1, x2, y2]` of the True pixels of `mask (H, W)`, the last two exclusive; empty where there are none."""
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1] if len(rows) else []
