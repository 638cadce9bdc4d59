"""Draw the scenery of StoryWorld: a setting with its landmarks under a sky, and the flags of a party."""

import math
import random
from functools import cache

import numpy as np
from PIL import Image

from .landmarks import LANDMARKS, WHITE
from .pen import FRAME_HEIGHT, FRAME_WIDTH, Colour, Pen, as_array, frame_pen
from .settings import PLACES, SETTINGS
from .weather import draw_sky, light_of, sky_colour

HORIZON = 36.0  # y, in design units


@cache
def background(setting: str, weather: str, time: str, width: int, height: int) -> np.ndarray:
    """Draw a setting without characters and props.

    Args:
        setting: one of `SETTINGS`.
        weather: one of `WEATHERS`.
        time: one of `TIMES`.
        width: width of the frame, in pixels.
        height: height of the frame, in pixels.

    Returns:
        A picture `(height, width, 3)`, float32 in [0, 255], in the light of the weather and the time.
    """
    land = frame_pen(width, height)
    _draw_land(land, setting, weather)
    sky = frame_pen(width, height, (*sky_colour(weather, time), 255))
    draw_sky(sky, weather, time)
    lit = np.asarray(land.picture(), np.float32)
    colours = lit[..., :3] * np.float32(light_of(weather, time))
    opaque = lit[..., 3:] / 255
    mixed = colours * opaque + np.asarray(sky.picture(), np.float32)[..., :3] * (1 - opaque)
    picture = Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))
    return as_array(picture, width, height)


@cache
def garland(width: int, height: int) -> np.ndarray:
    """Draw the flags of a party along the top of a frame of `width` x `height` pixels.

    Returns:
        A layer `(height, width, 4)`, float32 in [0, 255], the last channel its opacity.
    """
    pen = frame_pen(width, height)

    def sag(x: float) -> float:
        return 3 + 3.5 * math.sin(math.pi * (x % 48) / 48)

    pen.line((120, 90, 70, 255), 0.6, *((x, sag(x)) for x in range(0, 97, 2)))
    colours = ((230, 60, 70), (250, 210, 60), (70, 170, 220), (110, 190, 90), (240, 130, 190))
    for number in range(16):
        x = 1.5 + number * 6
        pen.shape((*colours[number % 5], 255), (x, sag(x)), (x + 4, sag(x + 4)), (x + 2, sag(x + 2) + 5.4))
    return as_array(pen.picture(), width, height)


def _draw_land(pen: Pen, setting: str, weather: str) -> None:
    """Draw the far land, the ground with its speckles, and the landmarks; in snow all of it under snow."""
    far, ground, speckle = SETTINGS[setting]["land"]
    if weather == "snow":
        far, ground, speckle = (_under_snow(colour) for colour in (far, ground, speckle))
    _draw_far_land(pen, setting, far)
    pen.box(-2, HORIZON, FRAME_WIDTH + 2, FRAME_HEIGHT + 2, ground)
    rng = random.Random(setting)
    for row in range(4):
        for column in range(8):
            x, y = column * 12 + rng.uniform(0, 11), HORIZON + 4 + row * 6.6 + rng.uniform(0, 4)
            pen.oval(x, y, rng.uniform(1.4, 2.6), 0.7, speckle)
    for x, name in zip(PLACES, SETTINGS[setting]["landmarks"]):
        LANDMARKS[name](pen, x)
    if weather == "snow":
        for x in PLACES:
            pen.oval(x, 43.6, 11, 1.3, WHITE)


def _draw_far_land(pen: Pen, setting: str, colour: Colour) -> None:
    if setting == "mountains":
        for x, peak, base in ((14, 12, 26), (44, 6, 30), (80, 10, 30)):
            pen.shape(colour, (x - base, HORIZON + 4), (x, peak), (x + base, HORIZON + 4))
            pen.shape(WHITE, (x - base * 0.22, peak + 6.6), (x, peak), (x + base * 0.22, peak + 6.6), (x, peak + 9))
    elif setting == "beach":
        pen.box(0, HORIZON - 8, FRAME_WIDTH, HORIZON + 4, colour)
        for x in range(2, 96, 13):
            pen.line(WHITE, 0.6, (x, HORIZON - 3 + x % 3), (x + 5, HORIZON - 3 + x % 3))
    else:
        for x, height in ((8, 8), (40, 11), (72, 7), (98, 10)):
            pen.oval(x, HORIZON + 2, 26, height, colour)


def _under_snow(colour: Colour) -> Colour:
    return tuple(round(channel * 0.45 + 250 * 0.55) for channel in colour)
