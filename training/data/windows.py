"""Cut stories into windows for training and evaluation, order them for training, and collate them into batches."""

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import numpy as np
import torch
from datasets import Dataset
from storyattn import StoryAttnConfig, StoryAttnProcessor
from storyattn.story_memory import pages_to_read
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset
from transformers import PreTrainedConfig

from .augmentation import UNCHANGED, Augmentation, mirrored_caption
from .object_maps import ObjectMaps, collate_maps
from .prepared_stories import PreparedStories
from .validation import REFERENCES_COLUMN

# What a window of a story has one value a frame of.
PER_FRAME = ("frames", "captions", "training_captions", "boxes", "events", "states", REFERENCES_COLUMN)


class StoryWindows(TorchDataset):
    """Every run of `num_frames` frames of the stories, in order; a shorter story is one window.

    An item is `frames` (pictures), `captions` (of each frame a `str` or `None`), `story_id`, `start` and `last`
    (indices of its first and last frame) and, where the stories have them, `boxes`, `events`, `states` and
    `references`.

    Args:
        stories: stories in the schema of `read_stories`.
        num_frames: frames of a window.

    Raises:
        ValueError: for fewer than two frames.
    """

    def __init__(self, stories: Dataset | PreparedStories, num_frames: int):
        if num_frames < 2:
            raise ValueError(f"num_frames: got {num_frames}, expected at least 2")
        self.stories, self.num_frames = stories, num_frames
        lasts = [last_start(len(captions), num_frames) for captions in stories["captions"]]
        self.index = [(story, start) for story, last in enumerate(lasts) for start in range(last + 1)]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> dict:
        story, start = self.index[position]
        row = self.stories[story]
        return _window(row, list(range(start, min(start + self.num_frames, len(row["captions"])))))


class StoryTransitions(StoryWindows):
    """Every transition of the stories, in order, as the window that it ends; see `window_to`.

    Every frame of a story but the first ends one window; a story of a single frame has none. Items, arguments and
    errors are those of `StoryWindows`; `num_memory` is that of `window_to`. `index` has the story and the last frame of
    each window.
    """

    def __init__(self, stories: Dataset | PreparedStories, num_frames: int, num_memory: int = 0):
        super().__init__(stories, num_frames)
        self.num_memory = num_memory
        lengths = [len(captions) for captions in stories["captions"]]
        self.index = [(story, last) for story, length in enumerate(lengths) for last in range(1, length)]

    def __getitem__(self, position: int) -> dict:
        story, last = self.index[position]
        return _window(self.stories[story], window_to(last, self.num_frames, self.num_memory))


class TrainingWindows(TorchDataset):
    """A window of `config.max_frames` frames of each story, drawn anew each epoch, see `draw_window`.

    Item `(epoch, story)` is a function of these two and of `seed`, in every process and worker. Every window of a story
    is equally likely. So a long story is seen evenly over the epochs, except for its first and last frames, which lie
    in fewer windows. A short story gives as many windows as a long one.

    An item is `pixels (n, height, width, 3)`, uint8, changed by `augmentation`; `caption_ids`, one array a frame (with
    two tokenizers also `decoder_caption_ids`); `story_id`; `start`; the masks of `draw_tasks`; with
    `config.num_memory_frames`, `transition_mask`: of each frame but the first whether it follows the one before it; and
    for a model that is trained to place objects `object_maps`, see `ObjectMaps`.

    Args:
        stories: the stories.
        processor: its tokenizers encode the captions.
        config: configuration of the model, with the frames of a window and the tasks.
        seed: seed of the run.
        augmentation: changes of the windows.
    """

    def __init__(
        self,
        stories: PreparedStories,
        processor: StoryAttnProcessor,
        config: StoryAttnConfig,
        seed: int = 0,
        augmentation: Augmentation = UNCHANGED,
    ):
        self.stories, self.config, self.seed, self.augmentation = stories, config, seed, augmentation
        self.lengths = [len(captions) for captions in stories["captions"]]
        self.first_captions = np.cumsum([0, *self.lengths])
        captions = [text for captions in stories["captions"] for text in captions]
        self.caption_ids = {False: _encoded(captions, processor)}
        if augmentation.flip:
            self.caption_ids[True] = _encoded(list(map(mirrored_caption, captions)), processor)
        self.object_maps = ObjectMaps(config, processor.image_processor, augmentation)
        self.objects = self.object_maps.find_all(stories)

    def __len__(self) -> int:
        return len(self.stories)

    def __getitem__(self, position: tuple[int, int]) -> dict:
        epoch, story = position
        drawn_by = self.seed, epoch, story
        window = draw_window(self.lengths[story], self.config, *drawn_by)
        runs = [self.stories.pixels(story, run[0], run[-1] + 1) for run in runs_of(window)]
        pixels = runs[0] if len(runs) == 1 else np.concatenate(runs)  # which would copy the usual window
        pixels = self.augmentation.apply(pixels, *drawn_by)
        first, caption_ids = self.first_captions[story], self.caption_ids[self.augmentation.is_flipped(*drawn_by)]
        return {
            "pixels": pixels,
            **{name: [ids[first + frame] for frame in window] for name, ids in caption_ids.items()},
            "story_id": self.stories["story_id"][story],
            "start": window[0],
            **transitions_of(window, self.config),
            **draw_tasks(len(window), self.config, *drawn_by, caption_dropout=self.augmentation.caption_dropout),
            **self.object_maps.draw(self.objects[story], pixels, window, *drawn_by),
        }


class StoryOrder(Sampler):
    """Batches of `(epoch, story)` for one process: epoch after epoch, each in an order drawn by `seed` and the epoch.

    All processes together go through one endless sequence of stories, in which every epoch has each story once. Each
    batch takes the next stories of it. So nothing is left out or repeated where the numbers do not divide evenly, and
    one process sees the stories that several see together. Batch `first_batch` is the same whether the run began with
    it or earlier.

    Args:
        num_stories: stories of an epoch.
        batch_size: stories in a batch of one process.
        seed: seed of the run.
        process: number of this process.
        num_processes: number of all processes.
        first_batch: batch with which to begin.
        num_batches: batch before which to stop.
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

    def __init__(self, processor: StoryAttnProcessor):
        self.processor = processor

    def __call__(self, items: list[dict]) -> dict[str, torch.Tensor]:
        """Collate windows of up to T frames into a batch.

        Returns:
            `pixel_values (B,T,3,H,W)`, `frame_mask (B,T)`, `input_ids` and `attention_mask (B,T,L)` (with two
            tokenizers also `decoder_input_ids` and `decoder_attention_mask`), `next_caption_mask (B,T-1)`,
            `reconstructed (B,R)`, `caption_mask (B,T)` and, where windows have them, `transition_mask (B,T-1)` and
            `object_maps (B,T,names,cells)`.
        """
        batch = dict(self.processor.batch_frames([item["pixels"] for item in items]))
        num_frames = batch["frame_mask"].shape[1]
        for kind in self.processor.tokenizers:
            captions = [item[f"{kind}caption_ids"] for item in items]
            batch.update(self.processor.pad_captions(captions, num_frames, kind))
        if "object_maps" in items[0]:
            batch["object_maps"] = collate_maps([item["object_maps"] for item in items], num_frames)
        by_transition = [name for name in ("next_caption_mask", "transition_mask") if name in items[0]]
        return {
            **batch,
            **{name: _padded([item[name] for item in items], 0, num_frames - 1) for name in by_transition},
            "reconstructed": _padded([item["reconstructed"] for item in items], -1),
            "caption_mask": _padded([item["caption_mask"] for item in items], 0, num_frames),
        }


def training_loader(
    windows: TrainingWindows,
    processor: StoryAttnProcessor,
    *,
    num_workers: int,
    pin_memory: bool = False,
    worker_init_fn: Callable[[int], None] | None = None,
    **order: int,
) -> DataLoader:
    """Return a loader of batches of training windows.

    Args:
        windows: the windows.
        processor: turns them into tensors.
        num_workers: processes that load; 0: this one does.
        pin_memory: place the tensors in page-locked memory.
        worker_init_fn: called with the worker's number in each process.
        **order: the order of the batches, see `StoryOrder`.
    """
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
    """Return the order of the stories, numbers from 0, in an epoch."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(num_stories, generator=generator).tolist()


def draw_start(length: int, num_frames: int, seed: int, epoch: int, story: int | str) -> int:
    """Draw the first frame of the window that a story gives in an epoch.

    Args:
        length: frames of the story.
        num_frames: frames of a window.
        seed: seed of the run.
        epoch: number of the epoch.
        story: number or id of the story.
    """
    return random.Random(f"{seed}/{epoch}/{story}").randint(0, last_start(length, num_frames))


def draw_window(length: int, config: StoryAttnConfig, seed: int, epoch: int, story: int | str) -> list[int]:
    """Draw the window that a story gives in an epoch.

    Every window of consecutive frames is equally likely. With `config.num_memory_frames`, half of the windows that do
    not begin with their story have as many earlier frames, drawn at random, in place of their first ones.

    Args:
        length: frames of the story.
        config: configuration of the model, with the frames of a window.
        seed: seed of the run.
        epoch: number of the epoch.
        story: number or id of the story.

    Returns:
        the indices of its frames, in order.
    """
    start = draw_start(length, config.max_frames, seed, epoch, story)
    window = list(range(start, min(start + config.max_frames, length)))
    number = memory_frames(config)
    if number and start:
        rng = random.Random(f"{seed}/{epoch}/{story}/memory")
        if rng.random() < 0.5:
            window[:number] = sorted(rng.sample(range(start + number), number))
    return window


def memory_frames(config: PreTrainedConfig) -> int:
    """Return how many early frames of a long story a model reads beside its last ones; a baseline reads none."""
    return getattr(config, "num_memory_frames", 0)


def transitions_of(window: list[int], config: StoryAttnConfig) -> dict[str, list[bool]]:
    """Return the `transition_mask` of a window, where the configuration draws frames that do not follow one another."""
    if not memory_frames(config):
        return {}
    return {"transition_mask": [after == before + 1 for before, after in pairwise(window)]}


def runs_of(window: list[int]) -> list[list[int]]:
    """Split a window into runs of frames that follow one another."""
    runs = [window[:1]]
    for before, after in pairwise(window):
        runs[-1].append(after) if after == before + 1 else runs.append([after])
    return runs


def windows_of(stories: Iterable[list], num_frames: int, num_memory: int = 0) -> list[list]:
    """Cut lists of one item a frame, one list a story, into windows, in the order of `StoryTransitions`."""
    return [
        [items[frame] for frame in window_to(last, num_frames, num_memory)]
        for items in stories
        for last in range(1, len(items))
    ]


def window_to(last: int, num_frames: int, num_memory: int = 0) -> list[int]:
    """Return the frames of the window that ends with frame `last` of a story, at least the second.

    Args:
        last: index of the last frame.
        num_frames: the most frames of the window, at least 2.
        num_memory: so many of them are early frames of a longer story, chosen as `continue_story` chooses them.
    """
    return [*pages_to_read(last, num_frames - 1, num_memory), last]


def draw_tasks(
    length: int,
    config: StoryAttnConfig,
    seed: int,
    epoch: int,
    story: int | str,
    *,
    caption_dropout: float = 0.0,
) -> dict[str, list]:
    """Draw what a training step does with a window.

    The tasks are drawn with the window and not by the model, so that a story is trained on alike in every process and
    batch.

    Args:
        length: frames of the window.
        config: configuration of the model, with the shares and numbers of the tasks.
        seed: seed of the run.
        epoch: number of the epoch.
        story: number or id of the story.
        caption_dropout: share of captions that are hidden, in [0, 1).

    Returns:
        `next_caption_mask`, for each of the `length - 1` transitions whether the next frame is painted with its
        caption; `reconstructed`, the indices of the frames to reconstruct; and `caption_mask`, for each frame whether
        its caption is read with the story. A hidden caption is read as if it were missing, but still written, aligned
        and painted.
    """
    rng = random.Random(f"{seed}/{epoch}/{story}/tasks")
    return {
        "next_caption_mask": [rng.random() >= config.next_caption_dropout for _ in range(length - 1)],
        "reconstructed": sorted(rng.sample(range(length), min(length, config.num_reconstructed_frames))),
        "caption_mask": [rng.random() >= caption_dropout for _ in range(length)],
    }


def last_start(length: int, num_frames: int) -> int:
    """Return the first frame of the last window of a story of `length` frames."""
    return max(0, length - num_frames)


def _window(row: dict, window: list[int]) -> dict:
    """Return a window of a story, an item of `StoryWindows`."""
    columns = [name for name in PER_FRAME if row.get(name) is not None]
    items = {name: [row[name][frame] for frame in window] for name in columns}
    return {**items, "story_id": row["story_id"], "start": window[0], "last": window[-1]}


def _encoded(captions: list[str | None], processor: StoryAttnProcessor) -> dict[str, list[np.ndarray]]:
    """Return the ids of captions by each of the tokenizers, under the names that windows have them."""
    return {f"{kind}caption_ids": _shared(processor.encode_captions(captions, kind)) for kind in processor.tokenizers}


def _shared(encoded: list[list[int]]) -> list[np.ndarray]:
    """Return the ids of captions as parts of one array, which worker processes share."""
    ends = np.cumsum([len(ids) for ids in encoded])
    flat = np.fromiter((token for ids in encoded for token in ids), np.int32, count=int(ends[-1]))
    return np.split(flat, ends[:-1])


def _padded(rows: list[list], value: int, length: int = 0) -> torch.Tensor:
    """Return rows as an integer tensor, padded with `value` to the longest row, and to at least `length`."""
    length = max(length, *map(len, rows))
    return torch.tensor([[*map(int, row), *[value] * (length - len(row))] for row in rows])
