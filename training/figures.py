"""
Pictures of stories, of what a model makes of them, and of training: strips, sheets, evaluation pictures, loss curves.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

PAPER, INK, FAINT = (255, 255, 255), (34, 34, 40), (120, 120, 130)
PAINTED, TARGET = (201, 72, 20), (20, 110, 160)  # what the model made, what is true
MARGIN, GAP, PADDING, BORDER = 20, 16, 6, 4
LABEL_SIZE, TEXT_SIZE, TITLE_SIZE = 14, 16, 20
MAX_ASPECT = 1.4  # a frame is at most this many times as high as its cell is wide
MAX_COLUMNS = 5


@dataclass
class Cell:
    """
    Pictures above each other in a column, a label over them and a text under them; `colour` frames the first picture.
    """

    images: list[Image.Image] = field(default_factory=list)
    label: str = ""
    text: str = ""
    colour: tuple[int, int, int] | None = None
    text_colour: tuple[int, int, int] = INK
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
    """
    A story as one picture: numbered frames in rows of `columns` (by default as even as can be, at most 5), each
    `frame_width` pixels wide whatever its size, with its caption wrapped below it and cut after 6 lines.

    `painted[i]`: the model painted frame i, which gets a coloured frame and a label. `written[i]`: it wrote caption
    i, which is set in that colour (by default where the frame is painted). Raises `ValueError` for no frames or
    unequal numbers.
    """
    count = len(frames)
    painted = [False] * count if painted is None else list(painted)
    written = painted if written is None else list(written)
    numbers = {"captions": len(captions), "painted": len(painted), "written": len(written)}
    for name, number in numbers.items():
        if not count or number != count:
            raise ValueError(f"story_strip: found {count} frames and {number} {name}, expected as many, at least one")
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
    return _grid([("", row) for row in rows], frame_width, title)


def story_sheet(stories, path: str | Path, *, num_stories: int = 4, frame_width: int = 200) -> Path:
    """
    The first `num_stories` stories (schema of `read_stories`), a row each with at most 8 frames; written to `path`.
    """
    rows = []
    for index in range(min(num_stories, len(stories))):
        story = stories[index]
        pairs = list(zip(story["frames"], story["captions"]))[:8]
        rows.append((str(story["story_id"]), [Cell([frame], "", text or "") for frame, text in pairs]))
    return _save(_grid(rows, frame_width), path)


def wrap_text(text: str, font: ImageFont.FreeTypeFont, width: int, max_lines: int) -> list[str]:
    """Lines of `text` at most `width` pixels wide, words broken only where they must be; cut with an ellipsis."""
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


def _grid(rows: list[tuple[str, list[Cell]]], width: int, title: str = "") -> Image.Image:
    """Rows of cells `width` pixels wide on paper, each row under its heading."""
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


def _heading(text: str, total_width: int, size: int) -> Image.Image:
    """A line of bold text with some paper below it; of no height where there is no text."""
    line = _draw_text(text, total_width - 2 * MARGIN, size, INK, 1, bold=True)
    heading = Image.new("RGB", (line.width, line.height + PADDING if line.height else 0), PAPER)
    heading.paste(line)
    return heading


def _draw_cell(cell: Cell, width: int) -> Image.Image:
    """A column of label, pictures and text, as high as they need."""
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


def _fit(image: Image.Image, width: int, colour) -> Image.Image:
    """
    The picture scaled to `width`, narrower where it would be too high, with a border of `colour` drawn over its edge.
    """
    image = image.convert("RGB")
    scale = min(width / image.width, MAX_ASPECT * width / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    image = image.resize(size, Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.LANCZOS)
    if colour:
        ImageDraw.Draw(image).rectangle((0, 0, size[0] - 1, size[1] - 1), outline=colour, width=BORDER)
    return image


def _draw_text(text: str, width: int, size: int, colour, max_lines: int, bold: bool = False) -> Image.Image:
    """Wrapped text on paper, `width` pixels wide; of no height where there is no text."""
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
    """
    DejaVu Sans as matplotlib brings it along: Latin, Greek, Cyrillic, Hebrew, Arabic; other letters show as boxes.
    """
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)


def _save(image: Image.Image, path: str | Path) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path
