"""`storyattn data storyworld`: write StoryWorld as a data set with a card and a benchmark file, and push it."""

import argparse
from pathlib import Path

from ..common.errors import one_line
from ..publishing.storyworld_dataset import StoryWorldOptions, build_storyworld
from ..storyworld.dataset import NUM_STORIES

COMMAND = "storyattn data storyworld"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `storyattn data storyworld`."""
    parser.add_argument("--output", required=True, type=Path, help="folder for the data set")
    parser.add_argument(
        "--num_stories",
        type=int,
        nargs=len(NUM_STORIES),
        default=list(NUM_STORIES.values()),
        metavar=tuple(NUM_STORIES),
        help="stories of each split",
    )
    parser.add_argument("--num_frames", type=int, default=6, help="frames of a story")
    parser.add_argument(
        "--image_size", type=int, nargs=2, default=(64, 96), metavar=("H", "W"), help="height and width in pixels"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other stories of the same kind")
    parser.add_argument("--overwrite", action="store_true", help="replace what this command wrote to --output earlier")
    parser.add_argument("--push_to_hub", metavar="USER/NAME", help="repository of the Hub that gets the data set")
    parser.add_argument("--private", action="store_true", help="make it a private one, and refuse one that is not")


def main(argv: list[str] | None = None) -> None:
    """Run the command; a mistake in the arguments, or a refusal of the Hub, ends it with one line and exit status 2."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Writes StoryWorld as a data set.")
    add_arguments(parser)
    arguments = vars(parser.parse_args(argv))
    arguments["num_stories"] = dict(zip(NUM_STORIES, arguments["num_stories"]))
    arguments["image_size"] = tuple(arguments["image_size"])
    with one_line(COMMAND):
        build_storyworld(StoryWorldOptions(**arguments))
