"""Run `storyattn data check`: look at a data set before training."""

import argparse

from ..common.access_flags import add_access_flags
from ..common.columns import add_column_flags
from ..common.errors import one_line
from ..inspection.findings import HURTS
from ..inspection.inspect import check_dataset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `storyattn data check`."""
    parser.add_argument("dataset", help="storyworld, a folder or a Hub id with frames and captions")
    add_column_flags(parser)
    add_access_flags(parser)
    parser.add_argument("--tokenizer", default=None, help="folder or Hub id; default: one trained on the captions")
    parser.add_argument("--max_caption_length", type=int, default=48, help="tokens at which captions will be cut")
    parser.add_argument("--image_size", type=int, nargs=2, default=(64, 96), metavar=("H", "W"), help="of the model")
    parser.add_argument("--num_frames", type=int, default=5, help="frames of a window")
    parser.add_argument("--max_stories", type=int, default=None, help="look at this many of each split, the first ones")
    parser.add_argument("--output", default="data-check", help="folder for report.json and stories.png")


def main(argv: list[str] | None = None) -> None:
    """Run the command.

    It ends the program with exit status 1 where something would hurt training, and with one line and status 2 for an
    error in its input.
    """
    parser = argparse.ArgumentParser(prog="storyattn data check", description="Looks at a data set before training.")
    add_arguments(parser)
    arguments = parser.parse_args(argv)
    with one_line("storyattn data check"):
        findings = check_dataset(arguments)
    if any(finding.severity == HURTS for finding in findings):
        raise SystemExit(1)
