"""The flags that name the columns of a data set, for every command that reads one."""

import argparse


def add_column_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--frames_column` and `--captions_column`."""
    parser.add_argument("--frames_column", default="frames", help="column of the data set that holds the frames")
    parser.add_argument("--captions_column", default="captions", help="column that holds the captions")


def column_options(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the columns as keyword arguments of `read_stories`."""
    return {name: getattr(arguments, name) for name in ("frames_column", "captions_column")}
