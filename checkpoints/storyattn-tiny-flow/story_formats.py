"""Write the pages of a story as files: pictures, animations, documents and web pages."""

import base64
import html
import io
from collections.abc import Callable, Sequence

from PIL import Image

from .story_drawing import (
    FAINT,
    INK,
    LARGEST_CAPTION,
    MAX_ASPECT,
    PAGE_MARGIN,
    PAINTED,
    PAPER,
    Page,
    column_width,
    draw_page,
    scale_to_fit,
    story_strip,
    text_height,
)

# Pixels of an animation: its width, the largest heights of its pictures and captions, the height of all else.
GIF_WIDTH, GIF_PICTURE, GIF_CAPTION, GIF_BORDERS = 640, 480, 240, 80
PAPER_SIZE, PAPER_DPI, PAPER_CAPTION = (1654, 1165), 200, 300  # pixels and dots per inch of A5, landscape
LOOK_SECONDS, LETTER_SECONDS, LONGEST_SECONDS = 2.0, 0.06, 15.0  # how long an animation shows a page
CARD_WIDTH, SHARPNESS = 264, 2  # pixels of CSS: about the width of a card; pixels of a large picture for each of them

STYLE = f"""<style>
.storyattn-pages {{ display: flex; flex-wrap: wrap; gap: 16px; }}
.storyattn-pages figure {{ box-sizing: border-box; margin: 0; padding: 12px; max-width: 100%;
  background: rgb{PAPER}; color: rgb{INK}; border: 1px solid #dddde2; border-radius: 10px;
  font: 16px/1.4 system-ui, sans-serif; text-align: start; }}
.storyattn-pages .label {{ color: rgb{FAINT}; font-size: 13px; margin-bottom: 6px; }}
.storyattn-pages img {{ display: block; width: 100%; height: auto; object-fit: contain; margin: 0; }}
.storyattn-pages img.crisp {{ image-rendering: pixelated; }}
.storyattn-pages figcaption {{ margin-top: 8px; overflow-wrap: anywhere; }}
.storyattn-pages .painted {{ border-color: rgb{PAINTED}; }}
.storyattn-pages .painted .label, .storyattn-pages .written figcaption {{ color: rgb{PAINTED}; }}
.storyattn-row {{ margin: 0 0 24px; }}
</style>"""

DOCUMENT = """<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>A picture story</title>
<style>body {{ margin: 0; padding: 24px; background: #f4f4f6; }} .storyattn-pages {{ justify-content: center; }}
@media (max-width: 480px) {{ body {{ padding: 12px; }} .storyattn-pages figure {{ width: 100% !important; }} }}</style>
</head>
<body>
{cards}
</body>
</html>
"""


def encode_story(pages: Sequence[Page], suffix: str) -> bytes:
    """Return the content of a file that shows a story.

    Args:
        pages: the pages, at least one.
        suffix: of the file, a key of `FORMATS`.
    """
    if not pages:
        raise ValueError("story: got no page, expected at least one to save")
    return FORMATS[suffix](pages)


def html_cards(pages: Sequence[Page], style: str = STYLE) -> str:
    """Return the pages as HTML: cards side by side that wrap, with `style` before them."""
    width = column_width([page.frame for page in pages], CARD_WIDTH)
    cards = "\n".join(_card(page, number, width) for number, page in enumerate(pages, start=1))
    return f'{style}\n<div class="storyattn-pages">\n{cards}\n</div>'


def html_rows(rows: Sequence[tuple[str, Sequence[Page]]]) -> str:
    """Return several stories as HTML, each in a row below its heading."""
    cards = [
        f'<div class="storyattn-row"><p>{html.escape(heading)}</p>{html_cards(pages, "")}</div>'
        for heading, pages in rows
    ]
    return "\n".join([STYLE, *cards])


def _card(page: Page, number: int, width: int) -> str:
    classes = " ".join(name for name in ("painted", "written") if getattr(page, f"is_{name}"))
    caption = html.escape(page.caption or "")
    text = f'<figcaption dir="auto">{caption}</figcaption>' if caption else ""
    crisp = ' class="crisp"' if page.frame.width <= width else ""
    source, highest = _data_uri(page.frame, width), round(MAX_ASPECT * width)
    image = f'<img{crisp} src="{source}" alt="{caption or number}" style="max-height: {highest}px">'
    return (
        f'<figure class="{classes}" style="width: {width + 26}px"><div class="label">{page.label(number)}</div>'
        f"{image}{text}</figure>"
    )


def _data_uri(frame: Image.Image, width: int) -> str:
    """Return a picture as a data URI: a small one as it is, a large one scaled down to what a screen shows of it."""
    kind, options = "png", {}
    if frame.width > width:
        largest = SHARPNESS * width
        frame = scale_to_fit(frame, (largest, 2 * largest)) if frame.width > largest else frame
        kind, options = "jpeg", {"quality": 90}
    content = _encoded(frame, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _png(pages: Sequence[Page]) -> bytes:
    return _encoded(story_strip(pages), "png")


def _jpeg(pages: Sequence[Page]) -> bytes:
    return _encoded(story_strip(pages), "jpeg", quality=95, subsampling=0)


def _html(pages: Sequence[Page]) -> bytes:
    return DOCUMENT.format(cards=html_cards(pages)).encode()


def _gif(pages: Sequence[Page]) -> bytes:
    """Show one page after another, as long as it takes to look at the picture and to read the caption."""
    inner, text_size = GIF_WIDTH - 2 * (GIF_WIDTH // PAGE_MARGIN), GIF_WIDTH // LARGEST_CAPTION
    captions = [text_height(page.caption, text_size, inner) for page in pages]
    caption_height = min(max(captions), GIF_CAPTION)
    pictures = [scale_to_fit(page.frame, (inner, GIF_PICTURE)).height for page in pages]
    size = GIF_WIDTH, GIF_BORDERS + max(pictures) + caption_height
    drawn = [draw_page(page, number, size, caption_height) for number, page in enumerate(pages, start=1)]
    first, *others = [page.quantize(256) for page in drawn]
    seconds = [LOOK_SECONDS + LETTER_SECONDS * len(page.caption or "") for page in pages]
    durations = [round(1000 * min(value, LONGEST_SECONDS)) for value in seconds]
    return _encoded(first, "gif", save_all=True, append_images=others, duration=durations, loop=0)


def _pdf(pages: Sequence[Page]) -> bytes:
    """Print each page of the story on a page of paper."""
    numbered = enumerate(pages, start=1)
    first, *others = [draw_page(page, number, PAPER_SIZE, PAPER_CAPTION) for number, page in numbered]
    options = {"resolution": PAPER_DPI, "quality": 95, "title": "A picture story"}
    return _encoded(first, "pdf", save_all=True, append_images=others, **options)


FORMATS: dict[str, Callable[[Sequence[Page]], bytes]] = {
    ".png": _png,
    ".jpg": _jpeg,
    ".jpeg": _jpeg,
    ".html": _html,
    ".gif": _gif,
    ".pdf": _pdf,
}
