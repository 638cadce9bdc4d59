"""Shorten what messages repeat of a user's data."""

from collections.abc import Iterable
from pathlib import PurePath

MAX_EXCERPT = 80  # characters of a name, a path or a value
MAX_PROBLEM = 200  # of a line that says what is wrong with a story
MAX_LISTED = 5  # items of a list


def excerpt(value: object, length: int = MAX_EXCERPT) -> str:
    """Return the text of `value` in one line of at most `length` characters: its beginning and, mostly, its end."""
    text = str(value)
    if len(text) > length:
        head = (length - 3) // 3
        text = f"{text[:head]}...{text[head + 3 - length :]}"
    return " ".join(text.split())


def quoted(value: object, length: int = MAX_EXCERPT) -> str:
    """Return `repr(value)`, shortened as `excerpt` does."""
    value = str(value) if isinstance(value, PurePath) else value
    if isinstance(value, (str, bytes)) and len(value) > length:
        value = value[:length] + value[-length:]  # the text of a whole frame would only be thrown away
    return excerpt(repr(value), length)


def listed(items: Iterable[object], *, separator: str = ", ", length: int = MAX_EXCERPT) -> str:
    """Return the first five items, each shortened, and how many more there are.

    Args:
        items: what is listed.
        separator: what stands between two items.
        length: the most characters of an item.
    """
    items = list(items)
    parts = [excerpt(item, length) for item in items[:MAX_LISTED]]
    more = f"{separator}and {len(items) - MAX_LISTED} more" if len(items) > MAX_LISTED else ""
    return separator.join(parts) + more
