"""Read stories from a folder of images with `metadata.jsonl`, one line a frame."""

import json
import os
from pathlib import Path

from datasets import Dataset, Features, Image, List, Value

from ..common.excerpts import listed, quoted
from .validation import name_problem

METADATA = "metadata.jsonl"
LONGEST_PATH = 300  # characters that a message repeats
FRAME_FOLDER_FEATURES = Features(
    {
        "story_id": Value("string"),
        "frames": List(Image()),
        "captions": List(Value("string")),
        "descriptions": List(Value("string")),
        "boxes": List(List({"entity": Value("string"), "kind": Value("string"), "box": List(Value("float32"))})),
    }
)


def is_frame_folder(folder: str | Path) -> bool:
    """Return whether the folder, or a folder in it, has a `metadata.jsonl` with a line that holds `file_name`.

    The folders of images that `datasets` itself reads as stories have a line a story, with `frames_file_names`.
    """
    return any(_describes_frames(file) for file in _metadata_files(Path(folder)).values())


def read_frame_folder(folder: str | Path) -> dict[str, Dataset]:
    """Read the stories of each split from a folder of images.

    `metadata.jsonl` in the folder itself is the split `train`; one in a folder in it is the split of that folder's
    name. A line is an object with `file_name` (relative to the folder of `metadata.jsonl`) and `story_id` or `story`
    (string or integer). It may have `caption` and `description` (string or null), `position` (number; by default the
    order of the lines) and `boxes` (list of `entity`, `kind` and `box` `[x1, y1, x2, y2]` in pixels).

    Args:
        folder: path of the folder.

    Returns:
        By split, stories in the order of their first lines, with `story_id`, `frames` (the files' paths; nothing is
        loaded), `captions` and, where any line gives them, `descriptions` and `boxes`.

    Raises:
        ValueError: naming the line and the story, for a line that is no such object, a field that is missing or of
            another type, a file that does not exist or lies outside of the folder (where links lead is checked by
            `FrameAccess`), and positions that are equal or not in every line of a story. Also where `metadata.jsonl` is
            both in the folder and in folders in it.
    """
    files = _metadata_files(Path(folder))
    if "" in files and len(files) > 1:
        inner = listed(name for name in files if name)
        raise ValueError(f"dataset: got {METADATA} in {str(folder)!r} and in {inner} in it, expected one or the other")
    return {name or "train": _read_stories(file) for name, file in files.items()}


def _metadata_files(folder: Path) -> dict[str, Path]:
    """Return the metadata files by the name of the folder that holds them, '' for `folder` itself."""
    inner = sorted(path for path in folder.iterdir() if path.is_dir())
    candidates = {"": folder / METADATA, **{path.name: path / METADATA for path in inner}}
    return {name: file for name, file in candidates.items() if file.is_file()}


def _describes_frames(file: Path) -> bool:
    for line in file.read_text(encoding="utf-8-sig", errors="replace").split("\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "file_name" in row:
            return True
    return False


def _read_stories(file: Path) -> Dataset:
    stories: dict[str, list[dict]] = {}
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"dataset: got {str(file)!r}, expected text in UTF-8: {error}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            frame = _read_line(line, f"line {number} of {str(file)!r}", file.parent)
            stories.setdefault(frame["story_id"], []).append(frame)
    ordered = {story_id: _in_order(frames) for story_id, frames in stories.items()}
    all_frames = [frame for frames in ordered.values() for frame in frames]
    optional = {"descriptions": "description", "boxes": "boxes"}
    given = {name: key for name, key in optional.items() if any(frame[key] for frame in all_frames)}
    columns = {"frames": "file", "captions": "caption", **given}
    values = {name: [[frame[key] for frame in frames] for frames in ordered.values()] for name, key in columns.items()}
    features = Features({name: FRAME_FOLDER_FEATURES[name] for name in ("story_id", *columns)})
    return Dataset.from_dict({"story_id": list(ordered), **values}, features=features)


def _read_line(line: str, where: str, folder: Path) -> dict:
    """Check the fields of a line and return them."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"dataset: {where}: got no JSON, expected an object: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"dataset: {where}: got {_short(row)}, expected an object with file_name and story_id")
    story_id = row.get("story") if row.get("story_id") is None else row["story_id"]
    if not (_is_text(story_id) or _is_number(story_id, int)) or not str(story_id).strip():
        raise ValueError(f"dataset: {where}: story_id: got {_short(story_id)}, expected the name of a story")
    where = name_problem(str(story_id), where)
    position = row.get("position")
    if position is not None and not _is_number(position, int, float):
        raise ValueError(f"{where}: position: got {_short(position)}, expected a number")
    for field in ("caption", "description"):
        if row.get(field) is not None and not _is_text(row[field]):
            raise ValueError(f"{where}: {field}: got {_short(row[field])}, expected a string or null")
    return {
        "story_id": str(story_id),
        "file": _find_file(row.get("file_name"), where, folder),
        "position": position,
        "caption": row.get("caption"),
        "description": row.get("description"),
        "boxes": _check_boxes(row.get("boxes"), where),
        "where": where,
    }


def _find_file(name: object, where: str, folder: Path) -> str:
    """Return the path of the image `name` in `folder`."""
    if not _is_text(name) or not name.strip() or "\0" in name:
        raise ValueError(f"{where}: file_name: got {_short(name)}, expected the name of an image file")
    inner = os.path.normpath(name)
    if os.path.isabs(name) or inner.split(os.sep)[0] == os.pardir:
        raise ValueError(f"{where}: file_name: got {quoted(name)}, expected a file in the folder of {METADATA}")
    file = folder.absolute() / inner
    if not file.is_file():
        raise ValueError(f"{where}: file_name: got {quoted(file, LONGEST_PATH)}, expected an image file that exists")
    return str(file)


def _check_boxes(boxes: object, where: str) -> list[dict]:
    if boxes is None:
        return []
    if not isinstance(boxes, list):
        raise ValueError(f"{where}: boxes: got {_short(boxes)}, expected a list")
    for box in boxes:
        edges = box.get("box") if isinstance(box, dict) else None
        is_box = isinstance(edges, list) and len(edges) == 4 and all(_is_number(edge, int, float) for edge in edges)
        if not is_box or not all(_is_text(box.get(field)) for field in ("entity", "kind")):
            raise ValueError(f"{where}: boxes: got {_short(box)}, expected entity, kind and box: [x1, y1, x2, y2]")
    return [{field: box[field] for field in ("entity", "kind", "box")} for box in boxes]


def _in_order(frames: list[dict]) -> list[dict]:
    """Sort the frames of a story by their positions, if they have any."""
    by_position = {}
    for frame in frames:
        if (frame["position"] is None) != (frames[0]["position"] is None):
            unplaced = next(frame for frame in frames if frame["position"] is None)
            raise ValueError(
                f"{unplaced['where']}: position: got nothing, expected it in every line of a story or in none"
            )
        other = by_position.setdefault(frame["position"], frame)
        if frame["position"] is not None and other is not frame:
            raise ValueError(
                f"{frame['where']}: position: got {frame['position']}, which is that of "
                f"{quoted(Path(other['file']).name)}, expected another for each frame"
            )
    return frames if None in by_position else sorted(frames, key=lambda frame: frame["position"])


def _is_text(value: object) -> bool:
    """Return whether `value` is a string of whole characters: JSON can hold halves of them."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_number(value: object, *types: type) -> bool:
    """Return whether `value` is a number of these types that a double holds exactly, so neither NaN nor infinite."""
    return isinstance(value, types) and not isinstance(value, bool) and abs(value) < 2**53


def _short(value: object) -> str:
    """Return `value` as JSON, cut after 60 characters; "nothing" for a missing one."""
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
