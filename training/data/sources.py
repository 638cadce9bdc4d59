"""Where stories come from: StoryWorld, a folder, or a data set of the Hub; in one schema."""

from collections.abc import Collection
from pathlib import Path

import datasets
from datasets import Dataset, load_dataset_builder, load_from_disk
from datasets.fingerprint import Hasher
from transformers.utils import logging

from ..common.hub_ids import is_hub_id
from .frame_folder import is_frame_folder, read_frame_folder
from .schema import _name_stories, _without_blanks, to_schema
from .splits import MIN_STORIES, assign_splits, splits_to_make

logger = logging.get_logger(__name__)

STORYWORLD = "storyworld"
SAVED, FRAME_FOLDER = "saved", "frame folder"


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
    from ..storyworld import load_storyworld
    from ..storyworld.dataset import NUM_STORIES

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
