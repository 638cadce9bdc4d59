"""
Folders that are whole or not there, whenever a process is killed: written aside, synced to the disk, then renamed.

`.NAME.partial` is being written, `.NAME.old` is being replaced, `.NAME.removed` is being removed; `tidy` clears away
what is left of them. A whole folder has a `manifest.json`, written last: the size and SHA-256 of every other file.
"""

import hashlib
import json
import os
import shutil
from datetime import datetime
from pathlib import Path

from tqdm.auto import tqdm

MANIFEST = "manifest.json"
PARTIAL, OLD, REMOVED = "partial", "old", "removed"
CHUNK = 1 << 22  # bytes that are hashed at once


def aside(final: Path, kind: str) -> Path:
    """The hidden name beside `final` that a folder has while it is no whole one."""
    return final.with_name(f".{final.name}.{kind}")


def start(final: Path) -> Path:
    """The empty folder in which what becomes `final` is written; clears up after killed processes first."""
    final.parent.mkdir(parents=True, exist_ok=True)
    tidy(final.parent)
    partial = aside(final, PARTIAL)
    partial.mkdir()
    return partial


def finish(final: Path) -> None:
    """Completes what was written aside by its manifest and puts it in place, where it replaces an earlier `final`."""
    partial = aside(final, PARTIAL)
    files = {}
    for path in sorted(partial.iterdir()):
        _sync(path)
        files[path.name] = {"size": path.stat().st_size, "sha256": _sha256(path)}
    manifest = {"written": datetime.now().astimezone().isoformat(timespec="seconds"), "files": files}
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    _sync(partial / MANIFEST)
    _put_in_place(partial, final)


def duplicate(folder: Path, final: Path) -> None:
    """A second name for a whole folder, of hard links where the disk has them; it replaces an earlier `final`."""
    partial = start(final)
    for path in folder.iterdir():
        _link(path, partial / path.name)
    _put_in_place(partial, final)


def remove(folder: Path) -> None:
    """Removes a folder, which is gone at once; files that cannot be deleted now are left to `tidy`."""
    removed = aside(folder, REMOVED)
    os.replace(folder, removed)
    shutil.rmtree(removed, ignore_errors=True)


def tidy(parent: Path) -> None:
    """Removes what killed processes left under hidden names; what was to be replaced and was not is put back."""
    for path in list(parent.iterdir()):
        name, _, kind = path.name[1:].rpartition(".")
        if not path.name.startswith(".") or kind not in (PARTIAL, OLD, REMOVED):
            continue
        if kind == OLD and not (parent / name).exists():
            os.replace(path, parent / name)
        else:
            shutil.rmtree(path)


def read_manifest(folder: Path) -> dict:
    """`written`, a time in ISO format, and `files`. Raises `OSError` or `ValueError` where there is no good one."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    try:
        datetime.fromisoformat(manifest["written"])
        well_formed = all({"size", "sha256"} <= entry.keys() for entry in manifest["files"].values())
    except (AttributeError, KeyError, TypeError, ValueError):
        well_formed = False
    if not well_formed:
        raise ValueError("found no time and sizes and sums of files")
    return manifest


def find_problem(folder: Path, expected: tuple[str, ...], *, hashes: bool = True) -> str | None:
    """
    What keeps a folder with at least the `expected` files from being whole, in words. Without `hashes` files are judged
    by their sizes alone.
    """
    if not folder.is_dir():
        return "found no folder"
    try:
        files = read_manifest(folder)["files"]
    except FileNotFoundError:
        return f"found no {MANIFEST}, it is unfinished or of an earlier version and cannot be verified"
    except (OSError, ValueError) as error:
        return f"{MANIFEST} cannot be read ({error})"
    for name in expected:
        if name not in files:
            return f"{MANIFEST} names no {name}"
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            return f"found no {name}"
        if path.stat().st_size != entry["size"]:
            return f"{name}: found {path.stat().st_size} bytes, expected {entry['size']}"
    return _find_changed(folder, files) if hashes else None


def _find_changed(folder: Path, files: dict) -> str | None:
    total = sum(entry["size"] for entry in files.values())
    with tqdm(total=total, desc=f"checking {folder.name}", unit="B", unit_scale=True, leave=False, delay=2) as bar:
        for name, entry in files.items():
            try:
                found = _sha256(folder / name, bar)
            except OSError as error:
                return f"{name} cannot be read ({error.strerror})"
            if found != entry["sha256"]:
                return f"{name}: found SHA-256 {found[:12]}..., expected {str(entry['sha256'])[:12]}..."
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


def _sha256(path: Path, bar: tqdm | None = None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            if bar is not None:
                bar.update(len(chunk))
    return digest.hexdigest()


def _sync(path: Path) -> None:
    """Waits until a file or the entries of a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
