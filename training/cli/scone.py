"""`storyattn data scone`: make picture stories of SCONE's instructions and states."""

import argparse
from pathlib import Path

from ..common.errors import one_line
from ..scone.build import CACHE, BuildOptions, build_stories
from ..scone.pictures import IMAGE_SIZE
from ..scone.states import DOMAINS

COMMAND = "storyattn data scone"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `storyattn data scone`."""
    parser.add_argument("--domain", required=True, help=f"one of {', '.join(DOMAINS)}")
    parser.add_argument("--output", required=True, type=Path, help="folder for the data set")
    parser.add_argument(
        "--source", type=Path, help="SCONE's repository, a folder or its ZIP archive; left out: downloaded"
    )
    parser.add_argument(
        "--download_dir",
        type=Path,
        help=f"keeps the downloaded archive, default {CACHE}; remove it to download it again",
    )
    parser.add_argument(
        "--image_size",
        type=int,
        nargs=2,
        default=IMAGE_SIZE,
        metavar=("H", "W"),
        help="height and width of the frames in pixels",
    )
    parser.add_argument(
        "--num_variants",
        type=int,
        default=0,
        metavar="N",
        help="write N variants of each training story beside it: colours exchanged in words and states, and sides",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what this command wrote to --output earlier")


def main(argv: list[str] | None = None) -> None:
    """Run the command; a mistake in what it was given ends it with one line and exit status 2."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Makes picture stories of SCONE's instructions.")
    add_arguments(parser)
    arguments = vars(parser.parse_args(argv))
    with one_line(COMMAND):
        build_stories(BuildOptions(**{**arguments, "image_size": tuple(arguments["image_size"])}))
