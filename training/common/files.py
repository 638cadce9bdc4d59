"""Write files whole or not at all, and sum their bytes."""

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


def expect_writable(field: str, path: str | Path) -> None:
    """
    Try whether a file can be written, before long work for its content. Nothing is left or created.

    Args:
        field: name of the flag, for the message.
        path: the file. Where it exists, it is left as it is.

    Raises:
        ValueError: where it is a folder, or nothing can be written beside it.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{field}: got the folder {quoted(path)}, expected the name of a file")
    existing = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".storyattn-"):
            pass
    except OSError as error:
        reason = error.strerror or one_line_reason(error)
        raise ValueError(f"{field}: got {quoted(path)}, expected a file that can be written: {reason}") from error


def write_text(text: str, path: str | Path) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    with replaced_at_end(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_results(document: dict, path: str | Path) -> None:
    """Write `document` as JSON to `path`, whole or not at all."""
    write_text(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n", path)


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
