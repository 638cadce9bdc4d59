"""Name the columns of a data set by flags, the same in every command."""

import argparse
from dataclasses import dataclass, fields

COLUMN_FLAGS = {  # default and help
    "frames_column": ("frames", "column of the data set that holds the frames"),
    "captions_column": ("captions", "column that holds the captions"),
}
TABLE_FLAGS = {  # help; each is a field of `TableColumns`
    "story_column": "table of one row a frame: column that names the story; default: a usual name",
    "position_column": "its column with the frame's position in the story; default: a usual name, else the rows' order",
    "image_column": "its column with the picture; default: a usual name",
    "caption_column": "its column with the caption; default: a usual name",
    "frames_per_video": "frames that are taken from each video or animation; default: one a caption, else 5",
}


@dataclass(frozen=True)
class TableColumns:
    """Columns of a data set that has no lists of frames and captions; `None`: a usual name is looked for.

    Attributes:
        story_column: of one row a frame, the column that names its story.
        position_column: the column with its position in the story.
        image_column: the column with the picture; of numbered columns the name without the number.
        caption_column: the column with the caption or captions; of numbered columns the name without the number.
        frames_per_video: frames that are taken from each video or animation, evenly spread.
    """

    story_column: str | None = None
    position_column: str | None = None
    image_column: str | None = None
    caption_column: str | None = None
    frames_per_video: int | None = None

    def __post_init__(self):
        if self.frames_per_video is not None and self.frames_per_video < 1:
            raise ValueError(f"frames_per_video: got {self.frames_per_video}, expected at least 1")

    @property
    def named(self) -> dict[str, str]:
        """The columns that flags name, by flag."""
        flags = ("story_column", "position_column", "image_column", "caption_column")
        return {flag: getattr(self, flag) for flag in flags if getattr(self, flag) is not None}


def add_column_flags(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the flags that name columns to a parser, or to a topic of its help."""
    for name, (default, text) in COLUMN_FLAGS.items():
        parser.add_argument(f"--{name}", default=default, help=text)
    for name, text in TABLE_FLAGS.items():
        parser.add_argument(f"--{name}", default=None, type=int if name == "frames_per_video" else str, help=text)


def columns_of(flags: object) -> dict:
    """Return `frames_column`, `captions_column` and `table_columns`, from the attributes of `flags`."""
    columns = {name: getattr(flags, name) for name in COLUMN_FLAGS}
    return {**columns, "table_columns": table_columns_of(flags)}


def table_columns_of(flags: object) -> TableColumns:
    """Return the columns that the attributes of `flags` name."""
    return TableColumns(**{field.name: getattr(flags, field.name) for field in fields(TableColumns)})
