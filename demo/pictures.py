"""Draw strips of frames as HTML, and overlays of the spatial attention."""

import base64
import html
import io

import numpy as np
import torch
from PIL import Image

SHOWN_WIDTH = 384  # pixels; small frames are enlarged smoothly, large ones reduced
GLOW = np.array([255, 166, 43])
DARK = np.array([24, 20, 42])


def strip(cards: list[dict]) -> str:
    """Return cards in a row that wraps, as HTML.

    A card has a `picture`, `None` while it is being painted, and may have a `label`, a `text`, a `kind` (a class of
    style.css) and a `score`, whose bar is full at 1.
    """
    return f'<div class="strip">{"".join(map(_card, cards))}</div>'


def score_bar(score: float) -> str:
    """Return a bar as HTML that is full at a `score` of 1 and empty at 0 and below."""
    return f'<div class="bar"><i style="width:{max(0, score):.0%}"></i></div>'


def overlay(frame: Image.Image, gates: torch.Tensor) -> Image.Image:
    """Draw `frame` lit where the mean of `gates (heads, h, w)` in [0, 1] is open and dark where it is shut."""
    width, height = SHOWN_WIDTH, round(SHOWN_WIDTH * frame.height / frame.width)
    mean = Image.fromarray(gates.float().mean(0).numpy()).resize((width, height), Image.Resampling.BICUBIC)
    gate = np.asarray(mean).clip(0, 1)[..., None]  # (H, W, 1)
    colours = np.asarray(frame.convert("RGB").resize((width, height), Image.Resampling.BICUBIC), dtype=float)
    grey = colours.mean(-1, keepdims=True)
    shut = 0.3 * grey + 0.7 * DARK
    lit = 0.8 * colours + 0.2 * GLOW
    return Image.fromarray((shut * (1 - gate) + lit * gate).round().clip(0, 255).astype(np.uint8))


def _card(card: dict) -> str:
    text, label = (html.escape(card.get(name) or "") for name in ("text", "label"))
    score = card.get("score")
    bar = "" if score is None else score_bar(score)
    picture = '<div class="place"></div>'
    if card["picture"] is not None:
        picture = f'<img src="{_source(card["picture"])}" alt="{text or label}">'
    words = f"<figcaption><b>{label}</b>{bar}<span>{text}</span></figcaption>"
    return f'<figure class="card {card.get("kind", "")}">{picture}{words}</figure>'


def _source(picture: Image.Image) -> str:
    """Return the picture as the source of an HTML image, without a file."""
    size = SHOWN_WIDTH, max(1, round(SHOWN_WIDTH * picture.height / picture.width))
    data = io.BytesIO()
    picture.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(data, "WEBP", quality=88)
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"
