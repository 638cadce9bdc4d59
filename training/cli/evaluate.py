"""
Measure a model on a split of a data set, beside floors.

    storyattn evaluate --model runs/tiny --dataset storyworld --split test --output results.json
"""

import argparse
import shlex
import sys

from ..codraw.detector import load_detector
from ..common.columns import add_column_flags, columns_of
from ..common.errors import one_line
from ..common.files import write_results
from ..data.frame_cache import DEFAULT_LIMIT_GB
from ..data.prepared_stories import prepare_stories
from ..data.sources import read_stories
from ..data.validation import BAD_STORY_POLICIES
from ..evaluation.evaluate import evaluate_model
from ..evaluation.results import results_document
from ..evaluation.terminal import format_metrics
from ..models.load import load_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `storyattn evaluate`."""
    parser.add_argument("--model", required=True, help="folder or Hub id of the model")
    parser.add_argument("--dataset", required=True, help="storyworld, a folder or a Hub id with frames and captions")
    parser.add_argument("--split", default="test", help="split to measure on")
    parser.add_argument("--story_frames", type=int, default=6, help="frames of a story that storyworld draws")
    parser.add_argument("--train_split", default="train", help="split for the training floors; '' leaves them out")
    parser.add_argument("--output", default="results.json", help="file for the numbers")
    parser.add_argument("--batch_size", type=int, default=16, help="windows per batch")
    parser.add_argument("--max_windows", type=int, default=None, help="measure this many windows, evenly spread")
    parser.add_argument(
        "--context_frames", type=int, default=None, help="show at most this many frames before the measured one"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed by which captions and frames are exchanged")
    parser.add_argument("--device", default=None, help="cpu, cuda, ...; by default a GPU where there is one")
    parser.add_argument(
        "--codraw_detector", default=None, help="folder of `storyattn data codraw-detector`: measures objects of CoDraw"
    )
    add_column_flags(parser)
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
        metrics = _measure(arguments)
    document = results_document(
        metrics,
        dataset=arguments.dataset,
        split=arguments.split,
        model=arguments.model,
        seed=arguments.seed,
        command=f"storyattn evaluate {shlex.join(argv)}",
    )
    write_results(document, arguments.output)
    print(format_metrics(document["metrics"]))
    print(f"\nwritten to {arguments.output}")


def _measure(arguments: argparse.Namespace) -> dict:
    """Return the metrics that the arguments ask for."""
    for name in ("batch_size", "max_windows", "context_frames"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"{name}: got {value}, expected at least 1")
    detector = None if arguments.codraw_detector is None else load_detector(arguments.codraw_detector)
    splits = {"stories": arguments.split, "train_stories": arguments.train_split}
    reading = {**columns_of(arguments), "storyworld_options": {"num_frames": arguments.story_frames}}
    sources = {key: read_stories(arguments.dataset, split, **reading) for key, split in splits.items() if split}
    model, processor = load_model(arguments.model, arguments.device)
    options = {name: getattr(arguments, name) for name in ("on_bad_story", "cache_dir", "cache_limit_gb")}
    prepared = {
        key: prepare_stories(
            stories, processor.image_processor, f"split {splits[key]!r} of {arguments.dataset}", **options
        )
        for key, stories in sources.items()
    }
    return evaluate_model(
        model,
        processor,
        **prepared,
        batch_size=arguments.batch_size,
        max_windows=arguments.max_windows,
        context_frames=arguments.context_frames,
        detector=detector,
        seed=arguments.seed,
    )
