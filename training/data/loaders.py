"""Load the splits of a data set for a training and make the batches of it."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from datasets import Dataset
from storyattn import StoryAttnConfig, StoryAttnImageProcessor, StoryAttnProcessor
from transformers.utils import logging

from ..common.access_flags import access_of
from ..common.columns import columns_of
from ..common.interruption import leave_signals_to_parent
from .augmentation import augmentation_of
from .number_ranges import NumberRanges
from .prepared_stories import PreparedStories, prepare_stories
from .sources import STORYWORLD, open_source, read_stories
from .stream_source import first_stories, open_stream
from .streaming import StoryStream, stream_loader
from .windows import TrainingWindows, training_loader
from .workers import load_batches

if TYPE_CHECKING:
    from ..arguments import DataArguments, TrainingArguments

logger = logging.get_logger(__name__)
# Stories of a stream that are loaded for the tokenizer, the floors and the test, where no number is given.
STREAMED_SAMPLE = 1000
FURTHER_TESTS = ("test_unseen", "test_words")  # of StoryWorld


def check_streaming(data_args: DataArguments, args: TrainingArguments) -> None:
    """Refuse flags that a stream cannot follow.

    Raises:
        ValueError: where a stream has no `max_train_steps`, or a `max_train_stories`.
    """
    if not data_args.streaming:
        return
    if args.max_train_steps is None:
        raise ValueError("max_train_steps: got none, expected one with --streaming: a stream has no known length")
    if data_args.max_train_stories is not None:
        raise ValueError(f"max_train_stories: got {data_args.max_train_stories}, expected none with --streaming")


def load_splits(args: DataArguments, config: StoryAttnConfig) -> dict[str, Dataset]:
    """Return the stories of `train`, `eval`, `test` and, of StoryWorld, `FURTHER_TESTS`; no picture is decoded."""
    options, names = source_options(args, config), split_names(args)
    if args.streaming:
        counts = {"train": STREAMED_SAMPLE, "eval": args.max_eval_windows}
        return {
            key: first_stories(
                open_stream(args.dataset, split, **options),
                counts.get(key, args.max_test_windows or STREAMED_SAMPLE),
                f"split {split!r} of {args.dataset!r}",
            )
            for key, split in names.items()
        }
    if args.dataset != STORYWORLD:
        options["splits"] = open_source(args.dataset, **columns_of(args), **access_of(args))
    limits = {"train": args.max_train_stories}
    return {
        key: read_stories(args.dataset, split, max_stories=limits.get(key), **options) for key, split in names.items()
    }


def split_names(args: DataArguments) -> dict[str, str]:
    """Return the data set's names of the splits of a training; `FURTHER_TESTS` go with the `test` of StoryWorld."""
    names = {"train": args.train_split, "eval": args.eval_split, "test": args.test_split}
    has_further = args.dataset == STORYWORLD and args.test_split == "test"
    return names | ({name: name for name in FURTHER_TESTS} if has_further else {})


def source_options(args: DataArguments, config: StoryAttnConfig) -> dict:
    """Return the options with which `read_stories` and `open_stream` read the data set."""
    options = {**columns_of(args), **access_of(args)}
    if args.dataset == STORYWORLD:
        lengths = args.story_frames, args.max_story_frames or args.story_frames
        drawn = {"image_size": tuple(config.image_size), "num_frames": lengths, "wordings": args.wordings}
        options["storyworld_options"] = drawn
    return options


def prepare_splits(
    stories: dict[str, Dataset], image_processor: StoryAttnImageProcessor, args: DataArguments
) -> dict[str, PreparedStories]:
    """Prepare the good stories of each split of `load_splits`; see `prepare_stories`."""
    options = {"cache_dir": args.cache_dir, "cache_limit_gb": args.cache_limit_gb, "on_bad_story": args.on_bad_story}
    options["ranges"] = NumberRanges()
    names = split_names(args)
    return {
        key: prepare_stories(split, image_processor, f"split {names[key]!r} of {args.dataset}", **options)
        for key, split in stories.items()
    }


def make_loader(
    stories: PreparedStories,
    processor: StoryAttnProcessor,
    config: StoryAttnConfig,
    data_args: DataArguments,
    args: TrainingArguments,
    accelerator: Accelerator,
    first_batch: int,
    num_batches: int,
) -> Generator[dict[str, torch.Tensor], None, None]:
    """Return the training batches of this process, of stories on the disk or of a stream.

    Its `close` ends the processes that load.

    Args:
        stories: the training stories; a stream is read anew instead.
        processor: turns windows into tensors.
        config: configuration of the model.
        data_args: flags of the data.
        args: flags of the training.
        accelerator: knows the number of this process and its device.
        first_batch: batch of the run with which to begin.
        num_batches: batch before which to stop.

    Returns:
        Batches as of `TrainingCollator`.
    """
    order = {"batch_size": args.train_batch_size, "seed": args.seed}
    order |= {"process": accelerator.process_index, "num_processes": accelerator.num_processes}
    order |= {"first_batch": first_batch, "num_batches": num_batches}
    augmentation = augmentation_of(args)
    workers = {
        "num_workers": data_args.dataloader_num_workers,
        "pin_memory": accelerator.device.type == "cuda",
        "worker_init_fn": leave_signals_to_parent,
    }
    if not data_args.streaming:
        windows = TrainingWindows(stories, processor, config, args.seed, augmentation)
        return load_batches(training_loader(windows, processor, **workers, **order))
    rows = open_stream(data_args.dataset, data_args.train_split, **source_options(data_args, config))
    options = {"buffer_size": data_args.shuffle_buffer, "augmentation": augmentation}
    stream = StoryStream(rows, processor, config, **options, **order)
    name = f"split {data_args.train_split!r} of {data_args.dataset}"
    return stream_loader(stream, name, on_bad_story=data_args.on_bad_story, warn=logger.warning, **workers)
