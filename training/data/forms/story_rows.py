"""Read tables of one row a story that have no plain lists: numbered columns, a clip, several captions a frame."""

from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset, Features, List, Value

from ...common.columns import TableColumns
from ..validation import PROBLEM_COLUMN, REFERENCES_COLUMN
from .clips import is_clip
from .column_names import (
    CAPTION_NAMES,
    CLIP_NAMES,
    IMAGE_NAMES,
    STORY_NAMES,
    WEBDATASET_KEY,
    find_column,
    is_caption,
    is_picture,
    is_scalar,
    is_text,
    items_of,
    named_column,
    numbered_columns,
    plain_name,
)
from .conversion import batch_of, clip_story, convert, encoded, file_state, picture_of, story_of, texts_of
from .paths import Places, find_file

OWN_COLUMNS = ("frames", "captions", "story_id", REFERENCES_COLUMN, PROBLEM_COLUMN)


def numbered_pictures(features: Features, columns: TableColumns) -> tuple[dict[int, str], dict[int, str]]:
    """Return the columns of pictures and of captions that are numbered, by number; no pictures where one is alone."""
    stems = (*filter(None, [columns.image_column and plain_name(columns.image_column)]), *IMAGE_NAMES)
    texts = (*filter(None, [columns.caption_column and plain_name(columns.caption_column)]), *CAPTION_NAMES)
    pictures = numbered_columns(features, stems, lambda feature: is_picture(feature) or is_text(feature))
    if len(pictures) < 2:
        return {}, {}
    return pictures, numbered_columns(features, texts, is_caption)


def convert_numbered_columns(dataset: Dataset, columns: TableColumns, places: Places) -> Dataset:
    """Turn columns such as `image_0`, `caption_0`, `image_1` into lists; empty columns at the end make a story shorter.

    Args:
        dataset: the table, one row a story.
        columns: columns that flags name, without their numbers.
        places: where pictures may be.
    """
    pictures, captions = numbered_pictures(dataset.features, columns)
    extra = _extra(dataset, {*pictures.values(), *captions.values()})
    story = named_column(dataset.features, columns, "story_column") or _story_column(dataset.features)
    key = ["numbered columns", dataset._fingerprint, columns, places]
    options = {"pictures": pictures, "captions": captions, "story": story, "places": places, "others": tuple(extra)}
    return convert(encoded(dataset), _join_columns, key, extra, count=columns.frames_per_video, **options)


def clip_columns(features: Features, frames_column: str, columns: TableColumns) -> tuple[str | None, str | None]:
    """Return the columns of a table of one clip a row: of the clip and of its captions, `None` where there is none."""
    names = (*CLIP_NAMES, plain_name(frames_column), *IMAGE_NAMES)
    clip = named_column(features, columns, "image_column")
    clip = clip or find_column(features, names, is_picture) or find_column(features, names, is_text)
    rest = Features({name: feature for name, feature in features.items() if name != clip})
    return clip, named_column(features, columns, "caption_column") or find_column(rest, CAPTION_NAMES, is_caption)


def convert_clips(dataset: Dataset, frames_column: str, columns: TableColumns, places: Places) -> Dataset:
    """Turn videos and animations, one a row with a list of captions or one for all frames, into lists of frames.

    A table whose first picture is no clip is returned as it is.

    Args:
        dataset: the table, one row a story.
        frames_column: the column that holds the frames, by its flag.
        columns: columns that flags name, and the frames of a clip.
        places: where clips may be.
    """
    clip, caption = clip_columns(dataset.features, frames_column, columns)
    cells = encoded(dataset.select_columns([clip]))
    first = picture_of(cells[0][clip], places) if len(cells) else None
    places.expect_allowed(1, [first])
    if not is_clip(first):
        return dataset
    states = [file_state(picture_of(row[clip], places)) for row in cells]
    extra = _extra(dataset, {clip, caption})
    story = named_column(dataset.features, columns, "story_column") or _story_column(dataset.features)
    key = ["clips", dataset._fingerprint, frames_column, columns, places, states]
    options = {"clip": clip, "caption": caption, "story": story, "places": places, "others": tuple(extra)}
    return convert(encoded(dataset), _take_clips, key, extra, count=columns.frames_per_video, **options)


def with_references(dataset: Dataset, captions_column: str) -> Dataset:
    """Turn a column of lists of captions for each frame into the first caption of each and `references`, all of them.

    Args:
        dataset: stories.
        captions_column: column that holds the captions.
    """
    if not is_text(items_of(items_of(dataset.features.get(captions_column)))):
        return dataset
    cells = dataset[captions_column][:]
    references = [story and [texts_of(texts) for texts in story] for story in cells]
    captions = [story and [texts[0] if texts else None for texts in story] for story in references]
    dataset = dataset.remove_columns(
        [name for name in (captions_column, REFERENCES_COLUMN) if name in dataset.features]
    )
    dataset = dataset.add_column(captions_column, captions, feature=List(Value("string")))
    return dataset.add_column(REFERENCES_COLUMN, references, feature=List(List(Value("string"))))


def with_found_files(dataset: Dataset, frames_column: str, roots: Sequence[Path]) -> Dataset:
    """Return stories whose frames are paths with these paths found in the folders.

    Args:
        dataset: stories.
        frames_column: column that holds the frames.
        roots: folders to which the paths are relative.

    Raises:
        ValueError: where a path leads out of the folders.
    """
    feature = dataset.features.get(frames_column)
    if not roots or not is_text(items_of(feature)) or items_of(feature).dtype == "null":
        return dataset
    cells = dataset[frames_column][:]
    try:
        files = [story and [path and find_file(path, roots) for path in story] for story in cells]
    except ValueError as error:
        raise ValueError(f"dataset: column {frames_column!r}: {error}") from error
    if files == cells:
        return dataset
    return dataset.remove_columns(frames_column).add_column(frames_column, files, feature=feature)


def _join_columns(
    batch: dict,
    pictures: dict,
    captions: dict,
    story: str | None,
    places: Places,
    others: tuple[str, ...],
    count: int | None,
) -> dict:
    """Return a batch of stories whose frames are in numbered columns."""
    stories = []
    for row in range(len(batch[next(iter(pictures.values()))])):
        problem, cells = None, []
        try:
            cells = [picture_of(batch[column][row], places) for column in pictures.values()]
        except ValueError as error:
            problem = f"image: {error}"
        places.expect_allowed(_story_id(batch, story, row) or row, cells)
        texts = [texts_of(batch[captions[number]][row]) if number in captions else [] for number in pictures]
        length = max((place + 1 for place, cell in enumerate(cells) if cell is not None), default=0)
        stories.append({"story_id": _story_id(batch, story, row), **story_of(cells[:length], texts, count, problem)})
    return {**{name: batch[name] for name in others}, **batch_of(stories)}


def _take_clips(
    batch: dict,
    clip: str,
    caption: str | None,
    story: str | None,
    places: Places,
    others: tuple[str, ...],
    count: int | None,
) -> dict:
    """Return a batch of stories that are clips."""
    stories = []
    for row, cell in enumerate(batch[clip]):
        texts, picture = texts_of(batch[caption][row]) if caption else [], picture_of(cell, places)
        places.expect_allowed(_story_id(batch, story, row) or row, [picture])
        stories.append({"story_id": _story_id(batch, story, row), **clip_story(picture, texts, count)})
    return {**{name: batch[name] for name in others}, **batch_of(stories)}


def _extra(dataset: Dataset, used: set[str | None]) -> Features:
    """Return the features of the columns that are carried over: those of texts and numbers."""
    names = [name for name in dataset.features if name not in used and name not in OWN_COLUMNS]
    return Features({name: dataset.features[name] for name in names if is_scalar(dataset.features[name])})


def _story_column(features: Features) -> str | None:
    return find_column(features, STORY_NAMES, is_scalar) or (WEBDATASET_KEY if WEBDATASET_KEY in features else None)


def _story_id(batch: dict, story: str | None, row: int) -> str | None:
    return None if story is None or batch[story][row] is None else str(batch[story][row])
