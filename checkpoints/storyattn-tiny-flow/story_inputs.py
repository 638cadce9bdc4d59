"""The checks of a story, which the processor and the pipeline share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers.image_processing_utils import BaseImageProcessor

from .pictures import PICTURE_TYPES, file_of, read_picture, shortened


@dataclass
class CheckedStory:
    """A story whose form was checked.

    Args:
        index: its place among the stories of a call, for errors.
        frames: its pictures, as they were given.
        captions: a text or None for each of them.
    """

    index: int
    frames: list
    captions: list[str | None]


def check_stories(frames: torch.Tensor, captions: object = None) -> list[CheckedStory]:
    """Check the form of several stories before any picture is opened.

    Args:
        frames: a list of stories, each as in `check_story`; a column of a data set, and an array or tensor of five
            dimensions, are such lists too.
        captions (*optional*): a list of as many lists of captions; `None` for stories without.

    Returns:
        the stories.

    Raises:
        ValueError: for what is no such list, and as `check_story` does.
    """
    stories, texts = _as_list(frames, 5), _as_list(captions)
    if not stories:
        got = kind_of(frames) if stories is None else "no story"
        raise ValueError(f"frames: got {got}, expected a list of stories")
    if captions is None:
        texts = [None] * len(stories)
    if texts is None or len(texts) != len(stories):
        got = kind_of(captions) if texts is None else f"{len(texts)} stories"
        raise ValueError(f"captions: got {got}, expected as many stories as in frames, {len(stories)}")
    return [check_story(*story, index) for index, story in enumerate(zip(stories, texts))]


def is_story(frames: object) -> bool:
    """Return whether `frames` are the pictures of one story, and not a list of stories."""
    if isinstance(frames, (np.ndarray, torch.Tensor)) and frames.ndim != 1:
        return frames.ndim == 4
    return any(_is_picture(frame) for frame in _as_list(frames) or ())


def check_story(frames: torch.Tensor, captions: object, index: int) -> CheckedStory:
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
    pictures, texts = _as_list(frames, 4), _as_list(captions)
    if pictures is None:
        raise ValueError(f"frames: story {index}: got {kind_of(frames)}, expected a list of pictures")
    if not pictures:
        raise ValueError(f"frames: story {index}: got no picture, expected at least one")
    if captions is None:
        texts = [None] * len(pictures)
    if texts is None:
        raise ValueError(f"captions: story {index}: got {kind_of(captions)}, expected a list of texts")
    if len(texts) != len(pictures):
        got = f"got {len(texts)} captions for {len(pictures)} frames"
        raise ValueError(f"captions: story {index}: {got}, expected one a frame, None where there is none")
    for position, picture in enumerate(pictures):
        if not isinstance(picture, PICTURE_TYPES) and file_of(picture) is None:
            got = f"frames: story {index}, frame {position}: got {kind_of(picture)}"
            raise ValueError(f"{got}, expected a path, URL, bytes, PIL picture, array or tensor")
    for position, text in enumerate(texts):
        if not isinstance(text, (str, type(None))):
            got = f"captions: story {index}, caption {position}: got {kind_of(text)}"
            raise ValueError(f"{got}, expected a text or None")
        if text is not None and not _is_unicode(text):
            got = f"captions: story {index}, caption {position}: got {kind_of(text)}"
            raise ValueError(f"{got}, expected a text without half characters")
    return CheckedStory(index, pictures, texts)


def open_frame(
    story: CheckedStory, position: int, image_processor: BaseImageProcessor, timeout: float | None = None
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
    place = f"frames: story {story.index}, frame {position}"
    return image_processor.to_frame(read_picture(story.frames[position], place, timeout))


def captions_by_step(next_captions: object, num_stories: int | None) -> list[list[str]]:
    """Check the texts to paint.

    Args:
        next_captions (*optional*): a list of texts, one a step; for several stories a list of such lists.
        num_stories (*optional*): number of stories; None for a single one that is not in a list.

    Returns:
        for each step the texts of all stories; nothing where there are none.

    Raises:
        ValueError: for anything else, with the story and the step.
    """
    if next_captions is None:
        return []
    stories = [next_captions] if num_stories is None else _as_list(next_captions)
    if stories is None or len(stories) != (num_stories or 1):
        got = kind_of(next_captions) if stories is None else f"{len(stories)} lists"
        raise ValueError(f"next_captions: got {got}, expected a list of texts for each of {num_stories} stories")
    lists = [_as_list(texts) for texts in stories]
    for index, texts in enumerate(lists):
        if texts is None or len(texts) != len(lists[0] or ()):
            got = kind_of(stories[index]) if texts is None else f"{len(texts)} texts"
            raise ValueError(
                f"next_captions: story {index}: got {got}, expected a list of texts, as many for each story"
            )
        for step, text in enumerate(texts):
            if not isinstance(text, str) or not _is_unicode(text):
                got = f"next_captions: story {index}, step {step}: got {kind_of(text)}"
                raise ValueError(f"{got}, expected a text")
    return [list(texts) for texts in zip(*lists)]


def kind_of(value: object) -> str:
    """Name the type of a value in an error, with the value of a text or number."""
    name = type(value).__name__
    if not isinstance(value, (str, int, float)):
        return name
    try:
        return shortened(f"{name} {value!r}", 80).encode("utf-8", "backslashreplace").decode()
    except ValueError:  # a number of more digits than Python shows
        return name


def _is_picture(value: object) -> bool:
    """Return whether a value may be a picture; of an array or tensor its dimensions decide."""
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return value.ndim in (2, 3)
    return isinstance(value, PICTURE_TYPES) or file_of(value) is not None


def _as_list(value: object, dimensions: int = 0) -> list | None:
    """Turn a sequence, or an array or tensor of one or so many dimensions, into a list; None for anything else."""
    if isinstance(value, (np.ndarray, torch.Tensor)):
        is_list = value.ndim == dimensions or (value.ndim == 1 and isinstance(value, np.ndarray))
        return list(value) if is_list else None
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview)):
        return list(value)
    return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
