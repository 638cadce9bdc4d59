"""
The `storyattn data` commands.

    storyattn data picture-books --output DIR    make a data set of openly licensed picture books
    storyattn data codraw --output DIR           make a data set of CoDraw, stories that people told over clip art
    storyattn data codraw-detector --output DIR  train the network that reads pictures of CoDraw
    storyattn data scone --domain D --output DIR make picture stories of SCONE's instructions and states
    storyattn data storyworld --output DIR       write StoryWorld as a data set with a card, and push it to the Hub
    storyattn data check ...                     look at a data set before training: what is in it, what is wrong
"""

import sys

from . import run_command

COMMANDS = {
    "picture-books": ".picture_books",
    "codraw": ".codraw",
    "codraw-detector": ".codraw_detector",
    "scone": ".scone",
    "storyworld": ".storyworld",
    "check": ".data_check",
}


def main(argv: list[str] | None = None) -> None:
    """Run a command with the rest of the arguments; an unknown one ends the program with exit status 2."""
    run_command("storyattn data", COMMANDS, __doc__, sys.argv[1:] if argv is None else list(argv))
