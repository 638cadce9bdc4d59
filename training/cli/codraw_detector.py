"""`storyattn data codraw-detector`: train the network that reads pictures of CoDraw."""

import argparse
from pathlib import Path

from ..codraw.detector import DetectorConfig
from ..codraw.detector_run import DetectorRun, make_detector
from ..codraw.detector_training import TrainingOptions
from ..codraw.dialogues import SPLITS
from ..codraw.source import CACHE, DIALOGUES, PICTURES
from ..common.errors import one_line

COLUMNS = ("precision", "recall", "f1", "place_error", "places_close", "depth_right")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `storyattn data codraw-detector`."""
    defaults = TrainingOptions()
    parser.add_argument("--output", required=True, type=Path, help="folder for the detector")
    parser.add_argument(
        "--source", default=None, help=f"folder or archive with {DIALOGUES}/ and {PICTURES}/; left out: downloaded"
    )
    parser.add_argument("--download_dir", default=None, help=f"keeps the downloaded archive, default {CACHE}")
    parser.add_argument(
        "--image_size", type=int, nargs=2, default=[96, 120], metavar=("H", "W"), help="pixels of the frames"
    )
    parser.add_argument("--steps", type=int, default=defaults.steps, help="batches to train on")
    parser.add_argument("--batch_size", type=int, default=defaults.batch_size, help="scenes per batch")
    parser.add_argument("--learning_rate", type=float, default=defaults.learning_rate, help="the highest one")
    parser.add_argument("--check_every", type=int, default=defaults.check_every, help="steps between measurements")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="draws the scenes and the first weights")
    parser.add_argument(
        "--splits", nargs="*", choices=list(SPLITS.values()), default=["validation", "test"], help="measured at the end"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what this command wrote to --output earlier")


def main(argv: list[str] | None = None) -> None:
    """Run the command; a mistake in its arguments ends it with one line and exit status 2."""
    parser = argparse.ArgumentParser(prog="storyattn data codraw-detector", description="Trains the CoDraw detector.")
    add_arguments(parser)
    arguments = parser.parse_args(argv)
    training = {name: getattr(arguments, name) for name in ("steps", "batch_size", "learning_rate", "check_every")}
    output = arguments.output.expanduser()
    run = DetectorRun(
        output=output,
        source=arguments.source,
        download_dir=arguments.download_dir,
        config=DetectorConfig(image_size=tuple(arguments.image_size)),
        training=TrainingOptions(**training, seed=arguments.seed),
        splits=tuple(arguments.splits),
        overwrite=arguments.overwrite,
    )
    with one_line("storyattn data codraw-detector"):
        accuracy = make_detector(run)
    for split, numbers in accuracy.items():
        shown = ", ".join(f"{name} {numbers[name]:.4f}" for name in COLUMNS if name in numbers)
        print(f"true pictures of {split} ({numbers['count']}): {shown}")
    print(f"written to {output}")
