"""The checks of a story and the reading of its pictures, which the processor and the pipeline share."""

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from transformers.image_processing_utils import BaseImageProcessor
from transformers.image_utils import load_image

PICTURE_TYPES = (str, os.PathLike, bytes, bytearray, Image.Image, np.ndarray, torch.Tensor)


@dataclass
class Story:
    """A story whose form was checked.

    Args:
        index: its place among the stories of a call, for errors.
        frames: its pictures, as they were given.
        captions: a text or None for each of them.
    """

    index: int
    frames: list
    captions: list[str | None]


def check_stories(frames: torch.Tensor, captions: object = None) -> list[Story]:
    """Check the form of several stories before any picture is opened.

    Args:
        frames: a list of stories, each as in `check_story`.
        captions (*optional*): a list of as many lists of captions; `None` for stories without.

    Returns:
        the stories.

    Raises:
        ValueError: for what is no such list, and as `check_story` does.
    """
    if not isinstance(frames, (list, tuple)) or not frames:
        got = "no story" if isinstance(frames, (list, tuple)) else kind_of(frames)
        raise ValueError(f"frames: got {got}, expected a list of stories")
    if captions is None:
        captions = [None] * len(frames)
    if not isinstance(captions, (list, tuple)) or len(captions) != len(frames):
        got = f"{len(captions)} stories" if isinstance(captions, (list, tuple)) else kind_of(captions)
        raise ValueError(f"captions: got {got}, expected as many stories as in frames, {len(frames)}")
    return [check_story(*story, index) for index, story in enumerate(zip(frames, captions))]


def check_story(frames: torch.Tensor, captions: object, index: int) -> Story:
    """Check the form of a story before any of its pictures is opened.

    Args:
        frames: a list of pictures, or an array or tensor of four dimensions. A picture is a path, a URL, a base64
            string, the bytes of an image file, a dictionary of `bytes` or `path`, a PIL picture, or an array or tensor.
        captions (*optional*): a list of a text or None for each picture.
        index: place of the story among those of the call, for errors.

    Returns:
        the story.

    Raises:
        ValueError: for anything else, with the story, the field and the place.
    """
    if isinstance(frames, (np.ndarray, torch.Tensor)) and frames.ndim == 4:
        frames = list(frames)
    if not isinstance(frames, (list, tuple)):
        raise ValueError(f"frames: story {index}: got {kind_of(frames)}, expected a list of pictures")
    if not frames:
        raise ValueError(f"frames: story {index}: got no picture, expected at least one")
    if captions is None:
        captions = [None] * len(frames)
    if not isinstance(captions, (list, tuple)):
        raise ValueError(f"captions: story {index}: got {kind_of(captions)}, expected a list of texts")
    if len(captions) != len(frames):
        got = f"got {len(captions)} captions for {len(frames)} frames"
        raise ValueError(f"captions: story {index}: {got}, expected one a frame, None where there is none")
    for position, frame in enumerate(frames):
        if not isinstance(frame, PICTURE_TYPES) and _file_of(frame) is None:
            got = f"frames: story {index}, frame {position}: got {kind_of(frame)}"
            raise ValueError(f"{got}, expected a path, URL, bytes, PIL picture, array or tensor")
    for position, caption in enumerate(captions):
        if not isinstance(caption, (str, type(None))):
            got = f"captions: story {index}, caption {position}: got {kind_of(caption)}"
            raise ValueError(f"{got}, expected a text or None")
    return Story(index, list(frames), list(captions))


def open_frame(
    story: Story, position: int, image_processor: BaseImageProcessor, timeout: float | None = None
) -> np.ndarray:
    """Open a picture of a story as a frame.

    Args:
        story: a story whose form was checked.
        position: index of the picture.
        image_processor (`StoryAttnImageProcessor`): gives the frame its size.
        timeout (*optional*): seconds that a URL may take.

    Returns:
        the frame `(height, width, 3)`, uint8.

    Raises:
        ValueError: for a picture that cannot be read, with the story and the place.
    """
    picture = story.frames[position]
    try:
        return image_processor.to_frame(_opened(picture, timeout))
    except Exception as error:  # whatever the many readers of pictures and the network raise
        got = f"frames: story {story.index}, frame {position}: got {_shown(picture)}"
        raise ValueError(f"{got}, expected a picture: {str(error)[:200]}") from error


def kind_of(value: object) -> str:
    """Name the type of a value in an error, with the value of a text or number."""
    return f"{type(value).__name__} {value!r}"[:80] if isinstance(value, (str, int, float)) else type(value).__name__


def _opened(picture: object, timeout: float | None) -> Image.Image | np.ndarray:
    """Open the PIL picture or array that `picture` is or names; files and bytes keep their mode, URLs are RGB."""
    if isinstance(picture, Mapping):
        picture = _file_of(picture)
    if isinstance(picture, os.PathLike):
        picture = os.fspath(picture)
    if isinstance(picture, str) and not os.path.isfile(picture):
        return load_image(picture, timeout=timeout)
    if isinstance(picture, (str, bytes, bytearray)):
        return _read(picture if isinstance(picture, str) else io.BytesIO(picture))
    if isinstance(picture, Image.Image):
        return picture
    if isinstance(picture, torch.Tensor):
        picture = picture.detach().cpu()
        picture = (picture.float() if picture.is_floating_point() else picture).numpy()
    _check_array(picture)
    return picture


def _read(file: str | io.BytesIO) -> Image.Image:
    try:
        picture = Image.open(file)
    except UnidentifiedImageError as error:  # whose text would hold an address in memory
        raise ValueError("cannot identify the format of the image") from error
    picture.load()
    return picture


def _file_of(picture: object) -> str | bytes | None:
    """Return what a dictionary of `bytes` and `path`, as data sets hold pictures, has of the two; None for others."""
    if not isinstance(picture, Mapping):
        return None
    return next((value for name in ("bytes", "path") if (value := picture.get(name)) is not None), None)


def _check_array(array: np.ndarray) -> None:
    channels = {array.shape[0], array.shape[-1]} & {1, 3, 4} if array.ndim == 3 else array.ndim == 2
    if not (channels and array.size):
        raise ValueError("its shape is none of (H, W), (H, W, C) and (C, H, W) with 1, 3 or 4 channels")
    if array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):  # not a number is neither
            raise ValueError(f"its floats lie in [{array.min():g}, {array.max():g}], not in [0, 1]")
    elif array.dtype not in (np.uint8, np.uint16):
        raise ValueError("its values are neither uint8 nor uint16 nor floats")


def _shown(picture: object) -> str:
    """Show a picture in an error: a path or URL as it is, others by their type and size."""
    if isinstance(picture, (bytes, bytearray)):
        return f"{len(picture)} bytes"
    if isinstance(picture, (np.ndarray, torch.Tensor)):
        return f"{type(picture).__name__} {tuple(picture.shape)} of {picture.dtype}"
    if isinstance(picture, Mapping):
        return f"{type(picture).__name__} of {_shown(_file_of(picture))}"
    if isinstance(picture, (str, os.PathLike)):
        text = repr(os.fspath(picture))
        return text if len(text) <= 200 else f"{text[:200]}..."
    return type(picture).__name__
