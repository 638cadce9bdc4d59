"""Download archives, with retries that resume where the connection broke off, and unpack them safely."""

import shutil
import time
import zipfile
from pathlib import Path, PurePosixPath

import requests
from tqdm.auto import tqdm

from .archives import check_archive

MAX_ATTEMPTS = 5  # in a row that bring no new bytes
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0  # seconds before an attempt; doubled from one to the next
TIMEOUT = (10, 60)  # seconds to connect, and between two chunks
TRANSIENT_STATUSES = (408, 425, 429, 500, 502, 503, 504)
CHUNK_BYTES = 1 << 16
TRANSIENT_ERRORS = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


def download(url: str, path: Path) -> Path:
    """Download `url` to `path` with a progress bar, and return `path`.

    Until the file is complete its bytes are in `path` + `.part`. So a later attempt, or a later run, requests only the
    rest (HTTP Range); where a server sends the whole file again, it is written anew. After `MAX_ATTEMPTS` attempts in a
    row without new bytes the download fails; the waits between attempts double.

    Raises:
        OSError: naming the address, where nothing arrives or the server answers with another status.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    failures, most = 0, _size(part)
    while (error := _attempt(url, part)) is not None:
        failures, most = (failures + 1, most) if _size(part) <= most else (1, _size(part))
        if failures >= MAX_ATTEMPTS:
            raise OSError(f"{url}: got {failures} failures in a row, expected the archive: {error}") from error
        time.sleep(min(LONGEST_WAIT, FIRST_WAIT * 2 ** (failures - 1)))
    part.replace(path)
    return path


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a ZIP archive with a single top folder, as those of GitHub have, into `folder`; return the top folder.

    `folder` is complete or does not exist; where it exists, nothing is unpacked.

    Raises:
        ValueError: for an archive that cannot be read (it is removed, so that the next run downloads it again), one
            with another number of top folders, one with a name that leads out of the folder, and one that unpacks to
            too much.
    """
    if not folder.is_dir():
        unfinished = folder.with_name(folder.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            with zipfile.ZipFile(archive) as members:
                _check_names(archive, members.namelist())
                check_archive(archive, field=str(archive))
                members.extractall(unfinished)
        except (zipfile.BadZipFile, EOFError) as error:
            archive.unlink()
            reason = f"got a damaged file ({error}), which is removed, expected a ZIP archive; run again"
            raise ValueError(f"{archive}: {reason}") from error
        unfinished.rename(folder)
    tops = sorted(path for path in folder.iterdir() if path.is_dir())
    if len(tops) != 1:
        raise ValueError(f"{archive}: got {len(tops)} top folders, expected one")
    return tops[0]


def _attempt(url: str, part: Path) -> Exception | None:
    """Try to complete `part`, and return the error where another attempt may help.

    Raises:
        OSError: for any other error.
    """
    try:
        _receive(url, part)
    except TRANSIENT_ERRORS as error:
        return error
    except requests.RequestException as error:
        raise OSError(f"{url}: could not be downloaded: {error}") from error
    return None


def _receive(url: str, part: Path) -> None:
    """Append the missing bytes to `part`, or write it anew where the server does not resume."""
    size = _size(part)
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={size}-"} if size else {})}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        span = response.headers.get("Content-Range", "")
        if response.status_code == 416 and span == f"bytes */{size}":
            return  # the part is complete
        resumed = response.status_code == 206 and span.startswith(f"bytes {size}-")
        if size and not resumed and response.status_code in (206, 416):
            part.unlink()
            raise requests.ConnectionError(f"got the range {span!r}, expected one from byte {size}")
        if response.status_code in TRANSIENT_STATUSES:
            raise requests.ConnectionError(f"got HTTP status {response.status_code}, expected 200")
        response.raise_for_status()
        start, length = size if resumed else 0, response.headers.get("Content-Length")
        bar = tqdm(
            desc=part.name.removesuffix(".part"),
            total=start + int(length) if length else None,
            initial=start,
            unit="B",
            unit_scale=True,
        )
        with bar, part.open("ab" if resumed else "wb") as file:
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                bar.update(len(chunk))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check_names(archive: Path, names: list[str]) -> None:
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            raise ValueError(f"{archive}: got the name {name!r}, expected names inside the archive's folder")
