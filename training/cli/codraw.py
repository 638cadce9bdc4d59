"""`storyattn data codraw`: make a data set of picture stories from CoDraw."""

from pathlib import Path

from ..codraw.dialogues import CAPTIONS
from ..common.command_line import CommandParser
from ..common.defaults import CACHES, CODRAW_SIZE
from ..common.errors import one_line

COMMAND = "storyattn data codraw"


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    text = "Make a data set of CoDraw: stories that two people wrote and drew with clip art."
    parser = CommandParser(COMMAND, text, f"{COMMAND} --output data/codraw --captions dialogue")
    add_source_flags(parser, "folder for the data set")
    parser.add_argument(
        "--captions", choices=CAPTIONS, default="teller", help="the Teller's messages alone, or those of both"
    )
    return parser


def add_source_flags(parser: CommandParser, output: str) -> None:
    """Add the flags that the commands of CoDraw share; `output` is the help of `--output`."""
    add = parser.add_argument
    add("--output", required=True, type=Path, metavar="FOLDER", help=output)
    add("--source", help="folder or archive with output/ and Pngs/; default: downloaded")
    add("--download_dir", metavar="FOLDER", help=f"keeps the downloaded archive; default: {CACHES['codraw']}")
    add("--image_size", type=int, nargs=2, default=CODRAW_SIZE, metavar=("H", "W"), help="pixels of the frames")
    add("--overwrite", action="store_true", help="replace what this command wrote to --output earlier")


def main(argv: list[str] | None = None) -> None:
    """Run the command; a mistake in its arguments ends it with one line and exit status 2."""
    arguments = vars(build_parser().parse_args(argv))
    from ..codraw.build import BuildOptions, build_dataset, count_lines

    output, image_size = arguments.pop("output").expanduser(), tuple(arguments.pop("image_size"))
    with one_line(COMMAND):
        counts = build_dataset(BuildOptions(output=output, image_size=image_size, **arguments))
    print("\n".join(count_lines(counts)))
    print(f"written to {output}")
