"""Bring data sets into the schema of stories: `frames`, `captions`, `story_id` and the optional columns."""

from typing import NoReturn

from datasets import Dataset, Features, Image, List, Value

from ..common.captions import has_text
from ..common.columns import COLUMN_FLAGS
from ..common.excerpts import excerpt, listed, quoted
from .forms.hint import metadata_hint
from .story_reasoning import convert_story_reasoning, count_frames, is_story_reasoning
from .validation import PROBLEM_COLUMN, REFERENCES_COLUMN

OPTIONAL_COLUMNS = {
    "descriptions": "a list of strings",
    "boxes": "for each frame a list of entity, kind and box",
    "events": "for each frame entity, kind and box",
    "clip_art": "for each frame a list of class_id, x, y, depth and visible",
}
PLACE_FIELDS = {"entity", "kind", "box"}  # of an item of `boxes` and `events`
CLIP_ART_FIELDS = {"class_id", "x", "y", "depth", "visible"}
STATE_COLUMNS = ("domain", "states")  # what the frames show, exactly: the name of a drawn world, a text for each frame


def to_schema(dataset: Dataset, name: str, frames_column: str, captions_column: str) -> Dataset:
    """Return the columns of the schema alone, by their names in it, with frames as images.

    A column of captions has no type where no story has any caption; then every frame gets `None`.

    Args:
        dataset: rows of one split.
        name: what messages call the data set.
        frames_column: column that holds the frames.
        captions_column: column that holds the captions.

    Raises:
        ValueError: for columns that are missing or of another type.
    """
    if is_converted(dataset.column_names, name, frames_column, captions_column):
        dataset = convert_story_reasoning(dataset, name)
        frames_column, captions_column = "images", "captions"
    check_columns(dataset.column_names, name, frames_column, captions_column)
    check_types(dataset.features, name, frames_column, captions_column)
    dataset = _select(dataset, frames_column, captions_column)
    if _is_text(dataset.features["captions"], "null"):
        no_captions = [[None] * length for length in count_frames(dataset, "frames")]
        dataset = _with_column(dataset, "captions", no_captions, List(Value("string")))
    return _cast(dataset)


def is_converted(columns: list[str], name: str, frames_column: str, captions_column: str) -> bool:
    """Return whether a data set has the format of StoryReasoning, and is converted.

    Args:
        columns: names of its columns.
        name: what messages call the data set.
        frames_column: column that shall hold the frames: `images`, or the default.
        captions_column: column that shall hold the captions. Where there is one, nothing is converted.

    Raises:
        ValueError: for another column that the format does not have.
    """
    if captions_column in columns or not is_story_reasoning(columns):
        return False
    allowed = {"frames_column": (COLUMN_FLAGS["frames_column"][0], "images")}
    allowed["captions_column"] = (COLUMN_FLAGS["captions_column"][0],)
    for flag, column in (("frames_column", frames_column), ("captions_column", captions_column)):
        if column not in allowed[flag]:
            held = "'images'" if flag == "frames_column" else "none: they are in 'story'"
            raise ValueError(
                f"{flag}: got {quoted(column)}, expected {held}, in {quoted(name)} in the format of StoryReasoning"
            )
    return True


def check_types(features: Features, name: str, frames_column: str, captions_column: str | None) -> None:
    """Check that the columns of a data set have the types of the schema.

    Args:
        features: its columns and their types. A column of captions may have no type, where no story has any caption.
        name: what messages call the data set.
        frames_column: column that holds the frames.
        captions_column: column that holds the captions; `None`: captions are not checked.

    Raises:
        ValueError: for the first column of another type.
    """
    frames = _items(features[frames_column])
    if frames is None:
        _refuse(name, frames_column, f"got {excerpt(features[frames_column])}, expected a list")
    if not isinstance(frames, Image) and not _can_be_image(frames):
        _refuse(name, frames_column, f"got a list of {excerpt(frames)}, expected images")
    if captions_column is not None and not _is_text(features[captions_column], "null"):
        captions = _items(features[captions_column])
        if captions is None:
            _refuse(name, captions_column, f"got {excerpt(features[captions_column])}, expected a list")
        if not _is_text(captions, "string", "large_string", "null"):
            _refuse(name, captions_column, f"got a list of {excerpt(captions)}, expected strings")
    if "story_id" in features and not isinstance(features["story_id"], Value):
        _refuse(name, "story_id", f"got {excerpt(features['story_id'])}, expected a string or a number")
    for column in OPTIONAL_COLUMNS:
        if column in features and not _is_optional(column, features[column]):
            _refuse(name, column, f"got {excerpt(features[column])}, expected {OPTIONAL_COLUMNS[column]}")


def check_columns(columns: list[str], name: str, frames_column: str, captions_column: str) -> None:
    """Check that a data set has two different columns of frames and captions.

    Args:
        columns: names of its columns.
        name: what messages call the data set.
        frames_column: column that holds the frames.
        captions_column: column that holds the captions.

    Raises:
        ValueError: where one is missing, or both are the same.
    """
    if frames_column == captions_column:
        raise ValueError(f"frames_column: got {frames_column!r}, which is the captions_column, expected two columns")
    for flag, column in (("frames_column", frames_column), ("captions_column", captions_column)):
        if column not in columns:
            raise ValueError(
                f"dataset: got the columns {listed(columns)} in {quoted(name)}, expected {quoted(column)}; "
                f"--{flag} names another; {metadata_hint(name)}"
            )


def has_states(features: Features) -> bool:
    """Return whether there are both columns of states; columns of these names and another type are something else."""
    domain, states = (features.get(name) for name in STATE_COLUMNS)
    return _is_text(domain, "string", "large_string") and _is_text(_items(states), "string", "large_string")


def reading_columns(features: Features) -> list[str]:
    """Return the columns of `references` and of `read_problem`; others of these names and of another type are none."""
    is_references = _is_text(_items(_items(features.get(REFERENCES_COLUMN))), "string", "large_string")
    columns = [REFERENCES_COLUMN] if is_references else []
    return columns + [PROBLEM_COLUMN] * _is_text(features.get(PROBLEM_COLUMN), "string", "large_string")


def name_stories(dataset: Dataset, split: str) -> Dataset:
    """Give every story a `story_id` that no other has.

    A story without one gets the split's name and its number. One whose id an earlier story has gets a number behind it.
    """
    ids = dataset["story_id"][:] if "story_id" in dataset.column_names else [None] * len(dataset)
    unique = [f"{split}-{index}" if name is None else name for index, name in enumerate(ids)]
    taken, used, latest = set(unique), set(), {}
    for index, name in enumerate(unique):
        if name in used:
            number = latest.get(name, 1) + 1
            while f"{name}-{number}" in taken:
                number += 1
            latest[name], unique[index] = number, f"{name}-{number}"
            taken.add(unique[index])
        used.add(name)
    return dataset if unique == ids else _with_column(dataset, "story_id", unique, Value("string"))


def without_blank_captions(dataset: Dataset) -> Dataset:
    """Replace captions of white space alone by `None`."""
    captions = dataset["captions"][:]
    stripped = [story and [text if has_text(text) else None for text in story] for story in captions]
    if stripped == captions:
        return dataset
    return _with_column(dataset, "captions", stripped, dataset.features["captions"])


def _select(dataset: Dataset, frames_column: str, captions_column: str) -> Dataset:
    """Select the columns that the schema has, and give them their names in it."""
    names = {frames_column: "frames", captions_column: "captions"}
    names.update({key: key for key in ("story_id", *OPTIONAL_COLUMNS) if key in dataset.column_names})
    if has_states(dataset.features):
        names.update({key: key for key in STATE_COLUMNS})
    names.update({key: key for key in reading_columns(dataset.features)})
    return dataset.select_columns(list(names)).rename_columns({a: b for a, b in names.items() if a != b})


def _refuse(name: str, column: str, message: str) -> NoReturn:
    raise ValueError(f"dataset: column {quoted(column)} of {quoted(name)}: {message}")


def _items(feature: object) -> object:
    """Return the feature of the items of a column of lists, `None` for a column of another type."""
    return feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)


def _is_optional(column: str, feature: object) -> bool:
    """Return whether the feature is that of an optional column."""
    items = _items(feature)
    if column == "descriptions":
        return _is_text(items, "string", "large_string", "null")
    item = items if column == "events" else _items(items)
    return isinstance(item, dict) and (CLIP_ART_FIELDS if column == "clip_art" else PLACE_FIELDS) <= set(item)


def _cast(dataset: Dataset) -> Dataset:
    features = dataset.features.copy()
    features["frames"], features["captions"] = List(Image()), List(Value("string"))
    if "story_id" in features:
        features["story_id"] = Value("string")
    return dataset if features == dataset.features else dataset.cast(features)


def _with_column(dataset: Dataset, name: str, values: list, feature: object) -> Dataset:
    if name in dataset.column_names:
        dataset = dataset.remove_columns(name)
    return dataset.add_column(name, values, feature=feature)


def _is_text(feature: object, *types: str) -> bool:
    return isinstance(feature, Value) and feature.dtype in types


def _can_be_image(feature: object) -> bool:
    """Return whether `datasets` reads the feature as an image: a path, bytes, or both."""
    if isinstance(feature, dict):
        return set(feature) == {"bytes", "path"}
    return _is_text(feature, "string", "large_string", "binary", "large_binary")
