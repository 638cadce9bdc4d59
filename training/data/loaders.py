"""From a data set's name to the splits and the batches of a training."""

from datasets import Dataset
from transformers.utils import logging

from ..common.interruption import leave_signals_to_parent
from .augmentation import augmentation_of
from .prepared_stories import PreparedStories, prepare_stories
from .sources import STORYWORLD, read_stories
from .stream_source import first_stories, open_stream
from .streaming import StoryStream, stream_loader
from .windows import TrainingWindows, training_loader

logger = logging.get_logger(__name__)
# Of a stream, for the tokenizer, the floors and the test, where no number is given.
STREAMED_SAMPLE = 1000


def check_streaming(data_args, args) -> None:
    """Refuses flags that go with stories at hand alone; raises `ValueError`."""
    if not data_args.streaming:
        return
    if args.max_train_steps is None:
        raise ValueError("max_train_steps: found none with --streaming, expected one: a stream has no known length")
    if data_args.max_train_stories is not None:
        found = data_args.max_train_stories
        raise ValueError(f"max_train_stories: found {found} with --streaming, expected stories at hand")


def load_splits(args, config) -> dict[str, Dataset]:
    """The stories by `train`, `eval`, `test` and, on StoryWorld, `test_unseen`; no picture is looked at."""
    columns, names = source_options(args, config), split_names(args)
    if args.streaming:
        counts = {"train": STREAMED_SAMPLE, "eval": args.max_eval_windows}
        return {
            key: first_stories(
                open_stream(args.dataset, split, **columns),
                counts.get(key, args.max_test_windows or STREAMED_SAMPLE),
                f"split {split!r} of {args.dataset!r}",
            )
            for key, split in names.items()
        }
    limits = {"train": args.max_train_stories}
    return {
        key: read_stories(args.dataset, split, max_stories=limits.get(key), **columns) for key, split in names.items()
    }


def split_names(args) -> dict[str, str]:
    """What the data set calls the splits that training reads; `test_unseen` goes with the `test` of StoryWorld."""
    names = {"train": args.train_split, "eval": args.eval_split, "test": args.test_split}
    unseen = args.dataset == STORYWORLD and args.test_split == "test"
    return {**names, "test_unseen": "test_unseen"} if unseen else names


def source_options(args, config) -> dict:
    """How `read_stories` and `open_stream` read the data set."""
    columns = {"frames_column": args.frames_column, "captions_column": args.captions_column}
    if args.dataset == STORYWORLD:
        columns["storyworld_options"] = {"image_size": tuple(config.image_size)}
    return columns


def prepare_splits(stories: dict[str, Dataset], image_processor, args) -> dict[str, PreparedStories]:
    """The good stories of each split, their frames as the model reads them."""
    options = {"cache_dir": args.cache_dir, "cache_limit_gb": args.cache_limit_gb, "on_bad_story": args.on_bad_story}
    names = split_names(args)
    return {
        key: prepare_stories(split, image_processor, f"split {names[key]!r} of {args.dataset}", **options)
        for key, split in stories.items()
    }


def make_loader(stories, processor, config, data_args, args, accelerator, first_batch: int, num_batches: int):
    """The batches of this process from `first_batch` of the run on."""
    order = {
        "batch_size": args.train_batch_size,
        "seed": args.seed,
        "process": accelerator.process_index,
        "num_processes": accelerator.num_processes,
        "first_batch": first_batch,
        "num_batches": num_batches,
    }
    augmentation = augmentation_of(args)
    workers = {
        "num_workers": data_args.dataloader_num_workers,
        "pin_memory": accelerator.device.type == "cuda",
        "worker_init_fn": leave_signals_to_parent,
    }
    if not data_args.streaming:
        windows = TrainingWindows(stories, processor, config, args.seed, augmentation)
        return training_loader(windows, processor, **workers, **order)
    rows = open_stream(data_args.dataset, data_args.train_split, **source_options(data_args, config))
    options = {"buffer_size": data_args.shuffle_buffer, "augmentation": augmentation}
    stream = StoryStream(rows, processor, config, **options, **order)
    name = f"split {data_args.train_split!r} of {data_args.dataset}"
    return stream_loader(stream, name, on_bad_story=data_args.on_bad_story, warn=logger.warning, **workers)
