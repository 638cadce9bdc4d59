"""Take frames from videos and animations: GIF, WebP and PNG by Pillow, videos by PyAV or torchcodec."""

import importlib.util
import io
import os
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from ...common.excerpts import quoted
from ...common.loading import one_line_reason

DEFAULT_FRAMES = 5
VIDEO_SUFFIXES = (".mp4", ".m4v", ".webm", ".avi", ".mov", ".mkv", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv")
ANIMATION_SUFFIXES = (".gif", ".webp", ".apng", ".png")
SIGNATURES = {4: b"ftyp", 0: b"\x1aE\xdf\xa3"}  # of MP4 and its kin, and of Matroska and WebM, by place in the file


def is_clip(picture: dict | None) -> bool:
    """Return whether an encoded picture (`bytes`, `path`) is a video or has several frames; broken ones are none."""
    if picture is None:
        return False
    if is_video(picture):
        return True
    try:
        with Image.open(_file(picture)) as image:
            return getattr(image, "n_frames", 1) > 1
    except Exception:  # the type that Pillow raises for a broken file depends on the format
        return False


def is_video(picture: dict) -> bool:
    """Return whether an encoded picture is a video, by its name or its first bytes."""
    data = picture.get("bytes")
    if data is not None and any(data[place:].startswith(signature) for place, signature in SIGNATURES.items()):
        return True
    return Path((picture.get("path") or "").partition("::")[0]).suffix.lower() in VIDEO_SUFFIXES


def take_frames(picture: dict, count: int) -> list[dict]:
    """Return frames of a clip, evenly spread from its first to its last one, as encoded pictures.

    Args:
        picture: the clip, `bytes` or `path`.
        count: how many frames; of a shorter clip some are repeated.

    Raises:
        ValueError: for a clip that cannot be read, and where no package that reads videos is installed.
    """
    name = quoted(picture.get("path") or "a clip")
    if picture.get("bytes") is None and not os.path.isfile(picture.get("path") or ""):
        raise ValueError(f"got no such file {name}, expected a video or an animation")
    read = _video_reader(name) if is_video(picture) else _read_animation
    try:
        frames = read(_file(picture), count)
    except Exception as error:  # the libraries raise a dozen kinds
        raise ValueError(f"got {name}, expected a video or an animation: {one_line_reason(error)}") from error
    return [{"bytes": _encode(frame), "path": None} for frame in frames]


def spread(length: int, count: int) -> list[int]:
    """Return `count` indices from 0 to `length - 1`, evenly spread, the first and the last among them."""
    return [round(number * (length - 1) / max(1, count - 1)) for number in range(count)]


def _video_reader(name: str) -> Callable[[str | io.BytesIO, int], list[Image.Image]]:
    """Return the reader of an installed package."""
    for package, reader in (("av", _read_by_av), ("torchcodec", _read_by_torchcodec)):
        if importlib.util.find_spec(package) is not None:
            return reader
    raise ValueError(f"got the video {name}, expected the package av (or torchcodec) to read it: pip install av")


def _read_animation(file: str | io.BytesIO, count: int) -> list[Image.Image]:
    with Image.open(file) as image:
        frames = []
        for index in spread(getattr(image, "n_frames", 1), count):
            image.seek(index)
            frames.append(image.convert("RGBA" if image.has_transparency_data else "RGB"))
        return frames


def _read_by_av(file: str | io.BytesIO, count: int) -> list[Image.Image]:
    """Decode the video twice: containers often state no number of frames, or a wrong one."""
    import av

    with av.open(file) as container:
        length = sum(1 for _ in container.decode(video=0))
    if not length:
        raise ValueError("it has no frame")
    if isinstance(file, io.BytesIO):
        file.seek(0)
    wanted, pictures = spread(length, count), {}
    with av.open(file) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                pictures[index] = frame.to_image()
    return [pictures[index] for index in wanted]


def _read_by_torchcodec(file: str | io.BytesIO, count: int) -> list[Image.Image]:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(file, dimension_order="NHWC")
    return [Image.fromarray(decoder[index].numpy()) for index in spread(len(decoder), count)]


def _file(picture: dict) -> str | io.BytesIO:
    return picture["path"] if picture.get("bytes") is None else io.BytesIO(picture["bytes"])


def _encode(frame: Image.Image) -> bytes:
    file = io.BytesIO()
    frame.save(file, "PNG", compress_level=1)
    return file.getvalue()
