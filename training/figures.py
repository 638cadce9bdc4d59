"""
Pictures of stories, of what a model makes of them, and of training: strips, sheets, evaluation pictures, loss curves.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from .measured_windows import MeasuredWindows, WindowBatch

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


@torch.no_grad()
def evaluation_picture(model, processor, stories, path: str | Path, num_stories: int = 4) -> Path:
    """
    What a model makes of `num_stories` stories spread over `stories`, a row each: the input frames with what the
    spatial attention looks at below them and their captions, the true next frame and caption, the painted frame with
    that caption given and the caption written without it, the painted frame with no caption given. What it does not
    give is left out. Written to `path`.

    Raises `ValueError` where no story has two frames.
    """
    first_windows = _first_windows(MeasuredWindows(stories, model.config.max_frames), num_stories)
    training = model.training
    model.eval()
    try:
        rows = [(str(item["story_id"]), _evaluated_cells(model, processor, item)) for item in first_windows]
    finally:
        model.train(training)
    return _save(_grid(rows, 200), path)


def loss_curves(metrics_path: str | Path, png_path: str | Path) -> Path:
    """
    Curves of `metrics.jsonl` (training lines with `step`, `loss`, `loss_parts`; evaluation lines with `step` and
    `eval`, keys of `quick_metrics`) as a PNG: the loss, its parts, and, where it was evaluated, the error of the next
    frame beside that of copying the last.
    """
    lines = [json.loads(line) for line in Path(metrics_path).read_text(encoding="utf-8").splitlines() if line.strip()]
    training = [line for line in lines if "loss" in line]
    evaluations = [line for line in lines if "eval" in line]
    panels = 3 if evaluations else 2
    figure = Figure(figsize=(5 * panels, 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    loss_axes, part_axes, *frame_axes = figure.subplots(1, panels)
    _plot_loss(loss_axes, training, evaluations)
    _plot_parts(part_axes, training)
    for axes in frame_axes:
        _plot_frame_errors(axes, evaluations)
    for axes in (loss_axes, part_axes, *frame_axes):
        axes.set_xlabel("step")
        axes.grid(alpha=0.25)
        if axes.lines:
            axes.legend(fontsize=7, **({"loc": "upper left", "bbox_to_anchor": (1, 1)} if axes is part_axes else {}))
    path = Path(png_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def attention_overlay(frame: Image.Image, maps: torch.Tensor) -> Image.Image:
    """A grey `frame` under the mean over heads of `maps (heads, h, w)`: bright where the attention looks."""
    heat = maps.float().mean(dim=0).cpu().numpy()
    heat = Image.fromarray(heat / max(heat.max(), 1e-8)).resize(frame.size, Image.Resampling.BICUBIC)
    heat = np.asarray(heat).clip(0, 1)  # (H, W)
    grey = np.asarray(frame.convert("L").convert("RGB")) / 255
    colours = matplotlib.colormaps["inferno"](heat)[..., :3]
    weight = (0.15 + 0.6 * heat)[..., None]
    return Image.fromarray(((grey * (1 - weight) + colours * weight) * 255).round().astype(np.uint8))


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


def _first_windows(windows: MeasuredWindows, num_stories: int) -> list[dict]:
    """The first window of each of `num_stories` stories, spread evenly."""
    firsts = [i for i, story in enumerate(windows.story_of) if i == 0 or windows.story_of[i - 1] != story]
    count = min(num_stories, len(firsts))
    return [windows[firsts[i * len(firsts) // count]] for i in range(count)]


def _evaluated_cells(model, processor, item: dict) -> list[Cell]:
    batch = WindowBatch(model, processor, [item])
    output = model(**batch.inputs, use_next_caption=True)
    captions, maps = batch.shown[0]["captions"], output.spatial_attentions
    *inputs, target = processor.postprocess_frames(batch.pixels[0])
    cells = [Cell([frame], f"{i + 1}", captions[i] or "") for i, frame in enumerate(inputs)]
    for cell, looked in zip(cells, [] if maps is None else maps[0]):
        cell.images.append(attention_overlay(cell.images[0], looked))
    cells.append(Cell([target], "target", captions[-1] or "", TARGET, TARGET, 12))
    text = ""
    if output.next_caption_logits is not None:
        options = {"max_new_tokens": model.config.max_caption_length, "do_sample": False}
        written = model.generate(**batch.given, task="continue", **options)
        text = f"written: {processor.batch_decode(written, skip_special_tokens=True)[0].strip()}"
    if output.predicted_frames is None:
        return [*cells, Cell([], "", text, text_colour=PAINTED, max_lines=12)]
    alone = model.predict_next_frame(**batch.given)
    shown = torch.cat([output.predicted_frames[:, -1].float(), alone.float()])
    painted, alone = processor.postprocess_frames(shown)
    cells.append(Cell([painted], "painted, caption given", text, PAINTED, PAINTED, 12))
    return [*cells, Cell([alone], "painted, no caption", "", PAINTED)]


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


def _plot_loss(axes, training: list[dict], evaluations: list[dict]) -> None:
    steps, losses = [line["step"] for line in training], [line["loss"] for line in training]
    axes.plot(steps, losses, color="tab:blue", alpha=0.25, linewidth=0.8)
    axes.plot(steps, _smooth(losses), color="tab:blue", label="training (smoothed)")
    told = [line for line in evaluations if line["eval"].get("loss") is not None]
    if told:
        values = [line["eval"]["loss"] for line in told]
        axes.plot([line["step"] for line in told], values, "o-", color="tab:red", markersize=3, label="evaluation")
    axes.set_title("loss")


def _plot_parts(axes, training: list[dict]) -> None:
    names = dict.fromkeys(name for line in training for name in line.get("loss_parts", {}))
    for number, name in enumerate(names):
        told = [line for line in training if line.get("loss_parts", {}).get(name, 0) > 0]  # the axis is logarithmic
        values = _smooth([line["loss_parts"][name] for line in told])
        colour = matplotlib.colormaps["tab20"](number % 20)
        axes.plot([line["step"] for line in told], values, color=colour, linewidth=1.2, label=name)
    axes.set_yscale("log")
    axes.set_title("parts of the loss (unweighted, smoothed)")


def _plot_frame_errors(axes, evaluations: list[dict]) -> None:
    for measure, colour, name in (("l1", "tab:green", "all pixels"), ("l1_changed", "tab:purple", "changed pixels")):
        for source, style, label in (("next_frame", "o-", "model"), ("copy_last", "--", "copy last")):
            key = f"{source}/{measure}"
            told = [line for line in evaluations if line["eval"].get(key) is not None]
            values = [line["eval"][key] for line in told]
            steps = [line["step"] for line in told]
            axes.plot(steps, values, style, color=colour, markersize=3, label=f"{label}, {name}")
    axes.set_ylim(bottom=0)
    axes.set_title("L1 of the next frame")


def _smooth(values: list[float], weight: float = 0.8) -> list[float]:
    """Exponential moving average, corrected for its start."""
    smoothed, average = [], 0.0
    for count, value in enumerate(values, start=1):
        average = weight * average + (1 - weight) * value
        smoothed.append(average / (1 - weight**count))
    return smoothed
