"""The schema of stories: `frames`, `captions`, `story_id` and the optional columns."""

from datasets import Dataset, Features, Image, List, Value

from .story_reasoning import convert_story_reasoning, count_frames, is_story_reasoning

OPTIONAL_COLUMNS = {
    "descriptions": "a list of strings",
    "boxes": "for each frame a list of entity, kind and box",
    "events": "for each frame entity, kind and box",
}
STATE_COLUMNS = ("domain", "states")  # what the frames show, exactly: the name of a drawn world, a text for each frame


def to_schema(dataset: Dataset, name: str, frames_column: str, captions_column: str) -> Dataset:
    """
    The columns of the schema alone, by their names there, frames as images. Of a column of captions without any type,
    because none of them is there, every frame gets `None`.

    Raises `ValueError` for columns of the data set `name` that are missing or of another type.
    """
    if captions_column not in dataset.column_names and is_story_reasoning(dataset.column_names):
        dataset = convert_story_reasoning(dataset, name)
        frames_column, captions_column = "images", "captions"
    check_columns(dataset.column_names, name, frames_column, captions_column)
    check_types(dataset.features, name, frames_column, captions_column)
    dataset = _select(dataset, frames_column, captions_column)
    if _is_text(dataset.features["captions"], "null"):
        untold = [[None] * length for length in count_frames(dataset, "frames")]
        dataset = _with_column(dataset, "captions", untold, List(Value("string")))
    return _cast(dataset)


def check_types(features: Features, name: str, frames_column: str, captions_column: str | None) -> None:
    """
    Raises `ValueError` where columns of the data set `name` have another type than the schema asks for; a column of
    captions may have none at all, where no story has any. With `captions_column` `None` captions are not looked at.
    """
    frames = _items(features[frames_column])
    if frames is None:
        _refuse(name, frames_column, f"is {features[frames_column]}, expected a list")
    if not isinstance(frames, Image) and not _can_be_image(frames):
        _refuse(name, frames_column, f"holds {frames}, expected images")
    if captions_column is not None and not _is_text(features[captions_column], "null"):
        captions = _items(features[captions_column])
        if captions is None:
            _refuse(name, captions_column, f"is {features[captions_column]}, expected a list")
        if not _is_text(captions, "string", "large_string", "null"):
            _refuse(name, captions_column, f"holds {captions}, expected strings")
    if "story_id" in features and not isinstance(features["story_id"], Value):
        _refuse(name, "story_id", f"is {features['story_id']}, expected a string or a number")
    for column in OPTIONAL_COLUMNS:
        if column in features and not _is_optional(column, features[column]):
            _refuse(name, column, f"is {features[column]}, expected {OPTIONAL_COLUMNS[column]}")


def check_columns(found: list[str], name: str, frames_column: str, captions_column: str) -> None:
    """Raises `ValueError` where the columns `found` in the data set `name` lack one of the two, or these are one."""
    if frames_column == captions_column:
        raise ValueError(f"dataset: frames_column and captions_column are both {frames_column!r}, expected two columns")
    for flag, column in (("frames_column", frames_column), ("captions_column", captions_column)):
        if column not in found:
            columns = ", ".join(found)
            raise ValueError(
                f"dataset: {name!r} has the columns {columns}, expected {column!r}; --{flag} names another"
            )


def _select(dataset: Dataset, frames_column: str, captions_column: str) -> Dataset:
    """The columns that the schema has, by their names there."""
    kept = {frames_column: "frames", captions_column: "captions"}
    kept.update({key: key for key in ("story_id", *OPTIONAL_COLUMNS) if key in dataset.column_names})
    if has_states(dataset.features):
        kept.update({key: key for key in STATE_COLUMNS})
    return dataset.select_columns(list(kept)).rename_columns({a: b for a, b in kept.items() if a != b})


def has_states(features: Features) -> bool:
    """Return whether there are both columns of states; columns of these names and another type are something else."""
    domain, states = (features.get(name) for name in STATE_COLUMNS)
    return _is_text(domain, "string", "large_string") and _is_text(_items(states), "string", "large_string")


def _refuse(name: str, column: str, found: str) -> None:
    raise ValueError(f"dataset: column {column!r} of {name!r} {found}")


def _items(feature):
    """What the lists of a column hold, `None` where they are no lists."""
    return feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)


def _is_optional(column: str, feature) -> bool:
    """Whether the feature is that of an optional column."""
    items = _items(feature)
    if column == "descriptions":
        return _is_text(items, "string", "large_string", "null")
    place = _items(items) if column == "boxes" else items
    return isinstance(place, dict) and {"entity", "kind", "box"} <= set(place)


def _cast(dataset: Dataset) -> Dataset:
    features = dataset.features.copy()
    features["frames"], features["captions"] = List(Image()), List(Value("string"))
    if "story_id" in features:
        features["story_id"] = Value("string")
    return dataset if features == dataset.features else dataset.cast(features)


def _name_stories(dataset: Dataset, split: str) -> Dataset:
    """A story without `story_id` gets the split's name and its number, one whose id is taken another behind it."""
    known = dataset["story_id"][:] if "story_id" in dataset.column_names else [None] * len(dataset)
    named = [f"{split}-{index}" if name is None else name for index, name in enumerate(known)]
    taken, used, latest = set(named), set(), {}
    for index, name in enumerate(named):
        if name in used:
            number = latest.get(name, 1) + 1
            while f"{name}-{number}" in taken:
                number += 1
            latest[name], named[index] = number, f"{name}-{number}"
            taken.add(named[index])
        used.add(name)
    return dataset if named == known else _with_column(dataset, "story_id", named, Value("string"))


def _without_blanks(dataset: Dataset) -> Dataset:
    """Captions of white space alone become `None`."""
    captions = dataset["captions"][:]
    told = [story and [text if text and text.strip() else None for text in story] for story in captions]
    return dataset if told == captions else _with_column(dataset, "captions", told, dataset.features["captions"])


def _with_column(dataset: Dataset, name: str, values: list, feature) -> Dataset:
    if name in dataset.column_names:
        dataset = dataset.remove_columns(name)
    return dataset.add_column(name, values, feature=feature)


def _is_text(feature, *types: str) -> bool:
    return isinstance(feature, Value) and feature.dtype in types


def _can_be_image(feature) -> bool:
    """Whether `datasets` reads the feature as an image: a path, bytes, or both."""
    if isinstance(feature, dict):
        return set(feature) == {"bytes", "path"}
    return _is_text(feature, "string", "large_string", "binary", "large_binary")
