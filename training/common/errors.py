"""Report errors of a command's input."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .excerpts import excerpt

MAX_MESSAGE = 2000  # characters


@contextmanager
def keeping_control_c() -> Iterator[None]:
    """Raise `KeyboardInterrupt` again where a library has raised another error while it handled one."""
    try:
        yield
    except Exception as error:
        earlier = error.__context__
        while earlier is not None and not isinstance(earlier, KeyboardInterrupt):
            earlier = earlier.__context__
        if earlier is None:
            raise
        raise KeyboardInterrupt from None


@contextmanager
def one_line(command: str) -> Iterator[None]:
    """
    Report a `ValueError` or `OSError` as one line, `{command}: {error}`, and end the program with exit status 2.

    The line is left out where the error's `is_reported` says that another process prints it. Control-C is one line as
    well, with exit status 130.
    """
    try:
        yield
    except KeyboardInterrupt:
        print(f"{command}: stopped by control-C", file=sys.stderr)
        raise SystemExit(130) from None
    except (ValueError, OSError) as error:
        if not getattr(error, "is_reported", False):
            print(f"{command}: {excerpt(error, MAX_MESSAGE)}", file=sys.stderr)
        raise SystemExit(2) from error


def check_seed(seed: int) -> None:
    """Raise `ValueError` for a seed that the random generators do not take."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed: got {seed}, expected a whole number from 0 to {2**32 - 1}")
