"""Prepare stories for the model: frames of its size from the cache, boxes that lie in them, bad stories left out."""

import numpy as np
from datasets import Dataset
from PIL import Image
from storyattn import StoryAttnImageProcessor
from transformers.utils import logging

from ..common.defaults import CACHE_LIMIT_GB
from .frame_cache import cached_frames
from .number_ranges import NumberRanges
from .validation import judge_bad_stories, name_problem

logger = logging.get_logger(__name__)


class PreparedStories:
    """The good stories of a data set, read like a `datasets.Dataset`.

    Pictures have the model's size and boxes lie in these pictures (`stories[3]["frames"]`, `stories["captions"]`).
    `pixels` gives the numbers of the frames directly.

    Args:
        stories: stories in the schema of `read_stories`.
        frames: their frames, from `cached_frames`.
        image_processor: the processor that the frames were prepared with.
    """

    def __init__(self, stories: Dataset, frames: Dataset, image_processor: StoryAttnImageProcessor):
        self.image_processor = image_processor
        problems = frames["problem"][:]
        self._rows = [row for row, problem in enumerate(problems) if problem is None]
        self._pixels, self._sizes = _BytesColumn(frames, "pixels"), frames.select_columns("sizes")
        self._others = stories.remove_columns("frames")
        captions, names = self._others["captions"][:], self._others["story_id"][:]
        self._columns = {
            "captions": [captions[row] for row in self._rows],
            "story_id": [names[row] for row in self._rows],
        }

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: int | str) -> dict | list:
        if isinstance(key, str):
            if key not in self._columns:
                values = self._others[key][:]
                self._columns[key] = [values[row] for row in self._rows]
            return self._columns[key]
        row = dict(self._others[self._rows[key]])
        sizes = self.sizes(key)
        row["frames"] = [Image.fromarray(frame) for frame in self.pixels(key)]
        if row.get("boxes"):
            row["boxes"] = [self._scaled(boxes, [size] * len(boxes)) for boxes, size in zip(row["boxes"], sizes)]
        if row.get("events"):
            row["events"] = self._scaled(row["events"], sizes)
        return row

    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""
        return ["frames", *self._others.column_names]

    def sizes(self, story: int) -> list[list[int]]:
        """Return height and width of the pictures of a story, which its `boxes` as stored lie in."""
        return self._sizes[self._rows[story]]["sizes"]

    def pixels(self, story: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return frames of a story without a copy.

        Args:
            story: number of the story, from 0.
            start: first frame.
            stop: frame before which to stop; by default the end of the story.

        Returns:
            Frames `(n, height, width, 3)`, uint8, a read-only view into the mapped file.
        """
        size = self.image_processor.size["height"], self.image_processor.size["width"]
        return self._pixels[self._rows[story]].reshape(-1, *size, 3)[start:stop]

    def _scaled(self, entities: list[dict], sizes: list[list[int]]) -> list[dict]:
        """Move the boxes of entities into the model's frame; `sizes` are those of the pictures they are in."""
        return [
            {**entity, "box": self.image_processor.transform_boxes([entity["box"]], size)[0] if entity["box"] else []}
            for entity, size in zip(entities, sizes)
        ]


class _BytesColumn:
    """A memory-mapped column of bytes by row, without a copy.

    When it is pickled, only the name of the file is sent, and the other process maps the file as well.
    """

    def __init__(self, dataset: Dataset, name: str):
        self.dataset, self.name = dataset.select_columns(name), name
        self.chunks = self.dataset.data.column(name).chunks
        self.ends = np.cumsum([len(chunk) for chunk in self.chunks])

    def __getitem__(self, row: int) -> np.ndarray:
        number = int(np.searchsorted(self.ends, row, side="right"))
        chunk = self.chunks[number]
        place = row - int(self.ends[number]) + len(chunk) + chunk.offset
        # A scalar of Arrow would hold a copy.
        _, offsets, values = chunk.buffers()
        start, end = np.frombuffer(offsets, np.int64)[place : place + 2]
        return np.frombuffer(values, np.uint8)[start:end]

    def __reduce__(self):
        return _BytesColumn, (self.dataset, self.name)


def prepare_stories(
    stories: Dataset,
    image_processor: StoryAttnImageProcessor,
    name: str,
    *,
    on_bad_story: str = "skip",
    cache_dir: str | None = None,
    cache_limit_gb: float = CACHE_LIMIT_GB,
    ranges: NumberRanges | None = None,
) -> PreparedStories:
    """Decode and resize all frames of stories, or take them from the cache, and leave out bad stories.

    Args:
        stories: stories in the schema of `read_stories`.
        image_processor: brings pictures to the model's size.
        name: what messages call the stories.
        on_bad_story: "skip" leaves out the stories in which something is broken and warns of the first five; "raise"
            refuses them.
        cache_dir: folder of the cache; see `cached_frames`.
        cache_limit_gb: its limit, in gigabytes.
        ranges: those of splits of the same data set that were prepared before; these stories must have the same.

    Returns:
        The good stories.

    Raises:
        ValueError: for a bad story with "raise", for more than 5% bad ones, and for numbers of several ranges.
    """
    frames = cached_frames(stories, image_processor, cache_dir=cache_dir, limit_gb=cache_limit_gb)
    names, problems = stories["story_id"][:], frames["problem"][:]
    ranges = NumberRanges() if ranges is None else ranges
    try:
        ranges.add(zip(names, frames["ranges"][:]))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    for line in ranges.lines():
        logger.warning_once(line)
    lines = [name_problem(story, problem) for story, problem in zip(names, problems) if problem is not None]
    judge_bad_stories(lines, len(stories), name, on_bad_story, logger.warning)
    return PreparedStories(stories, frames, image_processor)
