"""Pictures as `datasets` stores them: encoded, with a path or none."""

import io

from datasets import List, Value
from PIL import Image

ENCODED_IMAGES = List({"bytes": Value("binary"), "path": Value("string")})  # a column that is not decoded


def encode(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Return the bytes of a picture as a file of `kind`."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def plain_picture(colour: tuple[int, int, int] = (200, 30, 40), size: tuple[int, int] = (48, 32)) -> Image.Image:
    """Return a picture of one colour, `size` (width, height)."""
    return Image.new("RGB", size, colour)


def encoded_frame(picture: Image.Image, kind: str = "PNG", **options: object) -> dict:
    """Return a picture as an item of a column of frames."""
    return {"bytes": encode(picture, kind, **options), "path": None}
