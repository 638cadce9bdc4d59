"""
Folders that are complete or absent, whenever a process is killed: written aside, synced to the disk, then renamed.

`.NAME.partial` is being written, `.NAME.old` is being replaced, `.NAME.removed` is being removed; `tidy` removes what
is left of them. A complete folder has a `manifest.json`, written last: the size and SHA-256 of every other file.
"""

import json
import os
import shutil
from datetime import datetime
from pathlib import Path

from tqdm.auto import tqdm

from .files import sha256_of_file

MANIFEST = "manifest.json"
PARTIAL, OLD, REMOVED = "partial", "old", "removed"


def aside(final: Path, kind: str) -> Path:
    """Return the hidden name beside `final` of a folder that is not complete; `kind` says why."""
    return final.with_name(f".{final.name}.{kind}")


def start(final: Path) -> Path:
    """Return a new, empty folder to write `final` in; first remove what killed processes left."""
    final.parent.mkdir(parents=True, exist_ok=True)
    tidy(final.parent)
    partial = aside(final, PARTIAL)
    partial.mkdir()
    return partial


def finish(final: Path) -> None:
    """Complete the folder written aside by its manifest and rename it to `final`, replacing an earlier one."""
    partial = aside(final, PARTIAL)
    files = {}
    for path in sorted(partial.iterdir()):
        _sync(path)
        files[path.name] = {"size": path.stat().st_size, "sha256": sha256_of_file(path)}
    manifest = {"written": datetime.now().astimezone().isoformat(timespec="seconds"), "files": files}
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    _sync(partial / MANIFEST)
    _put_in_place(partial, final)


def duplicate(folder: Path, final: Path) -> None:
    """Give a complete folder a second name, `final`, by hard links where the disk has them; replace an earlier one."""
    partial = start(final)
    for path in folder.iterdir():
        _link(path, partial / path.name)
    _put_in_place(partial, final)


def remove(folder: Path) -> None:
    """Remove a folder at once; leave files that cannot be deleted now to `tidy`."""
    removed = aside(folder, REMOVED)
    os.replace(folder, removed)
    shutil.rmtree(removed, ignore_errors=True)


def tidy(parent: Path) -> None:
    """Remove what killed processes left under hidden names; put back a folder that was not replaced yet."""
    for path in list(parent.iterdir()):
        name, _, kind = path.name[1:].rpartition(".")
        if not path.name.startswith(".") or kind not in (PARTIAL, OLD, REMOVED):
            continue
        if kind == OLD and not (parent / name).exists():
            os.replace(path, parent / name)
        else:
            shutil.rmtree(path)


def read_manifest(folder: Path) -> dict:
    """
    Return the manifest of a folder: `written`, a time in ISO format, and `files` with the size and sum of each.

    Raises `OSError` where it cannot be read, `ValueError` where it has another form.
    """
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    try:
        datetime.fromisoformat(manifest["written"])
        well_formed = all({"size", "sha256"} <= entry.keys() for entry in manifest["files"].values())
    except (AttributeError, KeyError, TypeError, ValueError):
        well_formed = False
    if not well_formed:
        raise ValueError("got another form, expected a time and the sizes and sums of files")
    return manifest


def find_problem(folder: Path, expected: tuple[str, ...], *, hashes: bool = True) -> str | None:
    """
    Say why a folder is not complete; `None` where it is.

    Args:
        folder: the folder, written by `start` and `finish`.
        expected: names of files that it must have.
        hashes: whether to compare the SHA-256 of files, not their sizes alone.
    """
    if not folder.is_dir():
        return "got no folder, expected one"
    try:
        files = read_manifest(folder)["files"]
    except FileNotFoundError:
        return f"got no {MANIFEST}: it is unfinished or of an earlier version and cannot be verified"
    except (OSError, ValueError) as error:
        return f"{MANIFEST} cannot be read ({error})"
    for name in expected:
        if name not in files:
            return f"{MANIFEST} names no {name}"
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            return f"got no {name}, expected {entry['size']} bytes"
        if path.stat().st_size != entry["size"]:
            return f"{name}: got {path.stat().st_size} bytes, expected {entry['size']}"
    return _find_changed(folder, files) if hashes else None


def _find_changed(folder: Path, files: dict) -> str | None:
    total = sum(entry["size"] for entry in files.values())
    with tqdm(total=total, desc=f"checking {folder.name}", unit="B", unit_scale=True, leave=False, delay=2) as bar:
        for name, entry in files.items():
            try:
                sha256 = sha256_of_file(folder / name, bar.update)
            except OSError as error:
                return f"{name} cannot be read ({error.strerror})"
            if sha256 != entry["sha256"]:
                return f"{name}: got SHA-256 {sha256[:12]}..., expected {str(entry['sha256'])[:12]}..."
    return None


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        _sync(target)


def _put_in_place(partial: Path, final: Path) -> None:
    _sync(partial)
    old = aside(final, OLD)
    if final.exists():
        os.replace(final, old)
    os.replace(partial, final)
    _sync(final.parent)
    if old.exists():
        shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    """Wait until a file or the entries of a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
