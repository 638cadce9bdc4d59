"""Decide which pictures the frames of a data set may name: those in the data set, unless a flag says otherwise.

A frame is stored as bytes, or as a path that is read when it is decoded. A path may lead anywhere: to another file of
this machine, or to an address of the network. Whoever wrote the data set chose it, not whoever reads it.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import datasets
import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from ..common.excerpts import MAX_LISTED, quoted

STORIES_AT_ONCE = 1000
ARCHIVES = "storyattn-archives"  # folder of unpacked archives in that of the files of `datasets`
LOCAL_PROTOCOLS = ("file", "local")
ARCHIVE_PROTOCOLS = ("zip", "tar", "gzip", "bz2", "xz", "lz4", "zstd", "libarchive")  # in `zip://a.png::archive.zip`
REMOTE = "the address {path}, expected a picture in the data set; --allow_remote_frames fetches it"
OUTSIDE = "the file {path} outside of the data set, expected one in it; --allow_local_paths reads it"


class AccessError(ValueError):
    """A data set names a file or an address that may not be read."""


@dataclass(frozen=True)
class FrameAccess:
    """What the frames of a data set may name.

    `roots` are the real paths of the folders that hold the data set's own files, `repository` its id on the Hub.
    """

    roots: tuple[str, ...]
    repository: str | None = None
    allow_remote_frames: bool = False
    allow_local_paths: bool = False

    def refusal(self, path: str) -> str | None:
        """Return why a path may not be read, `None` where it may.

        A file that does not exist may be "read": the check of each story reports it.
        """
        parts = path.split("::")
        for number, part in enumerate(parts, start=1):
            protocol, _, rest = part.rpartition("://")
            protocol = protocol.lower()
            if protocol in ARCHIVE_PROTOCOLS and number < len(parts):
                continue  # what counts is where the archive is
            if protocol == "hf" and self.repository and _is_of_repository(rest, self.repository):
                continue
            if protocol and protocol not in LOCAL_PROTOCOLS:
                return None if self.allow_remote_frames else REMOTE.format(path=quoted(path))
            if not self._is_own(rest if protocol else part) and not self.allow_local_paths:
                return OUTSIDE.format(path=quoted(path))
        return None

    def check(self, stories: Dataset, name: str) -> None:
        """Refuse stories, in the schema of `read_stories`, with a frame that may not be read.

        Raises:
            AccessError: naming the first five.
        """
        refused = {}
        for row, frame, path in paths_of_frames(stories):
            if row not in refused and (reason := self.refusal(path)) is not None:
                refused[row] = f"frame {frame}: got {reason}"
        if refused:
            rows = list(refused)[:MAX_LISTED]
            names = stories["story_id"]  # a whole row would decode its frames, and read what they name
            lines = [f"story {quoted(names[row])}: {refused[row]}" for row in rows]
            more = f"; and {len(refused) - MAX_LISTED} more stories" if len(refused) > MAX_LISTED else ""
            raise AccessError(f"dataset: {quoted(name)}: {'; '.join(lines)}{more}")

    def check_story(self, story: dict) -> None:
        """Refuse a story whose frames are not decoded.

        Raises:
            AccessError: for the first frame that may not be read.
        """
        for index, picture in enumerate(story["frames"] or ()):
            is_stored = not isinstance(picture, dict) or picture.get("bytes") is not None
            path = picture if isinstance(picture, str) else None if is_stored else picture.get("path")
            if path and (reason := self.refusal(path)) is not None:
                raise AccessError(f"dataset: story {quoted(story['story_id'])}: frame {index}: got {reason}")

    def _is_own(self, path: str) -> bool:
        """Return whether a file lies in one of the roots, links followed, or does not exist."""
        real = _real_path(path)
        return any(real == root or real.startswith(os.path.join(root, "")) for root in self.roots) or not (
            "\0" not in path and os.path.lexists(path)
        )


def frame_access(name: str, allow_remote_frames: bool = False, allow_local_paths: bool = False) -> FrameAccess:
    """Return what the frames of a data set may name.

    Args:
        name: folder, or file whose folder it is, or id of the Hub.
        allow_remote_frames: allow addresses of the network.
        allow_local_paths: allow every file.
    """
    allowed = {"allow_remote_frames": allow_remote_frames, "allow_local_paths": allow_local_paths}
    # What the library unpacks of archives: their names there are digests.
    unpacked = [datasets.config.DOWNLOADED_DATASETS_PATH]
    unpacked += [Path(datasets.config.HF_DATASETS_CACHE, folder) for folder in ("storyattn-folders", ARCHIVES)]
    path, repository = Path(name).expanduser(), None
    if path.exists():
        folders = [path if path.is_dir() else path.parent]
        if path.resolve().parent.name == "snapshots":  # of a cache of the Hub, whose files are links into `blobs`
            folders.append(path.resolve().parents[1] / "blobs")
    else:
        repository = name
        folders = [Path(huggingface_hub.constants.HF_HUB_CACHE, f"datasets--{name.replace('/', '--')}")]
    return FrameAccess(tuple(os.path.realpath(folder) for folder in (*folders, *unpacked)), repository, **allowed)


def paths_of_frames(stories: Dataset) -> Iterator[tuple[int, int, str]]:
    """Yield story, frame and path of every frame that is stored as a path alone."""
    frames = stories.select_columns("frames").with_format("arrow")
    for start in range(0, len(stories), STORIES_AT_ONCE):
        row = start
        for column in frames[start : start + STORIES_AT_ONCE].column("frames").chunks:
            pictures = column.flatten()
            if pa.types.is_struct(pictures.type) and pictures.field("bytes").null_count:
                named = pc.and_(pc.is_null(pictures.field("bytes")), pc.is_valid(pictures.field("path")))
                lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
                places = np.nonzero(named.to_numpy(zero_copy_only=False))[0]
                owners = np.repeat(np.arange(len(lengths)), lengths)[places]
                firsts = np.cumsum(lengths) - lengths
                paths = pictures.field("path").filter(named).to_pylist()
                for place, owner, path in zip(places.tolist(), owners.tolist(), paths):
                    if path:
                        yield row + int(owner), place - int(firsts[owner]), path
            row += len(column)


def _is_of_repository(path: str, repository: str) -> bool:
    """Return whether the path behind `hf://` lies in a data set's repository."""
    prefix = f"datasets/{repository}"
    return path.startswith((f"{prefix}/", f"{prefix}@")) and ".." not in path.split("/")


def _real_path(path: str) -> str:
    """Return a path without links; the folders of many files are looked up once."""
    folder, name = os.path.split(path)
    if "\0" in path or name in ("", os.curdir, os.pardir) or os.path.islink(path):
        return os.path.realpath(path.replace("\0", ""))
    return os.path.join(_real_folder(os.path.join(os.getcwd(), folder)), name)


@lru_cache(maxsize=4096)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)
