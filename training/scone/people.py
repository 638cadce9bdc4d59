"""Draw the people of `scene`: shirt and hat in the colours of their state, face and hair by the colour of the shirt."""

from ..storyworld.pen import Colour, Pen

WIDTH, HEIGHT = 9, 30  # of a person with a hat, in design units
HAT_HEIGHT = 8.6  # down to the brim's lower edge
BODY_TOP, BODY_BOTTOM = 15.2, 24.4  # of shirt and arms

COLOURS = {
    "r": (222, 42, 48),
    "o": (250, 138, 22),
    "y": (252, 216, 40),
    "g": (34, 150, 68),
    "b": (36, 98, 214),
    "p": (140, 56, 176),
}
INK, TROUSERS, SHOES, CHEEK = (46, 38, 50), (84, 92, 124), (72, 54, 50), (240, 150, 140)
PALE, TAN, BROWN = (252, 220, 192), (230, 180, 140), (150, 100, 72)
LOOKS = {  # shirt: skin, hair, style of the hair
    "r": (PALE, (92, 58, 38), "plaits"),
    "o": (BROWN, (44, 34, 38), "short"),
    "y": (TAN, (54, 40, 44), "bob"),
    "g": (PALE, (118, 78, 52), "short"),
    "b": (TAN, (150, 146, 156), "beard"),
    "p": (BROWN, (60, 44, 46), "bun"),
}


def draw_person(pen: Pen, shirt: str, hat: str | None) -> None:
    """Draw a person of `WIDTH` x `HEIGHT` from the front; `shirt` and `hat` are keys of `COLOURS`."""
    skin, hair, style = LOOKS[shirt]
    _draw_back_of_hair(pen, hair, style)
    _draw_body(pen, COLOURS[shirt], skin)
    pen.oval(4.5, 11.4, 3.5, 3.8, skin)
    _draw_hair(pen, hair, style)
    for x in (3.1, 5.9):
        pen.oval(x, 11.6, 0.55, 0.7, INK)
        pen.oval(4.5 + (x - 4.5) * 1.6, 13, 0.7, 0.5, CHEEK if skin != BROWN else (186, 104, 84))
    pen.line((176, 70, 74), 0.45, (3.6, 13.3), (4.5, 13.9), (5.4, 13.3))
    if hat:
        _draw_hat(pen, COLOURS[hat])


def _draw_body(pen: Pen, shirt: Colour, skin: Colour) -> None:
    for x in (3.0, 6.0):
        pen.box(x - 1.15, 23, x + 1.15, 28.6, TROUSERS, 0.5)
        pen.oval(x + (x - 4.5) * 0.15, 28.9, 1.45, 0.85, SHOES)
    dark = _shaded(shirt, 0.86)
    for x, hand in ((1.15, 0.95), (7.85, 8.05)):
        pen.oval(hand, 23.2, 0.9, 0.9, skin)
        pen.box(x - 0.95, BODY_TOP + 0.6, x + 0.95, 22.8, dark, 0.9)
    pen.box(1.5, BODY_TOP, 7.5, BODY_BOTTOM, shirt, 1.8)
    pen.shape(skin, (3.6, BODY_TOP - 0.2), (5.4, BODY_TOP - 0.2), (4.5, BODY_TOP + 1.3))
    for y in (18.4, 20.6, 22.8):
        pen.oval(4.5, y, 0.34, 0.34, _shaded(shirt, 1.35))


def _draw_back_of_hair(pen: Pen, hair: Colour, style: str) -> None:
    if style == "bob":
        pen.box(0.8, 8.6, 8.2, 15.2, hair, 2.2)
    elif style == "plaits":
        for x in (1.0, 8.0):
            pen.oval(x, 13.2, 0.9, 2.6, hair)
    elif style == "bun":
        pen.oval(4.5, 6.4, 1.9, 1.6, hair)


def _draw_hair(pen: Pen, hair: Colour, style: str) -> None:
    pen.draw.pieslice(pen.scaled((0.9, 7.2, 8.1, 14.2)), 180, 360, fill=hair)
    for x in (1.2, 7.8):
        pen.box(x - 0.4, 10, x + 0.4, 11.8, hair, 0.3)
    if style == "beard":
        pen.draw.pieslice(pen.scaled((1.0, 8.2, 8.0, 15.6)), 15, 165, fill=hair)


def _draw_hat(pen: Pen, colour: Colour) -> None:
    pen.box(1.5, 1.4, 7.5, 8.2, colour, 2.2)
    pen.box(1.5, 5.6, 7.5, 6.9, _shaded(colour, 0.72))
    pen.box(0.05, 6.8, 8.95, HAT_HEIGHT, colour, 0.9)


def _shaded(colour: Colour, factor: float) -> Colour:
    """A darker colour, or (`factor` above 1) one that is as much nearer to white."""
    if factor <= 1:
        return tuple(round(channel * factor) for channel in colour)
    return tuple(round(channel + (255 - channel) * (factor - 1)) for channel in colour)
