"""`storyattn mean`: write the mean of the weights of two models."""

from pathlib import Path

from ..common.command_line import CommandParser
from ..common.errors import one_line

COMMAND = "storyattn mean"


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    text = "Write the mean of the weights of two models, one trained on from the other."
    parser = CommandParser(COMMAND, text, f"{COMMAND} runs/first runs/second --share 0.6 --output_dir runs/mean")
    parser.add_argument("first", help="folder or Hub id of a model")
    parser.add_argument("second", help="that of the other, whose configuration and processor are taken")
    parser.add_argument("--share", type=float, default=0.5, help="share of the second's weights, in [0, 1]")
    parser.add_argument(
        "--output_dir", required=True, metavar="FOLDER", help="folder for model and processor, new or empty"
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command; a mistake in the arguments ends it with one line and exit status 2."""
    arguments = build_parser().parse_args(argv)
    from ..models.mean import write_mean

    output_dir = Path(arguments.output_dir)
    with one_line(COMMAND):
        write_mean(arguments.first, arguments.second, arguments.share, output_dir)
    print(f"written to {output_dir}")
