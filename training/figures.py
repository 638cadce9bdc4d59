"""Draw sheets of stories, and write pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from storyattn.story_drawing import Cell, draw_grid

if TYPE_CHECKING:
    from datasets import Dataset


def story_sheet(
    stories: Dataset | Sequence[dict], path: str | Path, *, num_stories: int = 4, frame_width: int = 200
) -> Path:
    """Draw the first stories, a row each with at most 8 frames, and write the picture to `path`.

    Args:
        stories: stories in the schema of `read_stories`.
        path: image file; missing folders are created.
        num_stories: stories that are drawn.
        frame_width: width of a frame in the picture, in pixels.

    Returns:
        The path of the file.
    """
    rows = []
    for index in range(min(num_stories, len(stories))):
        story = stories[index]
        pairs = list(zip(story["frames"], story["captions"]))[:8]
        rows.append((str(story["story_id"]), [Cell([frame], "", text or "") for frame, text in pairs]))
    return save_picture(draw_grid(rows, frame_width), path)


def save_picture(image: Image.Image, path: str | Path) -> Path:
    """Write a picture to `path`, and create missing folders."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path
