"""A pen that draws in the units of a 96 x 64 frame, at any resolution, several times too large and then scaled down."""

from PIL import Image, ImageDraw

WIDTH, HEIGHT = 96, 64  # the frame in design units
OVERSAMPLING = 4


class Pen:
    """Draws filled shapes on a canvas of `width` x `height` design units; `picture` gives it at its final size."""

    def __init__(self, width: float, height: float, scale: float, background=(0, 0, 0, 0)):
        self.unit = scale * OVERSAMPLING
        self.size = round(width * scale), round(height * scale)
        large = self.size[0] * OVERSAMPLING, self.size[1] * OVERSAMPLING
        self.canvas = Image.new("RGBA", large, background)
        self.draw = ImageDraw.Draw(self.canvas)

    def oval(self, x, y, radius_x, radius_y, colour) -> None:
        """An ellipse around `(x, y)`."""
        self.draw.ellipse(self.scaled((x - radius_x, y - radius_y, x + radius_x, y + radius_y)), fill=colour)

    def box(self, left, top, right, bottom, colour, radius=0.0) -> None:
        """A rectangle, its corners rounded by `radius`."""
        corners = self.scaled((left, top, right, bottom))
        self.draw.rounded_rectangle(corners, radius=radius * self.unit, fill=colour)

    def shape(self, colour, *points) -> None:
        """A polygon through `(x, y)` points."""
        self.draw.polygon([tuple(self.scaled(point)) for point in points], fill=colour)

    def line(self, colour, width, *points) -> None:
        """A line through `(x, y)` points."""
        scaled = [tuple(self.scaled(point)) for point in points]
        self.draw.line(scaled, fill=colour, width=max(1, round(width * self.unit)), joint="curve")

    def picture(self) -> Image.Image:
        """The drawing at its final size, RGBA."""
        return self.canvas.resize(self.size, Image.Resampling.BOX)

    def scaled(self, values) -> list[float]:
        """Design units as pixels of the canvas."""
        return [value * self.unit for value in values]
