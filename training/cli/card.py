"""`storyattn card`: write the model card of a published folder again, from its results.json and its other files."""

from ..arguments import LICENSE_NAME
from ..common.command_line import CommandParser
from ..common.errors import one_line

COMMAND = "storyattn card"
FACTS = ("new_version", "benchmark")


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
    add_fact_arguments(parser)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command; a mistake in the arguments ends it with one line and exit status 2."""
    arguments = vars(build_parser().parse_args(argv))
    from ..publishing.hub import check_repo_id
    from ..publishing.model_card import write_card

    folder, repo_id = arguments.pop("folder"), arguments.pop("repo_id")
    with one_line(COMMAND):
        if repo_id is not None:
            check_repo_id(repo_id)
        if arguments["license"] is not None and not LICENSE_NAME.fullmatch(arguments["license"]):
            raise ValueError(f"license: got {arguments['license']!r}, expected a name such as mit or cc-by-4.0")
        for name in FACTS:
            if arguments[name] is not None:
                check_repo_id(arguments[name], name)
        changes = {name: value for name, value in arguments.items() if value is not None}
        path = write_card(folder, repo_id, changes)
    print(f"written to {path}")


def add_fact_arguments(parser: CommandParser) -> None:
    """Add the flags `FACTS` of a card, which `storyattn publish` has as well."""
    add = parser.add_argument
    add("--new_version", metavar="USER/NAME", help="the model that replaces this one; the Hub links it")
    text = "the data set of the results on the Hub, where it was not loaded from there"
    add("--benchmark", metavar="USER/NAME", help=text)
