"""Read stories from a folder of images with `metadata.jsonl`, one line a frame."""

import json
import os
from pathlib import Path

from datasets import Dataset, Features, Image, List, Value

from ..common.excerpts import listed, quoted
from .forms.paths import find_file
from .validation import PROBLEM_COLUMN, name_problem

METADATA = "metadata.jsonl"
FRAME_FOLDER_FEATURES = Features(
    {
        "story_id": Value("string"),
        "frames": List(Image()),
        "captions": List(Value("string")),
        "descriptions": List(Value("string")),
        "boxes": List(List({"entity": Value("string"), "kind": Value("string"), "box": List(Value("float32"))})),
        PROBLEM_COLUMN: Value("string"),
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
        loaded), `captions` and, where any line gives them, `descriptions` and `boxes`. `read_problem` is there where a
        story is bad: it names the line with a field that is missing or of another type, or with a position that is
        equal to another or not in every line of the story. A file that does not exist is noticed when it is read.

    Raises:
        ValueError: naming the line, for a line that is no such object, one without a story, and a file that lies
            outside of the folder (where links lead is checked by `FrameAccess`). Also where `metadata.jsonl` is both in
            the folder and in folders in it.
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
    if any(frame["problems"] for frame in all_frames):
        problems = [sum((frame["problems"] for frame in frames), []) for frames in ordered.values()]
        values[PROBLEM_COLUMN] = ["; ".join(lines) or None for lines in problems]
    features = Features({name: FRAME_FOLDER_FEATURES[name] for name in ("story_id", *values)})
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
    problems, position = [], row.get("position")
    if position is not None and not _is_number(position, int, float):
        problems.append(f"{where}: position: got {_short(position)}, expected a number")
        position = None
    texts = {field: row.get(field) for field in ("caption", "description")}
    for field, text in texts.items():
        if text is not None and not _is_text(text):
            problems.append(f"{where}: {field}: got {_short(text)}, expected a string or null")
            texts[field] = None
    file, boxes = row.get("file_name"), row.get("boxes")
    if not _is_text(file) or not file.strip() or "\0" in file:
        problems.append(f"{where}: file_name: got {_short(file)}, expected the name of an image file")
        file = None
    if (wrong := _wrong_box(boxes)) is not None:
        problems.append(f"{where}: boxes: {wrong}")
        boxes = None
    return {
        "story_id": str(story_id),
        "file": file and _find_file(file, name_problem(str(story_id), where), folder),
        "position": position,
        **texts,
        "boxes": [{field: box[field] for field in ("entity", "kind", "box")} for box in boxes or []],
        "where": where,
        "problems": problems,
    }


def _find_file(name: str, where: str, folder: Path) -> str:
    """Return the path of the image `name` in `folder`; it need not exist."""
    if os.path.isabs(name):
        raise ValueError(f"{where}: file_name: got {quoted(name)}, expected a file in the folder of {METADATA}")
    try:
        return find_file(name, [folder])
    except ValueError as error:
        message = f"{where}: file_name: got {quoted(name)}, expected a file in the folder of {METADATA}"
        raise ValueError(message) from error


def _wrong_box(boxes: object) -> str | None:
    """Return what is wrong with the boxes of a frame, `None` where nothing is."""
    if not isinstance(boxes, (list, type(None))):
        return f"got {_short(boxes)}, expected a list"
    for box in boxes or []:
        edges = box.get("box") if isinstance(box, dict) else None
        is_box = isinstance(edges, list) and len(edges) == 4 and all(_is_number(edge, int, float) for edge in edges)
        if not is_box or not all(_is_text(box.get(field)) for field in ("entity", "kind")):
            return f"got {_short(box)}, expected entity, kind and box: [x1, y1, x2, y2]"
    return None


def _in_order(frames: list[dict]) -> list[dict]:
    """Sort the frames of a story by their positions, if they have any; what is wrong with these goes to `problems`."""
    by_position, placed = {}, [frame for frame in frames if frame["position"] is not None]
    if not placed:
        return frames
    for frame in frames:
        if frame["position"] is None:
            missing = "position: got nothing, expected it in every line of a story or in none"
            frame["problems"] = frame["problems"] or [f"{frame['where']}: {missing}"]
    for frame in placed:
        other = by_position.setdefault(frame["position"], frame)
        if other is not frame:
            got = f"position: got {frame['position']}, which is that of {quoted(Path(other['file'] or '').name)}"
            frame["problems"].append(f"{frame['where']}: {got}, expected another for each frame")
    return sorted(placed, key=lambda frame: frame["position"]) + [f for f in frames if f["position"] is None]


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
