"""`storyattn data storyworld`: write StoryWorld as a data set with a card and a benchmark file, and push it."""

from pathlib import Path

from ..common.command_line import CommandParser
from ..common.defaults import NUM_STORIES, STORYWORLD_SIZE
from ..common.errors import one_line

COMMAND = "storyattn data storyworld"


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        COMMAND,
        "Write StoryWorld as a data set with a card and a benchmark file, and push it to the Hub.",
        f"{COMMAND} --output data/storyworld",
        f"{COMMAND} --output data/storyworld --push_to_hub user/storyworld",
    )
    add = parser.add_argument
    add("--output", required=True, type=Path, metavar="FOLDER", help="folder for the data set")
    stories, splits = list(NUM_STORIES.values()), tuple(name.upper() for name in NUM_STORIES)
    add("--num_stories", type=int, nargs=len(splits), default=stories, metavar=splits, help="stories of each split")
    add("--num_frames", type=int, default=6, help="frames of a story")
    size = "height and width of the frames in pixels"
    add("--image_size", type=int, nargs=2, default=STORYWORLD_SIZE, metavar=("H", "W"), help=size)
    add("--seed", type=int, default=0, help="another seed gives other stories of the same kind")
    add("--overwrite", action="store_true", help="replace what this command wrote to --output earlier")
    add("--push_to_hub", metavar="USER/NAME", help="repository of the Hub that gets the data set")
    add("--private", action="store_true", help="make it a private one, and refuse one that is not")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command; a mistake in the arguments, or a refusal of the Hub, ends it with one line and exit status 2."""
    arguments = vars(build_parser().parse_args(argv))
    from ..publishing.storyworld_dataset import StoryWorldOptions, build_storyworld

    arguments["num_stories"] = dict(zip(NUM_STORIES, arguments["num_stories"]))
    arguments["image_size"] = tuple(arguments["image_size"])
    with one_line(COMMAND):
        build_storyworld(StoryWorldOptions(**arguments))
