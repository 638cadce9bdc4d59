"""`storyattn data check`: look at a data set before training."""

from ..common.access_flags import add_access_flags
from ..common.columns import add_column_flags
from ..common.command_line import CommandParser
from ..common.errors import one_line

COMMAND = "storyattn data check"


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        COMMAND,
        "Look at a data set before training: what is in it, and what would hurt.",
        f"{COMMAND} storyworld --max_stories 200 --output data-check",
    )
    parser.add_argument("dataset", help="storyworld, a folder or a Hub id with frames and captions")
    add = parser.add_topic("what is checked").add_argument
    add("--max_stories", type=int, help="look at this many of each split, the first ones; default: all")
    add("--output", default="data-check", metavar="FOLDER", help="folder for report.json and stories.png")
    add = parser.add_topic("the model that would be trained").add_argument
    add("--tokenizer", help="folder or Hub id; default: one trained on the captions")
    add("--max_caption_length", type=int, default=48, help="tokens at which captions will be cut")
    add("--image_size", type=int, nargs=2, default=(64, 96), metavar=("H", "W"), help="of the model, in pixels")
    add("--num_frames", type=int, default=5, help="frames of a window")
    topic = parser.add_topic("how the data are read")
    add_column_flags(topic)
    add_access_flags(topic)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command.

    It ends the program with exit status 1 where something would hurt training, and with one line and status 2 for an
    error in its input.
    """
    arguments = build_parser().parse_args(argv)
    from ..inspection.findings import HURTS
    from ..inspection.inspect import check_dataset

    with one_line(COMMAND):
        findings = check_dataset(arguments)
    if any(finding.severity == HURTS for finding in findings):
        raise SystemExit(1)
