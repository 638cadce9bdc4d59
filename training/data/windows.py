"""Windows of stories for training and evaluation, the order in which training sees them, and batches of them."""

import random
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from .augmentation import UNCHANGED, Augmentation
from .prepared_stories import PreparedStories


class StoryWindows(TorchDataset):
    """
    Every run of `num_frames` frames of `stories` (schema of `read_stories`), in order; a shorter story is one window,
    the whole of it.

    An item is `frames` (pictures), `captions` (of each frame a `str` or `None`), `story_id`, `start` (index of its
    first frame) and, where the stories have them, `boxes` and `events`.

    Raises `ValueError` for fewer than two frames.
    """

    def __init__(self, stories: Dataset | PreparedStories, num_frames: int):
        self.stories, self.num_frames = stories, _at_least_two(num_frames)
        lasts = [last_start(len(captions), num_frames) for captions in stories["captions"]]
        self.index = [(story, start) for story, last in enumerate(lasts) for start in range(last + 1)]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> dict:
        story, start = self.index[position]
        row, window = self.stories[story], slice(start, start + self.num_frames)
        columns = [name for name in ("frames", "captions", "boxes", "events") if row.get(name) is not None]
        return {**{name: row[name][window] for name in columns}, "story_id": row["story_id"], "start": start}


class TrainingWindows(TorchDataset):
    """
    A window of `config.max_frames` frames of a story, drawn anew each epoch: item `(epoch, story)` is a function of
    these and of `seed`, whatever process or worker asks. Every window of a story is as likely as any other, so a long
    story is seen evenly over the epochs, but for its first and last frames, which lie in fewer windows; a short story
    gives as many windows as a long one.

    An item is `pixels (n, height, width, 3)`, uint8, changed by `augmentation`, `caption_ids` (one array a frame; with
    two tokenizers also `decoder_caption_ids`), `story_id`, `start`, and what `draw_tasks` gives.
    """

    def __init__(
        self,
        stories: PreparedStories,
        processor,
        config,
        seed: int = 0,
        augmentation: Augmentation = UNCHANGED,
    ):
        self.stories, self.config, self.seed, self.augmentation = stories, config, seed, augmentation
        self.lengths = [len(captions) for captions in stories["captions"]]
        self.first_captions = np.cumsum([0, *self.lengths])
        captions = [text for captions in stories["captions"] for text in captions]
        self.caption_ids = {
            f"{kind}caption_ids": _shared(processor.encode_captions(captions, kind)) for kind in processor.tokenizers
        }

    def __len__(self) -> int:
        return len(self.stories)

    def __getitem__(self, position: tuple[int, int]) -> dict:
        epoch, story = position
        drawn_by = self.seed, epoch, story
        start = draw_start(self.lengths[story], self.config.max_frames, *drawn_by)
        stop = min(start + self.config.max_frames, self.lengths[story])
        first = self.first_captions[story]
        return {
            "pixels": self.augmentation.apply(self.stories.pixels(story, start, stop), *drawn_by),
            **{name: ids[first + start : first + stop] for name, ids in self.caption_ids.items()},
            "story_id": self.stories["story_id"][story],
            "start": start,
            **draw_tasks(stop - start, self.config, *drawn_by, caption_dropout=self.augmentation.caption_dropout),
        }


class StoryOrder(Sampler):
    """
    Batches of `(epoch, story)` for one process: epoch after epoch, each in an order drawn by `seed` and the epoch.

    All processes together go through one endless row of stories, in which every epoch has each of `num_stories` once;
    each batch takes the next ones of it. So nothing is left out or seen twice where the numbers do not divide, one
    process sees what several see together, and batch `first_batch` is the same whether the run began there or before.
    """

    def __init__(
        self,
        num_stories: int,
        batch_size: int,
        *,
        seed: int = 0,
        process: int = 0,
        num_processes: int = 1,
        first_batch: int = 0,
        num_batches: int,
    ):
        self.num_stories, self.batch_size, self.seed = num_stories, batch_size, seed
        self.process, self.num_processes = process, num_processes
        self.first_batch, self.num_batches = first_batch, num_batches

    def __len__(self) -> int:
        return self.num_batches - self.first_batch

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = None, []
        for batch in range(self.first_batch, self.num_batches):
            first = (batch * self.num_processes + self.process) * self.batch_size
            positions = []
            for place in range(first, first + self.batch_size):
                if place // self.num_stories != epoch:
                    epoch = place // self.num_stories
                    order = epoch_order(self.num_stories, self.seed, epoch)
                positions.append((epoch, order[place % self.num_stories]))
            yield positions


class TrainingCollator:
    """Turns items of `TrainingWindows` into the tensors of a `StoryAttnProcessor`."""

    def __init__(self, processor):
        self.processor = processor

    def __call__(self, items: list[dict]) -> dict[str, torch.Tensor]:
        """
        `pixel_values (B,T,3,H,W)`, `frame_mask (B,T)`, `input_ids` and `attention_mask (B,T,L)` (with two tokenizers
        also `decoder_input_ids` and `decoder_attention_mask`), `next_caption_mask (B,T-1)`, `reconstructed (B,R)` and
        `caption_mask (B,T)`.
        """
        batch = dict(self.processor.batch_frames([item["pixels"] for item in items]))
        number = batch["frame_mask"].shape[1]
        for kind in self.processor.tokenizers:
            batch.update(self.processor.pad_captions([item[f"{kind}caption_ids"] for item in items], number, kind))
        return {
            **batch,
            "next_caption_mask": _padded([item["next_caption_mask"] for item in items], 0, number - 1),
            "reconstructed": _padded([item["reconstructed"] for item in items], -1),
            "caption_mask": _padded([item["caption_mask"] for item in items], 0, number),
        }


def training_loader(
    windows: TorchDataset, processor, *, num_workers: int, pin_memory: bool = False, worker_init_fn=None, **order
):
    """Batches of `windows`, in the order of `StoryOrder(len(windows), **order)`, loaded by `num_workers` processes."""
    return DataLoader(
        windows,
        batch_sampler=StoryOrder(len(windows), **order),
        collate_fn=TrainingCollator(processor),
        num_workers=num_workers,
        generator=torch.Generator().manual_seed(0),  # the loader would otherwise draw from the model's random numbers
        pin_memory=pin_memory,
        worker_init_fn=worker_init_fn,
    )


def epoch_order(num_stories: int, seed: int, epoch: int) -> list[int]:
    """The order of the stories in an epoch."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(num_stories, generator=generator).tolist()


def draw_start(length: int, num_frames: int, seed: int, epoch: int, story: int | str) -> int:
    """First frame of the window that a story of `length` frames gives in an epoch."""
    return random.Random(f"{seed}/{epoch}/{story}").randint(0, last_start(length, num_frames))


def windows_of(stories: Iterable[list], num_frames: int) -> list[list]:
    """Of something per frame of each story: that of every window, in the order of `StoryWindows`."""
    return [
        told[start : start + num_frames] for told in stories for start in range(last_start(len(told), num_frames) + 1)
    ]


def draw_tasks(
    length: int, config, seed: int, epoch: int, story: int | str, *, caption_dropout: float = 0.0
) -> dict[str, list]:
    """
    What a training step does with a window of `length` frames: `next_caption_mask`, for each transition whether its
    painting reads the next caption, `reconstructed`, the frames to reconstruct, and `caption_mask`, for each frame
    whether its caption is read with the story; a share `caption_dropout` is hidden there as if it were missing, but
    still to be written, aligned and painted. Drawn with the window and not by the model, so that a story is trained on
    alike in every process and batch.
    """
    rng = random.Random(f"{seed}/{epoch}/{story}/tasks")
    return {
        "next_caption_mask": [rng.random() >= config.next_caption_dropout for _ in range(length - 1)],
        "reconstructed": sorted(rng.sample(range(length), min(length, config.num_reconstructed_frames))),
        "caption_mask": [rng.random() >= caption_dropout for _ in range(length)],
    }


def last_start(length: int, num_frames: int) -> int:
    """First frame of the last window of a story of `length` frames."""
    return max(0, length - num_frames)


def _shared(encoded: list[list[int]]) -> list[np.ndarray]:
    """Ids of captions as parts of one array, which worker processes share."""
    ends = np.cumsum([len(ids) for ids in encoded])
    flat = np.fromiter((token for ids in encoded for token in ids), np.int32, count=int(ends[-1]))
    return np.split(flat, ends[:-1])


def _padded(rows: list[list], value, length: int = 0) -> torch.Tensor:
    """Rows of numbers as a tensor of whole numbers, `value` where one is shorter than the longest or `length`."""
    length = max(length, *map(len, rows))
    return torch.tensor([[*map(int, row), *[value] * (length - len(row))] for row in rows])


def _at_least_two(num_frames: int) -> int:
    if num_frames < 2:
        raise ValueError(f"num_frames: found {num_frames}, expected at least 2")
    return num_frames
