"""Read folders of pictures that each have a text or JSON file beside them, such as `fox/1.png` and `fox/1.txt`."""

import codecs
import os
from pathlib import Path

from datasets import Dataset
from PIL import Image as Pillow

from ...common.columns import TableColumns
from ...common.excerpts import quoted
from ..frame_access import FrameAccess
from ..validation import PROBLEM_COLUMN, REFERENCES_COLUMN
from .clips import VIDEO_SUFFIXES, is_clip
from .column_names import FRAME_WORDS, natural_key, split_key
from .conversion import STORY_FEATURES, clip_story, story_of
from .json_files import caption_field, captions_of, frame_table, read_object

SPLIT_OF = {"train": "train", "training": "train", "test": "test", "testing": "test"}
SPLIT_OF |= dict.fromkeys(("validation", "valid", "val", "dev", "eval"), "validation")
TEXT_SUFFIXES = (".txt", ".caption", ".cap")
JSON_SUFFIX = ".json"


def pictures_in(folder: Path) -> list[Path]:
    """Return the images and videos in a folder and in the folders in it, hidden ones left out, in order."""
    suffixes = {*Pillow.registered_extensions(), *VIDEO_SUFFIXES} - {".pdf", ".h5", ".hdf"}
    files = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(place, name) for name in names if Path(name).suffix.lower() in suffixes and name[0] != "."]
    return sorted(files, key=lambda file: natural_key(file.relative_to(folder).as_posix()))


def text_of(picture: Path) -> Path | None:
    """Return the text file beside a picture, else its JSON file."""
    suffixes = (*TEXT_SUFFIXES, JSON_SUFFIX)
    files = (picture.with_suffix(suffix) for suffix in (*suffixes, *map(str.upper, suffixes)))
    return next(filter(Path.is_file, files), None)


def has_text_files(folder: Path) -> bool:
    """Return whether a picture in the folder has a text file beside it, or a JSON file with a caption."""
    return any(map(_has_captions, filter(None, map(text_of, pictures_in(folder)))))


def read_text_files(folder: Path, columns: TableColumns, access: FrameAccess) -> dict[str, Dataset]:
    """Read the stories of a folder of pictures with text files or JSON files.

    The pictures of a folder are a story, in the order of the numbers in their names. Where the names of one folder
    begin with several names of stories (`fox_1.png`, `hare_1.png`), each of these is a story. A clip (a video or an
    animation) is a story of its own, with a caption in each line of its text file. A picture without a text file has no
    caption. JSON files may name stories and positions: then they are the rows of a table, see `convert_frame_rows`.
    Folders that are called train, validation or test are splits.

    Args:
        folder: the folder.
        columns: the frames that are taken from a clip.
        access: which files may be read.

    Returns:
        Stories by split, or tables of one row a frame.
    """
    if tables := _tables(folder):
        return tables
    places: dict[Path, list[Path]] = {}
    for picture in pictures_in(folder):
        places.setdefault(picture.parent, []).append(picture)
    splits: dict[str, list[dict]] = {}
    for place, pictures in places.items():
        split, name = _split_and_name(place.relative_to(folder))
        for story, members in _divided(pictures).items():
            story_id = "/".join(filter(None, (name, story))) or place.absolute().name
            for row in _rows(story_id, members, columns.frames_per_video, access):
                splits.setdefault(split, []).append(row)
    return {split: _dataset(rows) for split, rows in splits.items()}


def split_named(name: str) -> str | None:
    """Return the split that a name of a folder or file stands for."""
    return SPLIT_OF.get(name.lower())


def _split_and_name(place: Path) -> tuple[str, str]:
    """Return the split of a folder and the name of its story."""
    first, *rest = place.parts or ("",)
    split = split_named(first)
    return (split, "/".join(rest)) if split else ("train", place.as_posix() if place.parts else "")


def _divided(pictures: list[Path]) -> dict[str, list[Path]]:
    """Return the pictures of a folder by the names of stories that their names begin with, '' for a single story."""
    keys = [split_key(picture.stem) for picture in pictures]
    names = [key and key[0] for key in keys]
    if None in names or len(set(names)) < 2 or any(name.lower() in FRAME_WORDS for name in names):
        return {"": pictures}
    stories: dict[str, list[Path]] = {}
    for name, picture in zip(names, pictures):
        stories.setdefault(name, []).append(picture)
    return stories


def _rows(story_id: str, pictures: list[Path], count: int | None, access: FrameAccess) -> list[dict]:
    """Return the stories of pictures: one, or one a clip."""
    encoded = [{"bytes": None, "path": str(picture.absolute())} for picture in pictures]
    access.check_story({"story_id": story_id, "frames": encoded})
    if not all(map(is_clip, encoded)):
        problem, references = None, [[] for _ in pictures]
        try:
            references = [_captions(picture) for picture in pictures]
        except ValueError as error:
            problem = f"captions: {error}"
        return [{"story_id": story_id, **story_of(encoded, references, None, problem)}]
    rows = []
    for picture, path in zip(encoded, pictures):
        name = "/".join(filter(None, (story_id if len(pictures) > 1 else "", path.stem)))
        try:
            captions, problem = _captions(path, per_line=True), None
        except ValueError as error:
            captions, problem = [], f"captions: {error}"
        story = clip_story(picture, captions, count)
        rows.append({"story_id": name, **story, PROBLEM_COLUMN: problem or story[PROBLEM_COLUMN]})
    return rows


def _captions(picture: Path, per_line: bool = False) -> list[str]:
    """Return the captions of a picture: those in its JSON file, or the text of its text file, as one or one a line."""
    file = text_of(picture)
    if file is not None and _is_json(file):
        return captions_of(file)
    text = _decoded(file) if file else ""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return lines if per_line or not lines else [" ".join(lines)]


def _decoded(file: Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 if its first bytes say so; raise `ValueError` for another."""
    data = file.read_bytes()
    try:
        return data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"got {quoted(file)}, expected text in UTF-8: {error}") from error


def _is_json(file: Path) -> bool:
    return file.suffix.lower() == JSON_SUFFIX


def _has_captions(file: Path) -> bool:
    """Return whether a file beside a picture is for captions; a broken JSON file is, so that it is reported."""
    try:
        return not _is_json(file) or caption_field(read_object(file)) is not None
    except ValueError:
        return True


def _tables(folder: Path) -> dict[str, Dataset]:
    """Return tables of one row a frame by split, where all pictures have JSON files and these name stories."""
    by_split: dict[str, dict[Path, Path]] = {}
    for picture in pictures_in(folder):
        file = text_of(picture)
        if file is None or not _is_json(file):
            return {}
        split, _ = _split_and_name(picture.parent.relative_to(folder))
        by_split.setdefault(split, {})[picture] = file
    try:
        tables = {split: frame_table(files) for split, files in by_split.items()}
    except ValueError:  # reported with the story
        return {}
    return {} if None in tables.values() else tables


def _dataset(rows: list[dict]) -> Dataset:
    """Return stories as a data set, with `references` where some frame has several captions."""
    stories = Dataset.from_list(rows, features=STORY_FEATURES)
    has_references = any(row[REFERENCES_COLUMN] is not None for row in rows)
    return stories if has_references else stories.remove_columns(REFERENCES_COLUMN)
