"""Find the pictures that a table names by paths relative to its folder."""

import os
import re
from pathlib import Path

WINDOWS_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def resolve(path: str, roots: list[Path]) -> str:
    """Return the path of a picture in one of the folders; a backslash separates folders as a slash does.

    A URL or an absolute path stays as it is. A file that does not exist is looked for in the first folder, so that
    whoever opens it says that it is missing.

    Args:
        path: the path as the data set gives it.
        roots: folders in which it is looked for; with none the path stays as it is.

    Raises:
        ValueError: where the path leads out of the folders.
    """
    if not roots or "://" in path or os.path.isabs(path) or WINDOWS_DRIVE.match(path):
        return path
    inner = os.path.normpath(path)
    slashed = os.path.normpath(path.replace("\\", "/"))
    if os.pardir in (inner.split(os.sep)[0], slashed.split(os.sep)[0]):
        raise ValueError(f"got {shortened(path)}, expected a file in the folder of the data set")
    candidates = (root.absolute() / name for name in dict.fromkeys((inner, slashed)) for root in roots)
    return str(next((file for file in candidates if file.is_file()), roots[0].absolute() / slashed))


def shortened(value: object, most: int = 80) -> str:
    """Return a value as Python writes it, cut after `most` characters."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."
