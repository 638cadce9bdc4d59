"""Name what was given where a library cannot load it."""

from collections.abc import Iterator
from contextlib import contextmanager

LONGEST_REASON = 300  # characters; libraries may list every file that they have tried


def one_line_reason(error: BaseException) -> str:
    """Return the message of `error` in one line, cut after 300 characters; the name of its type where it has none."""
    return " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__


@contextmanager
def expecting(
    field: str,
    value: str,
    expected: str,
    *,
    catch: type[Exception] | tuple[type[Exception], ...] = Exception,
    raises: type[Exception] = ValueError,
) -> Iterator[None]:
    """Turn an error of a library into one line: "field: got value, expected ...: reason".

    Args:
        field: name of the flag or argument.
        value: what was given for it.
        expected: what it should have been.
        catch: errors that are turned; by default all, for libraries raise many kinds for a folder of something else.
        raises: type of the error that is raised in their place.

    Raises:
        ValueError: or what `raises` names, where the block raises one of `catch`.
    """
    try:
        yield
    except catch as error:
        raise raises(f"{field}: got {value!r}, expected {expected}: {one_line_reason(error)}") from error
