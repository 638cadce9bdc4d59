"""`storyattn estimate`: say what a training needs before it starts."""

import sys

from ..arguments import add_training_flags, read_recipe, training_arguments
from ..common.command_line import CommandParser
from ..common.defaults import TABLED_DEVICES, TIMED_DEVICES
from ..common.errors import one_line

COMMAND = "storyattn estimate"


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        COMMAND,
        "Say what a training needs before it starts: parameters, memory, and hours. No weights are loaded.",
        f"{COMMAND} configuration/recipes/story_reasoning.yaml --device h100 --num_devices 8",
        f"{COMMAND} --preset small --num_stories 4000 --device cpu",
    )
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="YAML file of flags and values of a training")
    add = parser.add_topic("what is estimated").add_argument
    text = "a GPU of the table, or cpu or cuda, on which some steps are run; default: the whole table"
    add("--device", choices=(*TABLED_DEVICES, *TIMED_DEVICES), help=text)
    add("--num_devices", type=int, default=1, help="processes, one a device")
    add("--num_stories", type=int, help="training stories, where epochs are counted")
    add("--utilization", type=float, default=0.3, help="share of a GPU's peak that is reached, in (0, 1]")
    add_training_flags(parser)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command; a mistake in the arguments ends it with one line and exit status 2."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = build_parser()
    arguments = parser.parse_args(argv)
    with one_line(COMMAND):
        if arguments.recipe is not None:
            arguments = parser.parse_args([*read_recipe(arguments.recipe), *argv])
        groups = training_arguments(arguments)
        from ..estimation import estimate

        print(estimate(arguments, *groups))
