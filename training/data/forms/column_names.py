"""Find the columns of story, position, picture and caption in a table, by flags or by usual names."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from datasets import Features, Image, Value, Video

from ...common.columns import TableColumns

# Usual names in small letters and digits alone, the likeliest first.
STORY_NAMES = (
    *("storyid", "story", "storyname", "storytitle", "storykey", "storyletid", "sequenceid", "sequence", "seqid"),
    *("albumid", "album", "bookid", "book", "comicid", "comic", "episodeid", "episode", "seriesid", "series"),
    *("groupid", "group", "sceneid", "videoid", "title"),
)
POSITION_NAMES = (
    *("position", "pos", "frameindex", "frameidx", "framenumber", "frameno", "framenum", "frameid", "frame"),
    *("order", "sequenceindex", "workerarrangedphotoorder", "photoorder", "imageindex", "imageorder", "imagenumber"),
    *("pageindex", "pagenumber", "pageno", "page", "panelindex", "panelnumber", "panel", "stepindex", "step"),
    *("index", "idx", "number", "no", "num", "sentenceindex", "turn", "slide", "time", "timestamp"),
)
IMAGE_NAMES = (
    *("image", "img", "picture", "photo", "pic", "filename", "file", "filepath", "path"),
    *("imagefilename", "imagefile", "imagepath", "imagename", "imagebytes", "imgpath", "imgfile", "picturepath"),
    *("picturefile", "framepath", "framefile", "photopath", "photofile"),
    *("png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "frame", "panel", "page", "imageurl", "url"),
)
CAPTION_NAMES = (
    *("caption", "captions", "text", "texts", "sentence", "sentences", "narration", "narrative", "txt", "storytext"),
    *("originaltext", "captiontext", "line", "utterance", "instruction", "references", "reference", "alttext"),
    "description",
)
TEXT_NAMES = ("caption", "captions", "text", "texts")  # of captions, even if they are numbers
CLIP_NAMES = (
    "video",
    "clip",
    "animation",
    "gif",
    "movie",
    "mp4",
    "webm",
    "avi",
    "mov",
    "mkv",
    "videopath",
    "videofile",
)
WEBDATASET_KEY = "__key__"
NUMBERED = re.compile(r"(?P<head>[^\d]*?)[ _.-]*(?P<number>\d{1,6})[ _.-]*(?P<tail>[^\d]*)")
FRAME_KEY = re.compile(r"(?P<story>.+?)[ _./\\-]+(?P<position>\d+)|(?P<word>.*?\D)(?P<number>\d+)")
FRAME_WORDS = ("frame", "image", "img", "page", "panel", "picture", "photo", "scene", "p", "f")


@dataclass(frozen=True)
class FrameColumns:
    """The columns of a table of one row a frame; without `story` the keys of WebDataset name story and position."""

    image: str
    story: str | None
    position: str | None
    captions: tuple[str, ...]  # several: reference captions of one frame


def plain_name(name: str) -> str:
    """Return a name in small letters and digits alone; of `json.story` the last part."""
    return re.sub(r"[^a-z0-9]", "", name.rpartition(".")[2].lower())


def split_key(key: str) -> tuple[str, int] | None:
    """Split a name such as `fox/003`, `fox_3` or `fox/page3` into story and position; `None` without a number."""
    match = FRAME_KEY.fullmatch(key)
    if match is None:
        return None
    story, position = match["story"] or match["word"], int(match["position"] or match["number"])
    folder, _, word = story.rpartition("/")
    return (folder if folder and word.lower().strip(" _.-") in FRAME_WORDS else story), position


def natural_key(text: str) -> tuple:
    """Return a key that sorts texts by the numbers in them: page 2 comes before page 10."""
    parts = re.split(r"(\d+)", text)
    return tuple((0, float(part), "") if number % 2 else (1, 0.0, part.lower()) for number, part in enumerate(parts))


def is_picture(feature: object) -> bool:
    """Return whether a column can hold one picture or clip a row: an image, a video, bytes, or a path."""
    if isinstance(feature, dict):
        return set(feature) == {"bytes", "path"}
    return isinstance(feature, (Image, Video)) or (isinstance(feature, Value) and is_text(feature, "binary"))


def is_text(feature: object, *others: str) -> bool:
    """Return whether a column holds one text a row, or has one of the other types of Arrow, large ones included."""
    types = {"string", "null", *others}
    return isinstance(feature, Value) and feature.dtype.removeprefix("large_") in types


def is_caption(feature: object) -> bool:
    """Return whether a column holds a text a row, or a list of texts."""
    return is_text(feature) or is_text(items_of(feature))


def is_scalar(feature: object) -> bool:
    """Return whether a column holds one text or number a row."""
    return isinstance(feature, Value)


def items_of(feature: object) -> object:
    """Return the feature of the items of a column of lists, `None` for a column of another type."""
    return feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)


def find_column(features: Features, names: Iterable[str], fits: Callable[[object], bool]) -> str | None:
    """Return the first column that has one of the usual names and a fitting type.

    Args:
        features: columns and their types.
        names: usual names, the likeliest first.
        fits: whether a type fits.
    """
    by_name = {}
    for column, feature in features.items():
        if fits(feature):
            by_name.setdefault(plain_name(column), column)
    return next((by_name[name] for name in names if name in by_name), None)


def named_column(features: Features, columns: TableColumns, flag: str) -> str | None:
    """Return the column that a flag names, `None` where the flag is not given.

    Raises:
        ValueError: where the data set has no such column.
    """
    column = columns.named.get(flag)
    if column is not None and column not in features:
        raise ValueError(f"{flag}: got {column!r}, expected one of the columns {_listed(features)}")
    return column


def frame_columns(features: Features, columns: TableColumns) -> FrameColumns | None:
    """Return the columns of a table of one row a frame; `None` for another table.

    Args:
        features: columns and their types.
        columns: those that flags name.

    Raises:
        ValueError: where a flag names a column that does not exist.
    """
    image = named_column(features, columns, "image_column") or find_column(features, IMAGE_NAMES, is_picture)
    story = named_column(features, columns, "story_column")
    position = named_column(features, columns, "position_column")
    caption = named_column(features, columns, "caption_column")
    rest = _without(features, image, position, caption)
    story = story or find_column(rest, STORY_NAMES, is_scalar)
    rest = _without(rest, story)
    image = image or find_column(_without(rest), IMAGE_NAMES, is_text)
    if image is None or (story is None and WEBDATASET_KEY not in features):
        return None
    rest = _without(rest, image)
    caption = caption or find_column(rest, CAPTION_NAMES, is_caption) or find_column(rest, TEXT_NAMES, is_scalar)
    captions = (caption,) if caption else tuple(numbered_columns(rest, CAPTION_NAMES, is_caption).values())
    position = position or find_column(_without(rest, *captions), POSITION_NAMES, is_scalar)
    return FrameColumns(image, story, position, captions)


def numbered_columns(features: Features, names: Iterable[str], fits: Callable[[object], bool]) -> dict[int, str]:
    """Return the columns such as `image_0` or `0.png`, by their numbers, in order.

    Args:
        features: columns and their types.
        names: usual names, of which the part before or behind the number has to be one.
        fits: whether a type fits.
    """
    columns_by_number, names = {}, set(names)
    for column, feature in features.items():
        match = NUMBERED.fullmatch(column)
        if match and fits(feature):
            head, tail = (re.sub(r"[^a-z0-9]", "", match[part].lower()) for part in ("head", "tail"))
            if (tail or head) in names or (tail in ("filename", "path", "file", "bytes") and head in names):
                columns_by_number.setdefault(int(match["number"]), column)
    return dict(sorted(columns_by_number.items()))


def _without(features: Features, *columns: str | None) -> Features:
    return Features({column: feature for column, feature in features.items() if column not in columns})


def _listed(features: Features) -> str:
    names = list(features)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
