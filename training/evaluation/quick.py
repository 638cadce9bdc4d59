"""The few measures of an evaluation during training."""

from collections.abc import Callable

import torch
from datasets import Dataset
from storyattn import StoryAttnOutput, StoryAttnProcessor

from ..common.evaluation_mode import evaluation_mode
from ..data.prepared_stories import PreparedStories
from .frame_metrics import FrameErrors
from .windows import MeasuredWindows, Model, WindowBatch, chunks


def quick_metrics(
    model: Model,
    processor: StoryAttnProcessor,
    stories: Dataset | PreparedStories,
    *,
    max_windows: int = 64,
    batch_size: int = 16,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, float | None] | None:
    """
    Measure a few numbers during training; the next caption is given.

    Args:
        model: the model, which is left in the mode it had.
        processor: its processor.
        stories: the stories of a split (schema of `read_stories`).
        max_windows: the most windows to measure, evenly spread over the split.
        batch_size: windows per batch.
        stop: asked before each batch; where it returns true the evaluation ends.

    Returns:
        `loss` and `loss_parts/{name}` (means over windows), `next_frame/l1`, `next_frame/l1_changed`, `copy_last/l1`
        and `copy_last/l1_changed`; `None` once `stop()` is true.

    Raises:
        ValueError: no story has two frames.
    """
    windows = MeasuredWindows.of_model(model, stories, max_windows)
    sums, errors = {}, {"next_frame": FrameErrors(), "copy_last": FrameErrors()}
    with evaluation_mode(model):
        for positions in chunks(len(windows), batch_size):
            if stop():
                return None
            batch = WindowBatch(model, processor, [windows[position] for position in positions])
            output = model(**batch.inputs, return_loss=True, use_next_caption=True)
            for name, value in _losses(output).items():
                sums[name] = sums.get(name, 0.0) + value.item() * len(positions)
            if output.predicted_frames is not None:
                predictions = batch.at_last_transition(output.predicted_frames).float()
                errors["next_frame"].update(predictions, batch.targets, batch.previous_frames)
            errors["copy_last"].update(batch.previous_frames, batch.targets, batch.previous_frames)
    return {
        **{name: total / len(windows) for name, total in sums.items()},
        **{f"{frame}/{name}": value for frame, error in errors.items() for name, value in error.compute().items()},
    }


def _losses(output: StoryAttnOutput) -> dict[str, torch.Tensor]:
    return {"loss": output.loss, **{f"loss_parts/{name}": part for name, part in output.loss_parts.items()}}
