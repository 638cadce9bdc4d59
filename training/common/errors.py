"""Report errors of a command's input."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .excerpts import excerpt

MAX_MESSAGE = 2000  # characters


@contextmanager
def one_line(command: str) -> Iterator[None]:
    """
    Report a `ValueError` or `OSError` as one line, `{command}: {error}`, and end the program with exit status 2.

    The line is left out where the error's `is_reported` says that another process prints it.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        if not getattr(error, "is_reported", False):
            print(f"{command}: {excerpt(error, MAX_MESSAGE)}", file=sys.stderr)
        raise SystemExit(2) from error
