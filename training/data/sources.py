"""Read stories of StoryWorld, of a folder, or of a data set of the Hub, in one schema.

An existing split is used as it is. Where there is a `train` but no `validation` or `test`, these are derived from
it by the hash of `story_id`, see `assign_splits`; `train` is then the rest, whichever split is read. A story
without `story_id` goes by its captions. After that the ids are made unique: a story without one gets the split's
name and its number, such as train-3; the second of two with the same id gets `-2` behind it.
"""

from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path

from datasets import Dataset, DatasetDict, load_from_disk
from transformers.utils import logging

from ..common.archives import refuse_unread
from ..common.columns import COLUMN_FLAGS, TableColumns
from ..common.excerpts import listed, quoted
from ..common.hub_ids import is_hub_id
from .forms.hint import metadata_hint
from .forms.local import SINGLE_FILES, Opened, is_single_file, open_local, table_roots
from .forms.paths import Places
from .forms.tables import StorySplits, to_stories
from .frame_access import FrameAccess, frame_access
from .schema import name_stories, to_schema, without_blank_captions
from .source_files import check_saved, load_splits, naming_causes, naming_source
from .splits import MIN_STORIES, assign_splits, splits_to_derive

logger = logging.get_logger(__name__)

STORYWORLD = "storyworld"
NO_COLUMNS = TableColumns()


def read_stories(
    name: str,
    split: str,
    *,
    frames_column: str = "frames",
    captions_column: str = "captions",
    table_columns: TableColumns = NO_COLUMNS,
    max_stories: int | None = None,
    storyworld_options: dict | None = None,
    splits: Mapping[str, Dataset] | None = None,
    **access: bool,
) -> Dataset:
    """Read the stories of a split; the module says which stories a split has. Single stories are not checked.

    Args:
        name: `storyworld`; a folder (that `datasets` reads, that `save_to_disk` wrote, or of a form in `forms`); a
            file of such a form; or the id of a data set on the Hub.
        split: name of the split.
        frames_column: column that holds the frames: a list of images.
        captions_column: column that holds the captions: a list of strings, or of lists of reference captions.
        table_columns: columns of other forms, such as a table of one row a frame.
        max_stories: read only the first ones.
        storyworld_options: how StoryWorld is drawn, see `load_storyworld`.
        splits: the splits of the data set where `open_source` has opened it already; opening takes time.
        access: `allow_remote_frames` and `allow_local_paths`, see `frame_access`; by default neither.

    Returns:
        Stories with `story_id`, `frames` (list of images), `captions` (list of `str` or `None`, one a frame) and, where
        the data set has them, `descriptions`, `boxes`, `events`, `references` (of each frame all captions, of which
        the first is in `captions`) and `read_problem` (what is wrong with a story).

    Raises:
        ValueError: for an unknown data set, an unknown split or one that cannot be derived, missing columns or columns
            of another type, frames that may not be read, a full disk, and no stories.
    """
    if max_stories is not None and max_stories < 1:
        raise ValueError(f"max_stories: got {max_stories}, expected at least 1")
    if name == STORYWORLD:
        _expect_no_columns(frames_column, captions_column)
        return _draw(split, max_stories, dict(storyworld_options or {}))
    splits = splits or open_source(name, frames_column, captions_column, table_columns, **access)
    with naming_causes(name):
        stories = _read_split(splits, name, split, frames_column, captions_column, max_stories)
    frame_access(name, **access).check(stories, name)
    return stories


def _read_split(
    splits: Mapping[str, Dataset],
    name: str,
    split: str,
    frames_column: str,
    captions_column: str,
    max_stories: int | None,
) -> Dataset:
    """Return a split of the opened data set `name` as `read_stories` does."""
    derived = splits_to_derive(splits)
    source = name_of_split(name, split, splits, derived)
    derived = derived if source == "train" else ()
    dataset = splits[source]
    if not len(dataset):
        raise ValueError(f"dataset: got no story in split {source!r} of {name!r}, expected at least one")
    if not derived:
        dataset = _first(dataset, max_stories)
    dataset = to_schema(dataset, name, frames_column, captions_column)
    keys = _split_keys(dataset) if derived else []
    dataset = without_blank_captions(name_stories(dataset, source))
    return _first(_cut(dataset, name, split, keys, derived), max_stories) if derived else dataset


def _expect_no_columns(frames_column: str, captions_column: str) -> None:
    """Refuse names of columns for StoryWorld, which has its own."""
    for flag, column in (("frames_column", frames_column), ("captions_column", captions_column)):
        if column != COLUMN_FLAGS[flag][0]:
            raise ValueError(f"{flag}: got {quoted(column)}, expected none with {STORYWORLD}, which has its own")


def _draw(split: str, max_stories: int | None, options: dict) -> Dataset:
    """Draw stories of StoryWorld: for `train` as many as asked for, for other splits at most their usual number."""
    from ..storyworld import load_storyworld
    from ..storyworld.dataset import NUM_STORIES

    if max_stories is not None:
        most = max_stories if split == "train" else NUM_STORIES.get(split, max_stories)
        options["num_stories"] = min(max_stories, options.get("num_stories") or most)
    return load_storyworld(split, **options)


def open_source(
    name: str,
    frames_column: str = COLUMN_FLAGS["frames_column"][0],
    captions_column: str = COLUMN_FLAGS["captions_column"][0],
    table_columns: TableColumns = NO_COLUMNS,
    **access: bool,
) -> Mapping[str, Dataset]:
    """Open a folder, a file or a Hub id and return its splits; a data set without splits is `train`.

    A split is turned into stories when it is asked for, see `to_stories`; its columns are unchanged otherwise.

    Args:
        name: the data set, as in `read_stories`.
        frames_column: column that holds the frames.
        captions_column: column that holds the captions.
        table_columns: columns of other forms.
        access: `allow_remote_frames` and `allow_local_paths`, as in `read_stories`, for the data set's own files, too.

    Raises:
        ValueError: where there is no such folder or Hub id, or it cannot be read. The message names the file and, where
            there is one, the line.
    """
    allowed = frame_access(name, **access)
    opened = open_form(name, table_columns, allowed)
    if opened is None:
        location = locate(name)
        with naming_causes(name):
            splits = _open_by_datasets(name, location, allowed)
        opened = Opened(splits, table_roots(Path(location)) if Path(location).is_dir() else [])
    return as_stories(opened, frames_column, captions_column, table_columns, allowed)


def open_form(name: str, table_columns: TableColumns, access: FrameAccess) -> Opened | None:
    """Open a data set of a form that `datasets` does not read alone, see `open_local`; `None` for any other.

    Args:
        name: the data set, as in `read_stories`.
        table_columns: columns of other forms.
        access: which files may be read.

    Raises:
        ValueError: as `open_source`.
    """
    location = locate(name)
    with naming_causes(name):
        return open_local(Path(location), table_columns, access) if is_local_form(location) else None


def as_stories(
    opened: Opened, frames_column: str, captions_column: str, table_columns: TableColumns, access: FrameAccess
) -> StorySplits:
    """Return the splits of an opened data set, each of which is turned into stories when it is asked for.

    Args:
        opened: the data set.
        frames_column: column that holds the frames.
        captions_column: column that holds the captions.
        table_columns: columns of other forms.
        access: which files may be read.
    """
    columns = {"frames_column": frames_column, "captions_column": captions_column, "columns": table_columns}
    return StorySplits(opened.splits, partial(to_stories, **columns, places=Places(tuple(opened.roots), access)))


def _open_by_datasets(name: str, location: str, access: FrameAccess) -> dict[str, Dataset]:
    """Open a folder or a Hub id by `datasets` alone."""
    with naming_source(name, hint=f"; {metadata_hint(location)}" if Path(location).is_dir() else ""):
        splits = _load_saved(location, access) if is_saved(location) else load_splits(location, access)
    return {"train": splits} if isinstance(splits, Dataset) else dict(splits)


def _load_saved(location: str, access: FrameAccess) -> Dataset | DatasetDict:
    check_saved(Path(location), access)
    return load_from_disk(location)


def locate(name: str) -> str:
    """Return the path of the folder or file `name`, or the Hub id that it is.

    Raises:
        ValueError: where it is none of these, and for an empty folder.
    """
    path = Path(name).expanduser()
    if path.is_file() and not is_single_file(path):
        refuse_unread(name)
        raise ValueError(f"dataset: got the file {quoted(name)}, expected a folder or a file {', '.join(SINGLE_FILES)}")
    if not path.is_dir() and not is_single_file(path) and not is_hub_id(name):
        raise ValueError(
            f"dataset: got {quoted(name)}, expected storyworld, a folder that exists, or a Hub id owner/name"
        )
    if path.is_dir() and not any(path.iterdir()):
        raise ValueError(f"dataset: got the empty folder {name!r}, expected Parquet files or another data set")
    return str(path) if path.exists() else name


def is_local_form(location: str) -> bool:
    """Return whether it is a file, or a folder that `save_to_disk` did not write: `open_local` says of which form."""
    return Path(location).exists() and not is_saved(location)


def is_saved(location: str) -> bool:
    """Return whether it is a folder that `save_to_disk` wrote."""
    return any((Path(location) / file).is_file() for file in ("dataset_dict.json", "state.json"))


def name_of_split(name: str, split: str, existing: Collection[str], derived: tuple[str, ...]) -> str:
    """Return the split that holds the stories of `split`: this one, or `train` for a derived split.

    Args:
        name: what messages call the data set.
        split: split that is read.
        existing: splits that the data set has.
        derived: splits that are cut out of `train`.

    Raises:
        ValueError: where the data set has no such split and none is derived.
    """
    if split not in existing and split not in derived:
        raise ValueError(f"split: got {quoted(split)}, expected one of {listed(existing)} in {name!r}")
    return split if split in existing else "train"


def _first(dataset: Dataset, count: int | None) -> Dataset:
    return dataset if count is None else dataset.select(range(min(count, len(dataset))))


def _split_keys(dataset: Dataset) -> list[str]:
    """Return the string whose hash gives each story its split: its id, else its captions, else its number."""
    ids = dataset["story_id"][:] if "story_id" in dataset.column_names else [None] * len(dataset)
    texts = [" ".join(filter(None, captions or ())) for captions in dataset["captions"][:]]
    return [texts[index] or str(index) if story_id is None else story_id for index, story_id in enumerate(ids)]


def _cut(dataset: Dataset, name: str, split: str, keys: list[str], derived: tuple[str, ...]) -> Dataset:
    """Select the stories of `split`: one of `derived`, or the rest of `train` without them."""
    splits = assign_splits(keys, derived)
    sizes = {part: splits.count(part) for part in ("train", *derived)}
    if not sizes[split]:
        raise ValueError(
            f"dataset: got {len(set(keys))} stories in 'train' of {name!r}, expected at least {MIN_STORIES} to derive "
            f"the split {split!r} from them"
        )
    if len(set(splits)) > 1:
        counts = ", ".join(f"{part} {size}" for part, size in sizes.items())
        logger.warning_once(f"{name} has no split {' and no '.join(derived)}: train is divided by story, into {counts}")
    return dataset.select([index for index, part in enumerate(splits) if part == split])
