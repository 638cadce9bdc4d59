"""Describe what is on stage at one moment of a story, and draw it with the exact boxes of all that is visible."""

from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
from PIL import Image

from .characters import CHARACTER_HEIGHT, CHARACTER_WIDTH, draw_character
from .pen import FRAME_HEIGHT, FRAME_WIDTH
from .props import PROP_HEIGHT, PROP_WIDTH, draw_prop
from .scenery import background, garland
from .settings import PLACES, SETTINGS
from .weather import falling, light_of

FEET, FLOOR = 55.0, 62.5  # y of the characters' feet, and of the lower edge of props on the ground
ASIDE = 7.0  # distance of the two standing positions from the middle of a place
IN_HAND = -2.2, 21.0  # edges of a held prop: x beyond the character's outer edge, y below its top


@dataclass(frozen=True)
class Stage:
    """One moment of a story.

    Attributes:
        setting: one of `SETTINGS`.
        weather: one of `WEATHERS`.
        time: one of `TIMES`.
        cast: the hero, who stands to the left of a landmark, and the friend, who stands to its right.
        where: place (0, 1 or 2) of each character on stage.
        lying: place of each prop on the ground.
        held: the character who holds each prop; a character holds at most one.
        festive: whether flags hang along the top.
    """

    setting: str
    weather: str
    time: str
    cast: tuple[str, str]
    where: dict[str, int] = field(default_factory=dict)
    lying: dict[str, int] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    festive: bool = False

    def changed(self, **values: object) -> "Stage":
        """Return the same moment with other values."""
        return replace(self, **values)

    def holding(self, who: str) -> str | None:
        """Return the prop that `who` holds, or `None`."""
        return next((prop for prop, holder in self.held.items() if holder == who), None)

    def look(self) -> tuple:
        """Return all that the picture is drawn from: two moments of the same look have the same picture."""
        figures = sorted((who, place, who == self.cast[0]) for who, place in self.where.items())
        props = sorted(self.lying.items()), sorted(self.held.items())
        return self.setting, self.weather, self.time, self.festive, figures, *props

    def landmark(self, place: int) -> str:
        """Return the landmark at a place, 0 to 2."""
        return SETTINGS[self.setting]["landmarks"][place]


def draw_stage(stage: Stage, image_size: tuple[int, int]) -> tuple[Image.Image, list[dict]]:
    """Draw a moment of a story.

    Args:
        stage: the moment.
        image_size: height and width of the picture, in pixels.

    Returns:
        The RGB picture, and the boxes of what is visible in it. A box is
        `{"entity", "kind": "character" | "prop", "box": [x1, y1, x2, y2]}` in pixels, x2 and y2 exclusive: the extent
        of the pixels that the entity covers and nothing else covers.
    """
    height, width = image_size
    canvas = background(stage.setting, stage.weather, stage.time, width, height).copy()
    owner = np.zeros((height, width), np.uint8)
    light = light_of(stage.weather, stage.time)
    drawn = entities(stage)
    for number, (name, kind, left, top) in enumerate(drawn, start=1):
        _paste(
            canvas,
            owner,
            number,
            sprite(name, kind, width, height, light),
            left * width / FRAME_WIDTH,
            top * height / FRAME_HEIGHT,
        )
    if stage.festive:
        _overlay(canvas, garland(width, height))
    drops = falling(stage.weather, width, height)
    if drops is not None:
        _overlay(canvas, drops)
    boxes = [
        {"entity": name, "kind": kind, "box": box}
        for number, (name, kind, _, _) in enumerate(drawn, start=1)
        if (box := _extent(owner == number))
    ]
    return Image.fromarray(np.rint(canvas).clip(0, 255).astype(np.uint8)), boxes


def entities(stage: Stage) -> list[tuple[str, str, float, float]]:
    """Return name, kind, left and top (in design units) of all entities, from back to front."""
    characters, props = [], []
    for who, place in stage.where.items():
        side = -1 if who == stage.cast[0] else 1
        left, top = PLACES[place] + side * ASIDE - CHARACTER_WIDTH / 2, FEET - CHARACTER_HEIGHT
        characters.append((who, "character", left, top))
        prop = stage.holding(who)
        if prop:
            outward = left + IN_HAND[0] if side < 0 else left + CHARACTER_WIDTH - IN_HAND[0] - PROP_WIDTH
            props.append((prop, "prop", outward, top + IN_HAND[1] - PROP_HEIGHT))
    for prop, place in stage.lying.items():
        props.append((prop, "prop", PLACES[place] - PROP_WIDTH / 2, FLOOR - PROP_HEIGHT))
    return characters + props


@cache
def sprite(name: str, kind: str, width: int, height: int, light: tuple[float, float, float]) -> np.ndarray:
    """Draw an entity in a light, `(h, w, 4)` float32: colours in [0, 255], alpha in [0, 1]."""
    scale_x, scale_y = width / FRAME_WIDTH, height / FRAME_HEIGHT
    is_character = kind == "character"
    picture = (draw_character if is_character else draw_prop)(name, max(scale_x, scale_y))
    wide, tall = (CHARACTER_WIDTH, CHARACTER_HEIGHT) if is_character else (PROP_WIDTH, PROP_HEIGHT)
    size = round(wide * scale_x), round(tall * scale_y)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BOX)
    pixels = np.asarray(picture, np.float32).copy()
    pixels[..., :3] *= np.float32(light)
    pixels[..., 3] /= 255
    return pixels


def _paste(canvas: np.ndarray, owner: np.ndarray, number: int, sprite: np.ndarray, left: float, top: float) -> None:
    """Lay a sprite over the canvas and set `owner` to its number at the pixels it covers; the outside is cut off."""
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
    """Return `[x1, y1, x2, y2]` of the True pixels of `mask (H, W)`, the last two exclusive; empty without any."""
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1] if len(rows) else []
