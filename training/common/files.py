"""Write files whole or not at all, try beforehand whether they can be written, and sum their bytes."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .excerpts import quoted
from .loading import one_line_reason

CHUNK_BYTES = 1 << 22  # read at once for a sum


@contextmanager
def replaced_at_end(path: str | Path) -> Iterator[Path]:
    """
    Yield a hidden name beside `path` to write to. At the end it is renamed to `path`; after an error it is removed.

    So `path` has its earlier content until the new one is complete. Missing folders are created.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(text: str, path: str | Path) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    with replaced_at_end(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_results(document: dict, path: str | Path) -> None:
    """Write `document` as JSON to `path`, whole or not at all."""
    write_text(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n", path)


def check_file(field: str, path: str | Path) -> None:
    """
    Try whether `write_text` can write `path`; leave nothing behind.

    Raises `ValueError`, which names the flag `field`, where it cannot.
    """
    path = Path(path)
    if os.path.isdir(path):
        raise ValueError(f"{field}: got the folder {quoted(path)}, expected the name of a file")
    partial = _existing_folder(path.parent) / f".{path.name}.{os.getpid()}"
    try:
        partial.touch(exist_ok=False)
        partial.unlink()
    except OSError as error:
        reason = error.strerror or one_line_reason(error)
        raise ValueError(f"{field}: got {quoted(path)}, expected a file that can be written ({reason})") from error


def check_folder(field: str, path: str | Path) -> None:
    """
    Try whether files can be written into the folder `path`, which need not exist; leave nothing behind.

    Raises `ValueError`, which names the flag `field`, where they cannot.
    """
    if os.path.lexists(path) and not os.path.isdir(path):
        raise ValueError(f"{field}: got the file {quoted(path)}, expected a folder or nothing")
    try:
        with tempfile.TemporaryFile(dir=_existing_folder(Path(path))):
            pass
    except OSError as error:
        reason = error.strerror or one_line_reason(error)
        raise ValueError(f"{field}: got {quoted(path)}, expected a folder that can be written ({reason})") from error


def check_new_folder(field: str, path: Path) -> None:
    """
    Try whether files can be written into the folder `path`, which is new or empty; leave nothing behind.

    Raises `ValueError`, which names the flag `field`, where it has files, or cannot be written.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{field}: got {str(path)!r}, which exists, expected a new or an empty folder")
    check_folder(field, path)


def _existing_folder(folder: Path) -> Path:
    """Return the nearest of `folder` and its parents that exists."""
    folder = folder.absolute()
    return next(path for path in [folder, *folder.parents] if os.path.lexists(path))


def sha256_of_file(path: Path, progress: Callable[[int], object] | None = None) -> str:
    """
    Return the SHA-256 of a file in hexadecimal digits.

    `progress` is called with the number of bytes of each chunk. (`hashlib.file_digest` needs Python 3.11.)
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            if progress is not None:
                progress(len(chunk))
    return digest.hexdigest()
