"""Draw what lies around the slots of each domain: a path in a park, a table in a laboratory, a shelf of toys."""

from ..storyworld.pen import FRAME_HEIGHT, FRAME_WIDTH, Colour, Pen
from . import beakers, people, tangram_figures
from .states import ALCHEMY, DOMAINS, SCENE, TANGRAMS

WOOD, DARK_WOOD, LIGHT_WOOD = (186, 132, 86), (140, 94, 60), (212, 164, 114)


def draw_park(pen: Pen) -> None:
    """Draw a park: sky, sun, clouds, hills and trees; a path with a stone for each place; flowers before it."""
    _gradient(pen, 0, 44, (166, 214, 244), (236, 246, 248))
    pen.oval(84, 9, 6.4, 6.4, (254, 240, 190))
    pen.oval(84, 9, 4.6, 4.6, (255, 226, 130))
    for x, y, size in ((17, 9, 1.0), (52, 6.5, 0.8), (69, 15, 0.6)):
        for dx, dy, radius in ((-5, 0.8, 2.4), (-1.6, -0.8, 3.4), (2.6, -0.2, 2.8), (5.6, 1, 1.9)):
            pen.oval(x + dx * size, y + dy * size, radius * size * 1.15, radius * size, (252, 253, 254))
    for x, y, wide, tall, colour in (
        (14, 46, 30, 18, (178, 212, 206)),
        (62, 48, 36, 21, (186, 218, 206)),
        (94, 47, 24, 16, (172, 208, 200)),
        (34, 56, 40, 20, (182, 220, 176)),
        (86, 58, 38, 22, (174, 214, 168)),
    ):
        pen.oval(x, y, wide, tall, colour)
    for x, y, size in ((5, 38, 1.0), (12, 40, 0.7), (91, 38, 1.0), (45, 37.5, 0.6), (50, 38, 0.5)):
        pen.box(x - 0.7 * size, y, x + 0.7 * size, y + 7 * size, (172, 148, 124))
        for dx, dy, radius in ((-2, 0, 3), (2.2, 0.4, 2.8), (0, -2.8, 3.4)):
            pen.oval(x + dx * size, y + dy * size, radius * size, radius * size, (148, 198, 152))
    pen.box(0, 45, FRAME_WIDTH, FRAME_HEIGHT, (176, 216, 150))
    pen.box(0, 50.5, FRAME_WIDTH, 58.6, (238, 222, 190))
    for place in range(DOMAINS[SCENE].num_slots):
        x = 3 + people.WIDTH * (place + 0.5)
        pen.oval(x, 55.2, 3.9, 1.7, (206, 190, 164))
        pen.oval(x, 54.8, 3.7, 1.45, (226, 212, 188))
    _draw_flowers(pen)


def draw_laboratory(pen: Pen) -> None:
    """Draw a room with a window on the garden, shelves of little bottles, and a table for seven beakers."""
    _gradient(pen, 0, 52, (236, 230, 246), (248, 242, 250))
    for row in range(7):
        for x in range(2 + row % 2 * 4, FRAME_WIDTH, 8):
            pen.oval(x, 2 + row * 8, 0.5, 0.5, (226, 216, 240))
    _draw_window(pen, 38, 1.5)
    for left in (6, 64):
        _draw_shelf(pen, left)
    pen.box(0, 51.4, FRAME_WIDTH, 54.2, LIGHT_WOOD)
    pen.box(0, 54.2, FRAME_WIDTH, FRAME_HEIGHT, WOOD)
    for y in (57, 60.6):
        pen.box(0, y, FRAME_WIDTH, y + 0.5, DARK_WOOD)
    for x in (12, 40, 66, 85):
        pen.line(DARK_WOOD, 0.4, (x, 54.4), (x, 57))
        pen.line(DARK_WOOD, 0.4, (x + 8, 57.4), (x + 8, 60.6))


def draw_playroom(pen: Pen) -> None:
    """Draw a papered wall with a garland, a shelf with a knob for each place, and toys on the floor."""
    _gradient(pen, 0, 56, (222, 238, 242), (242, 246, 238))
    for stripe in range(-1, 12):
        x = 3 + stripe * tangram_figures.WIDTH / 2
        pen.box(x - 0.25, 0, x + 0.25, 56, (206, 228, 234))
        for y in range(4, 56, 8):
            pen.oval(x + 4.5, y + stripe % 2 * 4, 0.6, 0.6, (206, 228, 234))
    _draw_garland(pen)
    pen.box(1, 44.4, 95, 46.6, LIGHT_WOOD, 0.5)
    pen.box(1, 46.6, 95, 48.8, WOOD, 0.5)
    for place in range(DOMAINS[TANGRAMS].num_slots):
        x = 3 + tangram_figures.WIDTH * (place + 0.5)
        pen.oval(x, 47.7, 1.0, 0.75, (244, 222, 180))
    for x in (10, 86):
        pen.shape(DARK_WOOD, (x - 1.5, 48.8), (x + 1.5, 48.8), (x + 1.5, 52.6))
    pen.box(0, 55.4, FRAME_WIDTH, 57, (252, 250, 244))
    pen.box(0, 56.8, FRAME_WIDTH, FRAME_HEIGHT, (226, 208, 182))
    pen.oval(48, 62.6, 36, 4, (180, 200, 218))
    pen.oval(48, 62.6, 32, 3, (202, 218, 230))
    _draw_toys(pen)


def _draw_toys(pen: Pen) -> None:
    pen.oval(24, 58.4, 3.2, 3.2, (236, 186, 186))
    pen.oval(24, 58.4, 3.2, 1.1, (250, 240, 224))
    for left, top, colour in ((64, 57.4, (190, 208, 176)), (69, 57.4, (236, 214, 160)), (66.5, 52.8, (190, 196, 224))):
        pen.box(left, top, left + 4.4, top + 4.4, colour, 0.6)
        pen.oval(left + 2.2, top + 2.2, 1.1, 1.1, (250, 246, 236))


def _draw_window(pen: Pen, left: float, top: float) -> None:
    pen.box(left, top, left + 20, top + 13, LIGHT_WOOD, 1)
    pen.box(left + 1.2, top + 1.2, left + 18.8, top + 11.8, (196, 230, 248))
    pen.oval(left + 14.6, top + 4, 1.7, 1.7, (255, 232, 150))
    pen.shape((186, 222, 182), *((left + x, top + y) for x, y in ((1.2, 8), (4, 6.6), (9, 9), (9, 11.8), (1.2, 11.8))))
    pen.shape((168, 210, 168), *((left + x, top + y) for x, y in ((6, 11.8), (13, 7.4), (18.8, 9.4), (18.8, 11.8))))
    pen.box(left + 9.5, top + 1, left + 10.5, top + 12, LIGHT_WOOD)
    pen.box(left - 1, top + 12, left + 21, top + 13.4, WOOD, 0.5)


def _gradient(pen: Pen, top: float, bottom: float, first: Colour, last: Colour, steps: int = 24) -> None:
    high = (bottom - top) / steps
    for step in range(steps):
        y = top + step * high
        pen.box(0, y, FRAME_WIDTH, y + high + 0.3, beakers.mixed(first, last, step / (steps - 1)))


def _draw_flowers(pen: Pen) -> None:
    petals = ((250, 236, 240), (246, 196, 206), (254, 244, 200))
    for number in range(19):
        x, y = 2.5 + number * 5, 60 + (number * 7 % 5) * 0.65
        pen.line((128, 182, 110), 0.4, (x, y), (x + 0.3, y + 2.6))
        if number % 2:
            pen.oval(x, y, 1.05, 1.0, petals[number // 2 % 3])
            pen.oval(x, y, 0.42, 0.4, (232, 190, 110))
        else:
            pen.line((128, 182, 110), 0.4, (x - 1, y + 0.8), (x + 0.2, y + 2.6))


def _draw_shelf(pen: Pen, left: float) -> None:
    pen.box(left, 12.2, left + 26, 13.6, LIGHT_WOOD, 0.4)
    bottles = ((206, 178, 190), (180, 200, 186), (190, 190, 214), (214, 200, 170), (186, 206, 210))
    for number, colour in enumerate(bottles):
        x = left + 3.4 + number * 4.8
        tall = 4.2 + number * 3 % 4
        pen.box(x - 0.6, 12.2 - tall - 1.6, x + 0.6, 12.2 - tall + 1, (204, 196, 196), 0.2)
        pen.box(x - 1.6, 12.2 - tall, x + 1.6, 12.2, colour, 0.8)


def _draw_garland(pen: Pen) -> None:
    def height(x: float) -> float:
        return 4.5 + 0.0052 * (x % 48) * (48 - x % 48) * 1.2

    pen.line((190, 170, 150), 0.5, *((x, height(x)) for x in range(0, FRAME_WIDTH + 1, 2)))
    flags = ((240, 190, 180), (246, 226, 170), (186, 214, 190), (180, 204, 228), (222, 194, 222))
    for number in range(14):
        x = 1.6 + number * 6.9
        pen.shape(flags[number % 5], (x, height(x)), (x + 4.4, height(x + 4.4)), (x + 2.2, height(x + 2.2) + 5.6))


BACKDROPS = {SCENE: draw_park, ALCHEMY: draw_laboratory, TANGRAMS: draw_playroom}
