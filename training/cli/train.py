"""`storyattn train`: train a model; what `train.py` runs."""

import sys

from ..arguments import parse_arguments
from ..common.errors import one_line


def main(argv: list[str] | None = None) -> None:
    """Train as the flags say, see `storyattn.training.train.main`."""
    argv = sys.argv[1:] if argv is None else list(argv)
    with one_line("error"):
        parse_arguments(argv)  # help and wrong flags end here, before PyTorch is imported
    from .. import train

    train.main(argv)
