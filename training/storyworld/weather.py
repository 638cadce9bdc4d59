"""Draw the weather and the light of StoryWorld: skies, what they do to colours, and what falls from them."""

import random
from functools import cache

import numpy as np

from .pen import Pen, as_array, frame_pen

WEATHERS = ("clear", "cloudy", "rain", "snow", "storm")
TIMES = ("day", "evening", "night")

SKIES = {"day": (156, 212, 246), "evening": (250, 186, 130), "night": (40, 50, 104)}
GREY_SKY = {"cloudy": 0.55, "rain": 0.75, "snow": 0.5, "storm": 1.0}  # share of grey in the colour of the sky
LIGHT = {"day": (1.0, 1.0, 1.0), "evening": (1.0, 0.82, 0.68), "night": (0.42, 0.46, 0.7)}
DIMMED = {"clear": 1.0, "cloudy": 0.92, "rain": 0.82, "snow": 0.97, "storm": 0.62}


def light_of(weather: str, time: str) -> tuple[float, float, float]:
    """Return the factors of red, green and blue in the light of a time of day in a weather."""
    return tuple(channel * DIMMED[weather] for channel in LIGHT[time])


def sky_colour(weather: str, time: str) -> tuple[int, int, int]:
    """Return the colour of the sky between the clouds."""
    share, light = GREY_SKY.get(weather, 0.0), LIGHT[time]
    grey = (112, 116, 132) if weather == "storm" else (190, 196, 206)
    return tuple(round(c * (1 - share) + g * k * share) for c, g, k in zip(SKIES[time], grey, light))


def draw_sky(pen: Pen, weather: str, time: str) -> None:
    """Draw what is in the sky: moon and stars or the sun where it is clear, else clouds, and lightning in a storm."""
    if weather == "clear" and time == "night":
        rng = random.Random(7)
        for number in range(22):
            pen.oval(2 + number * 4.3, rng.uniform(2, 26), 0.5, 0.5, (255, 250, 210))
        pen.oval(66, 10, 5, 5, (250, 244, 200))
        pen.oval(68.4, 8.6, 4.2, 4.2, sky_colour(weather, time))
    elif weather == "clear":
        y, colour = (10, (255, 232, 96)) if time == "day" else (26, (255, 120, 70))
        pen.oval(66, y, 6, 6, colour)
    else:
        dark = 0.72 if weather == "storm" else 0.92 if weather == "rain" else 1.06
        colour = tuple(min(255, round(c * dark)) for c in sky_colour(weather, time))
        for x, y in ((14, 8), (44, 5), (74, 9)):
            for dx, dy, radius in ((-8, 2, 6), (0, 0, 8), (9, 1.6, 6.4)):
                pen.oval(x + dx, y + dy, radius * 1.3, radius * 0.7, colour)
    if weather == "storm":
        pen.shape((255, 244, 130), (34, 9), (38, 9), (34.5, 17), (38, 17), (30, 30), (33, 20), (29.5, 20))


@cache
def falling(weather: str, width: int, height: int) -> np.ndarray | None:
    """Draw rain or snow in front of everything.

    Args:
        weather: one of `WEATHERS`.
        width: width of the frame, in pixels.
        height: height of the frame, in pixels.

    Returns:
        A layer `(height, width, 4)`, float32 in [0, 255], the last channel its opacity; `None` where nothing falls.
    """
    if weather not in ("rain", "snow", "storm"):
        return None
    pen = frame_pen(width, height)
    rng = random.Random(weather)
    for row in range(6):
        for column in range(9):
            x, y = column * 11 + rng.uniform(0, 9), row * 11 + rng.uniform(0, 8)
            if weather == "snow":
                pen.oval(x, y, 0.95, 0.95, (255, 255, 255, 235))
            else:
                pen.line((205, 225, 250, 200), 0.55, (x + 1.2, y), (x, y + 4.5))
    return as_array(pen.picture(), width, height)
