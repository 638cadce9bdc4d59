"""
Draw the picture of a state: slots at exact places of a backdrop, each drawn once and then copied.

A slot has one or more cells, rectangles that nothing else reaches into: a person with hat, a unit of liquid, a figure.
So a picture is a backdrop with a patch for each cell, and a reader can look at one cell after the other.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from ..common.defaults import SCONE_SIZE
from ..storyworld.pen import FRAME_HEIGHT, FRAME_WIDTH, Pen, as_array, frame_pen
from . import beakers, people, tangram_figures
from .backdrops import BACKDROPS
from .states import ALCHEMY, DOMAINS, NOTHING, SCENE, TANGRAMS, State

SMALLEST_SIZE = (32, 48)


@dataclass(frozen=True)
class Layout:
    """The slots of a domain in design units: x of the first, their pitch, and top and height of their cells."""

    left: float
    pitch: float
    top: float
    cell_height: float
    cells: int = 1


LAYOUTS = {
    SCENE: Layout(left=3, pitch=people.WIDTH, top=26, cell_height=people.HEIGHT),
    ALCHEMY: Layout(
        left=2,
        pitch=beakers.WIDTH,
        top=beakers.FLOOR - beakers.NUM_UNITS * beakers.UNIT,
        cell_height=beakers.UNIT,
        cells=beakers.NUM_UNITS,
    ),
    TANGRAMS: Layout(left=3, pitch=tangram_figures.WIDTH, top=20.6, cell_height=tangram_figures.HEIGHT),
}


def draw_state(state: State, image_size: tuple[int, int] = SCONE_SIZE) -> Image.Image:
    """
    Draw a state as an RGB picture of `image_size` (height, width); the same state always gives the same picture.

    Raises `ValueError` for a size below `SMALLEST_SIZE`.
    """
    return Image.fromarray(state_pixels(state, image_size))


def state_pixels(state: State, image_size: tuple[int, int] = SCONE_SIZE) -> np.ndarray:
    """Draw a state as `(height, width, 3)` uint8; otherwise as `draw_state`."""
    size = check_image_size(image_size)
    pixels = backdrop(state.domain, size).copy()
    for number, slot in enumerate(state.slots):
        for cell, content in enumerate(cell_contents(state.domain, slot)):
            if content != NOTHING * len(content):
                left, top, right, bottom = cell_box(state.domain, number, cell, size)
                pixels[top:bottom, left:right] = patch(state.domain, number, cell, content, size)
    return pixels


def check_image_size(image_size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width; raises `ValueError` where they are no sizes or too small."""
    size = tuple(image_size)
    if len(size) != 2 or any(side < least for side, least in zip(size, SMALLEST_SIZE)):
        raise ValueError(f"image_size: got {size}, expected height and width of at least {SMALLEST_SIZE}")
    return size


def cell_contents(domain: str, slot: str) -> tuple[str, ...]:
    """Split a slot of a `State` into the contents of its cells: the units of a beaker, else the slot as it is."""
    return tuple(slot) if LAYOUTS[domain].cells > 1 else (slot,)


@cache
def cell_box(domain: str, slot: int, cell: int, image_size: tuple[int, int]) -> tuple[int, int, int, int]:
    """
    Return left, top, right and bottom of a cell in pixels, the last two exclusive.

    Cell 0 is the lowest of its slot. All cells of a domain have the same size.
    """
    layout, (height, width) = LAYOUTS[domain], image_size
    across, down = width / FRAME_WIDTH, height / FRAME_HEIGHT
    wide, tall = int(layout.pitch * across), int(layout.cell_height * down)
    left = round((layout.left + slot * layout.pitch) * across)
    top = round((layout.top + (layout.cells - 1 - cell) * layout.cell_height) * down)
    return left, top, left + wide, top + tall


@cache
def backdrop(domain: str, image_size: tuple[int, int]) -> np.ndarray:
    """Draw the picture of a domain in which all slots are empty: `(height, width, 3)` uint8."""
    height, width = image_size
    pen = frame_pen(width, height, (255, 255, 255, 255))
    BACKDROPS[domain](pen)
    pixels = as_array(pen.picture(), width, height)[..., :3].astype(np.uint8)
    if domain == ALCHEMY:
        for slot in range(DOMAINS[domain].num_slots):
            _lay(pixels, _glass(image_size), cell_box(domain, slot, 0, image_size)[0], 0)
            for cell in range(beakers.NUM_UNITS):
                left, top, right, bottom = cell_box(domain, slot, cell, image_size)
                _lay(pixels, _sprite(domain, cell, NOTHING, image_size), left, top)
    return pixels


@cache
def patch(domain: str, slot: int, cell: int, content: str, image_size: tuple[int, int]) -> np.ndarray:
    """Draw what a cell shows, on its backdrop: `(h, w, 3)` uint8 of the size of `cell_box`."""
    left, top, right, bottom = cell_box(domain, slot, cell, image_size)
    pixels = backdrop(domain, image_size)[top:bottom, left:right].copy()
    if content != NOTHING * len(content):
        _lay(pixels, _sprite(domain, cell, content, image_size), 0, 0)
    return pixels


@cache
def _sprite(domain: str, cell: int, content: str, image_size: tuple[int, int]) -> np.ndarray:
    """A cell's content alone, `(h, w, 4)` float32 in [0, 255]."""
    layout = LAYOUTS[domain]
    left, top, right, bottom = cell_box(domain, 0, cell, image_size)
    wide, tall = right - left, bottom - top
    pen = Pen(layout.pitch, layout.cell_height, max(wide / layout.pitch, tall / layout.cell_height))
    if domain == SCENE:
        people.draw_person(pen, content[0], None if content[1] == NOTHING else content[1])
    elif domain == ALCHEMY:
        beakers.draw_unit(pen, None if content == NOTHING else content, cell)
    else:
        tangram_figures.draw_figure(pen, content)
    return as_array(pen.picture(), wide, tall)


@cache
def _glass(image_size: tuple[int, int]) -> np.ndarray:
    height, width = image_size
    pen = Pen(beakers.WIDTH, FRAME_HEIGHT, max(width / FRAME_WIDTH, height / FRAME_HEIGHT))
    beakers.draw_glass(pen)
    return as_array(pen.picture(), int(beakers.WIDTH * width / FRAME_WIDTH), height)


def _lay(pixels: np.ndarray, sprite: np.ndarray, left: int, top: int) -> None:
    """Lay a sprite over a part of `pixels`, which keep their type."""
    region = pixels[top : top + sprite.shape[0], left : left + sprite.shape[1]]
    opaque = sprite[..., 3:] / 255
    region[:] = np.rint(region + (sprite[..., :3] - region) * opaque)
