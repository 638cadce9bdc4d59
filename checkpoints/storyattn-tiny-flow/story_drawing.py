"""Draw stories with Pillow: strips, single pages, and grids of pictures with labels and captions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

PAPER, INK, FAINT = (255, 255, 255), (34, 34, 40), (120, 120, 130)
PAINTED, TARGET = (201, 72, 20), (20, 110, 160)  # of the model's predictions, of the ground truth
MARGIN, GAP, PADDING, BORDER = 20, 16, 6, 4
LABEL_SIZE, TEXT_SIZE, TITLE_SIZE = 14, 16, 20
LINE_HEIGHT = 1.3  # in sizes of the font
MAX_ASPECT = 1.4  # a frame is at most this many times as high as its cell is wide
MAX_COLUMNS = 5
# Of a page of its own: its width over its margin, and over the size of the font of label and caption.
PAGE_MARGIN, PAGE_LABEL, LARGEST_CAPTION, SMALLEST_CAPTION = 20, 40, 28, 70


class Page(NamedTuple):
    """One page of a story.

    Args:
        frame: its picture, RGB.
        caption (*optional*): its text.
        is_painted: whether the model painted the frame.
        is_written: whether the model wrote the caption.
        attention (`(T, heads, h, w)`, *optional*): where the model looked in each of the T frames that it read
            before it wrote and painted this page; sums to 1 over h and w.
    """

    frame: Image.Image
    caption: str | None = None
    is_painted: bool = False
    is_written: bool = False
    attention: torch.Tensor | None = None

    def label(self, number: int) -> str:
        """Return the number of the page with what the model has done: "4 · painted"."""
        mark = "painted" if self.is_painted else "described" if self.is_written else ""
        return f"{number} · {mark}" if mark else f"{number}"


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
    pages: Sequence[Page], *, title: str = "", frame_width: int = 240, columns: int | None = None
) -> Image.Image:
    """Draw a story as one picture: numbered frames in rows, each with its caption, cut after 6 lines, below it.

    Args:
        pages: what is drawn. A painted frame gets a border and a label, a written caption another colour.
        title: line above the rows.
        frame_width: about the width of a frame in the picture, in pixels, see `column_width`.
        columns: frames in a row; by default at most 5, in rows as even as possible.

    Returns:
        the strip, RGB.

    Raises:
        ValueError: for no page.
    """
    count = len(pages)
    if not count:
        raise ValueError("story: got no page, expected at least one to draw")
    columns = columns or math.ceil(count / math.ceil(count / MAX_COLUMNS))
    cells = [
        Cell(
            [page.frame],
            page.label(number),
            page.caption or "",
            PAINTED if page.is_painted else None,
            PAINTED if page.is_written else INK,
        )
        for number, page in enumerate(pages, start=1)
    ]
    rows = [cells[start : start + columns] for start in range(0, count, columns)]
    return draw_grid([("", row) for row in rows], frame_width, title)


def draw_page(page: Page, number: int, size: tuple[int, int], caption_height: int) -> Image.Image:
    """Draw one page of a story: its label, its picture as large as it fits, and all of its caption below.

    Args:
        page: what is drawn.
        number: of the page, from 1.
        size: width and height of the drawing, in pixels.
        caption_height: the height of the place of the caption, in pixels.

    Returns:
        the drawing, RGB. A caption that is too long for its place has a smaller font, and in the smallest it is cut.
    """
    width, height = size
    margin, largest, smallest = (width // share for share in (PAGE_MARGIN, LARGEST_CAPTION, SMALLEST_CAPTION))
    inner = width - 2 * margin
    label = draw_text(page.label(number), inner, width // PAGE_LABEL, PAINTED if page.is_painted else FAINT, 1)
    top, bottom = margin // 2 + label.height + PADDING, height - margin // 2 - caption_height
    sizes = range(largest, smallest, -1)
    text_size = next((size for size in sizes if text_height(page.caption, size, inner) <= caption_height), smallest)
    colour, max_lines = PAINTED if page.is_written else INK, max(1, caption_height // _line_step(text_size))
    text = draw_text(page.caption or "", inner, text_size, colour, max_lines, centered=True)
    picture = scale_to_fit(page.frame, (inner, bottom - margin // 2 - top), PAINTED if page.is_painted else None)
    sheet = Image.new("RGB", size, PAPER)
    sheet.paste(label, (margin, margin // 2))
    sheet.paste(picture, ((width - picture.width) // 2, top + (bottom - margin // 2 - top - picture.height) // 2))
    sheet.paste(text, (margin, bottom))
    return sheet


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
        width: about the width of a cell, in pixels, see `column_width`.
        title: line above the rows.
    """
    width = column_width([image for _, cells in rows for cell in cells for image in cell.images], width)
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


def column_width(images: Sequence[Image.Image], target: int) -> int:
    """Return the width of a column, near `target`, in which small pictures are enlarged by a whole factor.

    Args:
        images: the pictures of all columns, of any sizes.
        target: the width that is wished for, in pixels.

    Returns:
        the width in pixels; `target` where all pictures are much wider.
    """
    small = [image.width for image in images if 2 * image.width <= 3 * target]
    return max((width * max(1, int(target / width + 0.5)) for width in small), default=target)


def scale_to_fit(image: Image.Image, box: tuple[int, int], colour: Colour | None = None) -> Image.Image:
    """Scale a picture to the largest size that fits, a small one by a whole factor, which leaves its pixels crisp.

    Args:
        image: a picture of any size.
        box: the largest width and height, in pixels.
        colour (*optional*): of a border over its edge.

    Returns:
        the picture, RGB.
    """
    image = image.convert("RGB")
    scale = min(box[0] / image.width, box[1] / image.height)
    if scale >= 1:
        image = image.resize((image.width * int(scale), image.height * int(scale)), Image.Resampling.NEAREST)
    else:
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image = image.resize(size, Image.Resampling.LANCZOS)
    if colour:
        corner = image.width - 1, image.height - 1
        ImageDraw.Draw(image).rectangle((0, 0, *corner), outline=colour, width=BORDER)
    return image


def draw_text(
    text: str, width: int, size: int, colour: Colour, max_lines: int, bold: bool = False, centered: bool = False
) -> Image.Image:
    """Draw wrapped text on paper.

    Args:
        text: text of any kind.
        width: of the drawing, in pixels; no line is longer.
        size: of the font, in pixels.
        colour: of the letters.
        max_lines: lines after which the text is cut.
        bold: whether the font is bold.
        centered: whether lines stand in the middle.

    Returns:
        the drawing, RGB; without text it has no height.
    """
    font, step = load_font(size, bold), _line_step(size)
    lines = wrap_text(text, font, width, max_lines)
    drawn = Image.new("RGB", (width, step * len(lines)), PAPER)
    draw = ImageDraw.Draw(drawn)
    for row, line in enumerate(lines):
        left = (width - font.getlength(line)) // 2 if centered else 0
        draw.text((left, row * step), line, fill=colour, font=font)
    return drawn


def text_height(text: str | None, size: int, width: int) -> int:
    """Return the height of a text.

    Args:
        text (*optional*): text of any kind.
        size: of the font, in pixels.
        width: of its lines, in pixels.

    Returns:
        the height of all its lines, in pixels.
    """
    text = text or ""
    return _line_step(size) * len(wrap_text(text, load_font(size), width, max_lines=len(text) + 1))


@cache
def load_font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return a font; what it has no letters for is drawn as boxes.

    With matplotlib it is DejaVu Sans: Latin, Greek, Cyrillic, Hebrew, Arabic. Without, it is Pillow's: Latin.
    """
    try:
        import matplotlib
    except ImportError:
        return ImageFont.load_default(size)
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)


def _line_step(size: int) -> int:
    return round(size * LINE_HEIGHT)


def _heading(text: str, total_width: int, size: int) -> Image.Image:
    """Draw a line of bold text with some paper below it; without text the picture has no height."""
    line = draw_text(text, total_width - 2 * MARGIN, size, INK, 1, bold=True)
    heading = Image.new("RGB", (line.width, line.height + PADDING if line.height else 0), PAPER)
    heading.paste(line)
    return heading


def _draw_cell(cell: Cell, width: int) -> Image.Image:
    """Draw a column of label, pictures and text, as high as needed."""
    parts = [draw_text(cell.label, width, LABEL_SIZE, cell.colour or FAINT, 1)]
    for position, image in enumerate(cell.images):
        parts.append(scale_to_fit(image, (width, int(MAX_ASPECT * width)), cell.colour if position == 0 else None))
    parts.append(draw_text(cell.text, width, TEXT_SIZE, cell.text_colour, cell.max_lines))
    parts = [part for part in parts if part.height]
    height = sum(part.height for part in parts) + PADDING * max(0, len(parts) - 1)
    drawn = Image.new("RGB", (width, max(1, height)), PAPER)
    top = 0
    for part in parts:
        drawn.paste(part, ((width - part.width) // 2, top))
        top += part.height + PADDING
    return drawn
