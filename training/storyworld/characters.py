"""Draw the characters of StoryWorld: animals and people that can be distinguished at twenty pixels."""

from collections.abc import Callable
from functools import partial

from PIL import Image

from .pen import Colour, Pen

# In design units. A character stands at the bottom, in the middle.
CHARACTER_WIDTH, CHARACTER_HEIGHT = 20, 25
INK, WHITE, PINK = (45, 38, 48), (252, 250, 244), (240, 150, 160)
PALE, TAN, BROWN = (250, 216, 186), (224, 172, 128), (146, 96, 66)  # skins


def draw_animal(
    pen: Pen,
    fur: Colour,
    belly: Colour,
    ears: str,
    tail: str = "none",
    nose: str = "dot",
    scarf: Colour | None = None,
    dark: Colour | None = None,
) -> None:
    """Draw an animal that sits upright.

    Args:
        pen: draws on the canvas of one character.
        fur: colour of the fur.
        belly: colour of the belly, and of other light parts.
        ears: kind of ears, see `_ears`; any other word draws none.
        tail: kind of tail, see `_tail`; any other word draws none.
        nose: kind of nose, see `_face`; any other word draws a small one.
        scarf: colour of a scarf; by default there is none.
        dark: colour of the dark parts; by default a darker fur.
    """
    dark = dark or tuple(int(channel * 0.72) for channel in fur)
    _tail(pen, tail, fur, dark, belly)
    pen.oval(7, 23.6, 3, 1.4, dark)
    pen.oval(13, 23.6, 3, 1.4, dark)
    pen.oval(10, 18.5, 5.8, 6, fur)
    pen.oval(10, 19.5, 3.5, 4.4, belly)
    pen.oval(4.8, 17.5, 1.5, 3.2, dark)
    pen.oval(15.2, 17.5, 1.5, 3.2, dark)
    _ears(pen, ears, fur, dark, belly)
    pen.oval(10, 9, 6, 5.2, fur)
    if scarf:
        pen.box(5.4, 13, 14.6, 15.2, scarf, 1)
        pen.box(11.5, 14, 13.6, 19, scarf, 0.6)
    _face(pen, nose, belly, dark)


def _tail(pen: Pen, kind: str, fur: Colour, dark: Colour, tip: Colour) -> None:
    if kind == "bushy":
        pen.oval(17, 18, 2.8, 5, fur)
        pen.oval(17.4, 14.6, 2, 2.4, tip)
    elif kind == "thin":
        pen.line(dark, 1, (15, 22), (18.4, 19), (18.4, 13))
    elif kind == "ball":
        pen.oval(16, 21, 2.4, 2.2, tip)
    elif kind == "ringed":
        pen.oval(17, 18, 2.6, 5, fur)
        for y in (14.6, 18, 21.4):
            pen.oval(17, y, 2.4, 0.9, dark)


def _ears(pen: Pen, kind: str, fur: Colour, dark: Colour, inner: Colour) -> None:
    if kind == "pointed":
        for side in (-1, 1):
            pen.shape(fur, (10 + side * 6, 0.8), (10 + side * 5.8, 8), (10 + side * 0.8, 5))
            pen.shape(inner, (10 + side * 5.2, 2.8), (10 + side * 5, 6.5), (10 + side * 2.4, 5.2))
    elif kind == "round":
        for side in (-1, 1):
            pen.oval(10 + side * 5, 4.4, 2.6, 2.6, fur)
            pen.oval(10 + side * 5, 4.4, 1.4, 1.4, inner)
    elif kind == "large":
        for side in (-1, 1):
            pen.oval(10 + side * 6, 7, 3.8, 4.4, dark)
            pen.oval(10 + side * 6, 7, 2.4, 3, inner)
    elif kind == "long":
        for side in (-1, 1):
            pen.oval(10 + side * 2.8, 3.6, 1.7, 3.6, fur)
            pen.oval(10 + side * 2.8, 3.8, 0.8, 2.6, PINK)
    elif kind == "tufts":
        for side in (-1, 1):
            pen.shape(dark, (10 + side * 6, 1.6), (10 + side * 5.4, 7), (10 + side * 2, 4.4))
    elif kind == "eyes":
        for side in (-1, 1):
            pen.oval(10 + side * 3.4, 4.4, 2.6, 2.6, fur)
    elif kind == "curls":
        for x, y in ((5, 5), (7.4, 3.6), (10, 3), (12.6, 3.6), (15, 5), (4, 8.4), (16, 8.4)):
            pen.oval(x, y, 2.2, 2.2, inner)


def _face(pen: Pen, nose: str, belly: Colour, dark: Colour) -> None:
    height = 4.4 if nose == "wide" else 8.4
    white = 1.9 if nose in ("beak", "wide") else 1.3
    if nose == "mask":
        pen.box(4.6, 7, 15.4, 10, dark, 1.4)
    for side in (-1, 1):
        x = 10 + side * (3.4 if nose == "wide" else 2.6)
        pen.oval(x, height, white, white, WHITE)
        pen.oval(x, height, 0.8, 0.9, INK)
    if nose == "beak":
        pen.shape((245, 160, 40), (8.2, 9.6), (11.8, 9.6), (10, 12.8))
    elif nose == "wide":
        pen.line(INK, 0.7, (6.4, 10.6), (8.4, 11.8), (11.6, 11.8), (13.6, 10.6))
    elif nose == "snout":
        pen.oval(10, 11, 3, 2, PINK)
        pen.oval(9, 11, 0.5, 0.7, INK)
        pen.oval(11, 11, 0.5, 0.7, INK)
    elif nose == "trunk":
        pen.box(8.6, 9.6, 11.4, 17, dark, 1.4)
    else:
        pen.oval(10, 11.4, 2.6, 1.8, belly)
        pen.oval(10, 10.6, 1, 0.7, INK)


def draw_person(
    pen: Pen,
    clothes: Colour,
    hair: Colour,
    skin: Colour,
    style: str,
    hat: Colour | None = None,
    dress: bool = False,
    trousers: Colour = (70, 80, 120),
) -> None:
    """Draw a person from the front.

    Args:
        pen: draws on the canvas of one character.
        clothes: colour of the dress or shirt.
        hair: colour of the hair.
        skin: colour of the skin.
        style: "long", "plaits", "bun", "short", "beard", "bald" or "wizard", who has a hat and a long beard.
        hat: colour of a hat; by default there is none.
        dress: draw a dress, not shirt and trousers.
        trousers: colour of the trousers.
    """
    if style == "long":
        pen.box(4.6, 5, 15.4, 15, hair, 4)
    elif style == "plaits":
        for x in (4.4, 15.6):
            pen.oval(x, 11.4, 1.6, 4, hair)
    elif style == "bun":
        pen.oval(10, 1.8, 2.6, 1.8, hair)
    for x in (7.6, 12.4):
        pen.box(x - 1.4, 20, x + 1.4, 24.6, skin if dress else trousers, 0.6)
        pen.oval(x, 24.2, 2, 0.8, INK)
    for x in (4.6, 15.4):
        pen.box(x - 1.3, 14, x + 1.3, 20, clothes, 1.2)
        pen.oval(x, 20.2, 1.3, 1.2, skin)
    if dress:
        pen.shape(clothes, (7, 13), (13, 13), (15.6, 22.4), (4.4, 22.4))
    else:
        pen.box(5.8, 13, 14.2, 21, clothes, 1.6)
    pen.oval(10, 8.2, 5, 5.2, skin)
    if style != "bald":
        pen.draw.pieslice(pen.scaled((4.8, 2.6, 15.2, 13.4)), 180, 360, fill=hair)
        pen.box(4.8, 7, 6.2, 9.4, hair)
        pen.box(13.8, 7, 15.2, 9.4, hair)
    for x in (8, 12):
        pen.oval(x, 9, 0.8, 0.9, INK)
    pen.line((190, 80, 80), 0.7, (8.4, 11.2), (10, 12), (11.6, 11.2))
    if style == "beard":
        pen.draw.pieslice(pen.scaled((5.2, 5.6, 14.8, 16.4)), 0, 180, fill=hair)
    if style == "wizard":
        pen.shape((92, 60, 160), (4, 5.6), (16, 5.6), (10.8, 0))
        pen.oval(10, 3.8, 0.9, 0.9, (250, 220, 90))
        pen.draw.pieslice(pen.scaled((5.4, 4.6, 14.6, 18.4)), 0, 180, fill=hair)
    elif hat:
        pen.box(6, 0.8, 14, 4.6, hat, 1.6)
        pen.box(3, 3.8, 17, 5.4, hat, 0.8)


CHARACTERS: dict[str, Callable[[Pen], None]] = {
    "fox": partial(draw_animal, fur=(226, 108, 38), belly=(255, 238, 220), ears="pointed", tail="bushy"),
    "bear": partial(draw_animal, fur=(124, 78, 48), belly=(206, 164, 120), ears="round", scarf=(206, 44, 44)),
    "rabbit": partial(draw_animal, fur=(236, 230, 226), belly=(255, 255, 255), ears="long", tail="ball"),
    "owl": partial(draw_animal, fur=(128, 98, 150), belly=(226, 206, 236), ears="tufts", nose="beak"),
    "cat": partial(
        draw_animal, fur=(66, 66, 78), belly=(236, 236, 240), ears="pointed", tail="thin", scarf=(250, 206, 66)
    ),
    "frog": partial(draw_animal, fur=(92, 178, 70), belly=(222, 240, 160), ears="eyes", nose="wide"),
    "pig": partial(draw_animal, fur=(250, 176, 186), belly=(255, 214, 218), ears="tufts", nose="snout"),
    "elephant": partial(draw_animal, fur=(140, 160, 186), belly=(186, 200, 220), ears="large", nose="trunk"),
    "penguin": partial(
        draw_animal, fur=(38, 50, 82), belly=(255, 255, 255), ears="none", nose="beak", scarf=(64, 180, 190)
    ),
    "sheep": partial(draw_animal, fur=(70, 62, 66), belly=(250, 244, 230), ears="curls", tail="ball"),
    "girl": partial(draw_person, clothes=(220, 50, 70), hair=(96, 56, 32), skin=PALE, style="plaits", dress=True),
    "boy": partial(draw_person, clothes=(250, 200, 50), hair=(40, 32, 32), skin=BROWN, style="short"),
    "grandmother": partial(
        draw_person, clothes=(150, 90, 180), hair=(226, 226, 232), skin=TAN, style="bun", dress=True
    ),
    "farmer": partial(
        draw_person, clothes=(70, 130, 60), hair=(206, 130, 50), skin=PALE, style="short", hat=(230, 196, 110)
    ),
    "sailor": partial(
        draw_person, clothes=(40, 110, 200), hair=(240, 140, 60), skin=TAN, style="beard", hat=(246, 246, 250)
    ),
    "wizard": partial(draw_person, clothes=(92, 60, 160), hair=(240, 240, 244), skin=PALE, style="wizard", dress=True),
}


def draw_character(name: str, scale: float) -> Image.Image:
    """Draw a character, which faces the reader, as an RGBA picture of `scale` pixels per design unit."""
    pen = Pen(CHARACTER_WIDTH, CHARACTER_HEIGHT, scale)
    CHARACTERS[name](pen)
    return pen.picture()
