"""Run `storyattn data picture-books`: build a data set of openly licensed picture books."""

import argparse

from ..common.errors import one_line
from ..picture_books.build import ARCHIVES, DOWNLOAD_DIR, check_arguments, make_books


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `storyattn data picture-books`."""
    parser.add_argument("--output", required=True, help="folder for the data set")
    parser.add_argument("--source", default=None, help=f"folder that has {', '.join(ARCHIVES)}; left out: downloaded")
    parser.add_argument(
        "--download_dir",
        default=None,
        help=f"keeps the downloaded archives, default {DOWNLOAD_DIR}; remove one to download it again",
    )
    parser.add_argument("--max_side", type=int, default=256, help="longest side of an image in pixels")
    parser.add_argument("--validation_share", type=float, default=0.06, help="share of the stories, 0 to 1")
    parser.add_argument("--test_share", type=float, default=0.095, help="share of the stories, 0 to 1")
    parser.add_argument("--seed", type=int, default=0, help="draws the splits")
    parser.add_argument("--overwrite", action="store_true", help="replace what this command wrote to --output earlier")


def main(argv: list[str] | None = None) -> None:
    """Run the command; an error in its input ends the program with one line and exit status 2."""
    parser = argparse.ArgumentParser(prog="storyattn data picture-books", description="Makes a data set of books.")
    add_arguments(parser)
    arguments = parser.parse_args(argv)
    with one_line("storyattn data picture-books"):
        check_arguments(arguments)
        make_books(arguments)
