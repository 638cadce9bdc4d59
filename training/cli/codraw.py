"""`storyattn data codraw`: make a data set of picture stories from CoDraw."""

import argparse
from pathlib import Path

from ..codraw.build import BuildOptions, build_dataset, count_lines
from ..codraw.dialogues import CAPTIONS
from ..codraw.source import CACHE, DIALOGUES, PICTURES
from ..common.errors import one_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `storyattn data codraw`."""
    parser.add_argument("--output", required=True, type=Path, help="folder for the data set")
    parser.add_argument(
        "--source", default=None, help=f"folder or archive with {DIALOGUES}/ and {PICTURES}/; left out: downloaded"
    )
    parser.add_argument("--download_dir", default=None, help=f"keeps the downloaded archive, default {CACHE}")
    parser.add_argument(
        "--image_size", type=int, nargs=2, default=[96, 120], metavar=("H", "W"), help="pixels of the frames"
    )
    parser.add_argument(
        "--captions", choices=CAPTIONS, default="teller", help="the Teller's messages alone, or those of both"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what this command wrote to --output earlier")


def main(argv: list[str] | None = None) -> None:
    """Run the command; a mistake in its arguments ends it with one line and exit status 2."""
    parser = argparse.ArgumentParser(prog="storyattn data codraw", description="Makes a data set of CoDraw stories.")
    add_arguments(parser)
    arguments = vars(parser.parse_args(argv))
    output, image_size = arguments.pop("output").expanduser(), tuple(arguments.pop("image_size"))
    with one_line("storyattn data codraw"):
        counts = build_dataset(BuildOptions(output=output, image_size=image_size, **arguments))
    print("\n".join(count_lines(counts)))
    print(f"written to {output}")
