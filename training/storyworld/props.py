"""Draw the props of StoryWorld: things to find, carry, give and lose."""

from collections.abc import Callable

from PIL import Image

from .pen import Pen

PROP_WIDTH, PROP_HEIGHT = 11, 11  # in design units
INK = (60, 44, 40)


def _ball(pen: Pen) -> None:
    pen.oval(5.5, 5.8, 4.8, 4.8, (226, 40, 60))
    pen.box(0.9, 4.9, 10.1, 6.8, (255, 255, 255))
    pen.oval(4, 3.2, 1, 0.9, (255, 190, 190))


def _book(pen: Pen) -> None:
    pen.box(0.6, 2, 10.4, 10, (40, 90, 190), 0.8)
    pen.box(1.6, 3, 5.2, 9, (252, 248, 236))
    pen.box(5.8, 3, 9.4, 9, (252, 248, 236))
    for y in (4.4, 6, 7.6):
        pen.line((150, 150, 160), 0.4, (2.2, y), (4.6, y))
        pen.line((150, 150, 160), 0.4, (6.4, y), (8.8, y))


def _lantern(pen: Pen) -> None:
    pen.line(INK, 0.7, (3.6, 3), (5.5, 0.6), (7.4, 3))
    pen.box(2.4, 2.6, 8.6, 4, INK, 0.5)
    pen.box(3, 4, 8, 9.4, (255, 220, 90))
    pen.oval(5.5, 7, 1.3, 1.9, (250, 130, 30))
    pen.box(2.4, 9.2, 8.6, 10.6, INK, 0.5)


def _kite(pen: Pen) -> None:
    pen.shape((250, 130, 30), (5.5, 0), (5.5, 4.4), (1.4, 4.4))
    pen.shape((60, 180, 90), (5.5, 0), (9.6, 4.4), (5.5, 4.4))
    pen.shape((60, 120, 210), (1.4, 4.4), (5.5, 4.4), (5.5, 9))
    pen.shape((250, 210, 60), (9.6, 4.4), (5.5, 4.4), (5.5, 9))
    pen.line(INK, 0.5, (5.5, 9), (4.4, 10), (6.2, 11))


def _key(pen: Pen) -> None:
    gold = (240, 190, 40)
    pen.oval(3, 5.5, 3, 3, gold)
    pen.oval(3, 5.5, 1.3, 1.3, (110, 80, 20))
    pen.box(5, 4.7, 10.8, 6.4, gold)
    pen.box(7.6, 6, 8.8, 8.6, gold)
    pen.box(9.6, 6, 10.8, 9, gold)


def _flower(pen: Pen) -> None:
    pen.line((50, 130, 50), 1, (5.5, 6), (5.5, 11))
    pen.oval(7.4, 9, 1.8, 0.9, (50, 130, 50))
    for x, y in ((5.5, 1.8), (8.2, 3.4), (7.4, 6.4), (3.6, 6.4), (2.8, 3.4)):
        pen.oval(x, y, 1.9, 1.8, (236, 90, 170))
    pen.oval(5.5, 4.2, 1.5, 1.5, (255, 220, 70))


def _basket(pen: Pen) -> None:
    pen.draw.arc(pen.scaled((1.8, 0.4, 9.2, 9.4)), 180, 360, fill=(120, 74, 30), width=max(1, round(0.9 * pen.unit)))
    for x, colour in ((3.2, (220, 40, 50)), (5.5, (120, 190, 60)), (7.8, (220, 40, 50))):
        pen.oval(x, 4.9, 1.6, 1.5, colour)
    pen.shape((186, 126, 60), (0.6, 5), (10.4, 5), (9, 10.8), (2, 10.8))
    pen.line((130, 84, 36), 0.5, (1.2, 7), (9.8, 7))
    pen.line((130, 84, 36), 0.5, (1.8, 9), (9.2, 9))


def _gift(pen: Pen) -> None:
    pen.box(1, 3.4, 10, 10.8, (60, 170, 180), 0.5)
    pen.box(4.6, 3.4, 6.4, 10.8, (250, 230, 90))
    pen.box(1, 5.4, 10, 6.8, (250, 230, 90))
    pen.oval(3.6, 2.2, 1.9, 1.3, (250, 230, 90))
    pen.oval(7.4, 2.2, 1.9, 1.3, (250, 230, 90))


def _drum(pen: Pen) -> None:
    pen.box(1, 3, 10, 9, (196, 50, 60))
    pen.oval(5.5, 9, 4.5, 1.7, (196, 50, 60))
    for x in (1, 4, 7):
        pen.line((250, 220, 110), 0.6, (x, 4), (x + 1.5, 9.4), (x + 3, 4))
    pen.oval(5.5, 3, 4.5, 1.8, (252, 244, 226))
    pen.line(INK, 0.6, (3, 0.2), (6.4, 2.8))


def _umbrella(pen: Pen) -> None:
    pen.draw.pieslice(pen.scaled((0.2, 0.4, 10.8, 11)), 180, 360, fill=(150, 60, 190))
    pen.draw.pieslice(pen.scaled((3.4, 0.4, 7.6, 11)), 180, 360, fill=(220, 160, 240))
    pen.line(INK, 0.8, (5.5, 5.6), (5.5, 10), (7.2, 10.4), (7.6, 9.2))


def _balloon(pen: Pen) -> None:
    pen.line(INK, 0.4, (5.5, 8), (4.8, 9.4), (5.8, 11))
    pen.oval(5.5, 4.3, 3.9, 4.3, (250, 140, 40))
    pen.oval(4.2, 2.8, 0.9, 1.1, (255, 220, 170))


def _honey(pen: Pen) -> None:
    pen.box(1.4, 2.6, 9.6, 10.8, (214, 134, 40), 2)
    pen.box(1, 1.2, 10, 3.6, (250, 206, 80), 0.8)
    pen.oval(4, 4.4, 1, 1.8, (250, 206, 80))
    pen.oval(7, 4.2, 0.9, 1.2, (250, 206, 80))


PROPS: dict[str, Callable[[Pen], None]] = {
    "ball": _ball,
    "book": _book,
    "lantern": _lantern,
    "kite": _kite,
    "key": _key,
    "flower": _flower,
    "basket": _basket,
    "gift": _gift,
    "drum": _drum,
    "umbrella": _umbrella,
    "balloon": _balloon,
    "honey pot": _honey,
}


def draw_prop(name: str, scale: float) -> Image.Image:
    """Draw a prop as an RGBA picture of `scale` pixels per design unit."""
    pen = Pen(PROP_WIDTH, PROP_HEIGHT, scale)
    PROPS[name](pen)
    return pen.picture()
