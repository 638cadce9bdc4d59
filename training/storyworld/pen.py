"""Draw in the units of a 96 x 64 frame at any resolution: several times too large, then scaled down."""

import numpy as np
from PIL import Image, ImageDraw

FRAME_WIDTH, FRAME_HEIGHT = 96, 64  # the frame in design units
OVERSAMPLING = 4

Colour = tuple[int, ...]  # red, green, blue and, where it is not opaque, alpha, in 0 to 255
Point = tuple[float, float]  # x and y, in design units


class Pen:
    """Draws filled shapes on a canvas; `picture` returns it at its final size.

    Args:
        width: width of the canvas, in design units.
        height: height of the canvas, in design units.
        scale: pixels of the final size per design unit.
        background: colour of the empty canvas.
    """

    def __init__(self, width: float, height: float, scale: float, background: Colour = (0, 0, 0, 0)):
        self.unit = scale * OVERSAMPLING
        self.size = round(width * scale), round(height * scale)
        large = self.size[0] * OVERSAMPLING, self.size[1] * OVERSAMPLING
        self.canvas = Image.new("RGBA", large, background)
        self.draw = ImageDraw.Draw(self.canvas)

    def oval(self, x: float, y: float, radius_x: float, radius_y: float, colour: Colour) -> None:
        """Draw an ellipse around `(x, y)`; all lengths in design units."""
        self.draw.ellipse(self.scaled((x - radius_x, y - radius_y, x + radius_x, y + radius_y)), fill=colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour, radius: float = 0.0) -> None:
        """Draw a rectangle, its corners rounded by `radius`; all lengths in design units."""
        corners = self.scaled((left, top, right, bottom))
        self.draw.rounded_rectangle(corners, radius=radius * self.unit, fill=colour)

    def shape(self, colour: Colour, *points: Point) -> None:
        """Draw a polygon through points."""
        self.draw.polygon([tuple(self.scaled(point)) for point in points], fill=colour)

    def line(self, colour: Colour, width: float, *points: Point) -> None:
        """Draw a line through points, `width` design units wide."""
        scaled = [tuple(self.scaled(point)) for point in points]
        self.draw.line(scaled, fill=colour, width=max(1, round(width * self.unit)), joint="curve")

    def picture(self) -> Image.Image:
        """Return the drawing at its final size, RGBA."""
        return self.canvas.resize(self.size, Image.Resampling.BOX)

    def scaled(self, values: tuple[float, ...]) -> list[float]:
        """Return design units as pixels of the canvas."""
        return [value * self.unit for value in values]


def frame_pen(width: int, height: int, background: Colour = (0, 0, 0, 0)) -> Pen:
    """Return a pen for a whole frame that is at least `width` x `height` pixels large."""
    return Pen(FRAME_WIDTH, FRAME_HEIGHT, max(width / FRAME_WIDTH, height / FRAME_HEIGHT), background)


def as_array(picture: Image.Image, width: int, height: int) -> np.ndarray:
    """Return a picture, resized to `width` x `height` pixels, as `(height, width, channels)`, float32 in [0, 255]."""
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BOX)
    return np.asarray(picture, np.float32)
