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

from ...common.archives import check_archive
from ...common.excerpts import quoted
from ...common.loading import is_full_disk, one_line_reason
from ..frame_access import ARCHIVES

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

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
        ArchiveError: where it is damaged or unpacks to too much, see `check_archive`.
        ValueError: where it cannot be read, and where a name leads out of the folder.
    """
    status = archive.stat()
    state = Hasher.hash([str(archive.absolute()), status.st_size, status.st_mtime_ns])
    folder = Path(datasets.config.HF_DATASETS_CACHE, ARCHIVES, state)
    name = archive.name.partition(".")[0] or "archive"
    if folder.is_dir():
        return folder / name
    aside = folder.with_name(f"{state}.{os.getpid()}")
    check_archive(archive)
    with _reading(archive):
        try:
            (aside / name).mkdir(parents=True, exist_ok=True)
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


def _inner(name: str) -> str:
    """Return the path of a member below the folder."""
    inner = os.path.normpath(name.replace("\\", "/"))
    if os.path.isabs(inner) or inner.split(os.sep)[0] == os.pardir or "\0" in name:
        raise ValueError(f"got the name {quoted(name)}, expected one within the archive")
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
        if is_full_disk(error):
            raise
        raise ValueError(f"dataset: archive {quoted(archive)}: {one_line_reason(error)}") from error
