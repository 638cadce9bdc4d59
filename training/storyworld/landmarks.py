"""Draw the landmarks of StoryWorld, each around its place on the ground."""

import math
from collections.abc import Callable

from .pen import Pen

WOOD, DARK_WOOD, LEAF, STONE = (140, 92, 54), (104, 66, 38), (66, 140, 66), (150, 150, 158)
WHITE, CREAM, RED, INK = (252, 252, 252), (250, 240, 214), (206, 60, 54), (60, 50, 60)

# How captions name a landmark, in the order of the settings.
LANDMARK_NAMES = {
    "oak": "the old oak",
    "stump": "the tree stump",
    "mushrooms": "the red mushrooms",
    "rock": "the big rock",
    "sandcastle": "the sandcastle",
    "palm": "the palm tree",
    "barn": "the red barn",
    "haystack": "the haystack",
    "windmill": "the windmill",
    "bakery": "the bakery",
    "well": "the well",
    "tower": "the clock tower",
    "cave": "the cave",
    "bridge": "the wooden bridge",
    "cabin": "the log cabin",
    "igloo": "the igloo",
    "snowman": "the snowman",
    "fir": "the fir tree",
    "greenhouse": "the greenhouse",
    "fountain": "the fountain",
    "roses": "the rose bush",
    "cactus": "the tall cactus",
    "tent": "the striped tent",
    "arch": "the stone arch",
}


def _oak(pen: Pen, x: float) -> None:
    pen.box(x - 3, 22, x + 3, 43, DARK_WOOD, 1)
    for dx, dy, radius in ((-8, 18, 8), (8, 18, 8), (0, 12, 10), (0, 21, 9)):
        pen.oval(x + dx, dy, radius, radius * 0.9, (60, 126, 58))
    for dx, dy in ((-7, 15), (4, 11), (8, 19), (-2, 20)):
        pen.oval(x + dx, dy, 2.6, 2, (84, 156, 74))


def _stump(pen: Pen, x: float) -> None:
    pen.box(x - 8, 33, x + 8, 43, WOOD, 1)
    pen.oval(x, 33, 8, 2.8, (222, 184, 130))
    pen.oval(x, 33, 4.6, 1.5, (190, 146, 96))
    pen.shape(WOOD, (x - 8, 40), (x - 11, 43.6), (x - 4, 43.6))
    pen.shape(WOOD, (x + 8, 40), (x + 11, 43.6), (x + 4, 43.6))


def _mushrooms(pen: Pen, x: float) -> None:
    for dx, top, size in ((-7, 30, 6), (6, 24, 8)):
        pen.box(x + dx - size * 0.35, top, x + dx + size * 0.35, 43, CREAM, 1)
        pen.draw.pieslice(
            pen.scaled((x + dx - size, top - size, x + dx + size, top + size)), 180, 360, fill=(214, 50, 48)
        )
        for spot in (-0.5, 0.1, 0.6):
            pen.oval(x + dx + spot * size, top - size * (0.7 - abs(spot) * 0.6), 1.1, 1, WHITE)


def _rock(pen: Pen, x: float) -> None:
    pen.shape((130, 126, 132), (x - 13, 43), (x - 10, 28), (x - 3, 22), (x + 6, 25), (x + 12, 35), (x + 13, 43))
    pen.shape((160, 156, 160), (x - 10, 28), (x - 3, 22), (x + 1, 29), (x - 6, 34))


def _sandcastle(pen: Pen, x: float) -> None:
    sand, shade = (226, 184, 104), (190, 146, 76)
    pen.box(x - 11, 33, x + 11, 43, sand)
    for dx in (-11, -1, 9):
        pen.box(x + dx - 2.4, 26, x + dx + 3.4, 43, shade if dx == -1 else sand)
        pen.shape((206, 60, 54), (x + dx + 0.5, 20), (x + dx + 5, 22), (x + dx + 0.5, 24))
        pen.line(INK, 0.6, (x + dx + 0.5, 20), (x + dx + 0.5, 26))
    pen.oval(x, 41, 2, 3, INK)


def _palm(pen: Pen, x: float) -> None:
    pen.line((160, 112, 64), 3, (x - 3, 43), (x - 1, 32), (x + 2, 18))
    for dx, dy in ((-13, 19), (-11, 10), (0, 6), (13, 10), (15, 19)):
        pen.shape((48, 150, 76), (x + 2, 15), (x + 2 + dx * 0.6, dy - 2), (x + dx, dy + 2), (x + 2, 19))
    pen.oval(x, 19, 1.7, 1.7, DARK_WOOD)
    pen.oval(x + 4, 19, 1.7, 1.7, DARK_WOOD)


def _barn(pen: Pen, x: float) -> None:
    pen.box(x - 12, 24, x + 12, 43, (190, 48, 44))
    pen.shape((120, 36, 36), (x - 14, 25), (x - 8, 15), (x, 11), (x + 8, 15), (x + 14, 25))
    pen.box(x - 5, 30, x + 5, 43, WHITE)
    pen.box(x - 4, 31, x + 4, 43, (150, 40, 38))
    pen.line(WHITE, 0.8, (x - 4, 31), (x + 4, 43))
    pen.line(WHITE, 0.8, (x + 4, 31), (x - 4, 43))
    pen.oval(x, 20, 2.4, 2.4, WHITE)


def _haystack(pen: Pen, x: float) -> None:
    pen.draw.pieslice(pen.scaled((x - 13, 22, x + 13, 64)), 180, 360, fill=(238, 198, 80))
    for dx, top in ((-8, 33), (-3, 27), (2, 31), (7, 29), (10, 37), (-10, 39)):
        pen.line((206, 160, 50), 0.8, (x + dx, top), (x + dx + 2, top + 5))


def _windmill(pen: Pen, x: float) -> None:
    pen.shape((236, 228, 212), (x - 7, 43), (x - 4, 20), (x + 4, 20), (x + 7, 43))
    pen.shape((176, 84, 60), (x - 5.5, 20.5), (x, 13), (x + 5.5, 20.5))
    for dx, dy in ((-10, -9), (10, -9), (10, 9), (-10, 9)):
        pen.line((110, 90, 80), 2, (x, 20), (x + dx, 20 + dy))
    pen.oval(x, 20, 1.6, 1.6, INK)
    pen.box(x - 2, 36, x + 2, 43, DARK_WOOD, 1)


def _bakery(pen: Pen, x: float) -> None:
    pen.box(x - 12, 20, x + 12, 43, (246, 216, 160))
    pen.shape((170, 80, 60), (x - 14, 21), (x - 9, 10), (x + 9, 10), (x + 14, 21))
    for number in range(6):
        left = x - 12 + number * 4
        pen.box(left, 25, left + 4, 29, (220, 70, 80) if number % 2 else WHITE)
    pen.box(x - 10, 30, x - 1, 38, (150, 206, 230))
    pen.oval(x - 5.5, 36, 3, 1.8, (200, 140, 70))
    pen.box(x + 3, 31, x + 9, 43, (150, 96, 60))


def _well(pen: Pen, x: float) -> None:
    pen.box(x - 9, 33, x + 9, 43, STONE, 1)
    for row, y in enumerate((33.6, 37, 40.4)):
        for column in range(4):
            left = x - 8.4 + column * 4.4 + (row % 2) * 1.4
            pen.box(left, y, min(left + 3.2, x + 8.6), y + 2.4, (176, 176, 184), 0.6)
    for dx in (-7, 7):
        pen.box(x + dx - 0.9, 20, x + dx + 0.9, 34, WOOD)
    pen.shape((150, 74, 54), (x - 11, 22), (x, 14), (x + 11, 22))
    pen.line(INK, 0.6, (x, 20), (x, 31))


def _tower(pen: Pen, x: float) -> None:
    pen.box(x - 6, 12, x + 6, 43, (196, 168, 150))
    pen.shape((70, 96, 140), (x - 8, 13), (x, 1), (x + 8, 13))
    pen.oval(x, 19, 4, 4, WHITE)
    pen.line(INK, 0.8, (x, 19), (x, 16.4))
    pen.line(INK, 0.8, (x, 19), (x + 2, 20))
    pen.box(x - 2.4, 34, x + 2.4, 43, DARK_WOOD, 2)


def _cave(pen: Pen, x: float) -> None:
    pen.shape((116, 112, 120), (x - 15, 43), (x - 11, 24), (x - 2, 17), (x + 8, 21), (x + 14, 32), (x + 15, 43))
    pen.oval(x, 38, 7, 9, (40, 36, 46))
    pen.box(x - 14, 43, x + 14, 48, (150, 166, 140))


def _bridge(pen: Pen, x: float) -> None:
    pen.shape((96, 170, 220), (x - 13, 48), (x - 7, 37), (x + 7, 37), (x + 13, 48))
    pen.box(x - 15, 36, x + 15, 40, WOOD, 1)
    for dx in (-13, -6.5, 0, 6.5, 13):
        pen.box(x + dx - 0.8, 28, x + dx + 0.8, 37, DARK_WOOD)
    pen.line(DARK_WOOD, 1.2, (x - 14, 29), (x, 27), (x + 14, 29))


def _cabin(pen: Pen, x: float) -> None:
    for row in range(5):
        pen.box(x - 12, 24 + row * 3.8, x + 12, 27.4 + row * 3.8, (166, 110, 64), 1.2)
    pen.shape((90, 60, 50), (x - 14, 25), (x, 12), (x + 14, 25))
    pen.box(x + 6, 11, x + 9, 19, STONE)
    pen.box(x - 9, 30, x - 3, 35, (255, 226, 130))
    pen.box(x + 2, 31, x + 8, 43, DARK_WOOD)


def _igloo(pen: Pen, x: float) -> None:
    pen.draw.pieslice(pen.scaled((x - 13, 22, x + 13, 64)), 180, 360, fill=(196, 220, 244))
    for y, reach in ((28, 9), (33, 11.4), (38, 12.6)):
        pen.line((150, 184, 220), 0.6, (x - reach, y), (x + reach, y))
    for dx, top in ((-6, 28), (4, 28), (-9, 33), (0, 33), (8, 33)):
        pen.line((150, 184, 220), 0.6, (x + dx, top), (x + dx, top + 5))
    pen.oval(x, 42, 4.4, 7, (70, 90, 130))
    pen.box(x - 8, 43, x + 8, 50, (240, 246, 252))


def _snowman(pen: Pen, x: float) -> None:
    for y, radius in ((37, 7.4), (26, 5.6), (17.6, 4.2)):
        pen.oval(x, y, radius + 0.5, radius + 0.5, (176, 196, 222))
        pen.oval(x, y, radius, radius, WHITE)
    pen.box(x - 3.6, 8, x + 3.6, 13.6, INK)
    pen.box(x - 5.4, 13, x + 5.4, 14.4, INK)
    pen.shape((240, 130, 40), (x, 17), (x + 5, 18.4), (x, 19))
    pen.box(x - 4, 21, x + 4, 22.8, (206, 60, 54))
    pen.line(DARK_WOOD, 0.9, (x - 5, 26), (x - 11, 22))
    pen.line(DARK_WOOD, 0.9, (x + 5, 26), (x + 11, 22))


def _fir(pen: Pen, x: float) -> None:
    pen.box(x - 1.8, 36, x + 1.8, 43, DARK_WOOD)
    for top, base, reach in ((5, 18, 6.4), (12, 28, 9.4), (20, 38, 12)):
        pen.shape((44, 110, 82), (x, top), (x - reach, base), (x + reach, base))
        pen.shape(WHITE, (x, top), (x - reach * 0.4, top + (base - top) * 0.4), (x + reach * 0.3, top + 3))


def _greenhouse(pen: Pen, x: float) -> None:
    pen.box(x - 12, 24, x + 12, 43, (176, 226, 226))
    pen.shape((150, 206, 212), (x - 13, 25), (x, 13), (x + 13, 25))
    for dx in (-12, -6, 0, 6, 12):
        pen.line(WHITE, 1, (x + dx, 25), (x + dx, 43))
    pen.line(WHITE, 1, (x - 12, 33), (x + 12, 33))
    pen.line(WHITE, 1, (x - 13, 25), (x, 13), (x + 13, 25))
    for dx in (-9, -3, 3, 9):
        pen.oval(x + dx, 40, 2.2, 2.4, LEAF)


def _fountain(pen: Pen, x: float) -> None:
    pen.oval(x, 40.4, 13, 3.4, STONE)
    pen.oval(x, 39.4, 11.4, 2.4, (110, 186, 230))
    pen.box(x - 1.6, 26, x + 1.6, 39, (186, 186, 194))
    pen.oval(x, 27, 6, 1.8, (186, 186, 194))
    for dx in (-1, 1):
        pen.line((150, 210, 244), 1.2, (x, 17), (x + dx * 5, 20), (x + dx * 8, 38))
        pen.line((190, 230, 250), 1, (x, 16), (x + dx * 2.6, 19), (x + dx * 4, 26))


def _roses(pen: Pen, x: float) -> None:
    for dx, dy, radius in ((-7, 36, 7), (7, 36, 7), (0, 31, 8.6)):
        pen.oval(x + dx, dy, radius, radius * 0.95, (48, 124, 60))
    for dx, dy in ((-9, 34), (-4, 38), (-3, 28), (3, 33), (8, 37), (9, 31), (2, 25)):
        pen.oval(x + dx, dy, 2, 2, (232, 60, 110))
        pen.oval(x + dx, dy, 0.8, 0.8, (255, 170, 190))


def _cactus(pen: Pen, x: float) -> None:
    green = (62, 140, 84)
    pen.box(x - 3, 14, x + 3, 43, green, 3)
    pen.box(x - 11, 22, x - 7.4, 31, green, 1.6)
    pen.box(x - 10, 28.4, x, 31.6, green, 1.4)
    pen.box(x + 7.4, 18, x + 11, 28, green, 1.6)
    pen.box(x, 25.4, x + 10, 28.6, green, 1.4)
    pen.oval(x, 13.4, 2, 1.6, (240, 110, 160))


def _tent(pen: Pen, x: float) -> None:
    colours = (WHITE, (230, 110, 60))
    edges = [x - 14 + number * 4 for number in range(8)]
    for number in range(7):
        pen.shape(colours[number % 2], (x, 14), (edges[number], 43), (edges[number + 1], 43))
    pen.shape(INK, (x, 26), (x - 4, 43), (x + 4, 43))
    pen.shape(RED, (x, 10), (x + 6, 12), (x, 14))
    pen.line(INK, 0.7, (x, 10), (x, 15))


def _arch(pen: Pen, x: float) -> None:
    pen.draw.pieslice(pen.scaled((x - 13, 14, x + 13, 72)), 180, 360, fill=(190, 110, 70))
    for y in (20, 26, 32, 38):
        reach = 13 * math.sqrt(max(0.0, 1 - ((43 - y) / 29) ** 2))
        pen.line((168, 92, 58), 0.8, (x - reach, y), (x + reach, y))
    pen.draw.pieslice(pen.scaled((x - 6, 26, x + 6, 60)), 180, 360, fill=(236, 190, 130))


# Each draws a landmark around `x`, in design units.
LANDMARKS: dict[str, Callable[[Pen, float], None]] = {
    "oak": _oak,
    "stump": _stump,
    "mushrooms": _mushrooms,
    "rock": _rock,
    "sandcastle": _sandcastle,
    "palm": _palm,
    "barn": _barn,
    "haystack": _haystack,
    "windmill": _windmill,
    "bakery": _bakery,
    "well": _well,
    "tower": _tower,
    "cave": _cave,
    "bridge": _bridge,
    "cabin": _cabin,
    "igloo": _igloo,
    "snowman": _snowman,
    "fir": _fir,
    "greenhouse": _greenhouse,
    "fountain": _fountain,
    "roses": _roses,
    "cactus": _cactus,
    "tent": _tent,
    "arch": _arch,
}
