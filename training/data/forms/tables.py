"""Recognize the form of a table by its columns, and turn it into stories."""

from collections.abc import Callable, Iterator, Mapping

from datasets import Dataset, Features, Image

from ...common.columns import TableColumns
from ..story_reasoning import is_story_reasoning
from .column_names import frame_columns, is_picture, is_text, items_of
from .conversion import with_plain_columns
from .frame_rows import convert_frame_rows
from .paths import Places
from .story_rows import (
    clip_columns,
    convert_clips,
    convert_numbered_columns,
    numbered_pictures,
    with_found_files,
    with_references,
)

STORIES, REFERENCES = "stories", "stories with several captions a frame"
NUMBERED, FRAME_ROWS, CLIPS = "numbered columns", "frame rows", "clips"


class StorySplits(Mapping):
    """The splits of a data set by name, each turned into stories when it is asked for."""

    def __init__(self, splits: Mapping[str, Dataset], convert: Callable[[Dataset], Dataset]):
        self._splits, self._convert, self._stories = splits, convert, {}

    def __getitem__(self, split: str) -> Dataset:
        if split not in self._stories:
            self._stories[split] = self._convert(self._splits[split])
        return self._stories[split]

    def __iter__(self) -> Iterator[str]:
        return iter(self._splits)

    def __len__(self) -> int:
        return len(self._splits)


def form_of(features: Features, frames_column: str, captions_column: str, columns: TableColumns) -> str | None:
    """Return the form of a table by its columns, `None` for one that is not known.

    Args:
        features: columns and their types.
        frames_column: column of lists of frames.
        captions_column: column of lists of captions.
        columns: columns that flags name.

    Raises:
        ValueError: where a flag names a column that does not exist.
    """
    if has_stories(features, frames_column, columns):
        return REFERENCES if is_text(items_of(items_of(features.get(captions_column)))) else STORIES
    if numbered_pictures(features, columns)[0]:
        return NUMBERED
    if frame_columns(features, columns) is not None:
        return FRAME_ROWS
    return CLIPS if clip_columns(features, frames_column, columns)[0] is not None else None


def has_stories(features: Features, frames_column: str, columns: TableColumns) -> bool:
    """Return whether the rows are stories with a list of frames each, or in the format of StoryReasoning.

    Args:
        features: columns and their types; none where there is no row.
        frames_column: column of lists of frames.
        columns: columns that flags name.
    """
    has_lists = items_of(features.get(frames_column)) is not None and not columns.named
    return not features or has_lists or is_story_reasoning(features)


def to_stories(
    dataset: Dataset, frames_column: str, captions_column: str, columns: TableColumns, places: Places
) -> Dataset:
    """Turn a table into stories, with frames and captions in the columns of these names.

    Args:
        dataset: rows of one split.
        frames_column: column of lists of frames.
        captions_column: column of lists of captions.
        columns: columns that flags name.
        places: where pictures may be.

    Returns:
        The stories; a table of no known form as it is.

    Raises:
        ValueError: where a flag names a column that does not exist.
    """
    features = dataset.features or Features()
    if not has_stories(features, frames_column, columns):
        dataset = with_plain_columns(_flattened(dataset))
    form = form_of(dataset.features or Features(), frames_column, captions_column, columns)
    if form in (STORIES, REFERENCES, None):
        return with_references(with_found_files(dataset, frames_column, places.roots), captions_column)
    if form == NUMBERED:
        stories = convert_numbered_columns(dataset, columns, places)
    elif form == FRAME_ROWS:
        stories = convert_frame_rows(dataset, columns, places)
    else:
        stories = convert_clips(dataset, frames_column, columns, places)
    if stories is dataset:
        return dataset
    names = {"frames": frames_column, "captions": captions_column}
    taken = [name for name in names.values() if name in stories.features and name not in names]
    stories = stories.remove_columns(taken)
    return stories.rename_columns({column: name for column, name in names.items() if column != name})


def _flattened(dataset: Dataset) -> Dataset:
    """Return a table with the fields of its columns of objects as columns, such as `json.story` of WebDataset."""
    pictures = [name for name, feature in dataset.features.items() if isinstance(feature, dict) and is_picture(feature)]
    for name in pictures:
        dataset = dataset.cast_column(name, Image())
    return dataset.flatten() if any(isinstance(feature, dict) for feature in dataset.features.values()) else dataset
