"""`storyattn card`: write the model card of a published folder again, from its results.json and its other files."""

from ..arguments import LICENSE_NAME
from ..common.command_line import CommandParser
from ..common.errors import one_line

COMMAND = "storyattn card"


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        COMMAND,
        "Write the model card (README.md) of a folder that training wrote again, from its results.json.",
        f"{COMMAND} checkpoints/storyattn-tiny",
        f"{COMMAND} runs/tiny --repo_id user/name --license cc-by-4.0",
    )
    parser.add_argument("folder", help="folder that training wrote, with config.json and results.json")
    parser.add_argument(
        "--repo_id", metavar="USER/NAME", help="repository on the Hub, which the quick start then loads"
    )
    parser.add_argument("--license", help="license of the weights as the Hub calls it; default: unchanged")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command; a mistake in the arguments ends it with one line and exit status 2."""
    arguments = build_parser().parse_args(argv)
    from ..publishing.hub import check_repo_id
    from ..publishing.model_card import write_card

    with one_line(COMMAND):
        if arguments.repo_id is not None:
            check_repo_id(arguments.repo_id)
        if arguments.license is not None and not LICENSE_NAME.fullmatch(arguments.license):
            raise ValueError(f"license: got {arguments.license!r}, expected a name such as mit or cc-by-4.0")
        path = write_card(arguments.folder, arguments.repo_id, arguments.license)
    print(f"written to {path}")
