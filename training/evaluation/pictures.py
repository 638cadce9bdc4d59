"""Draw what a model makes of stories."""

from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image

from ..figures import PAINTED, TARGET, Cell, _grid, _save
from .windows import MeasuredWindows, WindowBatch


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


def attention_overlay(frame: Image.Image, maps: torch.Tensor) -> Image.Image:
    """A grey `frame` under the mean over heads of `maps (heads, h, w)`: bright where the attention looks."""
    heat = maps.float().mean(dim=0).cpu().numpy()
    heat = Image.fromarray(heat / max(heat.max(), 1e-8)).resize(frame.size, Image.Resampling.BICUBIC)
    heat = np.asarray(heat).clip(0, 1)  # (H, W)
    grey = np.asarray(frame.convert("L").convert("RGB")) / 255
    colours = matplotlib.colormaps["inferno"](heat)[..., :3]
    weight = (0.15 + 0.6 * heat)[..., None]
    return Image.fromarray(((grey * (1 - weight) + colours * weight) * 255).round().astype(np.uint8))


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
