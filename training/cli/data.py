"""
The `storyattn data` commands.

    storyattn data picture-books --output DIR    make a data set of openly licensed picture books
    storyattn data check ...                     look at a data set before training: what is in it, what is wrong
"""

import sys

from . import run_command

COMMANDS = {"picture-books": ".picture_books", "check": ".data_check"}


def main(argv: list[str] | None = None) -> None:
    """Run a command with the rest of the arguments; an unknown one ends the program with exit status 2."""
    run_command("storyattn data", COMMANDS, __doc__, sys.argv[1:] if argv is None else list(argv))
