"""Archives from the network: downloaded with retries and resumed where they broke off, unpacked safely."""

import hashlib
import shutil
import time
import zipfile
from pathlib import Path, PurePosixPath

import requests
from tqdm.auto import tqdm

ATTEMPTS = 5  # in a row that bring nothing new
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0  # seconds before an attempt; doubled from one to the next
TIMEOUT = (10, 60)  # seconds to connect, and between two pieces
TRANSIENT_STATUSES = (408, 425, 429, 500, 502, 503, 504)
PIECE = 1 << 16  # bytes
TRANSIENT_ERRORS = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


def download(url: str, path: Path) -> Path:
    """
    Downloads `url` to `path` with a progress bar; returns `path`.

    What has come lies in `path` + `.part` until it is complete, so a later attempt, or a later run, asks only for the
    rest (HTTP Range); a server that sends the whole again is followed. Gives up after `ATTEMPTS` attempts in a row
    without new bytes, waiting longer before each.

    Raises `OSError`, naming the address, where nothing comes or the server answers with another status.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    failures, most = 0, _size(part)
    while (error := _attempt(url, part)) is not None:
        failures, most = (failures + 1, most) if _size(part) <= most else (1, _size(part))
        if failures >= ATTEMPTS:
            raise OSError(f"{url}: broke off {failures} times in a row, expected the archive: {error}") from error
        time.sleep(min(LONGEST_WAIT, FIRST_WAIT * 2 ** (failures - 1)))
    part.replace(path)
    return path


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def unpack(archive: Path, folder: Path) -> Path:
    """
    Unpacks a ZIP archive that holds a single top folder, as those of GitHub do, into `folder`; returns the top folder.

    `folder` is there whole or not at all; where it is already there, nothing is unpacked.

    Raises `ValueError` for an archive that cannot be read (it is removed, so that the next run downloads it again),
    one with another number of top folders, or one with a name that leads out of the folder.
    """
    if not folder.is_dir():
        unfinished = folder.with_name(folder.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            with zipfile.ZipFile(archive) as members:
                _check_names(archive, members.namelist())
                members.extractall(unfinished)
        except (zipfile.BadZipFile, EOFError) as error:
            archive.unlink()
            raise ValueError(f"{archive}: damaged ({error}) and removed, expected a ZIP archive; run again") from error
        unfinished.rename(folder)
    found = sorted(path for path in folder.iterdir() if path.is_dir())
    if len(found) != 1:
        raise ValueError(f"{archive}: found {len(found)} top folders, expected one")
    return found[0]


def _attempt(url: str, part: Path) -> Exception | None:
    """Tries to complete `part`; returns what went wrong where another attempt may help, else raises `OSError`."""
    try:
        _receive(url, part)
    except TRANSIENT_ERRORS as error:
        return error
    except requests.RequestException as error:
        raise OSError(f"{url}: could not be downloaded: {error}") from error
    return None


def _receive(url: str, part: Path) -> None:
    """Appends to `part` what is missing, or writes it anew where the server does not resume."""
    have = _size(part)
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        span = response.headers.get("Content-Range", "")
        if response.status_code == 416 and span == f"bytes */{have}":
            return  # all of it was there
        resumed = response.status_code == 206 and span.startswith(f"bytes {have}-")
        if have and not resumed and response.status_code in (206, 416):
            part.unlink()
            raise requests.ConnectionError(f"found the range {span!r}, expected one from byte {have}")
        if response.status_code in TRANSIENT_STATUSES:
            raise requests.ConnectionError(f"found HTTP status {response.status_code}, expected 200")
        response.raise_for_status()
        start, length = have if resumed else 0, response.headers.get("Content-Length")
        bar = tqdm(
            desc=part.name.removesuffix(".part"),
            total=start + int(length) if length else None,
            initial=start,
            unit="B",
            unit_scale=True,
        )
        with bar, part.open("ab" if resumed else "wb") as file:
            for piece in response.iter_content(PIECE):
                file.write(piece)
                bar.update(len(piece))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check_names(archive: Path, names: list[str]) -> None:
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            raise ValueError(f"{archive}: found the name {name!r}, expected names inside the archive's folder")
