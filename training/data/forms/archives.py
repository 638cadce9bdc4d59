"""Unpack ZIP and TAR archives of pictures beside the files of `datasets`, within a limit of size."""

import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import datasets
from datasets.fingerprint import Hasher

from ...common.loading import one_line_reason
from .paths import shortened

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
MAX_GIGABYTES = 200.0
MAX_FILES = 5_000_000
MAX_RATIO = 200  # of the unpacked size to that of the archive: more is no archive of pictures
SMALL = 100_000_000  # bytes that are unpacked whatever the ratio

Member = tuple[str, int, Callable[[], BinaryIO]]  # name, size in bytes, opens it


def is_archive(file: Path) -> bool:
    """Return whether a file is an archive, by its name."""
    return file.name.lower().endswith(SUFFIXES)


def member_names(archive: Path) -> list[str]:
    """Return the names of the files in an archive.

    Raises:
        ValueError: where it cannot be read.
    """
    with _reading(archive):
        return [name for name, _, _ in _members(archive)]


def unpack(archive: Path) -> Path:
    """Return the folder into which an archive is unpacked; it is done once, and anew when the archive changes.

    The folder has the name of the archive and stands alone in another. Links and special files in it are left out.

    Raises:
        ValueError: where it cannot be read, where a name leads out of the folder, and where it would take more than
            `MAX_GIGABYTES`, more than the disk has, or more than `MAX_RATIO` times its size.
    """
    status = archive.stat()
    state = Hasher.hash([str(archive.absolute()), status.st_size, status.st_mtime_ns])
    folder = Path(datasets.config.HF_DATASETS_CACHE, "storyattn-archives", state)
    name = archive.name.partition(".")[0] or "archive"
    if folder.is_dir():
        return folder / name
    aside = folder.with_name(f"{state}.{os.getpid()}")
    with _reading(archive):
        total = _check(archive, status.st_size)
        try:
            (aside / name).mkdir(parents=True, exist_ok=True)
            if total > shutil.disk_usage(aside).free:
                raise ValueError(f"got {total / 1e9:.1f} GB to unpack, expected as much free disk at {str(aside)!r}")
            for member, _, opened in _members(archive):
                target = aside / name / _inner(member)
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened() as source, target.open("wb") as written:
                    shutil.copyfileobj(source, written)
            if not folder.is_dir():
                aside.rename(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return folder / name


def _check(archive: Path, size: int) -> int:
    """Return the unpacked size in bytes."""
    total = count = 0
    most = min(MAX_GIGABYTES * 1e9, max(SMALL, MAX_RATIO * size))
    for name, length, _ in _members(archive):
        total, count = total + length, count + 1
        _inner(name)
        if total > most or count > MAX_FILES:
            raise ValueError(f"got more than {most / 1e9:.1f} GB or {MAX_FILES} files, expected an archive of pictures")
    return total


def _inner(name: str) -> str:
    """Return the path of a member below the folder."""
    inner = os.path.normpath(name.replace("\\", "/"))
    if os.path.isabs(inner) or inner.split(os.sep)[0] == os.pardir or "\0" in name:
        raise ValueError(f"got the name {shortened(name)}, expected one within the archive")
    return inner


def _members(archive: Path) -> Iterator[Member]:
    """Yield the regular files of an archive."""
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                is_link = (member.external_attr >> 16) & 0o170000 == 0o120000
                if not member.is_dir() and not is_link:
                    yield member.filename, member.file_size, lambda member=member: opened.open(member)
    else:
        with tarfile.open(archive) as opened:
            for member in opened:
                if member.isfile():
                    yield member.name, member.size, lambda member=member: opened.extractfile(member)


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Turn an error of reading an archive into one line that names it."""
    try:
        yield
    except (ValueError, OSError, zipfile.BadZipFile, tarfile.TarError, EOFError, RuntimeError) as error:
        raise ValueError(f"dataset: archive {str(archive)!r}: {one_line_reason(error)}") from error
