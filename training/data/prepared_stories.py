"""Stories ready for the model: frames of its size from the cache, boxes that lie in them, bad stories left out."""

import numpy as np
from datasets import Dataset
from PIL import Image
from transformers.utils import logging

from .frame_cache import DEFAULT_LIMIT_GB, cached_frames
from .validation import judge_bad_stories

logger = logging.get_logger(__name__)


class PreparedStories:
    """
    The good ones of `stories`. Reads like a `datasets.Dataset` whose pictures have the model's size and whose boxes lie
    in these (`stories[3]["frames"]`, `stories["captions"]`); `pixels` gives numbers without detour.
    """

    def __init__(self, stories: Dataset, frames: Dataset, image_processor):
        self.image_processor = image_processor
        problems = frames["problem"][:]
        self._rows = [row for row, problem in enumerate(problems) if problem is None]
        self._pixels, self._sizes = _Bytes(frames, "pixels"), frames.select_columns("sizes")
        self._others = stories.remove_columns("frames")
        captions, names = self._others["captions"][:], self._others["story_id"][:]
        self._columns = {
            "captions": [captions[row] for row in self._rows],
            "story_id": [names[row] for row in self._rows],
        }

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: int | str):
        if isinstance(key, str):
            if key not in self._columns:
                values = self._others[key][:]
                self._columns[key] = [values[row] for row in self._rows]
            return self._columns[key]
        row = dict(self._others[self._rows[key]])
        sizes = self._sizes[self._rows[key]]["sizes"]
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

    def pixels(self, story: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Frames `(n, height, width, 3)`, uint8, of a story: a view into the file."""
        size = self.image_processor.size["height"], self.image_processor.size["width"]
        return self._pixels[self._rows[story]].reshape(-1, *size, 3)[start:stop]

    def _scaled(self, entities: list[dict], sizes: list[list[int]]) -> list[dict]:
        """Entities with their boxes in pixels of the model's frame; of each the size of the picture that it is in."""
        return [
            {**entity, "box": self.image_processor.transform_boxes([entity["box"]], of)[0] if entity["box"] else []}
            for entity, of in zip(entities, sizes)
        ]


class _Bytes:
    """A memory-mapped column of bytes by row, without a copy; another process is told of the file and maps it too."""

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
        return _Bytes, (self.dataset, self.name)


def prepare_stories(
    stories: Dataset,
    image_processor,
    name: str,
    *,
    on_bad_story: str = "skip",
    cache_dir: str | None = None,
    cache_limit_gb: float = DEFAULT_LIMIT_GB,
) -> PreparedStories:
    """
    Decodes and resizes all frames of `stories` (schema of `read_stories`), or finds them in the cache.

    `on_bad_story` "skip" leaves out the stories in which something is broken and names the first five; "raise" refuses
    them. `name` is how messages call the stories. Raises `ValueError` for a bad story with "raise", for more than 5%
    bad ones, and where none is left.
    """
    frames = cached_frames(stories, image_processor, cache_dir=cache_dir, limit_gb=cache_limit_gb)
    problems = zip(stories["story_id"][:], frames["problem"][:])
    bad = [f"story {story!r}: {problem}" for story, problem in problems if problem is not None]
    judge_bad_stories(bad, len(stories), name, on_bad_story, logger.warning)
    return PreparedStories(stories, frames, image_processor)
