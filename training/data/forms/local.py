"""Recognize the form of a folder or a file, and open it."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset

from ...common.archives import UNREAD, refuse_unread
from ...common.columns import TableColumns
from ...common.excerpts import quoted
from ..frame_access import FrameAccess
from ..frame_folder import is_frame_folder, read_frame_folder
from ..source_files import load_splits, names_files_of_splits
from .archives import SUFFIXES, is_archive, member_names, unpack
from .clips import VIDEO_SUFFIXES
from .column_names import CAPTION_NAMES, POSITION_NAMES, plain_name
from .hint import metadata_hint
from .table_files import BUILDERS, find_tables, load_tables
from .text_files import has_text_files, pictures_in, read_text_files
from .vist import read_vist, vist_files

SINGLE_FILES = tuple(dict.fromkeys((*BUILDERS, *SUFFIXES)))
TEXT_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")  # which hold no pictures


@dataclass
class Opened:
    """The splits of a data set as its files have them, and the folders to which paths in them are relative."""

    splits: dict[str, Dataset]
    roots: list[Path] = field(default_factory=list)


def is_single_file(path: Path) -> bool:
    """Return whether a file can be a data set, by its name."""
    return path.is_file() and path.name.lower().endswith(SINGLE_FILES)


def open_local(path: Path, columns: TableColumns, access: FrameAccess) -> Opened | None:
    """Open a folder or a file of a form that `datasets` does not read alone.

    Args:
        path: the folder or file.
        columns: columns that flags name.
        access: which files may be read.

    Returns:
        The splits; `None` for a folder that `datasets` loads as it is.

    Raises:
        ValueError: where the files are of such a form and cannot be read.
    """
    if path.is_file():
        return _open_file(path, columns, access)
    archives = [file for file in sorted(path.iterdir()) if file.is_file() and is_archive(file)]
    if not archives:
        _refuse_unread_archives(path, access)
    if is_plain_frame_folder(path, columns) and not archives:
        return Opened(read_frame_folder(path))
    if annotations := vist_files(path):
        return Opened(read_vist(annotations, path))
    tables = find_tables(path)
    if tables and not _names_lists_of_files(tables[0]):
        roots = table_roots(path, tables)
        unpacked = [unpack(file) for file in archives]
        roots += [root for folder in unpacked for root in (folder, folder.parent, *_single_folders(folder))]
        is_described = tables[0].suffix.lower() == ".parquet" and names_files_of_splits(path)
        if unpacked or (pictures_in(path) and not is_described):
            return Opened(load_tables(tables, path, access), roots)
    if not tables and has_text_files(path):
        return Opened(read_text_files(path, columns, access))
    if not tables and archives and not all(file.suffix == ".tar" for file in archives):
        return _open_file(archives[0], columns, access) if len(archives) == 1 else None
    return None


def table_roots(folder: Path, tables: list[Path] | None = None) -> list[Path]:
    """Return the folders to which paths in the tables of a folder are relative: those of the tables, and the folder."""
    tables = find_tables(folder) if tables is None else tables
    return list(dict.fromkeys([*(table.parent for table in tables), folder]))


def is_plain_frame_folder(path: Path, columns: TableColumns) -> bool:
    """Return whether `read_frame_folder` reads the folder: its lines name frames, by the names that it reads.

    Args:
        path: the folder.
        columns: columns that flags name: then the folder is a table.
    """
    if columns.named or columns.frames_per_video or not is_frame_folder(path):
        return False
    line = _first_line(path)
    names = {plain_name(name) for name in line}
    other_caption = "caption" not in line and bool(names & set(CAPTION_NAMES))
    other_position = "position" not in line and bool(names & set(POSITION_NAMES))
    is_clip = str(line.get("file_name")).lower().endswith((*VIDEO_SUFFIXES, ".gif"))
    has_story = "story_id" in line or "story" in line
    return has_story and not (other_caption or other_position or is_clip or isinstance(line.get("caption"), list))


def _first_line(path: Path) -> dict:
    """Return the first line of a `metadata.jsonl` in a folder, or in one in it, that names a frame."""
    for file in sorted((*path.glob("metadata.jsonl"), *path.glob("*/metadata.jsonl"))):
        with file.open(encoding="utf-8-sig", errors="replace") as lines:
            for text in lines:
                try:
                    line = json.loads(text)
                except ValueError:
                    continue
                if isinstance(line, dict) and "file_name" in line:
                    return line
    return {}


def _names_lists_of_files(table: Path) -> bool:
    """Return whether a table names lists of files, as `datasets` reads them from folders of images."""
    with table.open("rb") as opened:
        return table.stem == "metadata" and b"file_names" in opened.read(100_000)


def _open_file(path: Path, columns: TableColumns, access: FrameAccess) -> Opened:
    """Open a single file as a data set."""
    name = path.name.lower()
    if name.endswith(".json") and vist_files(path.parent, path.name):
        return Opened(read_vist([path], path.parent))
    names = member_names(path) if name.endswith(".tar") else []
    is_samples = bool(names) and not any(Path(member).stem == "metadata" for member in names)
    if is_archive(path) and not is_samples:
        folder = unpack(path)
        inner = _single_folders(folder)
        folder = inner[0] if len(list(folder.iterdir())) == 1 and inner else folder
        if opened := open_local(folder, columns, access):
            return opened
        tables = find_tables(folder)
        if tables and _names_lists_of_files(tables[0]):
            return Opened(dict(load_splits(str(folder.parent), access)))
        if not tables:
            raise ValueError(f"dataset: got no story in the archive {quoted(path)}; {metadata_hint(str(folder))}")
        return Opened(load_tables(tables, folder, access), table_roots(folder))
    return Opened(load_tables([path], path.parent, access), [path.parent])


def _refuse_unread_archives(path: Path, access: FrameAccess) -> None:
    """Refuse a folder whose pictures or tables can only be in an archive that is not read."""
    unread = [file for file in sorted(path.iterdir()) if file.name.lower().endswith(UNREAD)]
    if unread and not pictures_in(path):
        may_be_elsewhere = access.allow_remote_frames or access.allow_local_paths
        if all(table.suffix.lower() in TEXT_TABLES and not may_be_elsewhere for table in find_tables(path)):
            refuse_unread(unread[0])


def _single_folders(folder: Path) -> list[Path]:
    """Return the folders directly in a folder."""
    return [path for path in sorted(folder.iterdir()) if path.is_dir()]
