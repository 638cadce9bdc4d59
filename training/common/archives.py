"""Refuse archives that unpack to more than a disk should hold."""

import bz2
import gzip
import lzma
import tarfile
import zipfile
from pathlib import Path

from .excerpts import quoted

MAX_ARCHIVE_GB = 50.0  # of all files in an archive
MAX_GROWTH = 200  # times the archive's own size: pictures hardly shrink, and text by less than this
SMALL_BYTES = 1 << 28  # of all files, below which the growth does not matter
CHUNK_BYTES = 1 << 20
OPENERS = {gzip.open: (".gz", ".tgz"), bz2.open: (".bz2", ".tbz2"), lzma.open: (".xz", ".txz")}
STREAMS = {suffix: opener for opener, suffixes in OPENERS.items() for suffix in suffixes}
UNREAD = (".7z", ".rar", ".zst", ".zstd", ".tzst", ".lz4", ".lzma", ".cab")  # archives, too
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, lzma.LZMAError)


class ArchiveError(ValueError):
    """An archive is damaged, or unpacks to too much."""


def refuse_unread(path: str | Path, field: str = "dataset") -> None:
    """Raise `ArchiveError` for an archive of a kind that is not read, by its name."""
    if str(path).lower().endswith(UNREAD):
        expected = "expected .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz; unpack it and name its folder"
        raise ArchiveError(f"{field}: got the archive {quoted(path)}, {expected}")


def check_archive(path: str | Path, max_gb: float = MAX_ARCHIVE_GB, field: str = "dataset") -> None:
    """Refuse an archive (zip, tar, or a file that is compressed) that unpacks to too much. Other files pass.

    Args:
        path: the file.
        max_gb: what its files may have at most, in gigabytes.
        field: what the message begins with.

    Raises:
        ArchiveError: for more than that, and for more than `MAX_GROWTH` times the size of the archive, which only files
            reach that are made to fill a disk. Also for an archive that is damaged.
    """
    path, size = Path(path), Path(path).stat().st_size
    limit = min(max_gb * 1e9, max(SMALL_BYTES, MAX_GROWTH * size))
    try:
        unpacked = _unpacked_bytes(path, limit)
    except DAMAGED as error:
        raise ArchiveError(f"{field}: got the damaged archive {quoted(path)}, expected a whole one: {error}") from error
    if unpacked > limit:
        raise ArchiveError(
            f"{field}: got the archive {quoted(path)} of {size / 1e9:.3g} GB, which unpacks to more than "
            f"{limit / 1e9:.3g} GB, expected no more than that limit; unpack it yourself"
        )


def _unpacked_bytes(path: Path, limit: float) -> int:
    """Return the bytes of all files in an archive, 0 for no archive; to count them, `limit` are unpacked at most."""
    if path.suffix.lower() in STREAMS:
        return _stream_bytes(path, limit)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return sum(member.file_size for member in archive.infolist())
    if path.suffix.lower() == ".tar":
        with tarfile.open(path, "r:") as archive:
            return sum(member.size for member in archive)
    return 0


def _stream_bytes(path: Path, limit: float) -> int:
    count = 0
    with STREAMS[path.suffix.lower()](path) as file:
        while count <= limit and (chunk := file.read(CHUNK_BYTES)):
            count += len(chunk)
    return count
