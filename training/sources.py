"""Where stories come from: StoryWorld, a folder, or a data set of the Hub; in one schema, checked before training."""

import io
from pathlib import Path

from datasets import Dataset, Image, List, Value, load_dataset_builder, load_from_disk
from PIL import Image as PILImage
from tqdm.auto import tqdm

STORYWORLD = "storyworld"
OPTIONAL_COLUMNS = ("descriptions", "boxes", "events")
PROGRESS_FROM = 2000  # stories whose check is worth a progress bar


def load_stories(
    name: str,
    split: str,
    *,
    frames_column: str = "frames",
    captions_column: str = "captions",
    max_stories: int | None = None,
    storyworld_options: dict | None = None,
) -> Dataset:
    """
    The stories of a split: `story_id`, `frames` (list of images), `captions` (list of `str` or `None`, one a frame)
    and, where they exist, `descriptions`, `boxes` and `events`.

    `name` is `storyworld` (drawn with `storyworld_options`, see `load_storyworld`), a folder (of Parquet files or
    whatever else `datasets` reads, or one that `save_to_disk` wrote) or the id of a data set on the Hub.
    `max_stories` takes the first ones.

    Raises `ValueError`, naming what was found and what was expected, for an unknown data set, an unknown split, missing
    columns or columns of another type, no stories, a story without frames, unequal numbers of frames and captions, a
    frame that is no image.
    """
    if max_stories is not None and max_stories < 1:
        raise ValueError(f"max_stories: found {max_stories}, expected at least 1")
    if name == STORYWORLD:
        return _draw(split, max_stories, dict(storyworld_options or {}))
    dataset = _read(name, split)
    if not len(dataset):
        raise ValueError(f"dataset: {name!r} has no story in split {split!r}, expected at least one")
    if max_stories is not None:
        dataset = dataset.select(range(min(max_stories, len(dataset))))
    dataset = _to_schema(dataset, name, split, frames_column, captions_column)
    dataset = _name_stories(dataset, split)
    _check_stories(dataset)
    return _without_blanks(dataset)


def _draw(split: str, max_stories: int | None, options: dict) -> Dataset:
    """Stories of StoryWorld; of fewer than a split has, no more than those are drawn."""
    from .storyworld import load_storyworld
    from .storyworld.dataset import NUM_STORIES

    if max_stories is not None:
        options["num_stories"] = min(max_stories, options.get("num_stories") or NUM_STORIES.get(split, max_stories))
    return load_storyworld(split, **options)


def _read(name: str, split: str) -> Dataset:
    """The split of a folder or a Hub id as it is."""
    path = Path(name).expanduser()
    is_hub_id = name.count("/") == 1 and name[0] not in "./~"
    if not name or (not path.is_dir() and not is_hub_id):
        raise ValueError(f"dataset: found no folder {name!r}, expected storyworld, a folder, or a Hub id owner/name")
    if path.is_dir() and not any(path.iterdir()):
        raise ValueError(f"dataset: the folder {name!r} is empty, expected Parquet files or another data set")
    saved = path.is_dir() and any((path / file).is_file() for file in ("dataset_dict.json", "state.json"))
    try:
        found = load_from_disk(str(path)) if saved else _load_splits(str(path) if path.is_dir() else name)
    except IndexError as error:  # what `load_from_disk` makes of a data set without rows
        raise ValueError(f"dataset: {name!r} has no story in one of its splits, expected at least one") from error
    except Exception as error:  # the libraries raise a dozen kinds, down to those of pyarrow
        reason = " ".join(str(error).split())
        raise ValueError(f"dataset: {name!r} could not be read from a folder or the Hub: {reason}") from error
    splits = {"train": found} if isinstance(found, Dataset) else found
    if split not in splits:
        raise ValueError(f"dataset: {name!r} has no split {split!r}, expected one of {', '.join(splits)}")
    return splits[split]


def _load_splits(source: str) -> dict[str, Dataset]:
    """As `load_dataset`, which raises where a split has no rows; here it is an empty data set."""
    builder = load_dataset_builder(source)
    builder.download_and_prepare()
    sizes = {split: info.num_examples for split, info in builder.info.splits.items()}
    return {split: builder.as_dataset(split) if size else Dataset.from_dict({}) for split, size in sizes.items()}


def _to_schema(dataset: Dataset, name: str, split: str, frames_column: str, captions_column: str) -> Dataset:
    """The columns of the schema alone, by their names there, frames as images."""
    if frames_column == captions_column:
        raise ValueError(f"dataset: frames_column and captions_column are both {frames_column!r}, expected two columns")
    flags = {"frames": ("frames_column", frames_column), "captions": ("captions_column", captions_column)}
    for flag, column in flags.values():
        if column not in dataset.column_names:
            found = ", ".join(dataset.column_names)
            raise ValueError(f"dataset: {name!r} has the columns {found}, expected {column!r}; --{flag} names another")
    kept = {column: key for key, (_, column) in flags.items()}
    kept.update({key: key for key in ("story_id", *OPTIONAL_COLUMNS) if key in dataset.column_names})
    dataset = dataset.select_columns(list(kept)).rename_columns({a: b for a, b in kept.items() if a != b})
    features = dataset.features.copy()
    for column, (_, original) in flags.items():
        if not _is_list(features[column]):
            raise ValueError(f"dataset: column {original!r} of {name!r} is {features[column]}, expected a list")
    frames = getattr(features["frames"], "feature", None) or features["frames"][0]
    if not isinstance(frames, Image) and not _can_be_image(frames):
        raise ValueError(f"dataset: column {frames_column!r} of {name!r} holds {frames}, expected images")
    captions = getattr(features["captions"], "feature", None) or features["captions"][0]
    if not isinstance(captions, Value) or captions.dtype not in ("string", "large_string", "null"):
        raise ValueError(f"dataset: column {captions_column!r} of {name!r} holds {captions}, expected strings")
    features["frames"], features["captions"] = List(Image()), List(Value("string"))
    if "story_id" in features:
        features["story_id"] = Value("string")
    return dataset if features == dataset.features else dataset.cast(features)


def _name_stories(dataset: Dataset, split: str) -> Dataset:
    """A story without `story_id` gets the split's name and its number."""
    known = dataset["story_id"][:] if "story_id" in dataset.column_names else [None] * len(dataset)
    if None not in known:
        return dataset
    named = [f"{split}-{index}" if name is None else name for index, name in enumerate(known)]
    return _with_column(dataset, "story_id", named, Value("string"))


def _without_blanks(dataset: Dataset) -> Dataset:
    """Captions of white space alone become `None`."""
    captions = dataset["captions"][:]
    told = [[text if text and text.strip() else None for text in story] for story in captions]
    return dataset if told == captions else _with_column(dataset, "captions", told, dataset.features["captions"])


def _with_column(dataset: Dataset, name: str, values: list, feature) -> Dataset:
    if name in dataset.column_names:
        dataset = dataset.remove_columns(name)
    return dataset.add_column(name, values, feature=feature)


def _is_list(feature) -> bool:
    return isinstance(feature, list) or hasattr(feature, "feature")


def _can_be_image(feature) -> bool:
    """Whether `datasets` reads the feature as an image: a path, bytes, or both."""
    if isinstance(feature, dict):
        return set(feature) == {"bytes", "path"}
    return isinstance(feature, Value) and feature.dtype in ("string", "large_string", "binary", "large_binary")


def _check_stories(dataset: Dataset) -> None:
    """Looks at every story once, without decoding its pictures: their numbers, and that each is an image."""
    encoded = dataset.with_format("arrow")
    for index in tqdm(range(len(dataset)), desc="checking stories", unit="story", disable=len(dataset) < PROGRESS_FROM):
        (row,) = encoded[index].to_pylist()
        story, frames = row["story_id"], row["frames"]
        if not frames:
            raise ValueError(f"story {story!r}: frames is empty, expected at least one image")
        if row["captions"] is None:
            raise ValueError(f"story {story!r}: captions is missing, expected one for each of {len(frames)} frames")
        for column in ("captions", *OPTIONAL_COLUMNS):
            values = row.get(column)
            if values is not None and len(values) != len(frames):
                raise ValueError(
                    f"story {story!r}: found {len(frames)} frames and {len(values)} {column}, expected as many"
                )
        for position, frame in enumerate(frames):
            _check_image(story, position, frame)


def _check_image(story: str, index: int, frame: dict | None) -> None:
    if frame is None:
        raise ValueError(f"story {story!r}: frame {index} is missing, expected an image")
    try:
        with PILImage.open(io.BytesIO(frame["bytes"]) if frame["bytes"] is not None else frame["path"]) as image:
            image.verify()
    except FileNotFoundError as error:
        raise ValueError(f"story {story!r}: frame {index}: found no file {frame['path']!r}") from error
    except Exception as error:  # what a broken file makes Pillow raise depends on its format
        of = f" ({frame['path']})" if frame["path"] else ""
        raise ValueError(f"story {story!r}: frame {index}{of} is no image that Pillow can read: {error}") from error
