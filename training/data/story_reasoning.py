"""Convert stories in the format of daniel3303/StoryReasoning.

Captions come from a tagged narrative, boxes from tables in Markdown. `images` are the frames. `story` describes each of
them in a block `<gdi imageN>`. `chain_of_thought` lists the characters and objects that are seen, with bounding boxes,
under `## Image N`.
"""

import html
import math
import re
from collections.abc import Collection

import pyarrow.compute as pc
from datasets import Dataset, Features, List, Value, concatenate_datasets

from ..common.excerpts import excerpt, quoted

# Part of the cache key of the converted texts: raise it with every change of the conversion.
CONVERSION_VERSION = 1
SOURCE_COLUMNS = ("images", "story", "chain_of_thought")
CONVERTED_FEATURES = Features(
    {
        "story_id": Value("string"),
        "captions": List(Value("string")),
        "boxes": List(List({"entity": Value("string"), "kind": Value("string"), "box": List(Value("int32"))})),
    }
)
MAX_EDGE = 2**31 - 1  # of int32

# A tag that lacks its `>` ends behind its ids.
BLOCK = re.compile(r"<\s*(?P<close>/\s*)?gdi\b(?:\s*image\W{0,2}(?P<number>[0-9]{1,9}))?(?:[^<>]*>)?", re.IGNORECASE)
TAG = re.compile(r"<\s*(?:/\s*)?gd[a-z]\b(?:\s+[a-z]+[0-9]+\b)*(?:[^<>]*>)?", re.IGNORECASE)

HEADING = re.compile(r"\s*(#+)\s*(.*)")
IMAGE = re.compile(r"image\s*([0-9]{1,9})\b")
KINDS = {"characters": "character", "objects": "object"}
ID_COLUMNS = {"character id", "object id", "id"}
BOX_COLUMNS = {"bounding box", "bounding boxes", "bbox"}
PIPE = re.compile(r"(?<!\\)\|")
NUMBER = r"\s*([-+]?[0-9]+(?:\.[0-9]*)?)\s*"
BOX = re.compile(rf"[\[(]?{NUMBER},{NUMBER},{NUMBER},{NUMBER}[\])]?")


def is_story_reasoning(column_names: Collection[str]) -> bool:
    """Return whether a data set has this format: `images`, `story` and `chain_of_thought`, and no `captions`."""
    return set(SOURCE_COLUMNS) <= set(column_names) and "captions" not in column_names


def story_reasoning_row(row: dict) -> dict:
    """Convert a row with `story`, `chain_of_thought` and `images` or, in their place, `frame_count`.

    Images are counted, but not read. Nothing in the texts makes a row fail.

    `captions` are the texts of the blocks `<gdi imageN>`, N from 1, whatever their order. Tags are removed, HTML
    entities decoded and white space folded. A block that is not closed ends at the next one. Blocks of the same N are
    joined in their order, equal texts once, so that nothing is lost. A frame without a block, or without words in it,
    has `None`. Text outside of blocks, blocks without a number and blocks beyond the images are left out.

    `boxes` are lists of `entity` (char1, obj3), `kind` ("character" or "object") and `box` `[x1, y1, x2, y2]`,
    integers, in pixels of the image. They come from the tables Characters and Objects under `## Image N`. Corners are
    put in order and negative edges cut off. A malformed box and one without an area are left out. The size of the image
    is unknown here, so a box may reach beyond it.

    Returns:
        `story_id`, `captions` and `boxes`, the last two with one item a frame.
    """
    images = row.get("images")
    count = len(images) if images is not None else row.get("frame_count") or 0
    texts, boxes = _read_blocks(row.get("story") or ""), _read_boxes(row.get("chain_of_thought") or "")
    return {
        "story_id": row.get("story_id"),
        "captions": [" ".join(texts.get(number, ())) or None for number in range(1, count + 1)],
        "boxes": [boxes.get(number, []) for number in range(1, count + 1)],
    }


def convert_story_reasoning(dataset: Dataset, name: str) -> Dataset:
    """Convert the data set `name` to the columns `images`, unchanged, and `story_id`, `captions` and `boxes`.

    See `story_reasoning_row`. The texts are read once and then cached by `datasets`; no image is read or copied.

    Raises:
        ValueError: where `images` is no list, or `story` or `chain_of_thought` no string.
    """
    if not hasattr(dataset.features["images"], "feature"):
        got = excerpt(dataset.features["images"])
        raise ValueError(f"dataset: column 'images' of {quoted(name)}: got {got}, expected a list")
    for column in ("story", "chain_of_thought"):
        if getattr(dataset.features[column], "dtype", None) not in ("string", "large_string", "null"):
            got = excerpt(dataset.features[column])
            raise ValueError(f"dataset: column {column!r} of {quoted(name)}: got {got}, expected text")
    columns = [column for column in ("story_id", "story", "chain_of_thought") if column in dataset.column_names]
    texts = dataset.select_columns(columns).add_column("frame_count", count_frames(dataset, "images"))
    # The cache key of the result has the name of this function and of its arguments.
    converted = texts.map(
        _convert,
        fn_kwargs={"version": CONVERSION_VERSION},
        remove_columns=texts.column_names,
        features=CONVERTED_FEATURES,
        desc="reading captions and boxes",
    )
    return concatenate_datasets([dataset.select_columns(["images"]), converted], axis=1)


def count_frames(dataset: Dataset, column: str) -> list[int]:
    """Return the length of each list of a column, 0 for a missing one, without reading the items of the lists."""
    batches = dataset.select_columns([column]).with_format("arrow").iter(1000)
    return [length or 0 for batch in batches for length in pc.list_value_length(batch[column]).to_pylist()]


def _convert(row: dict, version: int) -> dict:
    converted = story_reasoning_row(row)
    story_id = converted["story_id"]
    return {**converted, "story_id": None if story_id is None else str(story_id)}


def _read_blocks(story: str) -> dict[int, list[str]]:
    """Return by N the different texts, none of them empty, of the blocks of image N."""
    blocks: dict[int, list[str]] = {}
    tags = list(BLOCK.finditer(story))
    for tag, following in zip(tags, [*tags[1:], None]):
        if tag["close"] or tag["number"] is None:
            continue
        text = _plain(story[tag.end() : following.start() if following else len(story)])
        texts = blocks.setdefault(int(tag["number"]), [])
        if text and text not in texts:
            texts.append(text)
    return blocks


def _plain(text: str) -> str:
    return " ".join(html.unescape(TAG.sub("", text)).split())


def _read_boxes(markdown: str) -> dict[int, list[dict]]:
    """Return by N the boxes of the tables under the heading of image N."""
    boxes: dict[int, list[dict]] = {}
    number = level = kind = columns = None
    for line in markdown.splitlines():
        heading = HEADING.fullmatch(line)
        if heading:
            depth, title = len(heading[1]), heading[2].strip("#*_: \t").casefold()
            image = IMAGE.match(title)
            if image:
                number, level = int(image[1]), depth
            elif number is not None and depth <= level:
                number = None
            kind, columns = KINDS.get(title), None
        elif number is not None and kind and "|" in line:
            cells = _cells(line)
            columns = _find_columns(cells) or columns
            box = _read_row(cells, kind, *columns) if columns else None
            if box and box not in boxes.setdefault(number, []):
                boxes[number].append(box)
    return boxes


def _cells(line: str) -> list[str]:
    """Split the row of a table, which may have pipes at its ends, into its cells."""
    cells = [cell.replace("\\|", "|").strip(" \t*`") for cell in PIPE.split(line.strip())]
    return cells[not cells[0] : len(cells) - (not cells[-1])]


def _find_columns(cells: list[str]) -> tuple[int, int] | None:
    """Return the columns of a table's head: of the id, counted from the left, and of the box, from the right."""
    names = [" ".join(cell.casefold().split()) for cell in cells]
    ids = [index for index, name in enumerate(names) if name in ID_COLUMNS]
    boxes = [index - len(names) for index, name in enumerate(names) if name in BOX_COLUMNS]
    return (ids[0], boxes[0]) if ids and boxes else None


def _read_row(cells: list[str], kind: str, id_column: int, box_column: int) -> dict | None:
    """Return the box of a row; a pipe too many in a description between id and box does no harm."""
    if id_column >= len(cells) or -box_column > len(cells):
        return None
    entity, match = cells[id_column].casefold(), BOX.fullmatch(cells[box_column])
    if not entity or not match:
        return None
    x1, y1, x2, y2 = (min(max(float(edge), 0), MAX_EDGE) for edge in match.groups())
    left, top = math.floor(min(x1, x2)), math.floor(min(y1, y2))
    right, bottom = math.ceil(max(x1, x2)), math.ceil(max(y1, y2))
    if left >= right or top >= bottom:
        return None
    return {"entity": entity, "kind": kind, "box": [left, top, right, bottom]}
