"""`storyattn data scone`: make picture stories of SCONE's instructions and states."""

from pathlib import Path

from ..common.command_line import CommandParser
from ..common.defaults import CACHES, SCONE_DOMAINS, SCONE_SIZE
from ..common.errors import one_line

COMMAND = "storyattn data scone"


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    text = "Make picture stories of SCONE's instructions: the states that follow them, drawn."
    parser = CommandParser(COMMAND, text, f"{COMMAND} --domain alchemy --output data/scone-alchemy")
    add = parser.add_argument
    domains = {"nargs": "+", "choices": SCONE_DOMAINS, "metavar": "DOMAIN", "dest": "domains"}
    add("--domain", required=True, **domains, help="what the instructions are about; several make one data set")
    add("--output", required=True, type=Path, metavar="FOLDER", help="folder for the data set")
    add("--source", type=Path, help="SCONE's repository, a folder or its ZIP archive; default: downloaded")
    keeps = "keeps the downloaded archive; remove it to download it again"
    add("--download_dir", type=Path, metavar="FOLDER", help=f"{keeps}; default: {CACHES['scone']}")
    size = "height and width of the frames in pixels"
    add("--image_size", type=int, nargs=2, default=SCONE_SIZE, metavar=("H", "W"), help=size)
    variants = "write N variants of each training story beside it: colors exchanged in words and states, and sides"
    add("--num_variants", type=int, default=0, metavar="N", help=variants)
    add("--overwrite", action="store_true", help="replace what this command wrote to --output earlier")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command; a mistake in its arguments ends it with one line and exit status 2."""
    arguments = vars(build_parser().parse_args(argv))
    listed = {name: tuple(arguments[name]) for name in ("domains", "image_size")}
    from ..scone.build import BuildOptions, build_stories

    with one_line(COMMAND):
        build_stories(BuildOptions(**{**arguments, **listed}))
