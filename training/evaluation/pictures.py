"""Draw what a model makes of stories."""

from pathlib import Path

import matplotlib
import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from storyattn import StoryAttnProcessor
from storyattn.story_drawing import PAINTED, TARGET, Cell, draw_grid

from ..common.evaluation_mode import evaluation_mode
from ..data.prepared_stories import PreparedStories
from ..figures import save_picture
from .windows import MeasuredWindows, Model, WindowBatch

BEFORE_AFTER = "before_after.png"  # the file of `before_after_picture` in the figures of a run


def evaluation_picture(
    model: Model,
    processor: StoryAttnProcessor,
    stories: Dataset | PreparedStories,
    path: str | Path,
    num_stories: int = 4,
    paintings_alone: bool = False,
) -> Path:
    """
    Draw what a model makes of stories, a row for each.

    A row has the input frames with their captions and, below them, what the spatial attention looks at; the true next
    frame and caption; the next frame as painted with that caption given, and the caption as written without it; the
    next frame as painted with no caption given. What the model does not give is left out.

    Args:
        model: the model, which is left in the mode it had.
        processor: its processor.
        stories: the stories of a split (schema of `read_stories`).
        path: the image file to write.
        num_stories: the most stories to draw, spread evenly over the split.
        paintings_alone: leave out frames and captions of the stories, and draw what the model painted and wrote.

    Returns:
        `path`.

    Raises:
        ValueError: no story has two frames.
    """
    first_windows = _first_windows(MeasuredWindows.of_model(model, stories), num_stories)
    with evaluation_mode(model):
        rows = [(str(item["story_id"]), _story_cells(model, processor, item)) for item in first_windows]
    if paintings_alone:
        rows = [(story, [cell for cell in cells if cell.text_colour == PAINTED]) for story, cells in rows]
    return save_picture(draw_grid(rows, 200), path)


def before_after_picture(
    start: Model,
    model: Model,
    processor: StoryAttnProcessor,
    stories: Dataset | PreparedStories,
    path: str | Path,
    num_windows: int = 6,
) -> Path:
    """
    Draw what a model paints before and after fine-tuning, a row for each of some windows, spread evenly.

    A row has the last input frame, the true next frame with its caption, and that frame as both models paint it with
    the caption given.

    Args:
        start: the model before fine-tuning.
        model: the model after it.
        processor: the processor of both.
        stories: the stories of a split (schema of `read_stories`).
        path: the image file to write.
        num_windows: the most windows to draw.

    Returns:
        `path`.

    Raises:
        ValueError: no story has two frames.
    """
    windows = MeasuredWindows.of_model(model, stories)
    count = min(num_windows, len(windows))
    items = [windows[index * len(windows) // count] for index in range(count)]
    rows = []
    with evaluation_mode(start), evaluation_mode(model):
        for item in items:
            batch = WindowBatch(model, processor, [item])
            painted = [
                each(**batch.inputs, use_next_caption=True).predicted_frames[0, -1:].float() for each in (start, model)
            ]
            last, target, *pictures = processor.postprocess_frames(torch.cat([batch.pixels[0, -2:], *painted]))
            cells = [Cell([last], "last frame"), Cell([target], "target", item["captions"][-1] or "", TARGET)]
            cells += [Cell([picture], name, "", PAINTED) for picture, name in zip(pictures, ("before", "after"))]
            rows.append((str(item["story_id"]), cells))
    return save_picture(draw_grid(rows, 240), path)


def attention_overlay(frame: Image.Image, maps: torch.Tensor) -> Image.Image:
    """Draw the mean over heads of `maps (heads, h, w)` over a grey `frame`: bright where the attention looks."""
    heat = maps.float().mean(dim=0).cpu().numpy()
    heat = Image.fromarray(heat / max(heat.max(), 1e-8)).resize(frame.size, Image.Resampling.BICUBIC)
    heat = np.asarray(heat).clip(0, 1)  # (H, W)
    grey = np.asarray(frame.convert("L").convert("RGB")) / 255
    colours = matplotlib.colormaps["inferno"](heat)[..., :3]
    weight = (0.15 + 0.6 * heat)[..., None]
    return Image.fromarray(((grey * (1 - weight) + colours * weight) * 255).round().astype(np.uint8))


def _first_windows(windows: MeasuredWindows, num_stories: int) -> list[dict]:
    """Return the first of the longest windows of each of `num_stories` stories, spread evenly."""
    firsts: dict[int, int] = {}
    for i, (story, captions) in enumerate(zip(windows.story_of, windows.captions_of)):
        if story not in firsts or len(captions) > len(windows.captions_of[firsts[story]]):
            firsts[story] = i
    chosen, count = list(firsts.values()), min(num_stories, len(firsts))
    return [windows[chosen[i * len(chosen) // count]] for i in range(count)]


def _story_cells(model: Model, processor: StoryAttnProcessor, item: dict) -> list[Cell]:
    """Return the cells of a row of `evaluation_picture`."""
    batch = WindowBatch(model, processor, [item])
    output = model(**batch.inputs, use_next_caption=True)
    captions, maps = batch.shown[0]["captions"], output.spatial_attentions
    *inputs, target = processor.postprocess_frames(batch.pixels[0])
    cells = [Cell([frame], f"{i + 1}", captions[i] or "") for i, frame in enumerate(inputs)]
    for cell, frame_maps in zip(cells, [] if maps is None else maps[0]):
        cell.images.append(attention_overlay(cell.images[0], frame_maps))
    cells.append(Cell([target], "target", captions[-1] or "", TARGET, TARGET, 12))
    text = ""
    if output.next_caption_logits is not None:
        options = {"max_new_tokens": model.config.max_caption_length, "do_sample": False}
        written = model.generate(**batch.context, task="continue", **options)
        text = f"written: {processor.batch_decode(written, skip_special_tokens=True)[0].strip()}"
    if output.predicted_frames is None:
        return [*cells, Cell([], "", text, text_colour=PAINTED, max_lines=12)]
    alone = model.predict_next_frame(**batch.context)
    painted, alone = processor.postprocess_frames(torch.cat([output.predicted_frames[:, -1].float(), alone.float()]))
    cells.append(Cell([painted], "painted, caption given", text, PAINTED, PAINTED, 12))
    return [*cells, Cell([alone], "painted, no caption", "", PAINTED)]
