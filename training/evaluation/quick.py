"""The few measures of an evaluation during training."""

from collections.abc import Callable

from .frame_metrics import FrameErrors
from .mode import _chunks, _evaluating
from .windows import MeasuredWindows, WindowBatch, measured_frames


def quick_metrics(
    model,
    processor,
    stories,
    *,
    max_windows: int = 64,
    batch_size: int = 16,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, float | None] | None:
    """
    A few numbers for the evaluations during training, over up to `max_windows` windows spread over `stories`.

    Keys: `loss`, `loss_parts/{name}`, `next_frame/l1`, `next_frame/l1_changed`, `copy_last/l1`,
    `copy_last/l1_changed`; the next caption is given. Losses are means over windows. `None` once `stop()` is true.
    Raises `ValueError` where no story has two frames.
    """
    windows = MeasuredWindows(stories, measured_frames(model.config), max_windows)
    sums, errors, copy_errors = {}, FrameErrors(), FrameErrors()
    with _evaluating(model):
        for positions in _chunks(len(windows), batch_size):
            if stop():
                return None
            batch = WindowBatch(model, processor, [windows[position] for position in positions])
            output = model(**batch.inputs, return_loss=True, use_next_caption=True)
            parts = {f"loss_parts/{name}": part for name, part in output.loss_parts.items()}
            for name, value in {"loss": output.loss, **parts}.items():
                sums[name] = sums.get(name, 0.0) + value.item() * len(positions)
            if output.predicted_frames is not None:
                errors.update(batch.last_transition(output.predicted_frames).float(), batch.targets, batch.last_frames)
            copy_errors.update(batch.last_frames, batch.targets, batch.last_frames)
    return {
        **{name: total / len(windows) for name, total in sums.items()},
        **{f"next_frame/{name}": value for name, value in errors.compute().items()},
        **{f"copy_last/{name}": value for name, value in copy_errors.compute().items()},
    }
