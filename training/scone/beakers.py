"""Draw the beakers of `alchemy`: glass, and up to four units of coloured liquid in layers."""

from ..storyworld.pen import Colour, Pen

WIDTH = 13  # of a beaker's slot, in design units
UNIT = 7  # height of a unit of liquid
NUM_UNITS = 4
TOP, BOTTOM = 17.5, 52.4  # of the glass: rim and table
INSIDE = 2.2, 10.8  # x of the liquid's edges in the slot
FLOOR = 51  # y of the lowest unit's lower edge

COLOURS = {
    "r": (222, 42, 48),
    "o": (250, 142, 24),
    "y": (252, 220, 50),
    "p": (150, 64, 190),
    "g": (44, 164, 80),
    "b": (118, 74, 44),
}
GLASS, GLASS_EDGE = (226, 240, 246), (146, 176, 198)
SHINE, SHADOW = (250, 253, 254), (196, 150, 106)


def draw_glass(pen: Pen) -> None:
    """Draw an empty beaker into a slot of `WIDTH` x 64 design units."""
    left, right = INSIDE
    pen.oval((left + right) / 2, BOTTOM, 6, 0.9, SHADOW)
    pen.box(left - 0.9, TOP, right + 0.9, BOTTOM, GLASS_EDGE, 2.2)
    pen.box(left, TOP, right, BOTTOM - 1.2, GLASS, 1.4)
    pen.box(left - 1.5, TOP - 0.8, right + 1.5, TOP + 0.8, GLASS_EDGE, 0.8)
    pen.box(left - 0.8, TOP - 0.3, right + 0.8, TOP + 0.3, SHINE, 0.3)


def draw_unit(pen: Pen, colour: str | None, level: int) -> None:
    """
    Draw what the glass shows at `level` (0 to 3 from the bottom) into `WIDTH` x `UNIT` design units.

    It is a layer of liquid under its bright surface, or nothing; in front of it are a mark of the scale and the shine.
    """
    left, right = INSIDE
    tint = COLOURS[colour] if colour else GLASS
    pen.box(left - 0.9, 0, right + 0.9, UNIT, GLASS_EDGE)
    pen.box(left, 0, right, UNIT, tint)
    if colour:
        pen.box(left, 0, right, 1.0, mixed(tint, SHINE, 0.55))
        pen.box(right - 1.6, 1.0, right, UNIT, mixed(tint, (40, 30, 50), 0.14))
    pen.box(left + 0.7, 1.0, left + 1.7, UNIT, mixed(tint, SHINE, 0.4 if colour else 1.0), 0.3)
    pen.box(right - 2.6, 0.1, right, 0.7, mixed(tint, SHINE, 0.75) if colour else GLASS_EDGE)
    if level == 0:
        for side, x in ((1, left - 0.9), (-1, right + 0.9)):
            pen.shape(GLASS_EDGE, (x, UNIT - 2), (x + side * 2.2, UNIT), (x, UNIT))


def mixed(colour: Colour, other: Colour, share: float) -> Colour:
    """Mix a colour with a `share` (0 to 1) of another."""
    return tuple(round(a + (b - a) * share) for a, b in zip(colour, other))
