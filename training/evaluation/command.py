"""Measure a model as the flags of `storyattn evaluate` say."""

import argparse

from datasets import Dataset

from ..codraw.detector import open_detector
from ..common.access_flags import access_of
from ..common.columns import columns_of
from ..common.files import check_file, write_results
from ..data.dataset_cache import use_writable_cache
from ..data.prepared_stories import prepare_stories
from ..data.sources import STORYWORLD, open_source, read_stories
from ..models.load import load_model
from .evaluate import evaluate_model
from .instruments import load_instruments
from .results import results_document
from .terminal import format_metrics

TRAIN_SPLIT = "train"  # for the training floors, where the data set has it


def run_evaluation(arguments: argparse.Namespace, command: str) -> None:
    """Measure the model, print the numbers, and write them to the file `--output`.

    Args:
        arguments: the flags of `storyattn evaluate`.
        command: the command line, which is written beside the numbers.

    Raises:
        ValueError, OSError: for flags out of range, and for a model, a data set or a file that cannot be used.
    """
    check_file("output", arguments.output)
    document = results_document(
        _measure(arguments),
        dataset=arguments.dataset,
        split=arguments.split,
        model=arguments.model,
        seed=arguments.seed,
        command=command,
    )
    print(format_metrics(document["metrics"]))
    write_results(document, arguments.output)


def _measure(arguments: argparse.Namespace) -> dict:
    """Return the metrics that the arguments ask for."""
    for name in ("batch_size", "max_windows", "context_frames"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"{name}: got {value}, expected at least 1")
    detector = open_detector(arguments.codraw_detector)
    use_writable_cache(arguments.cache_dir)
    model, processor = load_model(arguments.model, arguments.device)
    names = arguments.feature_network, arguments.clip_model, arguments.text_only
    instruments = load_instruments(*names, device=arguments.device)
    sources = _read_splits(arguments)
    options = {name: getattr(arguments, name) for name in ("on_bad_story", "cache_dir", "cache_limit_gb")}
    prepared = {
        key: prepare_stories(stories, processor.image_processor, f"split {split!r} of {arguments.dataset}", **options)
        for key, (split, stories) in sources.items()
    }
    return evaluate_model(
        model,
        processor,
        **prepared,
        batch_size=arguments.batch_size,
        max_windows=arguments.max_windows,
        context_frames=arguments.context_frames,
        detector=detector,
        instruments=instruments,
        seed=arguments.seed,
    )


def _read_splits(arguments: argparse.Namespace) -> dict[str, tuple[str, Dataset]]:
    """Return name and stories of the measured split and, where there is one, of the split for the training floors."""
    access, train_split = access_of(arguments), arguments.train_split
    options = {**columns_of(arguments), **access}
    if arguments.dataset != STORYWORLD:
        options["splits"] = open_source(arguments.dataset, **options)
        if train_split is None and not len(options["splits"].get(TRAIN_SPLIT, ())):
            train_split = ""
    options["storyworld_options"] = {"num_frames": arguments.story_frames, "wordings": arguments.wordings}
    splits = {"stories": arguments.split, "train_stories": TRAIN_SPLIT if train_split is None else train_split}
    return {key: (split, read_stories(arguments.dataset, split, **options)) for key, split in splits.items() if split}
