"""Which frames are measured: `next_frame`, `next_frame_alone`, `reconstruction` and `state` of the results."""

import torch
from storyattn import StoryAttnOutput

from ..common.captions import has_text
from .floors import floor_predictions
from .frame_metrics import FrameErrors, FrameMetrics, GroupErrors
from .instruments import Instruments
from .state_evaluation import StateEvaluation
from .windows import MeasuredWindows, Model, WindowBatch, exchange


class FrameEvaluation:
    """
    Measures the last frame of every window, as the model predicts and reconstructs it, beside floors.

    Args:
        model: the model that is measured.
        windows: the windows that are measured.
        median_frame: the median of training frames, `(3, H, W)` in [0, 1], for the floor `train_median`, if any.
        instruments: what frames are compared with.
        reads_states: whether the stories are of StoryWorld, and frames are read.
        seed: the seed by which captions are exchanged.
    """

    def __init__(
        self,
        model: Model,
        windows: MeasuredWindows,
        median_frame: torch.Tensor | None,
        instruments: Instruments,
        reads_states: bool,
        seed: int,
    ):
        self.model = model
        self.windows, self.median_frame, self.network = windows, median_frame, instruments.feature_network
        self.frames = {name: self._frame_metrics() for name in ("next_frame", "next_frame_alone", "reconstruction")}
        self.floors: dict[str, FrameMetrics] = {}
        self.shuffled_caption = FrameErrors()
        self.groups = {"by_event": GroupErrors(), "by_position": GroupErrors()}
        self.states = StateEvaluation(seed) if reads_states else None
        self.clip_score = instruments.clip_score
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
        alone = self.model.predict_next_frame(**batch.context).float()
        self._add("next_frame", predictions, batch)
        self._add("next_frame_alone", alone, batch)
        if output.reconstructed_frames is not None:
            self._add("reconstruction", batch.at_last_frame(output.reconstructed_frames), batch)
        self._add_groups(batch, predictions)
        if self.states is not None:
            self.states.update_groups(self.states.update("caption_given", predictions, batch.items), batch.items)
            self.states.update("no_caption", alone, batch.items)
            self.states.update_controls(batch.targets.cpu(), batch.items)
        if self.clip_score is not None:
            captions = [item["captions"][-1] for item in batch.items]
            rows = {"caption_given": predictions, "no_caption": alone, "true_frames": batch.targets}
            rows["last_frame"] = batch.previous_frames
            self.clip_score.update(rows, captions)
        self._add_shuffled_caption(positions, batch)

    def compute(self) -> dict[str, dict]:
        """Return the measures of each kind of frame by name."""
        metrics = {name: frames.compute() for name, frames in self.frames.items()}
        metrics["next_frame"]["floors"] = {name: floor.compute() for name, floor in self.floors.items()}
        metrics["next_frame"]["shuffled_caption"] = self.shuffled_caption.compute()
        for name, groups in self.groups.items():
            if groups.errors:
                metrics["next_frame"][name] = groups.compute()
        if getattr(self.model.config, "frame_sharpening", 0):
            metrics["next_frame"]["sharpening"] = self.model.config.frame_sharpening
        if self.clip_score is not None:
            metrics["next_frame"]["clip_score"] = self.clip_score.compute()
        states = {} if self.states is None else self.states.compute()
        return {**metrics, "state": states} if states else metrics

    def _frame_metrics(self) -> FrameMetrics:
        return FrameMetrics(None) if self.network is None else FrameMetrics(self.network.distances, self.network.pooled)

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
        if self.states is not None:
            self.states.update("other_caption", predictions[rows], [batch.items[row] for row in rows])

    def _add_groups(self, batch: WindowBatch, predictions: torch.Tensor) -> None:
        """Measure the next frame by its position and, where the stories have `events`, by the kind of its event."""
        for row, item in enumerate(batch.items):
            frames = predictions[row], batch.targets[row], batch.previous_frames[row]
            self.groups["by_position"].update(item["last"], *frames)
            if item.get("events"):
                self.groups["by_event"].update(item["events"][-1]["kind"], *frames)


def _caption_donors(windows: MeasuredWindows, seed: int) -> dict[int, int]:
    """Draw for each window whose last frame has a caption the window of another story whose last caption it gets."""
    captioned = [position for position, captions in enumerate(windows.captions_of) if has_text(captions[-1])]
    donors = exchange([windows.story_of[position] for position in captioned], seed)
    return {position: captioned[donor] for position, donor in zip(captioned, donors) if donor is not None}
