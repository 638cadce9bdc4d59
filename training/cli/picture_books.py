"""`storyattn data picture-books`: build a data set of openly licensed picture books."""

from ..common.command_line import CommandParser
from ..common.defaults import CACHES
from ..common.errors import one_line

COMMAND = "storyattn data picture-books"


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    text = "Make a data set of openly licensed picture books of African Storybook and Book Dash."
    parser = CommandParser(COMMAND, text, f"{COMMAND} --output data/picture-books")
    add = parser.add_argument
    add("--output", required=True, metavar="FOLDER", help="folder for the data set")
    add("--source", metavar="FOLDER", help="folder with the repositories or their archives; default: downloaded")
    keeps = "keeps the downloaded archives; remove one to download it again"
    add("--download_dir", metavar="FOLDER", help=f"{keeps}; default: {CACHES['picture-books']}")
    add("--max_side", type=int, default=256, help="longest side of an image in pixels")
    add("--validation_share", type=float, default=0.06, help="share of the stories, 0 to 1")
    add("--test_share", type=float, default=0.095, help="share of the stories, 0 to 1")
    add("--seed", type=int, default=0, help="draws the splits")
    add("--overwrite", action="store_true", help="replace what this command wrote to --output earlier")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command; an error in its input ends the program with one line and exit status 2."""
    arguments = build_parser().parse_args(argv)
    from ..picture_books.build import check_arguments, make_books

    with one_line(COMMAND):
        check_arguments(arguments)
        make_books(arguments)
