"""Read the JSON file beside a picture, such as `1.json` beside `1.png`: its captions, or the row of a table."""

import json
from pathlib import Path

from datasets import Dataset, Features, Value

from ...common.excerpts import excerpt, quoted
from .column_names import CAPTION_NAMES, STORY_NAMES, plain_name
from .conversion import texts_of


def read_object(file: Path) -> dict:
    """Return the object in a JSON file.

    Raises:
        ValueError: for a file of anything else.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"got {quoted(file)}, expected JSON: {excerpt(error)}") from error
    if not isinstance(value, dict):
        raise ValueError(f"got {quoted(file)} with a {type(value).__name__}, expected an object with a caption")
    return value


def caption_field(fields: dict) -> str | None:
    """Return the field that holds the captions, by usual names; `None` without one."""
    return _field(fields, CAPTION_NAMES)


def captions_of(file: Path) -> list[str]:
    """Return the captions in a JSON file: one, several in a list, or none.

    Raises:
        ValueError: for a file that holds no object, and for captions that are objects.
    """
    fields = read_object(file)
    captions = fields.get(caption_field(fields))
    if any(isinstance(caption, dict) for caption in (captions if isinstance(captions, list) else [captions])):
        raise ValueError(f"got an object in {quoted(file)}, expected a text or a list of texts")
    return texts_of(captions)


def frame_table(files: dict[Path, Path]) -> Dataset | None:
    """Return a table of one row a frame from JSON files that name stories; `None` where the first one names none.

    Args:
        files: by picture, its JSON file.

    Raises:
        ValueError: for a file that holds no object.
    """
    rows = []
    for picture, file in files.items():
        fields = read_object(file)
        if not rows and _field(fields, STORY_NAMES) is None:
            return None
        fields = {name: _cell(value) for name, value in fields.items()}
        rows.append({**fields, "image": str(picture.absolute())})
    names = list(dict.fromkeys(name for row in rows for name in row))
    features = {name: Value("string") for name in names}
    return Dataset.from_dict({name: [row.get(name) for row in rows] for name in names}, features=Features(features))


def _field(fields: dict, names: tuple[str, ...]) -> str | None:
    by_name = {plain_name(name): name for name in reversed(fields) if fields[name] is not None}
    return next((by_name[name] for name in names if name in by_name), None)


def _cell(value: object) -> str | None:
    """Return a value of JSON as text; lists and objects as JSON."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
