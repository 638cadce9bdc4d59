"""Draw pictures of stories: strips, sheets, and grids of frames with labels and captions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from datasets import Dataset

Colour = tuple[int, int, int]

PAPER, INK, FAINT = (255, 255, 255), (34, 34, 40), (120, 120, 130)
PAINTED, TARGET = (201, 72, 20), (20, 110, 160)  # of the model's predictions, of the ground truth
MARGIN, GAP, PADDING, BORDER = 20, 16, 6, 4
LABEL_SIZE, TEXT_SIZE, TITLE_SIZE = 14, 16, 20
MAX_ASPECT = 1.4  # a frame is at most this many times as high as its cell is wide
MAX_COLUMNS = 5


@dataclass
class Cell:
    """A column of pictures with a label above and a text below; `colour` frames the first picture."""

    images: list[Image.Image] = field(default_factory=list)
    label: str = ""
    text: str = ""
    colour: Colour | None = None
    text_colour: Colour = INK
    max_lines: int = 6


def story_strip(
    frames: Sequence[Image.Image],
    captions: Sequence[str | None],
    painted: Sequence[bool] | None = None,
    written: Sequence[bool] | None = None,
    *,
    title: str = "",
    frame_width: int = 240,
    columns: int | None = None,
) -> Image.Image:
    """Draw a story as one picture: numbered frames in rows, each with its caption, cut after 6 lines, below it.

    Args:
        frames: frames of any size.
        captions: caption of each frame; `None` for none.
        painted: whether the model painted each frame, which then gets a border and a label; by default no frame.
        written: whether the model wrote each caption, which then has another colour; by default as `painted`.
        title: line above the rows.
        frame_width: width of a frame in the picture, in pixels.
        columns: frames in a row; by default at most 5, in rows as even as possible.

    Raises:
        ValueError: for no frames, and for unequal numbers.
    """
    count = len(frames)
    painted = [False] * count if painted is None else list(painted)
    written = painted if written is None else list(written)
    numbers = {"captions": len(captions), "painted": len(painted), "written": len(written)}
    for name, number in numbers.items():
        if not count or number != count:
            raise ValueError(f"{name}: got {number} for {count} frames, expected one for each of at least one frame")
    columns = columns or math.ceil(count / math.ceil(count / MAX_COLUMNS))
    cells = [
        Cell(
            [frame],
            f"{i + 1} · painted" if painted[i] else f"{i + 1}",
            captions[i] or "",
            PAINTED if painted[i] else None,
            PAINTED if written[i] else INK,
        )
        for i, frame in enumerate(frames)
    ]
    rows = [cells[start : start + columns] for start in range(0, count, columns)]
    return draw_grid([("", row) for row in rows], frame_width, title)


def story_sheet(
    stories: Dataset | Sequence[dict], path: str | Path, *, num_stories: int = 4, frame_width: int = 200
) -> Path:
    """Draw the first stories, a row each with at most 8 frames, and write the picture to `path`.

    Args:
        stories: stories in the schema of `read_stories`.
        path: image file; missing folders are created.
        num_stories: stories that are drawn.
        frame_width: width of a frame in the picture, in pixels.

    Returns:
        The path of the file.
    """
    rows = []
    for index in range(min(num_stories, len(stories))):
        story = stories[index]
        pairs = list(zip(story["frames"], story["captions"]))[:8]
        rows.append((str(story["story_id"]), [Cell([frame], "", text or "") for frame, text in pairs]))
    return save_picture(draw_grid(rows, frame_width), path)


def wrap_text(text: str, font: ImageFont.FreeTypeFont, width: int, max_lines: int) -> list[str]:
    """Wrap `text` into lines, words broken only where they are too long, and cut it with an ellipsis.

    Args:
        text: text of any kind; line breaks count as spaces.
        font: font in which the lines are measured.
        width: largest width of a line, in pixels.
        max_lines: largest number of lines.

    Returns:
        The lines; none for text of white space alone.
    """
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if font.getlength(joined) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
        if len(lines) > max_lines:
            break
    if len(lines) <= max_lines:
        return lines if lines[0] else []
    last = lines[max_lines - 1]
    while font.getlength(last + " …") > width:
        last = last.rpartition(" ")[0] or last[:-1]
    return [*lines[: max_lines - 1], last + " …"]


def draw_grid(rows: list[tuple[str, list[Cell]]], width: int, title: str = "") -> Image.Image:
    """Draw rows of cells on paper, each row under its heading.

    Args:
        rows: heading and cells of each row; an empty heading takes no space.
        width: width of a cell, in pixels.
        title: line above the rows.
    """
    columns = max(len(cells) for _, cells in rows)
    total_width = 2 * MARGIN + columns * width + (columns - 1) * GAP
    headings = [_heading(text, total_width, LABEL_SIZE) for text, _ in rows]
    head = _heading(title, total_width, TITLE_SIZE)
    drawn = [[_draw_cell(cell, width) for cell in cells] for _, cells in rows]
    heights = [heading.height + max(cell.height for cell in cells) for heading, cells in zip(headings, drawn)]
    total_height = 2 * MARGIN + head.height + sum(heights) + (len(rows) - 1) * GAP
    sheet = Image.new("RGB", (total_width, total_height), PAPER)
    sheet.paste(head, (MARGIN, MARGIN))
    top = MARGIN + head.height
    for heading, cells, height in zip(headings, drawn, heights):
        sheet.paste(heading, (MARGIN, top))
        for column, cell in enumerate(cells):
            sheet.paste(cell, (MARGIN + column * (width + GAP), top + heading.height))
        top += height + GAP
    return sheet


def save_picture(image: Image.Image, path: str | Path) -> Path:
    """Write a picture to `path`, and create missing folders."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def _heading(text: str, total_width: int, size: int) -> Image.Image:
    """Draw a line of bold text with some paper below it; without text the picture has no height."""
    line = _draw_text(text, total_width - 2 * MARGIN, size, INK, 1, bold=True)
    heading = Image.new("RGB", (line.width, line.height + PADDING if line.height else 0), PAPER)
    heading.paste(line)
    return heading


def _draw_cell(cell: Cell, width: int) -> Image.Image:
    """Draw a column of label, pictures and text, as high as needed."""
    parts = [_draw_text(cell.label, width, LABEL_SIZE, cell.colour or FAINT, 1)]
    for position, image in enumerate(cell.images):
        parts.append(_fit(image, width, cell.colour if position == 0 else None))
    parts.append(_draw_text(cell.text, width, TEXT_SIZE, cell.text_colour, cell.max_lines))
    parts = [part for part in parts if part.height]
    height = sum(part.height for part in parts) + PADDING * max(0, len(parts) - 1)
    drawn = Image.new("RGB", (width, max(1, height)), PAPER)
    top = 0
    for part in parts:
        drawn.paste(part, ((width - part.width) // 2, top))
        top += part.height + PADDING
    return drawn


def _fit(image: Image.Image, width: int, colour: Colour | None) -> Image.Image:
    """Scale a picture to `width`, or narrower where it would be too high, and draw a border over its edge."""
    image = image.convert("RGB")
    scale = min(width / image.width, MAX_ASPECT * width / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    image = image.resize(size, Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.LANCZOS)
    if colour:
        ImageDraw.Draw(image).rectangle((0, 0, size[0] - 1, size[1] - 1), outline=colour, width=BORDER)
    return image


def _draw_text(text: str, width: int, size: int, colour: Colour, max_lines: int, bold: bool = False) -> Image.Image:
    """Draw wrapped text on paper, `width` pixels wide; without text the picture has no height."""
    font = _font(size, bold)
    lines = wrap_text(text, font, width, max_lines)
    step = round(size * 1.3)
    drawn = Image.new("RGB", (width, step * len(lines)), PAPER)
    draw = ImageDraw.Draw(drawn)
    for row, line in enumerate(lines):
        draw.text((0, row * step), line, fill=colour, font=font)
    return drawn


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which comes with matplotlib: Latin, Greek, Cyrillic, Hebrew, Arabic; others are boxes."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)
