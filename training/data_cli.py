"""
The `storyattn data` commands:

    storyattn data picture-books --output DIR    make a data set of openly licensed picture books
    storyattn data check ...                     look at a data set before training: what is in it, what is wrong
"""

import importlib
import sys

COMMANDS = {"picture-books": ".picture_books", "check": ".data_check"}


def main(argv: list[str] | None = None) -> None:
    """Runs a command with the rest of the arguments; an unknown one ends the program with exit status 2."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(__doc__.strip())
    elif argv[0] not in COMMANDS:
        print(f"storyattn data: found no command {argv[0]!r}, expected one of {', '.join(COMMANDS)}", file=sys.stderr)
        raise SystemExit(2)
    else:
        importlib.import_module(COMMANDS[argv[0]], __package__).main(argv[1:])
