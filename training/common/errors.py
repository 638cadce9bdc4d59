"""How commands answer a mistake in what they were given."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


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
