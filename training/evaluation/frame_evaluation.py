"""Which frames of a model are measured: `next_frame`, `next_frame_alone` and `reconstruction` of the results."""

import torch
from storyattn import StoryAttnOutput, StoryAttnProcessor

from ..common.captions import has_text
from .floors import floor_predictions
from .frame_metrics import EventMetrics, FrameErrors, FrameMetrics
from .windows import MeasuredWindows, Model, WindowBatch, exchange


class FrameEvaluation:
    """
    Measures the last frame of every window, as the model predicts and reconstructs it, beside floors.

    Args:
        model: the model that is measured.
        processor: its processor.
        windows: the windows that are measured.
        median_frame: the median of training frames, `(3, H, W)` in [0, 1], for the floor `train_median`, if any.
        seed: the seed by which captions are exchanged.
    """

    def __init__(
        self,
        model: Model,
        processor: StoryAttnProcessor,
        windows: MeasuredWindows,
        median_frame: torch.Tensor | None,
        seed: int,
    ):
        self.model, self.image_processor = model, processor.image_processor
        self.windows, self.median_frame = windows, median_frame
        self.frames = {name: self._frame_metrics() for name in ("next_frame", "next_frame_alone", "reconstruction")}
        self.floors: dict[str, FrameMetrics] = {}
        self.shuffled_caption, self.events = FrameErrors(), EventMetrics()
        self.caption_donors = _caption_donors(windows, seed)

    def update(self, positions: range, batch: WindowBatch, output: StoryAttnOutput) -> None:
        """
        Measure a batch of windows.

        Args:
            positions: their positions among all windows.
            batch: the windows.
            output: what the model gives for their inputs, reading the true next captions.
        """
        self._add_floors(batch)
        if output.predicted_frames is None:
            return
        predictions = batch.at_last_transition(output.predicted_frames).float()
        self._add("next_frame", predictions, batch)
        self._add("next_frame_alone", self.model.predict_next_frame(**batch.context), batch)
        if output.reconstructed_frames is not None:
            self._add("reconstruction", batch.at_last_frame(output.reconstructed_frames), batch)
        self._add_shuffled_caption(positions, batch)
        self._add_events(batch, predictions)

    def compute(self) -> dict[str, dict]:
        """Return the measures of each kind of frame by name."""
        metrics = {name: frames.compute() for name, frames in self.frames.items()}
        metrics["next_frame"]["floors"] = {name: floor.compute() for name, floor in self.floors.items()}
        metrics["next_frame"]["shuffled_caption"] = self.shuffled_caption.compute()
        if self.events.errors:
            metrics["next_frame"]["by_event"] = self.events.compute()
        return metrics

    def _frame_metrics(self) -> FrameMetrics:
        return FrameMetrics(self.model.perceptual_distance)

    def _add(self, name: str, predictions: torch.Tensor, batch: WindowBatch) -> None:
        self.frames[name].update(predictions.float(), batch.targets, batch.previous_frames)

    def _add_floors(self, batch: WindowBatch) -> None:
        floors = [
            floor_predictions(batch.frames_before(row), target, self.median_frame)
            for row, target in enumerate(batch.targets)
        ]
        for name in floors[0]:
            predictions = torch.stack([floor[name] for floor in floors])
            metrics = self.floors.setdefault(name, self._frame_metrics())
            metrics.update(predictions, batch.targets, batch.previous_frames)

    def _add_shuffled_caption(self, positions: range, batch: WindowBatch) -> None:
        """Measure the next frame as painted with the caption of another story."""
        donors = [self.caption_donors.get(position) for position in positions]
        rows = [row for row, donor in enumerate(donors) if donor is not None]
        if not rows:
            return
        captions = [None if donor is None else self.windows.captions_of[donor][-1] for donor in donors]
        predictions = self.model.predict_next_frame(**batch.context, **batch.encode_captions(captions)).float()
        self.shuffled_caption.update(predictions[rows], batch.targets[rows], batch.previous_frames[rows])

    def _add_events(self, batch: WindowBatch, predictions: torch.Tensor) -> None:
        """Measure the next frame by the kind of its event, where the stories have `events`."""
        for row, item in enumerate(batch.items):
            if not item.get("events"):
                continue
            event, picture, box = item["events"][-1], item["frames"][-1], None
            if event["box"]:
                (box,) = self.image_processor.transform_boxes([event["box"]], (picture.height, picture.width))
            frames = (predictions[row], batch.targets[row], batch.previous_frames[row])
            self.events.update(event["kind"], box, *frames)


def _caption_donors(windows: MeasuredWindows, seed: int) -> dict[int, int]:
    """Draw for each window whose last frame has a caption the window of another story whose last caption it gets."""
    captioned = [position for position, captions in enumerate(windows.captions_of) if has_text(captions[-1])]
    donors = exchange([windows.story_of[position] for position in captioned], seed)
    return {position: captioned[donor] for position, donor in zip(captioned, donors) if donor is not None}
