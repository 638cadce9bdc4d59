"""Name the columns of a data set by flags, the same in every command."""

import argparse

COLUMN_FLAGS = {  # default and help
    "frames_column": ("frames", "column of the data set that holds the frames"),
    "captions_column": ("captions", "column that holds the captions"),
}


def add_column_flags(parser: argparse.ArgumentParser) -> None:
    """Add `--frames_column` and `--captions_column` to the parser of a command."""
    for name, (default, text) in COLUMN_FLAGS.items():
        parser.add_argument(f"--{name}", default=default, help=text)


def columns_of(flags: object) -> dict[str, str]:
    """Return the values of `frames_column` and `captions_column`, which are attributes of `flags`, by name."""
    return {name: getattr(flags, name) for name in COLUMN_FLAGS}
