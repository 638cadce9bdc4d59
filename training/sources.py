"""Where stories come from: StoryWorld, a folder, or a data set of the Hub; in one schema."""

from collections.abc import Collection
from pathlib import Path

import datasets
from datasets import Dataset, Features, Image, List, Value, load_dataset_builder, load_from_disk
from datasets.fingerprint import Hasher
from transformers.utils import logging

from .frame_folder import is_frame_folder, read_frame_folder
from .hub import is_hub_id
from .splits import MIN_STORIES, assign_splits, splits_to_make
from .story_reasoning import convert_story_reasoning, count_frames, is_story_reasoning

logger = logging.get_logger(__name__)

STORYWORLD = "storyworld"
SAVED, FRAME_FOLDER = "saved", "frame folder"
OPTIONAL_COLUMNS = {
    "descriptions": "a list of strings",
    "boxes": "for each frame a list of entity, kind and box",
    "events": "for each frame entity, kind and box",
}


def read_stories(
    name: str,
    split: str,
    *,
    frames_column: str = "frames",
    captions_column: str = "captions",
    max_stories: int | None = None,
    storyworld_options: dict | None = None,
) -> Dataset:
    """
    The stories of a split: `story_id` (no two the same), `frames` (list of images), `captions` (list of `str` or
    `None`, one a frame) and, where they exist, `descriptions`, `boxes` and `events`. Single stories are not checked.

    `name` is `storyworld` (drawn with `storyworld_options`, see `load_storyworld`), a folder (of images with a
    `metadata.jsonl`, see `read_frame_folder`, of Parquet files or whatever else `datasets` reads, or one that
    `save_to_disk` wrote) or the id of a data set on the Hub. One in the format of daniel3303/StoryReasoning is known by
    its columns and converted, see `story_reasoning_row`. `max_stories` takes the first ones.

    A split that is there is used as it is. Where there is a `train` and no `validation` or `test`, these are made out
    of it by the hash of `story_id`, see `assign_splits`, and `train` is then the rest, whichever of them is asked for;
    a story without `story_id` goes by its captions. The id is made unique after that: a story without one gets the
    split's name and its number, such as train-3, the second of two with the same id gets `-2` behind it.

    Raises `ValueError`, naming what was found and what was expected, for an unknown data set, an unknown split or one
    that cannot be made, missing columns or columns of another type, and no stories.
    """
    if max_stories is not None and max_stories < 1:
        raise ValueError(f"max_stories: found {max_stories}, expected at least 1")
    if name == STORYWORLD:
        return _draw(split, max_stories, dict(storyworld_options or {}))
    splits = open_source(name)
    made = splits_to_make(splits)
    source = name_of_split(name, split, splits, made)
    divided = made if source == "train" else ()
    dataset = splits[source]
    if not len(dataset):
        raise ValueError(f"dataset: {name!r} has no story in split {source!r}, expected at least one")
    if not divided:
        dataset = _first(dataset, max_stories)
    dataset = to_schema(dataset, name, frames_column, captions_column)
    keys = _split_keys(dataset) if divided else []
    dataset = _without_blanks(_name_stories(dataset, source))
    return _first(_cut(dataset, name, split, keys, divided), max_stories) if divided else dataset


def _draw(split: str, max_stories: int | None, options: dict) -> Dataset:
    """Stories of StoryWorld. As many as are asked for to train on; the other splits stay what they are, or less."""
    from .storyworld import load_storyworld
    from .storyworld.dataset import NUM_STORIES

    if max_stories is not None:
        most = max_stories if split == "train" else NUM_STORIES.get(split, max_stories)
        options["num_stories"] = min(max_stories, options.get("num_stories") or most)
    return load_storyworld(split, **options)


def open_source(name: str) -> dict[str, Dataset]:
    """
    The splits of a folder or a Hub id as they are; a data set without any is `train`.

    Raises `ValueError` where there is no such folder or Hub id, or it cannot be read.
    """
    location = locate(name)
    kind = folder_kind(location)
    if kind == FRAME_FOLDER:
        return read_frame_folder(location)
    try:
        found = load_from_disk(location) if kind == SAVED else _load_splits(location)
    except IndexError as error:  # what `load_from_disk` makes of a data set without rows
        raise ValueError(f"dataset: {name!r} has no story in one of its splits, expected at least one") from error
    except Exception as error:  # the libraries raise a dozen kinds, down to those of pyarrow
        reason = " ".join(str(error).split())
        raise ValueError(f"dataset: {name!r} could not be read from a folder or the Hub: {reason}") from error
    return {"train": found} if isinstance(found, Dataset) else dict(found)


def locate(name: str) -> str:
    """The path of the folder `name`, or the Hub id that it is; raises `ValueError` where it is neither."""
    path = Path(name).expanduser()
    if not path.is_dir() and not is_hub_id(name):
        raise ValueError(f"dataset: found no folder {name!r}, expected storyworld, a folder, or a Hub id owner/name")
    if path.is_dir() and not any(path.iterdir()):
        raise ValueError(f"dataset: the folder {name!r} is empty, expected Parquet files or another data set")
    return str(path) if path.is_dir() else name


def folder_kind(location: str) -> str | None:
    """`SAVED` by `save_to_disk`, a `FRAME_FOLDER`, or `None`: what `datasets` loads, and streams, by itself."""
    path = Path(location)
    if any((path / file).is_file() for file in ("dataset_dict.json", "state.json")):
        return SAVED
    return FRAME_FOLDER if path.is_dir() and is_frame_folder(path) else None


def name_of_split(name: str, split: str, existing: Collection[str], made: tuple[str, ...]) -> str:
    """
    The split of the data set `name` that holds the stories of `split`: this one, or `train` for those `made` out of it.

    Raises `ValueError` where it is neither.
    """
    if split not in existing and split not in made:
        raise ValueError(f"dataset: {name!r} has no split {split!r}, expected one of {', '.join(existing)}")
    return split if split in existing else "train"


def _load_splits(source: str) -> dict[str, Dataset]:
    """As `load_dataset`, which raises where a split has no rows; here it is an empty data set."""
    state, options = _state_of_files(Path(source)), {}
    if state:
        # The library knows some folders by their name alone, and would give what such a folder held before.
        options["cache_dir"] = str(Path(datasets.config.HF_DATASETS_CACHE, "storyattn-folders", state))
    builder = load_dataset_builder(source, **options)
    builder.download_and_prepare()
    splits = {}
    for split, info in builder.info.splits.items():
        splits[split] = builder.as_dataset(split) if info.num_examples else Dataset.from_dict({})
        splits[split]._fingerprint = Hasher.hash([splits[split]._fingerprint, state])
    return splits


def _state_of_files(folder: Path) -> str:
    """A digest of the names, sizes and times of all files in a folder; empty where there is no such folder."""
    if not folder.is_dir():
        return ""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    found = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return Hasher.hash(found)


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
    return dataset.select_columns(list(kept)).rename_columns({a: b for a, b in kept.items() if a != b})


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


def _first(dataset: Dataset, count: int | None) -> Dataset:
    return dataset if count is None else dataset.select(range(min(count, len(dataset))))


def _split_keys(dataset: Dataset) -> list[str]:
    """What the split of each story goes by: its id, else its captions, else its number."""
    ids = dataset["story_id"][:] if "story_id" in dataset.column_names else [None] * len(dataset)
    told = [" ".join(filter(None, captions or ())) for captions in dataset["captions"][:]]
    return [told[index] or str(index) if known is None else known for index, known in enumerate(ids)]


def _cut(dataset: Dataset, name: str, split: str, keys: list[str], made: tuple[str, ...]) -> Dataset:
    """The stories of `split`, which is one of `made` or what is left of `train` without them."""
    splits = assign_splits(keys, made)
    sizes = {part: splits.count(part) for part in ("train", *made)}
    if not sizes[split]:
        found = len(set(keys))
        raise ValueError(
            f"dataset: {name!r} has no split {split!r}, and {found} stories in 'train', expected at least "
            f"{MIN_STORIES} to make it of"
        )
    if len(set(splits)) > 1:
        counted = ", ".join(f"{part} {size}" for part, size in sizes.items())
        logger.warning_once(f"{name} has no split {' and no '.join(made)}: train is divided by story, into {counted}")
    return dataset.select([index for index, part in enumerate(splits) if part == split])


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
