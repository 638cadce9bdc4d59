"""Report errors of a command's input."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


def reason_of(error: BaseException, longest: int | None = None) -> str:
    """Return the message of an error in one line, cut after `longest` characters; its type where it has no message."""
    return " ".join(str(error).split())[:longest] or type(error).__name__


@contextmanager
def one_line(command: str) -> Iterator[None]:
    """
    On a `ValueError` or `OSError` ends the program with one line, `{command}: {the error}`, and exit status 2; without
    the line where another process tells of it.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        if not getattr(error, "is_told", False):
            print(f"{command}: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from error
