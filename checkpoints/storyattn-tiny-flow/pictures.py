"""What a picture is and what its numbers mean: one rule for processor, pipeline, training, commands and demo.

| numbers | from black to white |
| --- | --- |
| `bool`, Pillow's mode 1 | False to True |
| 16 bits without sign: `uint16`, Pillow's modes I;16 | 0 to 65535 |
| other whole numbers | 0 to 255; in Pillow's mode I, where one is above 255, 0 to 65535 |
| floats | 0 to 1; in Pillow's mode F, where one is above 1, 0 to 255, as Pillow converts other modes to it |

What lies outside, is infinite, complex or no number, is refused. In modes I and F the largest number alone decides, and
a dark picture may be misread. So `info["range"]` names the range, by which a data set is held to one.
Pictures are turned upright by their EXIF tag. Palettes and the other modes of Pillow become RGB; transparent pictures
lie on white.
"""

import base64
import io
import os
import urllib.request
from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

PICTURE_TYPES = (str, os.PathLike, bytes, bytearray, Image.Image, np.ndarray, torch.Tensor)
BACKGROUND = (255, 255, 255)  # behind transparent pictures: the paper of a book
CHANNELS = (1, 3, 4)
HALF_STEP = 0.5 / 255  # rounding that leaves the 8-bit number as it is
DEEP_FORMATS = ("PNG", "PPM")  # whose pictures of mode I have 16 bits
DATA_URL, LONGEST_SCHEME = "data:image/", 16
SHORTEST_BASE64 = 40  # characters; no image file has fewer than 30 bytes
LARGEST_DOWNLOAD = 500_000_000  # bytes


class UnknownRange(ValueError):
    """Numbers of a picture that lie in no range of which black and white are known; `kind` is what they are."""

    def __init__(self, message: str, kind: str):
        super().__init__(message)
        self.kind = kind


def read_picture(picture: object, place: str, timeout: float | None = None) -> Image.Image:
    """Open a picture, and name it where that fails.

    Args:
        picture: as in `open_picture`.
        place: what errors call it.
        timeout (*optional*): seconds that a URL may take.

    Returns:
        the picture, RGB and upright.

    Raises:
        ValueError: for a picture that cannot be read, with the place, what it is and why.
    """
    try:
        return open_picture(picture, timeout)
    except Exception as error:  # whatever the many readers of pictures and the network raise
        reason = shortened(error) or type(error).__name__
        raise ValueError(f"{place}: got {_shown(picture)}, expected a picture: {reason}") from error


def open_picture(picture: object, timeout: float | None = None) -> Image.Image:
    """Open a picture.

    Args:
        picture: a path, a URL, a base64 string, the bytes of an image file, a dictionary of `bytes` or `path`, a PIL
            picture, or an array or tensor `(H, W)`, `(H, W, C)` or `(C, H, W)`; the channels are last where both are
            possible.
        timeout (*optional*): seconds that a URL may take.

    Returns:
        the picture, RGB and upright; `info["mode"]` is the mode of the file or PIL picture, and `info["range"]` the
        range of its numbers where one picture alone leaves it open, else None.

    Raises:
        UnknownRange: for numbers out of their range.
        ValueError: for shapes that no picture has.
        OSError: for what Pillow cannot read, and for files and URLs that are not there.
        PIL.Image.DecompressionBombError: for files of more pixels than Pillow allows, with both numbers.
    """
    if isinstance(picture, Mapping):
        picture = file_of(picture)
    if isinstance(picture, str):
        picture = path_of(picture)
    if isinstance(picture, str) and not os.path.exists(picture):
        picture = _fetched(picture, timeout) if _scheme(picture) in ("http", "https") else _decoded(picture)
    if isinstance(picture, (bytes, bytearray)):
        picture = io.BytesIO(picture)
    if isinstance(picture, (str, os.PathLike, io.BytesIO)):
        picture = _loaded(picture)
    if not isinstance(picture, PICTURE_TYPES):
        raise ValueError("it is no path, URL, bytes, PIL picture, array or tensor")
    return to_rgb(picture)


def to_rgb(picture: Image.Image | np.ndarray | torch.Tensor) -> Image.Image:
    """Turn a PIL picture, array or tensor into an upright RGB picture; raise `ValueError` as `open_picture` does."""
    if not isinstance(picture, Image.Image):
        picture = _of_array(picture)
    if 0 in picture.size:
        raise ValueError(f"it has {picture.width}x{picture.height} pixels")
    mode, file_format, most = picture.mode, picture.format, None
    picture = ImageOps.exif_transpose(picture)
    if mode == "F" or mode.startswith("I"):
        picture, most = _of_numbers(np.asarray(picture), mode, file_format)
    elif mode == "La":  # which Pillow turns into LA alone
        picture = picture.convert("LA")
    if picture.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        paper = Image.new("RGBA", picture.size, (*BACKGROUND, 255))
        picture = Image.alpha_composite(paper, picture)
    picture = picture if picture.mode == "RGB" else picture.convert("RGB")
    picture.info["mode"] = mode
    picture.info["range"] = None if most is None else f"{'floats' if mode == 'F' else 'whole numbers'} from 0 to {most}"
    return picture


def file_of(picture: object) -> str | os.PathLike | bytes | None:
    """Return what a dictionary of `bytes` and `path`, as data sets hold pictures, has of the two; None for others."""
    if not isinstance(picture, Mapping):
        return None
    content, path = picture.get("bytes"), picture.get("path")
    if content is not None:
        return content if isinstance(content, (bytes, bytearray)) else None
    return path if isinstance(path, (str, os.PathLike)) else None


def shortened(text: object, length: int = 200) -> str:
    """Return a text for an error in one line of at most `length` characters; a longer one is cut and ends in ..."""
    line = " ".join(str(text).split())
    return line if len(line) <= length else f"{line[: length - 3]}..."


def _loaded(file: str | os.PathLike | io.BytesIO) -> Image.Image:
    """Open an image file and read all of it; of an animation the first picture."""
    try:
        picture = Image.open(file)
    except UnidentifiedImageError as error:  # whose text would hold an address in memory
        raise UnidentifiedImageError("cannot identify the format of the image") from error
    picture.load()
    return picture


def path_of(address: str) -> str:
    """Return the path that the URL of a file names; any other address as it is."""
    if _scheme(address) != "file":
        return address
    return urllib.request.url2pathname(address[len("file://") :].removeprefix("localhost"))


def _scheme(text: str) -> str | None:
    """Return the scheme of a URL in small letters."""
    scheme, separator, _ = text[:LONGEST_SCHEME].partition("://")
    return scheme.lower() if separator else None


def _fetched(url: str, timeout: float | None) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "storyattn"})
    with urllib.request.urlopen(request, **({} if timeout is None else {"timeout": timeout})) as response:
        content = response.read(LARGEST_DOWNLOAD + 1)
    if len(content) > LARGEST_DOWNLOAD:
        raise ValueError(f"it has more than {LARGEST_DOWNLOAD} bytes")
    return content


def _decoded(text: str) -> bytes:
    """Decode a base64 string, with or without the start of a data URL."""
    if text[: len(DATA_URL)].lower() == DATA_URL:
        text = text.partition(",")[2]
    missing = "there is no such file, and it is neither a URL nor base64"
    if len(text) < SHORTEST_BASE64:
        raise FileNotFoundError(missing)
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise FileNotFoundError(missing) from error


def _of_array(array: np.ndarray | torch.Tensor) -> Image.Image:
    """Turn an array or tensor into a PIL picture of 8 bits, its channels last."""
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        array = (array.float() if array.is_floating_point() else array).numpy()
    is_colour = array.ndim == 3 and (array.shape[0] in CHANNELS or array.shape[-1] in CHANNELS)
    if not (array.size and (is_colour or array.ndim == 2)):
        raise ValueError("its shape is none of (H, W), (H, W, C) and (C, H, W) with 1, 3 or 4 channels")
    if is_colour and array.shape[-1] not in CHANNELS:
        array = array.transpose(1, 2, 0)
    if is_colour and array.shape[-1] == 1:
        array = array[..., 0]
    kind = array.dtype.kind
    if kind == "b":
        array = array * np.uint8(255)
    elif kind == "f":
        _check_range("floats", array, 1, HALF_STEP)
        array = (array.clip(0, 1) * 255).round()
    elif array.dtype == np.uint16:
        array = array / 257
    elif kind in "iu":
        _check_range("whole numbers", array, 255)
    else:
        raise ValueError("its values are neither whole numbers nor floats")
    return Image.fromarray(array.astype(np.uint8))


def _of_numbers(values: np.ndarray, mode: str, file_format: str | None) -> tuple[Image.Image, int | None]:
    """Turn a PIL picture of deep or fractional numbers `(H, W)` into one of 8 bits.

    Returns it with the number that was taken for white; `None` where the mode says it, and where all is black.
    """
    values, kind = values.astype(np.float64), "floats" if mode == "F" else "whole numbers"
    is_deep = mode.startswith("I;16") or file_format in DEEP_FORMATS
    if mode == "F":
        most, tolerance = (1, HALF_STEP) if values.max() <= 1 + HALF_STEP else (255, 0.5)
    else:
        most, tolerance = 65535 if is_deep or values.max() > 255 else 255, 0.0
    _check_range(kind, values, most, tolerance)
    is_open = not is_deep and values.max() > 0
    values = values / (most / 255)
    values = values.round() if most == 1 else values
    return Image.fromarray(values.clip(0, 255).astype(np.uint8)), most if is_open else None


def _check_range(kind: str, values: np.ndarray, most: float, tolerance: float = 0.0) -> None:
    least, greatest = values.min(), values.max()
    if least >= -tolerance and greatest <= most + tolerance:
        return
    message = f"its {kind} lie in [{least:g}, {greatest:g}], not in [0, {most}]"
    if np.isfinite([least, greatest]).all():
        raise UnknownRange(message, kind)
    raise ValueError(message)


def _shown(picture: object) -> str:
    """Show a picture in an error: a path or URL as it is, others by their type and size."""
    if isinstance(picture, (bytes, bytearray)):
        return f"{len(picture)} bytes"
    if isinstance(picture, (np.ndarray, torch.Tensor)) and not getattr(picture, "is_nested", False):
        return f"{type(picture).__name__} {tuple(picture.shape)} of {picture.dtype}"
    if isinstance(picture, Mapping):
        return f"{type(picture).__name__} of {_shown(file_of(picture))}"
    if isinstance(picture, (str, os.PathLike)):
        return shortened(repr(os.fspath(picture)))
    if isinstance(picture, Image.Image):
        return f"{type(picture).__name__} {picture.width}x{picture.height} of mode {picture.mode}"
    return type(picture).__name__
