"""Convert a table into stories once: the result is stored beside the data sets of `datasets` and read from there."""

import ast
import json
import os
from collections.abc import Callable
from pathlib import Path

import datasets
from datasets import Dataset, Features, Image, List, Value, Video
from datasets.fingerprint import Hasher

from ...common.excerpts import quoted
from ..validation import PROBLEM_COLUMN, REFERENCES_COLUMN
from .clips import DEFAULT_FRAMES, is_clip, take_frames
from .paths import Places, find_file

FORMS_VERSION = 2  # part of the cache key: raise it when the same table would give other stories
STORIES_AT_ONCE = 16
STORY_FEATURES = Features(
    {
        "story_id": Value("string"),
        "frames": List(Image()),
        "captions": List(Value("string")),
        REFERENCES_COLUMN: List(List(Value("string"))),
        PROBLEM_COLUMN: Value("string"),
    }
)


def convert(
    dataset: Dataset, function: Callable[[dict], dict], key: list, extra: Features | None = None, **options: object
) -> Dataset:
    """Return the stories that `function` makes of batches of rows; those of an earlier call with the same key.

    Args:
        dataset: rows, their pictures not decoded.
        function: turns a batch of rows into columns of `STORY_FEATURES`, and of `extra`.
        key: what identifies the rows and the way they are converted.
        extra: further columns.
        **options: given to `function`.

    Returns:
        The stories. Columns that are empty throughout are left out: `references` and `read_problem`.

    Raises:
        ValueError: where the folder of the files of `datasets` cannot be written.
    """
    fingerprint = Hasher.hash([FORMS_VERSION, *key])
    file = Path(datasets.config.HF_DATASETS_CACHE, "storyattn-forms", f"{fingerprint}.arrow")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"HF_DATASETS_CACHE: got {str(file.parent.parent)!r}, expected a folder to write to"
        ) from error
    stories = dataset.map(
        function,
        fn_kwargs=options,
        batched=True,
        batch_size=STORIES_AT_ONCE,
        writer_batch_size=STORIES_AT_ONCE,
        remove_columns=dataset.column_names,
        features=Features({**STORY_FEATURES, **(extra or {})}),
        cache_file_name=str(file),
        load_from_cache_file=True,
        new_fingerprint=fingerprint,
        desc="reading stories",
    )
    empty = [name for name in (REFERENCES_COLUMN, PROBLEM_COLUMN) if not any(stories[name][:])]
    return stories.remove_columns(empty)


def with_plain_columns(dataset: Dataset) -> Dataset:
    """Return a table whose columns of mixed types in JSON, such as 1 and "2", hold texts, or lists of texts."""
    for column, feature in dataset.features.items():
        if type(feature).__name__ != "Json":
            continue
        cells = dataset[column][:]
        if any(isinstance(cell, dict) for cell in cells):
            continue
        is_list = any(isinstance(cell, list) for cell in cells)
        texts = [texts_of(cell) if is_list else None if is_blank(cell) else str(cell) for cell in cells]
        feature = List(Value("string")) if is_list else Value("string")
        dataset = dataset.remove_columns(column).add_column(column, texts, feature=feature)
    return dataset


def encoded(dataset: Dataset) -> Dataset:
    """Return a table whose pictures and videos are not decoded."""
    for column, feature in dataset.features.items():
        if isinstance(feature, (Image, Video)):
            dataset = dataset.cast_column(column, type(feature)(decode=False))
    return dataset


def picture_of(cell: object, places: Places) -> dict | None:
    """Return the cell of a table as an encoded picture: `bytes` and `path`, `None` for an empty cell.

    Args:
        cell: bytes, a path, or both by these names.
        places: where pictures may be.

    Raises:
        ValueError: for a path that leads out of the folders.
    """
    if isinstance(cell, dict):
        data, path = cell.get("bytes"), cell.get("path")
    else:
        data, path = (cell, None) if isinstance(cell, bytes) else (None, cell)
    if data is not None:
        return {"bytes": data, "path": path}
    if path is None or not str(path).strip():
        return None
    return {"bytes": None, "path": find_file(str(path), places.roots)}


def texts_of(cell: object) -> list[str]:
    """Return the captions in the cell of a table: one, several or none."""
    cell = listed_texts(cell) if isinstance(cell, str) else cell
    if isinstance(cell, (list, tuple)):
        return [text for item in cell for text in texts_of(item)]
    if cell is None or (isinstance(cell, float) and cell != cell):  # NaN stands for an empty cell of a CSV file
        return []
    return [str(cell)] if str(cell).strip() else []


def listed_texts(text: str) -> str | list[str]:
    """Return the list of texts that a text is in JSON, or as Python prints it; any other text as it is."""
    if not (text.lstrip().startswith("[") and text.rstrip().endswith("]")):
        return text
    try:
        texts = json.loads(text)
    except (ValueError, RecursionError):
        try:
            texts = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return text
        texts = texts if repr(texts) == text.strip() else None  # Python joins texts without a comma between them
    is_list = isinstance(texts, list) and texts and all(isinstance(item, (str, type(None))) for item in texts)
    return texts if is_list else text


def is_blank(cell: object) -> bool:
    """Return whether a cell is empty: null, NaN or white space."""
    return not texts_of(cell)


def story_of(
    pictures: list[dict | None], references: list[list[str]], count: int | None, problem: str | None = None
) -> dict:
    """Return `frames`, `captions`, `references` and `read_problem` of a story.

    Args:
        pictures: encoded pictures or clips, one a frame.
        references: captions of each.
        count: frames that are taken from each clip; each has the captions of the clip. `None`: clips are pictures.
        problem: what is wrong with the story, if that is known.
    """
    frames, captions = [], []
    try:
        for picture, texts in zip(pictures, references):
            taken = take_frames(picture, count) if count is not None and is_clip(picture) else [picture]
            frames += taken
            captions += [texts] * len(taken)
    except ValueError as error:
        problem = problem or f"frame {len(frames)}: {error}"
    several = any(len(texts) > 1 for texts in captions)
    return {
        "frames": frames,
        "captions": [texts[0] if texts else None for texts in captions],
        REFERENCES_COLUMN: captions if several else None,
        PROBLEM_COLUMN: problem,
    }


def clip_story(picture: dict | None, texts: list[str], count: int | None) -> dict:
    """Return a story whose frames are those of one clip, as `story_of` does.

    Args:
        picture: the clip.
        texts: its captions: one for each frame, or one for all of them.
        count: frames that are taken; by default one a caption where there are several, else `DEFAULT_FRAMES`.
    """
    count = count or (len(texts) if len(texts) > 1 else DEFAULT_FRAMES)
    try:
        if picture is None:
            raise ValueError("got none, expected a video or an animation")
        frames, problem = take_frames(picture, count), None
    except ValueError as error:
        frames, problem = [], f"frames: {error}"
    captions = texts * count if len(texts) == 1 else texts or [None] * count
    if problem is None and len(captions) != count:
        problem = f"captions: got {len(captions)} for the {count} frames of {quoted(picture['path'] or 'a clip')}"
        problem = f"{problem}, expected as many; --frames_per_video sets the number of frames"
    return {"frames": frames, "captions": captions, REFERENCES_COLUMN: None, PROBLEM_COLUMN: problem}


def batch_of(stories: list[dict]) -> dict[str, list]:
    """Return stories as the columns of a batch."""
    return {name: [story[name] for story in stories] for name in (stories[0] if stories else STORY_FEATURES)}


def file_state(picture: dict | None) -> tuple | None:
    """Return name, size and time of the file of a picture, by which a changed one is noticed."""
    if picture is None or picture["bytes"] is not None or not os.path.isfile(picture["path"]):
        return None
    status = os.stat(picture["path"])
    return picture["path"], status.st_size, status.st_mtime_ns
