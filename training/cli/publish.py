"""`storyattn publish`: publish the folder that training leaves on the Hub."""

import shlex
import sys

from ..common.command_line import CommandParser
from ..common.errors import one_line
from .card import FACTS, add_fact_arguments

COMMAND = "storyattn publish"


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        COMMAND,
        "Publish a trained model on the Hub.",
        f"{COMMAND} runs/tiny --repo_id user/name --dry_run",
        f"{COMMAND} runs/tiny --repo_id user/name --private --tag v1",
        f'{COMMAND} runs/tiny --repo_id user/name --collection "Picture stories"',
    )
    parser.add_argument("folder", help="the output_dir of a run")
    parser.add_argument(
        "--repo_id", required=True, metavar="USER/NAME", help="where to; the repository is made where it is missing"
    )
    parser.add_argument("--private", action="store_true", help="make it a private one, and refuse one that is not")
    parser.add_argument("--revision", default="main", help="branch, made from main where it is missing")
    parser.add_argument("--tag", help="name that the commit gets as well, such as v1")
    text = "title or slug of a collection that gets the model; a new title makes one"
    parser.add_argument("--collection", help=text)
    add_fact_arguments(parser)
    parser.add_argument("--dry_run", action="store_true", help="check, show what would be sent, and stop there")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command; a mistake, or a refusal of the Hub, ends it with one line and exit status 2."""
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = vars(build_parser().parse_args(argv))
    from ..publishing.publish import interruption_message, publish

    folder, repo_id = arguments.pop("folder"), arguments.pop("repo_id")
    changes = {name: arguments.pop(name) for name in FACTS}
    changes = {name: value for name, value in changes.items() if value is not None}
    with one_line(COMMAND):
        try:
            publish(folder, repo_id, changes=changes, **arguments)
        except KeyboardInterrupt:
            again = shlex.join([*COMMAND.split(), *argv])
            print(f"{COMMAND}: {interruption_message(repo_id)}; to try again: {again}", file=sys.stderr)
            raise SystemExit(130) from None
