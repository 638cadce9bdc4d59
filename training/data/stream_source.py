"""Streams of stories: rows of a folder or a Hub data set in the schema, one after the other, nothing of them kept."""

import hashlib
from itertools import islice

from datasets import Dataset, Features, Image, IterableDataset, List, Value, load_dataset

from .schema import STATE_COLUMNS, check_columns, check_types, has_states
from .sources import STORYWORLD, folder_kind, locate, name_of_split, read_stories
from .splits import SHARE, hash_position, splits_to_make
from .story_reasoning import is_story_reasoning, story_reasoning_row

SHARDS = 61  # of a data set that is here already: a prime, so that its readers share one row of all stories
ENCODED = List(Image(decode=False))


def open_stream(
    name: str,
    split: str,
    *,
    frames_column: str = "frames",
    captions_column: str = "captions",
    storyworld_options: dict | None = None,
) -> IterableDataset:
    """
    The rows of a split in the schema of `read_stories`, their pictures not decoded, their ids as they came.

    What `datasets` can stream, from a folder or the Hub, is streamed; StoryWorld, folders of frames and what
    `save_to_disk` wrote are read where they lie. Splits that are lacking are made by the hash of each story's id, as by
    `assign_splits`, though nothing can be moved into one that stays empty.

    Raises `ValueError` as `read_stories`; single stories are not checked.
    """
    columns = {"frames_column": frames_column, "captions_column": captions_column}
    if name == STORYWORLD or folder_kind(locate(name)) is not None:
        stories = read_stories(name, split, storyworld_options=storyworld_options, **columns)
        stories = stories.cast_column("frames", ENCODED)
        return stories.to_iterable_dataset(num_shards=min(SHARDS, len(stories)))
    splits = _open(name)
    made = splits_to_make(splits)
    source = name_of_split(name, split, splits, made)
    stream = splits[source]
    if stream.features is None:
        stream = stream._resolve_features()
    names = list(stream.features)
    if is_story_reasoning(names) and captions_column not in names:
        columns = {"frames_column": "images", "captions_column": None}
    else:
        check_columns(names, name, frames_column, captions_column)
    check_types(stream.features, name, **columns)
    untold = columns["captions_column"] is not None and getattr(stream.features[captions_column], "dtype", "") == "null"
    stream = stream.cast_column(columns["frames_column"], ENCODED)
    kept = STATE_COLUMNS if has_states(stream.features) else ()
    if made and source == "train":
        stream = stream.filter(_is_in_split, fn_kwargs={"split": split, "made": made, **columns})
    options = {"split": split, "untold": untold, "kept": kept, **columns}
    return stream.map(_to_schema, fn_kwargs=options, remove_columns=names)


def first_stories(stream: IterableDataset, number: int, name: str) -> Dataset:
    """
    The first `number` stories of a stream as a data set in memory: tokenizer, floors and evaluations need some at hand.

    Raises `ValueError` where the stream, called `name`, has none.
    """
    rows = [{key: values[0] for key, values in batch.items()} for batch in islice(stream.iter(batch_size=1), number)]
    if not rows:
        made = "; where a data set has no such split, a stream's is made of one story in 20 of 'train', by its id"
        raise ValueError(f"dataset: {name} has no story, expected at least one{made}")
    features = {"story_id": Value("string"), "frames": List(Image()), "captions": List(Value("string"))}
    for column in ("boxes", "events"):
        if all(row.get(column) is not None for row in rows):
            place = {"entity": Value("string"), "kind": Value("string"), "box": List(Value("int32"))}
            features[column] = List(List(place)) if column == "boxes" else List(place)
    if all(row.get(column) is not None for row in rows for column in STATE_COLUMNS):
        features |= {"domain": Value("string"), "states": List(Value("string"))}
    return Dataset.from_list([{key: row[key] for key in features} for row in rows], features=Features(features))


def _open(name: str) -> dict[str, IterableDataset]:
    try:
        return dict(load_dataset(locate(name), streaming=True))
    except Exception as error:  # the libraries raise a dozen kinds
        reason = " ".join(str(error).split())
        raise ValueError(f"dataset: {name!r} could not be streamed from a folder or the Hub: {reason}") from error


def _is_in_split(row: dict, split: str, made: tuple[str, ...], frames_column: str, captions_column: str | None) -> bool:
    number = int(hash_position(_key(_story(row, frames_column, captions_column))) / SHARE)
    return split == (made[number] if number < len(made) else "train")


def _to_schema(
    row: dict, split: str, untold: bool, kept: tuple[str, ...], frames_column: str, captions_column: str | None
) -> dict:
    story = {**_story(row, frames_column, captions_column), **{name: row[name] for name in kept}}
    if untold:
        story["captions"] = [None] * len(story["frames"] or ())
    return {**story, "story_id": f"{split}-{_digest(_key(story))}" if story["story_id"] is None else story["story_id"]}


def _story(row: dict, frames_column: str, captions_column: str | None) -> dict:
    """A row as it came in the schema; whatever is wrong with it stays, for whoever checks stories."""
    told = story_reasoning_row(row) if captions_column is None else {**row, "captions": row[captions_column]}
    captions, story_id = told["captions"], told.get("story_id")
    if isinstance(captions, list):
        captions = [text if not isinstance(text, str) or text.strip() else None for text in captions]
    places = {key: told[key] for key in ("boxes", "events") if told.get(key) is not None}
    known = None if story_id is None else str(story_id)
    return {"story_id": known, "frames": row[frames_column], "captions": captions, **places}


def _key(story: dict) -> str:
    """What the split of a story goes by: its id, else its captions, else its first picture."""
    told = " ".join(text for text in story["captions"] or () if text)
    return story["story_id"] or told or repr((story["frames"] or [None])[0])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:10]
