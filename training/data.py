"""Windows of stories for training and evaluation, and batches of them. `load_stories` is found here as well."""

import random

import torch
from datasets import Dataset, Image
from torch.utils.data import Dataset as TorchDataset

from .sources import STORYWORLD, load_stories

MODES = ("random", "all")


class StoryWindows(TorchDataset):
    """
    Runs of `num_frames` frames of `stories` (schema of `load_stories`); a shorter story is one window, the whole of it.

    `mode` "all": every run, in order. "random": one for each story, drawn by `seed`, the epoch (`set_epoch`) and the
    story alone, whatever process or worker asks. An item is `frames` (pictures), `captions` (of each frame a `str` or
    `None`), `story_id`, `start` (index of its first frame) and, where the stories have them, `boxes` and `events`.
    Pictures outside the window are not decoded.

    Raises `ValueError` for an unknown mode, fewer than two frames, and a picture that turns out to be broken.
    """

    def __init__(self, stories: Dataset, num_frames: int, mode: str = "random", seed: int = 0):
        if mode not in MODES:
            raise ValueError(f"mode: found {mode!r}, expected one of {', '.join(MODES)}")
        if num_frames < 2:
            raise ValueError(f"num_frames: found {num_frames}, expected at least 2")
        self.num_frames, self.mode, self.seed = num_frames, mode, seed
        self.columns = [name for name in ("captions", "boxes", "events") if name in stories.column_names]
        self.stories = stories.with_format("arrow")  # pictures as bytes and paths
        self.image = Image()
        # A tensor in shared memory: workers that outlive an epoch see it change.
        self.epoch = torch.zeros((), dtype=torch.long).share_memory_()
        lengths = [len(captions) for captions in stories["captions"]]
        self.last_starts = [max(0, length - num_frames) for length in lengths]
        self.index = [(story, start) for story, last in enumerate(self.last_starts) for start in range(last + 1)]

    def set_epoch(self, epoch: int) -> None:
        """Draws other windows in mode "random"."""
        self.epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.index) if self.mode == "all" else len(self.stories)

    def __getitem__(self, position: int) -> dict:
        story, start = self.index[position] if self.mode == "all" else (position, self._draw(position))
        (row,), window = self.stories[story].to_pylist(), slice(start, start + self.num_frames)
        item = {name: row[name][window] for name in self.columns if row[name] is not None}
        frames = [self._decode(row, index) for index in range(start, start + len(item["captions"]))]
        return {**item, "frames": frames, "story_id": row["story_id"], "start": start}

    def _decode(self, row: dict, index: int):
        try:
            return self.image.decode_example(row["frames"][index])
        except OSError as error:
            raise ValueError(f"story {row['story_id']!r}: frame {index} cannot be decoded: {error}") from error

    def _draw(self, story: int) -> int:
        return random.Random(f"{self.seed}/{int(self.epoch)}/{story}").randint(0, self.last_starts[story])


class StoryCollator:
    """Turns items of `StoryWindows` into the tensors of a `StoryAttnProcessor`."""

    def __init__(self, processor):
        self.processor = processor

    def __call__(self, items: list[dict]) -> dict[str, torch.Tensor]:
        """`pixel_values (B,T,3,H,W)`, `frame_mask (B,T)`, `input_ids` and `attention_mask (B,T,L)`."""
        frames, captions = ([item[name] for item in items] for name in ("frames", "captions"))
        return dict(self.processor(frames=frames, captions=captions, return_tensors="pt"))


__all__ = ["STORYWORLD", "StoryCollator", "StoryWindows", "load_stories"]
