"""Train on a stream of stories: read in order, shared out over processes and workers, shuffled in blocks."""

import random
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import torch
from datasets import IterableDataset
from storyattn import StoryAttnConfig, StoryAttnProcessor
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data import IterableDataset as TorchIterableDataset

from .augmentation import UNCHANGED, Augmentation, mirrored_caption
from .frame_cache import prepare_story
from .number_ranges import NumberRanges
from .object_maps import ObjectMaps
from .stream_source import rows_of
from .validation import judge_bad_stories, name_problem, story_problem
from .windows import TrainingCollator, draw_tasks, draw_window, transitions_of
from .workers import load_batches

MAX_BAD_IN_A_ROW = 1000  # stories after which a reader gives up
MIN_JUDGED = 1000  # stories; among fewer, a larger share may be bad by chance


class StoryStream(TorchIterableDataset):
    """Endless batches of windows, of `config.max_frames` frames, of a stream of stories.

    Every worker of every process is a reader. Where the number of the stream's shards (files) is a multiple of the
    number of readers, each reader reads shards of its own again and again. Then no story is read by two readers, and
    stories of smaller shards come around more often. Otherwise all readers go through one endless sequence of stories,
    in which every epoch has each story once; of N readers each uses every Nth story. The order of the shards is drawn
    anew each epoch, and stories are drawn from blocks of `buffer_size`, by `seed`. Batch `first_batch` is the same
    whether a run began with it or earlier.

    An item is `(tensors, bad, seen)`: a batch as of `TrainingCollator`; the id and a line for each bad story that was
    read for it (they make the batch smaller); and the number of stories that were read. After an error it is
    `(None, [(None, message)], 0)`.

    Args:
        stories: rows in the schema, their pictures not decoded; from `open_stream`.
        processor: turns windows into tensors.
        config: configuration of the model, with the frames of a window and the tasks.
        batch_size: stories in a batch of this process.
        seed: seed of the order and the windows.
        buffer_size: stories that are shuffled together.
        process: number of this process.
        num_processes: number of all processes.
        first_batch: batch with which to begin.
        num_batches: batch before which to stop.
        augmentation: changes of the windows.
    """

    def __init__(
        self,
        stories: IterableDataset,
        processor: StoryAttnProcessor,
        config: StoryAttnConfig,
        batch_size: int,
        *,
        seed: int = 0,
        buffer_size: int = 100,
        process: int = 0,
        num_processes: int = 1,
        first_batch: int = 0,
        num_batches: int,
        augmentation: Augmentation = UNCHANGED,
    ):
        self.stories, self.processor, self.config, self.batch_size = stories, processor, config, batch_size
        self.seed, self.buffer_size = seed, buffer_size
        self.process, self.num_processes = process, num_processes
        self.first_batch, self.num_batches, self.augmentation = first_batch, num_batches, augmentation
        self.ranges = NumberRanges()
        self.object_maps = ObjectMaps(config, processor.image_processor, augmentation)

    def __iter__(self) -> Iterator[tuple[dict[str, torch.Tensor] | None, list[tuple[str | None, str]], int]]:
        try:
            yield from self._batches()
        except ValueError as error:  # a worker would wrap it into its traceback
            yield None, [(None, str(error))], 0

    def _batches(self) -> Iterator[tuple[dict[str, torch.Tensor], list[tuple[str, str]], int]]:
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        # The loader takes batches from its workers in turn, from the first: that of batch b reads share b % workers.
        share = (self.first_batch + number) % workers
        done = len(range(share, self.first_batch, workers))
        left = len(range(self.first_batch + number, self.num_batches, workers))
        rows = self._rows(self.process * workers + share, self.num_processes * workers)
        rows = islice(rows, done * self.batch_size, None)
        collate, ahead = TrainingCollator(self.processor), deque()
        for _ in range(left):
            batch = [ahead.popleft() if ahead else next(rows) for _ in range(self.batch_size)]
            items, bad = self._windows(batch)
            while not items:  # all were bad: the next good story stands in, and still comes in its own turn
                if len(ahead) == MAX_BAD_IN_A_ROW:
                    raise ValueError(f"dataset: got {len(ahead)} bad stories in a row, expected good ones: {bad[0][1]}")
                ahead.append(next(rows))
                items, _ = self._windows([ahead[-1]])
            yield collate(items), bad, len(batch)

    def _windows(self, rows: list[tuple[int, dict]]) -> tuple[list[dict], list[tuple[str, str]]]:
        """Return the windows of good rows, and of bad rows the id and a line that says why."""
        items, bad = [], []
        for epoch, row in rows:
            prepared = self._window(epoch, row)
            self.ranges.add([(row["story_id"], prepared.pop("ranges", []))])
            if prepared["problem"] is None:
                items.append(prepared)
            else:
                bad.append((row["story_id"], name_problem(row["story_id"], prepared["problem"])))
        return items, bad

    def _window(self, epoch: int, row: dict) -> dict:
        """Return a window of a row as `TrainingWindows` gives it, with its `problem`; a bad row has nothing else."""
        problem = story_problem(row)
        if problem is not None:
            return {"problem": problem}
        drawn_by = self.seed, epoch, row["story_id"]
        window = draw_window(len(row["frames"]), self.config, *drawn_by)
        captions = [row["captions"][frame] for frame in window]
        shown = {"frames": [row["frames"][frame] for frame in window], "captions": captions}
        prepared = prepare_story(shown, self.processor.image_processor)
        size = self.processor.image_processor.size
        pixels = np.frombuffer(prepared["pixels"], np.uint8).reshape(-1, size["height"], size["width"], 3)
        pixels = self.augmentation.apply(pixels, *drawn_by)
        tasks = draw_tasks(len(captions), self.config, *drawn_by, caption_dropout=self.augmentation.caption_dropout)
        if self.augmentation.is_flipped(*drawn_by):
            captions = list(map(mirrored_caption, captions))
        kinds = self.processor.tokenizers
        texts = {f"{kind}caption_ids": self.processor.encode_captions(captions, kind) for kind in kinds}
        boxes = row.get("boxes") and [row["boxes"][frame] for frame in window]
        objects = self.object_maps.find(boxes, prepared["sizes"])
        tasks |= transitions_of(window, self.config)
        tasks |= self.object_maps.draw(objects, pixels, list(range(len(window))), *drawn_by)
        return {**prepared, "pixels": pixels, **texts, **tasks}

    def _rows(self, reader: int, num_readers: int) -> Iterator[tuple[int, dict]]:
        """Yield `(epoch, row)` of a reader's share, epoch after epoch, each in another order."""
        num_shards = self.stories.num_shards
        sharded = num_shards % num_readers == 0
        shards = list(range(reader, num_shards, num_readers)) if sharded else list(range(num_shards))
        drawn_by = f"{self.seed}/{reader}" if sharded else f"{self.seed}"  # readers of one sequence must draw alike
        epoch = position = 0
        while True:
            order = random.Random(f"{drawn_by}/{epoch}")
            order.shuffle(shards)
            rows = (row for shard in shards for row in rows_of(self.stories, self.stories.shard(num_shards, shard)))
            before = position
            while block := list(islice(rows, self.buffer_size)):
                order.shuffle(block)
                for row in block:
                    if sharded or position % num_readers == reader:
                        yield epoch, row
                    position += 1
            if position == before:
                raise ValueError(f"dataset: got no story for reader {reader + 1} of {num_readers}, expected some")
            epoch += 1
            shards.sort()


def stream_loader(
    stream: StoryStream,
    name: str,
    *,
    num_workers: int,
    pin_memory: bool,
    on_bad_story: str,
    warn: Callable[[str], None],
    worker_init_fn: Callable[[int], None] | None = None,
) -> Iterator[dict[str, torch.Tensor]]:
    """Load the batches of a stream.

    Args:
        stream: the stream.
        name: what messages call it.
        num_workers: processes that load; 0: this one does.
        pin_memory: place the tensors in page-locked memory.
        on_bad_story: "skip" or "raise"; see `judge_bad_stories`.
        warn: called with a warning of bad stories, once a story.
        worker_init_fn: called with the worker's number in each process.

    Yields:
        Batches as of `TrainingCollator`.

    Raises:
        ValueError: as `judge_bad_stories`, for a reader without stories, and for too many bad stories in a row.
    """
    workers = {"num_workers": num_workers, "pin_memory": pin_memory, "worker_init_fn": worker_init_fn}
    loader = DataLoader(stream, batch_size=None, generator=torch.Generator().manual_seed(0), **workers)
    problems, num_seen = {}, 0
    for batch, bad, seen in load_batches(loader):
        if batch is None:
            raise ValueError(bad[0][1])
        num_seen += seen
        new = {story: line for story, line in bad if story not in problems}
        problems.update(new)
        if new:
            counted = {"min_stories": MIN_JUDGED, "new_problems": list(new.values())}
            judge_bad_stories(list(problems.values()), num_seen, name, on_bad_story, warn, **counted)
        yield batch
