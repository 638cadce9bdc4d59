"""The manifest of an entry of the frame cache: size, time and SHA-256 of each file, by which damage is recognized."""

import json
from pathlib import Path

from datasets import Dataset
from transformers.utils import logging

from ..common.files import check_folder, sha256_of_file, write_text
from ..common.loading import one_line_reason

logger = logging.get_logger(__name__)

MANIFEST_FILE = "manifest.json"


def remove_damaged_frames(folder: Path) -> None:
    """Empty an entry whose files are not as they were written, with a warning that names what is wrong."""
    damage = find_damage(folder)
    if damage is None:
        return
    logger.warning(f"cache_dir: {damage}; the frames are decoded anew")
    check_folder("cache_dir", folder)
    for file in [*folder.glob("*.arrow"), folder / MANIFEST_FILE]:
        file.unlink(missing_ok=True)


def write_manifest(folder: Path) -> None:
    """Write size, time and SHA-256 of the files of an entry."""
    states = {}
    for file in folder.glob("*.arrow"):
        status = file.stat()
        states[file.name] = {"size": status.st_size, "time": status.st_mtime_ns, "sha256": sha256_of_file(file)}
    write_text(json.dumps(states, indent=1), folder / MANIFEST_FILE)


def find_damage(folder: Path) -> str | None:
    """Say what is wrong with the files of an entry; `None` where they are as they were written, or where none is."""
    files = sorted(folder.glob("*.arrow"))
    try:
        states = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:  # of a run that was killed, or of an earlier version
        return next(filter(None, map(_find_unreadable, files)), None)
    except ValueError:
        return f"{folder / MANIFEST_FILE}: got no JSON, expected the sizes and sums of files"
    for file in files:
        expected, status = states.get(file.name), file.stat()
        if expected is None:
            return f"{file}: got a file that {MANIFEST_FILE} does not name"
        if status.st_size != expected["size"]:
            return f"{file}: got {status.st_size} bytes, expected {expected['size']}"
        if status.st_mtime_ns != expected["time"] and sha256_of_file(file) != expected["sha256"]:
            return f"{file}: got another content than was written"
    return None


def _find_unreadable(file: Path) -> str | None:
    try:
        Dataset.from_file(str(file))
    except Exception as error:  # Arrow and datasets raise many kinds
        return f"{file}: got no file of frames ({one_line_reason(error)})"
    return None
