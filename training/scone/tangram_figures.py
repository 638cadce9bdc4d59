"""Draw the figures of `tangrams`, each of the same seven pieces: a cat, a boat, a house, a duck and a tall bird."""

from ..storyworld.pen import Pen
from .beakers import mixed

WIDTH, HEIGHT = 18, 24  # of a figure's slot, in design units
MARGIN = 0.6  # around the figure, in design units
D = 0.5**0.5  # half the diagonal of the square piece

Points = tuple[tuple[float, float], ...]

# Pieces by the length of a side of the square: two large triangles (legs of 2), a medium one (legs of the root of 2),
# two small ones (legs of 1), the square, and the parallelogram (sides of 1 and the root of 2). y points down.
CAT: tuple[Points, ...] = (
    ((1, 1 + D), (1, 1 + 5 * D), (1 + 2 * D, 1 + 3 * D)),
    ((1 + 2 * D, 1 + 3 * D), (1, 1 + 5 * D), (1 + 4 * D, 1 + 5 * D)),
    ((1, 5 * D - 1), (1, 1 + 5 * D), (0, 5 * D)),
    ((1 - D, 1), (1, 1 - D), (1 - D, 1 - 2 * D)),
    ((1 + D, 1), (1, 1 - D), (1 + D, 1 - 2 * D)),
    ((1, 1 - D), (1 + D, 1), (1, 1 + D), (1 - D, 1)),
    ((1 + 4 * D, 1 + 5 * D), (1 + 4 * D, 1 + 3 * D), (1 + 5 * D, 1 + 2 * D), (1 + 5 * D, 1 + 4 * D)),
)
BOAT: tuple[Points, ...] = (
    ((2.7, 0), (2.7, 2), (4.7, 2)),
    ((2.4, 0), (2.4, 2), (0.4, 2)),
    ((3, 2.3), (5, 2.3), (4, 3.3)),
    ((0, 2.3), (1, 2.3), (1, 3.3)),
    ((2, 2.3), (2, 3.3), (3, 3.3)),
    ((1, 2.3), (2, 2.3), (2, 3.3), (1, 3.3)),
    ((2, 2.3), (3, 2.3), (4, 3.3), (3, 3.3)),
)
HOUSE: tuple[Points, ...] = (
    ((2, 2), (0, 2), (2, 0)),
    ((2, 2), (4, 2), (2, 0)),
    ((0.5, 3), (2.5, 3), (1.5, 2)),
    ((0.5, 2), (1.5, 2), (0.5, 3)),
    ((2.5, 2), (1.5, 2), (2.5, 3)),
    ((2.5, 2), (3.5, 2), (3.5, 3), (2.5, 3)),
    ((2.5, 0.5), (3.5, 1.5), (3.5, 0.5), (2.5, -0.5)),
)
DUCK: tuple[Points, ...] = (
    ((2.5, 2), (0.5, 2), (2.5, 4)),
    ((2.5, 2), (4.5, 2), (2.5, 4)),
    ((4.5, 2), (3.5, 1), (4.5, 0)),
    ((3.5, 2), (2.5, 2), (3.5, 1)),
    ((-0.5, 0), (-0.5, 1), (-1.5, 0)),
    ((-0.5, 0), (0.5, 0), (0.5, 1), (-0.5, 1)),
    ((0.5, 2), (1.5, 2), (0.5, 1), (-0.5, 1)),
)
TALL_BIRD: tuple[Points, ...] = (
    ((1, 3), (1, 1), (3, 3)),
    ((1, 3), (1, 5), (3, 3)),
    ((2, 4), (3, 3), (3, 5)),
    ((2, 6), (1, 6), (2, 5)),
    ((0.3, 0), (0.3, 1), (-0.7, 0)),
    ((0.3, 0), (1.3, 0), (1.3, 1), (0.3, 1)),
    ((1, 5), (2, 4), (2, 5), (1, 6)),
)
FIGURES = {"A": CAT, "B": BOAT, "C": HOUSE, "D": DUCK, "E": TALL_BIRD}
COLOURS = {"A": (240, 128, 30), "B": (40, 104, 214), "C": (206, 44, 50), "D": (250, 204, 40), "E": (222, 84, 170)}
WHITE, DARK = (255, 252, 244), (60, 40, 60)
SHADES = ((WHITE, 0.0), (DARK, 0.14), (WHITE, 0.2), (DARK, 0.24), (WHITE, 0.34), (WHITE, 0.1), (DARK, 0.08))


def draw_figure(pen: Pen, name: str) -> None:
    """Draw a figure as large as `WIDTH` x `HEIGHT` allows, standing at the bottom in the middle, one tint a piece."""
    figure = FIGURES[name]
    xs, ys = ([point[axis] for piece in figure for point in piece] for axis in (0, 1))
    wide, tall = max(xs) - min(xs), max(ys) - min(ys)
    unit = min((WIDTH - 2 * MARGIN) / wide, (HEIGHT - 2 * MARGIN) / tall)
    left, top = (WIDTH - unit * wide) / 2, HEIGHT - MARGIN / 2 - unit * tall
    for piece, (tint, share) in zip(figure, SHADES):
        points = [(left + (x - min(xs)) * unit, top + (y - min(ys)) * unit) for x, y in piece]
        pen.shape(mixed(COLOURS[name], tint, share), *points)
