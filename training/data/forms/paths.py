"""Find the pictures that a table names by paths relative to its folder."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from storyattn.pictures import path_of

from ...common.excerpts import quoted
from ..frame_access import FrameAccess

WINDOWS_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


@dataclass(frozen=True)
class Places:
    """Where the pictures of a data set may be: the folders to which paths are relative, and what may be read."""

    roots: tuple[Path, ...]
    access: FrameAccess

    def expect_allowed(self, story_id: object, pictures: list[dict | None]) -> None:
        """Refuse pictures that may not be read, before one is opened.

        Args:
            story_id: name of their story, for the message.
            pictures: encoded pictures, `bytes` and `path`.

        Raises:
            AccessError: for the first one.
        """
        self.access.check_story({"story_id": story_id, "frames": pictures})


def find_file(path: str, roots: Sequence[Path]) -> str:
    """Return the path of a picture in one of the folders; a backslash separates folders as a slash does.

    The URL of a file is its path; another URL and an absolute path stay as they are. A file that does not exist is
    looked for in the first folder, so that whoever opens it says that it is missing.

    Args:
        path: the path as the data set gives it.
        roots: folders in which it is looked for; with none the path stays as it is.

    Raises:
        ValueError: where the path leads out of the folders.
    """
    path = path_of(path)
    if not roots or "://" in path or os.path.isabs(path) or WINDOWS_DRIVE.match(path):
        return path
    inner = os.path.normpath(path)
    slashed = os.path.normpath(path.replace("\\", "/"))
    if os.pardir in (inner.split(os.sep)[0], slashed.split(os.sep)[0]):
        raise ValueError(f"got {quoted(path)}, expected a file in the folder of the data set")
    candidates = (root.absolute() / name for name in dict.fromkeys((inner, slashed)) for root in roots)
    return str(next(filter(os.path.isfile, candidates), roots[0].absolute() / slashed))
