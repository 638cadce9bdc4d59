"""Read tables of one row a frame: rows of one story are joined, in the order of their positions."""

import re
from dataclasses import dataclass, field

from datasets import Dataset, Features, List, Value
from transformers.utils import logging

from ...common.columns import TableColumns
from ...common.excerpts import listed, quoted
from ..validation import PROBLEM_COLUMN, REFERENCES_COLUMN
from .clips import is_clip
from .column_names import (
    WEBDATASET_KEY,
    FrameColumns,
    find_column,
    frame_columns,
    is_scalar,
    is_text,
    natural_key,
    split_key,
)
from .conversion import batch_of, clip_story, convert, encoded, file_state, is_blank, picture_of, story_of, texts_of
from .paths import Places

logger = logging.get_logger(__name__)

BOX = {"entity": Value("string"), "kind": Value("string"), "box": List(Value("float32"))}


@dataclass
class StoryRows:
    """The rows of a story: for each frame one, or several that are the same picture with other captions."""

    story_id: str
    frames: list[list[int]] = field(default_factory=list)
    problem: str | None = None


def convert_frame_rows(dataset: Dataset, columns: TableColumns, places: Places) -> Dataset:
    """Join the rows of each story of a table of one row a frame.

    Stories come in the order of their first rows. A row without a story, positions that are equal or not in every row
    of a story, and broken clips make a bad story. Rows of equal position and picture are reference captions of one
    frame. Where every story has one row and it is a clip, the frames of the clip are the story.

    Args:
        dataset: the table.
        columns: columns that flags name, and the frames of a clip.
        places: where pictures may be.

    Returns:
        `story_id`, `frames`, `captions`, where they differ from these `references`, `descriptions`, `boxes`, and of
        each further column of texts or numbers the value of the story's first row.
    """
    roles = frame_columns(dataset.features, columns)
    pictures = encoded(dataset.select_columns([roles.image]))
    stories = _group(dataset, pictures, roles)
    if not roles.captions:
        names = listed(dataset.features)
        logger.warning_once(f"captions: got none of the columns {names}, expected one; --caption_column names it")
    texts = [[] for _ in range(len(dataset))]
    for column in roles.captions:
        for row, cell in enumerate(dataset[column][:]):
            texts[row] += texts_of(cell)
    rows = [[row for same in story.frames for row in same] for story in stories]
    first = _picture(pictures, rows[0][0], places) if rows and rows[0] else None
    places.expect_allowed(stories[0].story_id if stories else None, [first])
    per_clip = all(len(story) == 1 for story in rows) and is_clip(first)
    index, extra = _index(dataset, roles, stories, texts)
    states = [file_state(_picture(pictures, row, places)) for row in range(len(dataset))] if is_clip(first) else []
    options = {"per_clip": per_clip, "count": columns.frames_per_video, "places": places, "others": tuple(extra)}
    key = ["frame rows", dataset._fingerprint, roles, columns, places, states]
    return convert(index, _join, key, extra, pictures=pictures, **options)


def _join(batch: dict, pictures: Dataset, per_clip: bool, count: int | None, places: Places, others: tuple) -> dict:
    """Return a batch of stories of the index with their pictures."""
    stories = []
    for number, (rows, texts, problem) in enumerate(zip(batch["rows"], batch["texts"], batch[PROBLEM_COLUMN])):
        try:
            cells = [_picture(pictures, row, places) for row in rows]
        except ValueError as error:
            cells, problem = [], problem or f"image: {error}"
        places.expect_allowed(batch["story_id"][number], cells)
        if problem is None and per_clip:
            story = clip_story(cells[0], texts[0], count)
        else:
            story = story_of(cells, texts, count, problem)
        stories.append({**{name: batch[name][number] for name in ("story_id", *others)}, **story})
    return batch_of(stories)


def _index(
    dataset: Dataset, roles: FrameColumns, stories: list[StoryRows], texts: list[list[str]]
) -> tuple[Dataset, Features]:
    """Return the stories without their pictures, and the features of the columns beyond those of every story."""
    used = {roles.image, roles.story, roles.position, *roles.captions, "story_id", REFERENCES_COLUMN, PROBLEM_COLUMN}
    rest = {name: feature for name, feature in dataset.features.items() if name not in used}
    firsts = [min((row for same in story.frames for row in same), default=0) for story in stories]
    extra, columns = {}, {}
    description = find_column(Features(rest), ("description",), is_text)
    if description:
        del rest[description]
        cells = dataset[description][:]
        columns["descriptions"] = [[cells[same[0]] for same in story.frames] for story in stories]
        extra["descriptions"] = List(Value("string"))
    boxes = rest.pop("boxes", None)
    if set(getattr(getattr(boxes, "feature", None), "keys", tuple)()) >= set(BOX):
        cells = dataset["boxes"][:]
        columns["boxes"] = [[_plain_boxes(cells[same[0]]) for same in story.frames] for story in stories]
        extra["boxes"] = List(List(BOX))
    for name, feature in rest.items():
        if is_scalar(feature) and name not in ("frames", "captions", "descriptions", "events", "clip_art", "states"):
            cells = dataset[name][:]
            columns[name], extra[name] = [cells[row] for row in firsts], feature
    columns["story_id"] = [story.story_id for story in stories]
    columns["rows"] = [[same[0] for same in story.frames] for story in stories]
    columns["texts"] = [[[text for row in same for text in texts[row]] for same in story.frames] for story in stories]
    columns[PROBLEM_COLUMN] = [story.problem for story in stories]
    types = {"story_id": Value("string"), "rows": List(Value("int64")), PROBLEM_COLUMN: Value("string")}
    types["texts"] = List(List(Value("string")))
    return Dataset.from_dict(columns, features=Features({**types, **extra})), Features(extra)


def _plain_boxes(boxes: list[dict] | None) -> list[dict]:
    return [{name: box[name] for name in BOX} for box in boxes or []]


def _group(dataset: Dataset, pictures: Dataset, roles: FrameColumns) -> list[StoryRows]:
    """Return the stories of a table in the order of their first rows."""
    ids, positions = _keys(dataset, roles)
    rows_of: dict[str, list[int]] = {}
    stories: list[StoryRows] = []
    for row, story_id in enumerate(ids):
        if is_blank(story_id):
            problem = f"{roles.story or WEBDATASET_KEY}: got {quoted(story_id)}, expected the name of a story"
            stories.append(StoryRows(f"row {row + 1}", [[row]], problem))
            continue
        text = str(int(story_id)) if isinstance(story_id, float) and story_id.is_integer() else str(story_id)
        if text not in rows_of:
            stories.append(StoryRows(text))
        rows_of.setdefault(text, []).append(row)
    for story in stories:
        if story.problem is None:
            _order(story, rows_of[story.story_id], positions, pictures)
    return stories


def _keys(dataset: Dataset, roles: FrameColumns) -> tuple[list, list]:
    """Return story and position of each row."""
    if roles.story is not None:
        positions = dataset[roles.position][:] if roles.position else [None] * len(dataset)
        return dataset[roles.story][:], positions
    keys = [split_key(key) or (None, None) for key in dataset[WEBDATASET_KEY][:]]
    return [story for story, _ in keys], [position for _, position in keys]


def _order(story: StoryRows, rows: list[int], positions: list, pictures: Dataset) -> None:
    """Put the rows of a story in order and join those of one frame; name what is wrong with their positions."""
    given = [row for row in rows if not is_blank(positions[row])]
    if not given:
        story.frames = [[row] for row in rows]
        return
    by_position: dict[object, list[int]] = {}
    for row in rows:
        by_position.setdefault(_sortable(positions[row]), []).append(row)
    story.frames = [by_position[position] for position in sorted(by_position)]
    if len(given) < len(rows):
        row = next(row for row in rows if is_blank(positions[row]))
        story.problem = f"position: got nothing in row {row + 1}, expected it in every row of a story or in none"
    for same in story.frames:
        if len(same) > 1 and story.problem is None and len({_content(pictures, row) for row in same}) > 1:
            numbers = " and ".join(str(row + 1) for row in same[:2])
            got = f"got {quoted(positions[same[0]])} in rows {numbers}, which have other pictures"
            story.problem = f"position: {got}, expected another position for each frame"


def _sortable(position: object) -> tuple:
    """Return a key by which numbers are sorted as such, in texts as well: page 2 comes before page 10."""
    text = str(position).strip()
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return ((0, float(text), ""),)
    return natural_key(text)


def _content(pictures: Dataset, row: int) -> object:
    (cell,) = pictures[row].values()
    return (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else cell


def _picture(pictures: Dataset, row: int, places: Places) -> dict | None:
    (cell,) = pictures[row].values()
    return picture_of(cell, places)
