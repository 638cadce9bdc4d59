"""Pictures of requests, from base64 or uploaded bytes, and of answers, as data URIs."""

import base64
import binascii
import io

from PIL import Image
from storyattn.pictures import read_picture

from ..common.excerpts import quoted

PREFIX = "data:image/png;base64,"


def decode_picture(picture: str | bytes, place: str, max_pixels: int) -> Image.Image:
    """
    Open a picture of a request; nothing is read from disk or from the network.

    Args:
        picture: base64, a data URI with it, or the bytes of an image file.
        place: what errors call it, such as "frames[2]".
        max_pixels: most pixels that it may have.

    Returns:
        the picture, RGB and upright.

    Raises:
        ValueError: for anything else, and for a picture with more pixels.
    """
    content = picture if isinstance(picture, bytes) else _decode(picture, place)
    try:
        with Image.open(io.BytesIO(content)) as header:  # which decodes no pixels
            width, height = header.size
    except Exception as error:  # whatever the many readers of pictures raise
        raise ValueError(f"{place}: got {len(content)} bytes, expected an image file such as PNG or JPEG") from error
    if width * height > max_pixels:
        raise ValueError(f"{place}: got {width}x{height} pixels, expected at most {max_pixels}")
    return read_picture(content, place)


def encode_picture(picture: Image.Image) -> str:
    """Return a picture as PNG in a data URI."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return PREFIX + base64.b64encode(file.getvalue()).decode("ascii")


def _decode(text: str, place: str) -> bytes:
    start, comma, content = text.partition(",")
    if comma and not (start.lower().startswith("data:") and start.lower().endswith(";base64")):
        raise ValueError(f"{place}: got {quoted(text)}, expected base64 or a data URI with base64")
    try:
        decoded = base64.b64decode("".join((content if comma else text).split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{place}: got {quoted(text)}, expected base64 or a data URI with base64") from error
    if not decoded:
        raise ValueError(f"{place}: got no bytes, expected base64 or a data URI with base64")
    return decoded
