"""Draw strips of frames as HTML, and overlays of the spatial attention."""

import base64
import html
import io

import numpy as np
import torch
from PIL import Image, ImageOps

SHOWN_WIDTH = 288  # pixels of CSS: the width of a card on a wide page; a small frame is enlarged by a whole factor
SHARPNESS = 2  # pixels of a large picture for each of them
# Colours of the attention from none to full, and how much each covers the grey frame.
HEAT = np.array([[60, 15, 110], [150, 40, 105], [225, 90, 45], [252, 175, 40], [252, 250, 160]])
COVER = (0.1, 0.75)
GREYS = (70, 225)  # of the darkest and the brightest place of a frame below them


def strip(cards: list[dict]) -> str:
    """Return cards in a row that wraps, as HTML.

    A card has a `picture`, `None` while it is being painted, and may have a `label`, a `text`, a `kind` (classes of
    style.css), a `score`, whose bar is full at 1, and a `page`: then its text can be edited, and the `buttons`, pairs
    of an event of board.js and a title, act on the page of that index.
    """
    return f'<div class="strip">{"".join(map(_card, cards))}</div>'


def story_cards(pages: list, start: int = 0) -> list[dict]:
    """Return the cards of the pages of a story, numbered from `start + 1`."""
    return [
        {
            "picture": page.frame,
            "label": page.label(number),
            "text": page.caption,
            "kind": "painted" if page.is_painted else "",
        }
        for number, page in enumerate(pages, start=start + 1)
    ]


def score_bar(score: float) -> str:
    """Return a bar as HTML that is full at a `score` of 1 and empty at 0 and below."""
    return f'<div class="bar"><i style="width:{max(0, score):.0%}"></i></div>'


def overlay(frame: Image.Image, attention: torch.Tensor, gamma: float = 1) -> Image.Image:
    """Draw where the model looks, bright over a grey frame.

    Args:
        frame: the picture.
        attention: its map `(h, w)`, of one head or the mean of several.
        gamma: what is drawn is `(attention / max) ** gamma`, the gate; with 1 it is the attention itself.

    Returns:
        the drawing, enlarged by a whole factor.
    """
    factor = max(1, SHARPNESS * SHOWN_WIDTH // frame.width)
    size = frame.width * factor, frame.height * factor
    gate = (attention / attention.max()) ** gamma
    heat = Image.fromarray(gate.numpy()).resize(size, Image.Resampling.BICUBIC)
    heat = np.asarray(heat).clip(0, 1)  # (H, W)
    grey = ImageOps.autocontrast(frame.convert("L"), cutoff=1).resize(size, Image.Resampling.NEAREST)
    grey = GREYS[0] + (GREYS[1] - GREYS[0]) / 255 * np.asarray(grey, dtype=float)[..., None]
    stops = np.linspace(0, 1, len(HEAT))
    colours = np.stack([np.interp(heat, stops, channel) for channel in HEAT.T], axis=-1)  # (H, W, 3)
    cover = (COVER[0] + (COVER[1] - COVER[0]) * heat)[..., None]
    return Image.fromarray((grey * (1 - cover) + colours * cover).round().clip(0, 255).astype(np.uint8))


def _card(card: dict) -> str:
    text, label = (html.escape(card.get(name) or "") for name in ("text", "label"))
    score, page = card.get("score"), card.get("page")
    bar = "" if score is None else score_bar(score)
    picture = '<div class="place"></div>'
    if card["picture"] is not None:
        crisp = ' class="crisp"' if card["picture"].width <= SHOWN_WIDTH else ""
        picture = f'<img{crisp} src="{_source(card["picture"])}" alt="{text or label}">'
    buttons = "".join(
        f'<button data-event="{event}" data-index="{page}" aria-label="{title}: frame {page + 1}">{title}</button>'
        for event, title in card.get("buttons", [])
    )
    caption = f'<span class="text" dir="auto">{text}</span>'
    if page is not None:
        attributes = f'role="textbox" aria-label="Caption of frame {page + 1}" data-placeholder="Write a caption"'
        caption = f'<span class="text caption" dir="auto" contenteditable="plaintext-only" {attributes}>{text}</span>'
    head = f"<div><b>{label}</b>{buttons}</div>"
    return (
        f'<figure class="card {card.get("kind", "")}">{picture}<figcaption>{head}{bar}{caption}</figcaption></figure>'
    )


def _source(picture: Image.Image) -> str:
    """Return the picture as the source of an HTML image, without a file: a small one exactly, a large one reduced."""
    data, kind = io.BytesIO(), "png"
    if picture.width <= SHOWN_WIDTH:
        picture.convert("RGB").save(data, "PNG")
    else:
        width, kind = min(picture.width, SHARPNESS * SHOWN_WIDTH), "webp"
        size = width, max(1, round(width * picture.height / picture.width))
        picture.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(data, "WEBP", quality=90)
    return f"data:image/{kind};base64,{base64.b64encode(data.getvalue()).decode()}"
