"""Fetch CoDraw: the archive of one commit of a public repository, or a folder or an archive at hand."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm.auto import tqdm

from ..common.defaults import CACHES
from ..common.downloads import download, unpack
from ..common.files import sha256_of_file

COMMIT = "972d7538e2863b2caca00aa0d4305327f3900af8"
ARCHIVE = f"https://codeload.github.com/parthrangarajan/CoDrawDatasetViz/zip/{COMMIT}"
# The digest of the dialogues and the pictures of this commit, see `content_digest`.
CONTENT = "f51d49e9e85e00017997347df76babc83da692354079e1428d480f5041d963e5"
DIALOGUES, PICTURES = "output", "Pngs"  # folders of the repository


@contextmanager
def open_source(source: str | None, download_dir: str | None = None) -> Iterator[Path]:
    """
    Give the folder that has the dialogues and the pictures.

    Args:
        source: a folder that has them, or an archive of one; `None` downloads the archive of the commit.
        download_dir: where downloads are kept, by default `CACHES["codraw"]`.

    Raises:
        ValueError: where `source` does not have them, or what was downloaded is not what was published.
        OSError: where the download fails.
    """
    if source is None:
        yield _download(Path(download_dir or CACHES["codraw"]).expanduser())
        return
    path = Path(source).expanduser()
    if path.is_dir():
        yield find_root(path)
    elif path.is_file():
        with tempfile.TemporaryDirectory(prefix="storyattn-codraw-") as folder:
            _extract(path, folder)
            yield find_root(Path(folder))
    else:
        raise ValueError(f"source: got {source!r}, expected a folder or an archive that exists")


def find_root(folder: Path) -> Path:
    """Return the folder that has dialogues and pictures: `folder` or one in it; raises `ValueError` for none."""
    for root in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        if (root / DIALOGUES).is_dir() and (root / PICTURES).is_dir():
            return root
    raise ValueError(f"source: got {folder} without {DIALOGUES}/ and {PICTURES}/, expected a copy of CoDrawDatasetViz")


def content_digest(root: Path) -> str:
    """Return the SHA-256 of the names and the contents of all dialogues and pictures, in hexadecimal digits."""
    files = [*(root / DIALOGUES).glob("*.json"), *(root / PICTURES).glob("*.png")]
    digest = hashlib.sha256()
    for path in tqdm(sorted(files), desc="checking files", unit="file", disable=None, leave=False):
        digest.update(f"{path.relative_to(root).as_posix()} {sha256_of_file(path)}\n".encode())
    return digest.hexdigest()


def _download(folder: Path) -> Path:
    """Return the folder of the published commit, downloaded where it is not at hand, and checked."""
    archive, unpacked = folder / f"{COMMIT}.zip", folder / COMMIT
    if not archive.is_file() and not unpacked.is_dir():
        download(ARCHIVE, archive)
    root = find_root(unpack(archive, unpacked))
    digest = content_digest(root)
    if digest != CONTENT:
        raise ValueError(f"{root}: got content of SHA-256 {digest[:12]}, expected {CONTENT[:12]}; remove {folder}")
    return root


def _extract(archive: Path, folder: str) -> None:
    """Unpack a ZIP or tar archive into a folder; raises `ValueError` for one that cannot be read."""
    is_zip = archive.suffix == ".zip"
    try:
        shutil.unpack_archive(archive, folder, **({} if is_zip else {"filter": "data"}))
    except (shutil.ReadError, ValueError, EOFError, OSError) as error:
        raise ValueError(f"source: {archive} cannot be unpacked: {error}") from error
