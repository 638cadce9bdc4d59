"""Stream stories: rows of a folder or a Hub data set in the schema, one after the other, none of them stored."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice

from datasets import Dataset, Features, Image, IterableDataset, List, Value

from ..common.columns import TableColumns
from ..common.excerpts import quoted
from ..common.loading import one_line_reason, reason_for
from .file_faults import fault_of_files, joined_features, lacks_a_type
from .forms.column_names import is_text, items_of
from .forms.tables import STORIES, form_of
from .frame_access import FrameAccess, frame_access
from .schema import STATE_COLUMNS, check_columns, check_types, has_states, is_converted, reading_columns
from .source_files import REFUSALS, local_files, open_builder
from .sources import (
    NO_COLUMNS,
    STORYWORLD,
    as_stories,
    is_local_form,
    is_saved,
    locate,
    name_of_split,
    open_form,
    read_stories,
)
from .splits import SPLIT_SHARE, hash_position, splits_to_derive
from .story_reasoning import story_reasoning_row
from .validation import PROBLEM_COLUMN, REFERENCES_COLUMN

MAX_SHARDS = 61  # of a local data set: a prime, so that its readers share one sequence of all stories
ENCODED_IMAGES = List(Image(decode=False))
NAMES = ("characters", "places")  # of an event of StoryWorld
READING_FEATURES = {REFERENCES_COLUMN: List(List(Value("string"))), PROBLEM_COLUMN: Value("string")}


def open_stream(
    name: str,
    split: str,
    *,
    frames_column: str = "frames",
    captions_column: str = "captions",
    table_columns: TableColumns = NO_COLUMNS,
    allow_remote_frames: bool = False,
    allow_local_paths: bool = False,
    storyworld_options: dict | None = None,
) -> IterableDataset:
    """Open the rows of a split as a stream in the schema of `read_stories`. Single stories are not checked.

    What `datasets` can stream, from a folder or the Hub, is streamed. StoryWorld, the folders of `save_to_disk` and the
    forms that have to be turned into stories are read from the disk. Splits that are lacking are derived by the hash of
    each story's id, as by `assign_splits`, but nothing can be moved into one that stays empty.

    Args:
        name: data set, as in `read_stories`.
        split: name of the split.
        frames_column: column that holds the frames.
        captions_column: column that holds the captions.
        table_columns: columns of other forms.
        allow_remote_frames: allow frames that are addresses, as in `read_stories`; stories are checked as they come.
        allow_local_paths: allow frames outside of the data set, in the same way.
        storyworld_options: how StoryWorld is drawn.

    Returns:
        Stories whose pictures are not decoded and whose ids are unchanged.

    Raises:
        ValueError: as `read_stories`.
    """
    columns = {"frames_column": frames_column, "captions_column": captions_column}
    allowed = {"allow_remote_frames": allow_remote_frames, "allow_local_paths": allow_local_paths}
    access = frame_access(name, **allowed)
    opened = None if name == STORYWORLD else open_form(name, table_columns, access)
    if name != STORYWORLD and opened is None:
        streamed = _open_stories(name, split, access, table_columns, **columns)
        if streamed is not None:
            return _stream_split(*streamed, name, split, access, **columns)
    splits = None if opened is None else as_stories(opened, **columns, table_columns=table_columns, access=access)
    options = {"storyworld_options": storyworld_options, "table_columns": table_columns, "splits": splits}
    return _stream_from_disk(read_stories(name, split, **options, **columns, **allowed))


def _stream_from_disk(stories: Dataset) -> IterableDataset:
    stories = stories.cast_column("frames", ENCODED_IMAGES)
    return stories.to_iterable_dataset(num_shards=min(MAX_SHARDS, len(stories)))


def _open_stories(
    name: str,
    split: str,
    access: FrameAccess,
    table_columns: TableColumns,
    frames_column: str,
    captions_column: str,
) -> tuple[dict[str, IterableDataset], list[str]] | None:
    """Return the splits of a data set that `datasets` streams, and its files; `None` for one in another form."""
    location = locate(name)
    if is_saved(location):
        return None
    splits, files = _open(name, access)
    source = name_of_split(name, split, splits, splits_to_derive(splits))
    with _naming_faults(f"split {quoted(source)} of {quoted(name)} could not be streamed", files):
        splits[source] = splits[source] if splits[source].features else splits[source]._resolve_features()
    features = splits[source].features
    form = form_of(features, frames_column, captions_column, table_columns)
    names_files = is_text(items_of(features.get(frames_column))) and is_local_form(location)
    is_read = form in (None, STORIES) and not names_files and REFERENCES_COLUMN not in reading_columns(features)
    return (splits, files) if is_read else None


def _stream_split(
    splits: dict[str, IterableDataset],
    files: list[str],
    name: str,
    split: str,
    access: FrameAccess,
    frames_column: str,
    captions_column: str,
) -> IterableDataset:
    """Return the rows of a split that `datasets` streams, as `open_stream` does."""
    columns = {"frames_column": frames_column, "captions_column": captions_column}
    derived = splits_to_derive(splits)
    source = name_of_split(name, split, splits, derived)
    stream = splits[source]
    names = list(stream.features)
    if is_converted(names, name, frames_column, captions_column):
        columns = {"frames_column": "images", "captions_column": None}
    else:
        check_columns(names, name, frames_column, captions_column)
    check_types(stream.features, name, **columns)
    has_captions = (
        columns["captions_column"] is None or getattr(stream.features[captions_column], "dtype", "") != "null"
    )
    stream = stream.cast_column(columns["frames_column"], ENCODED_IMAGES)
    state_columns = STATE_COLUMNS if has_states(stream.features) else ()
    if derived and source == "train":
        stream = stream.filter(_is_in_split, fn_kwargs={"split": split, "derived": derived, **columns})
    options = {
        "split": split,
        "access": access,
        "has_captions": has_captions,
        "state_columns": state_columns,
        **columns,
    }
    stream = stream.map(_to_schema, fn_kwargs=options, remove_columns=names)
    stream.source_files = files  # for `rows_of`
    return stream


def rows_of(stream: IterableDataset, part: IterableDataset | None = None) -> Iterator[dict]:
    """Yield the rows of a stream one by one. Plain iteration would share them out over the workers once more.

    Args:
        stream: stream from `open_stream`.
        part: a part of it, whose rows are wanted alone.

    Raises:
        ValueError: naming the file, where one cannot be read; and as `FrameAccess.check_story`.
    """
    with _naming_faults("the stream cannot be read on", getattr(stream, "source_files", [])):
        for batch in (stream if part is None else part).iter(batch_size=1):
            yield {name: values[0] for name, values in batch.items()}


def first_stories(stream: IterableDataset, number: int, name: str) -> Dataset:
    """Load the first stories of a stream into memory: tokenizer, floors and evaluations need some of them.

    Args:
        stream: stories from `open_stream`.
        number: how many stories are loaded; fewer where the stream is shorter.
        name: what messages call the stream.

    Raises:
        ValueError: where the stream has no story, and as `rows_of`.
    """
    rows = list(islice(rows_of(stream), number))
    if not rows:
        hint = "where a data set lacks the split, a stream derives it: one story in 20 of 'train', by its id"
        raise ValueError(f"dataset: got no story in {name}, expected at least one; {hint}")
    features = {"story_id": Value("string"), "frames": List(Image()), "captions": List(Value("string"))}
    for column in ("boxes", "events"):
        if all(row.get(column) is not None for row in rows):
            place = {"entity": Value("string"), "kind": Value("string"), "box": List(Value("int32"))}
            if column == "events":
                items = [event for row in rows for event in row["events"]]
                place |= {name: List(Value("string")) for name in NAMES if all(name in item for item in items)}
            features[column] = List(List(place)) if column == "boxes" else List(place)
    if all(row.get(column) is not None for row in rows for column in STATE_COLUMNS):
        features |= {"domain": Value("string"), "states": List(Value("string"))}
    features |= {column: READING_FEATURES[column] for column in READING_FEATURES if column in rows[0]}
    return Dataset.from_list([{key: row[key] for key in features} for row in rows], features=Features(features))


@contextmanager
def _naming_faults(what: str, files: list[str]) -> Iterator[None]:
    """Turn an error of the libraries into one line that names the file at fault."""
    try:
        yield
    except REFUSALS:
        raise
    except Exception as error:  # the libraries raise a dozen kinds
        raise ValueError(f"dataset: {what}: {fault_of_files(files) or one_line_reason(error)}") from error


def _open(name: str, access: FrameAccess) -> tuple[dict[str, IterableDataset], list[str]]:
    """Return the splits of a data set as streams, and its files where they are on this machine."""
    location = locate(name)
    opened = partial(open_builder, location, access, download=False)
    try:
        builder = opened()
        splits = dict(builder.as_streaming_dataset())
        files = local_files(builder, download=False)
        if any(lacks_a_type(dict(stream.features or {})) for stream in splits.values()):
            features = joined_features(files)
            splits = splits if features is None else dict(opened(features=features).as_streaming_dataset())
        return splits, files
    except REFUSALS:
        raise
    except Exception as error:  # the libraries raise a dozen kinds
        reason = reason_for(name, error)
        raise ValueError(f"dataset: {quoted(name)} could not be streamed from a folder or the Hub: {reason}") from error


def _is_in_split(
    row: dict, split: str, derived: tuple[str, ...], frames_column: str, captions_column: str | None
) -> bool:
    number = int(hash_position(_key(_story(row, frames_column, captions_column))) / SPLIT_SHARE)
    return split == (derived[number] if number < len(derived) else "train")


def _to_schema(
    row: dict,
    split: str,
    access: FrameAccess,
    has_captions: bool,
    state_columns: tuple[str, ...],
    frames_column: str,
    captions_column: str | None,
) -> dict:
    story = {**_story(row, frames_column, captions_column), **{name: row[name] for name in state_columns}}
    if not has_captions:
        story["captions"] = [None] * len(story["frames"] or ())
    story["story_id"] = f"{split}-{_digest(_key(story))}" if story["story_id"] is None else story["story_id"]
    access.check_story(story)
    return story


def _story(row: dict, frames_column: str, captions_column: str | None) -> dict:
    """Return a row in the schema; whatever is wrong with it stays, and is found when stories are checked."""
    columns = story_reasoning_row(row) if captions_column is None else {**row, "captions": row[captions_column]}
    captions, story_id = columns["captions"], columns.get("story_id")
    if isinstance(captions, list):
        captions = [text if not isinstance(text, str) or text.strip() else None for text in captions]
    places = {key: columns[key] for key in ("boxes", "events") if columns.get(key) is not None}
    story_id = None if story_id is None else str(story_id)
    return {"story_id": story_id, "frames": row[frames_column], "captions": captions, **places}


def _key(story: dict) -> str:
    """Return the string whose hash gives a story its split: its id, else its captions, else its first picture."""
    text = " ".join(text for text in story["captions"] or () if text)
    return story["story_id"] or text or repr((story["frames"] or [None])[0])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:10]
