"""Stories that are never all there: read as they come, shared out over processes and workers, shuffled in blocks."""

import random
from collections import deque
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from datasets import IterableDataset
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data import IterableDataset as TorchIterableDataset

from .augmentation import UNCHANGED, Augmentation
from .frame_cache import prepare_story
from .validation import judge_bad_stories, story_problem
from .windows import TrainingCollator, draw_start, draw_tasks

PATIENCE = 1000  # bad stories in a row after which a reader gives up
FEW = 1000  # stories, among which more than a small share may happen to be bad


class StoryStream(TorchIterableDataset):
    """
    Endless batches of windows, of `config.max_frames` frames, of `stories`, a stream of rows in the schema whose
    pictures are not decoded.

    Every worker of every process is a reader. Where the number of the stream's shards (files) is a multiple of that of
    the readers, each reads shards of its own, again and again: nothing is read twice, and stories of smaller shares
    come around more often. Else all readers go through one endless row of stories, in which every epoch has each once,
    and each keeps every so-manieth. Shards change their order with the epoch, and stories are drawn from blocks of
    `buffer_size`, as `seed` decides. Batch `first_batch` is the same whether a run began there or before. Windows are
    changed by `augmentation`.

    An item is `(tensors, bad, seen)`: a batch as of `TrainingCollator`, id and line of each bad story that stood in its
    place (bad ones make it smaller), and how many stories were looked at; or `(None, [(None, what is wrong)], 0)`.
    """

    def __init__(
        self,
        stories: IterableDataset,
        processor,
        config,
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

    def __iter__(self) -> Iterator[tuple[dict[str, torch.Tensor] | None, list[tuple[str | None, str]], int]]:
        try:
            yield from self._batches()
        except ValueError as error:  # a worker would wrap it into its traceback
            yield None, [(None, str(error))], 0

    def _batches(self) -> Iterator[tuple[dict[str, torch.Tensor], list[tuple[str, str]], int]]:
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        # The loader asks its workers in turn, from the first; who is asked for batch b reads share b % workers.
        share = (self.first_batch + number) % workers
        done = len(range(share, self.first_batch, workers))
        left = len(range(self.first_batch + number, self.num_batches, workers))
        rows = self._rows(self.process * workers + share, self.num_processes * workers)
        rows = islice(rows, done * self.batch_size, None)
        collate, ahead = TrainingCollator(self.processor), deque()
        for _ in range(left):
            batch = [ahead.popleft() if ahead else next(rows) for _ in range(self.batch_size)]
            items, bad = self._windows(batch)
            while not items:  # all were bad: the next good story stands in, and has its own turn all the same
                if len(ahead) == PATIENCE:
                    raise ValueError(f"dataset: {len(ahead)} stories in a row are bad: {bad[0][1]}")
                ahead.append(next(rows))
                items, _ = self._windows([ahead[-1]])
            yield collate(items), bad, len(batch)

    def _windows(self, rows: list[tuple[int, dict]]) -> tuple[list[dict], list[tuple[str, str]]]:
        """The windows of good rows, and of others the id and why they give none."""
        items, bad = [], []
        for epoch, row in rows:
            prepared = self._window(epoch, row)
            if prepared["problem"] is None:
                items.append(prepared)
            else:
                bad.append((row["story_id"], f"story {row['story_id']!r}: {prepared['problem']}"))
        return items, bad

    def _window(self, epoch: int, row: dict) -> dict:
        """`pixels` and `caption_ids` of a window of a row, or its `problem`."""
        problem = story_problem(row)
        if problem is not None:
            return {"problem": problem}
        drawn_by = self.seed, epoch, row["story_id"]
        start = draw_start(len(row["frames"]), self.config.max_frames, *drawn_by)
        window = slice(start, start + self.config.max_frames)
        captions = row["captions"][window]
        shown = {"frames": row["frames"][window], "captions": captions}
        prepared = prepare_story(shown, self.processor.image_processor)
        size = self.processor.image_processor.size
        pixels = np.frombuffer(prepared["pixels"], np.uint8).reshape(-1, size["height"], size["width"], 3)
        pixels = self.augmentation.apply(pixels, *drawn_by)
        tasks = draw_tasks(len(captions), self.config, *drawn_by, caption_dropout=self.augmentation.caption_dropout)
        kinds = self.processor.tokenizers
        texts = {f"{kind}caption_ids": self.processor.encode_captions(captions, kind) for kind in kinds}
        return {**prepared, "pixels": pixels, **texts, **tasks}

    def _rows(self, reader: int, num_readers: int) -> Iterator[tuple[int, dict]]:
        """`(epoch, row)` of a reader's share, epoch after epoch, block by block in another order."""
        number = self.stories.num_shards
        sharded = number % num_readers == 0
        shards = list(range(reader, number, num_readers)) if sharded else list(range(number))
        drawn_by = f"{self.seed}/{reader}" if sharded else f"{self.seed}"  # all of one row must draw alike
        epoch = position = 0
        while True:
            order = random.Random(f"{drawn_by}/{epoch}")
            order.shuffle(shards)
            rows, before = (row for shard in shards for row in _rows_of(self.stories.shard(number, shard))), position
            while block := list(islice(rows, self.buffer_size)):
                order.shuffle(block)
                for row in block:
                    if sharded or position % num_readers == reader:
                        yield epoch, row
                    position += 1
            if position == before:
                raise ValueError(f"dataset: found no story for reader {reader + 1} of {num_readers}, expected some")
            epoch += 1
            shards.sort()


def _rows_of(stories: IterableDataset) -> Iterator[dict]:
    """Every row; iterated over as such, a stream would share itself out over the workers once more."""
    for batch in stories.iter(batch_size=1):
        yield {name: values[0] for name, values in batch.items()}


def stream_loader(
    stream: StoryStream,
    name: str,
    *,
    num_workers: int,
    pin_memory: bool,
    on_bad_story: str,
    warn,
    worker_init_fn=None,
):
    """The batches of a stream, loaded by `num_workers` processes; bad stories are judged by `judge_bad_stories`."""
    loader = DataLoader(
        stream,
        batch_size=None,
        num_workers=num_workers,
        generator=torch.Generator().manual_seed(0),
        pin_memory=pin_memory,
        worker_init_fn=worker_init_fn,
    )
    known, seen = {}, 0
    for batch, bad, number in loader:
        if batch is None:
            raise ValueError(bad[0][1])
        seen += number
        new = {story: line for story, line in bad if story not in known}
        known.update(new)
        if new:
            judge_bad_stories(list(known.values()), seen, name, on_bad_story, warn, few=FEW, named=list(new.values()))
        yield batch
