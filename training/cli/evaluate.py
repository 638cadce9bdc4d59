"""
Measure a model on a split of a data set, beside floors.

    storyattn evaluate --model runs/tiny --dataset storyworld --split test --output results.json
"""

import argparse
import shlex
import sys

from datasets import Dataset

from ..codraw.detector import load_detector
from ..common.access_flags import access_of, add_access_flags
from ..common.columns import add_column_flags, columns_of
from ..common.errors import one_line
from ..common.files import check_file, write_results
from ..data.dataset_cache import use_writable_cache
from ..data.frame_cache import DEFAULT_LIMIT_GB
from ..data.prepared_stories import prepare_stories
from ..data.sources import STORYWORLD, open_source, read_stories
from ..data.validation import BAD_STORY_POLICIES
from ..evaluation.evaluate import evaluate_model
from ..evaluation.instruments import load_instruments
from ..evaluation.results import results_document
from ..evaluation.terminal import format_metrics
from ..models import efficientnet_lite0
from ..models.load import load_model

TRAIN_SPLIT = "train"  # for the training floors, where the data set has it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `storyattn evaluate`."""
    parser.add_argument("--model", required=True, help="folder or Hub id of the model")
    parser.add_argument("--dataset", required=True, help="storyworld, a folder or a Hub id with frames and captions")
    parser.add_argument("--split", default="test", help="split to measure on")
    parser.add_argument("--story_frames", type=int, default=6, help="frames of a story that storyworld draws")
    parser.add_argument(
        "--train_split", default=None, help="split for the training floors; default: train, if any; '' leaves them out"
    )
    parser.add_argument("--output", default="results.json", help="file for the numbers")
    parser.add_argument("--batch_size", type=int, default=16, help="windows per batch")
    parser.add_argument(
        "--max_windows",
        type=int,
        default=None,
        help="measure this many transitions, spread evenly over stories and positions",
    )
    parser.add_argument(
        "--context_frames", type=int, default=None, help="show at most this many frames before the measured one"
    )
    parser.add_argument(
        "--feature_network",
        default=efficientnet_lite0.NAME,
        help="vision model (folder or Hub id) of the perceptual distance, FID and KID; '' leaves them out",
    )
    parser.add_argument("--clip_model", default=None, help="CLIP model (folder or Hub id): measures the CLIP score")
    parser.add_argument(
        "--text_only", default=None, help="folder or Hub id of a trained baseline text_only, a floor of captions"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed by which captions and frames are exchanged")
    parser.add_argument("--device", default=None, help="cpu, cuda, ...; by default a GPU where there is one")
    parser.add_argument(
        "--codraw_detector", default=None, help="folder of `storyattn data codraw-detector`: measures objects of CoDraw"
    )
    add_column_flags(parser)
    add_access_flags(parser)
    parser.add_argument(
        "--on_bad_story", choices=BAD_STORY_POLICIES, default="skip", help="what to do with broken stories"
    )
    parser.add_argument("--cache_dir", default=None, help="folder of resized frames; default: beside the data sets")
    parser.add_argument(
        "--cache_limit_gb", type=float, default=DEFAULT_LIMIT_GB, help="size in GB that the folder may have at most"
    )


def main(argv: list[str] | None = None) -> None:
    """Run the command; a wrong argument ends it with one line and exit status 2."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(prog="storyattn evaluate", description="Measures a model beside floors.")
    add_arguments(parser)
    arguments = parser.parse_args(argv)
    with one_line("storyattn evaluate"):
        check_file("output", arguments.output)
        document = results_document(
            _measure(arguments),
            dataset=arguments.dataset,
            split=arguments.split,
            model=arguments.model,
            seed=arguments.seed,
            command=f"storyattn evaluate {shlex.join(argv)}",
        )
        print(format_metrics(document["metrics"]))
        write_results(document, arguments.output)
    print(f"\nwritten to {arguments.output}")


def _measure(arguments: argparse.Namespace) -> dict:
    """Return the metrics that the arguments ask for."""
    for name in ("batch_size", "max_windows", "context_frames"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"{name}: got {value}, expected at least 1")
    detector = None if arguments.codraw_detector is None else load_detector(arguments.codraw_detector)
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
    options["storyworld_options"] = {"num_frames": arguments.story_frames}
    splits = {"stories": arguments.split, "train_stories": TRAIN_SPLIT if train_split is None else train_split}
    return {key: (split, read_stories(arguments.dataset, split, **options)) for key, split in splits.items() if split}
