"""Measures of predicted frames, summed up batch by batch: overall and by kind of event."""

import math
from collections import defaultdict
from collections.abc import Callable

import torch
from storyattn.losses import sobel_gradients
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

# A pixel has changed where any channel differs by more than this (2 of 255 levels) from the previous frame.
CHANGE_THRESHOLD = 2 / 255
# PSNR of frames whose mean squared error is at most 1e-10, identical ones included.
MAX_PSNR = 100.0
# A difference of exactly two levels comes out of float32 arithmetic a hair above or below the threshold.
ROUNDING = 1e-5

# A measure of predictions beside targets, both `(N, 3, H, W)` in [0, 1]: `(N,)`, of each frame.
FrameMeasure = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def changed_mask(targets: torch.Tensor, previous_frames: torch.Tensor) -> torch.Tensor:
    """Return the pixels `(N, H, W)`, bool, in which frames `(N, 3, H, W)` in [0, 1] differ from the previous ones."""
    return ((targets - previous_frames).abs() > CHANGE_THRESHOLD + ROUNDING).any(dim=1)


def edge_energy(frames: torch.Tensor) -> float:
    """Return the sum of the Sobel gradient magnitude of `(N, C, H, W)`, over all pixels but those at the border."""
    return torch.hypot(*sobel_gradients(frames)).double().sum().item()


def psnr(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the peak signal-to-noise ratio of each frame, `(N,)` in decibels, at most `MAX_PSNR`."""
    decibels = peak_signal_noise_ratio(predictions, targets, data_range=(0.0, 1.0), reduction="none", dim=(1, 2, 3))
    return decibels.clamp(max=MAX_PSNR)


def ssim(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the structural similarity (Wang et al. 2004) of each frame, `(N,)`, at most 1."""
    return structural_similarity_index_measure(predictions, targets, data_range=1.0, reduction="none")


# The measures of which `FrameMetrics` takes the mean over frames, beside L1 and the perceptual distance.
FRAME_MEASURES: dict[str, FrameMeasure] = {"psnr": psnr, "ssim": ssim}


class FrameErrors:
    """`l1` (mean over frames) and `l1_changed` (mean over all changed pixels of all frames), both in [0, 1]."""

    def __init__(self):
        self.count = 0
        self.sums = defaultdict(float)

    def update(self, predictions: torch.Tensor, targets: torch.Tensor, previous_frames: torch.Tensor) -> None:
        """
        Add frames, each `(N, 3, H, W)` in [0, 1].

        Args:
            predictions: the frames as the model paints them.
            targets: the true frames.
            previous_frames: the true frames before them: a pixel that differs from these has changed.
        """
        errors = (predictions - targets).abs()
        changed = changed_mask(targets, previous_frames)
        self.count += len(targets)
        self.sums["l1"] += errors.flatten(1).mean(dim=1).double().sum().item()
        self.sums["changed_error"] += (errors.mean(dim=1) * changed).double().sum().item()
        self.sums["changed_pixels"] += changed.sum().item()

    def compute(self) -> dict[str, float | None]:
        """Return the means; `None` where nothing was measured (no frame, no changed pixel)."""
        return {
            "l1": ratio(self.sums["l1"], self.count),
            "l1_changed": ratio(self.sums["changed_error"], self.sums["changed_pixels"]),
        }


class FrameMetrics(FrameErrors):
    """
    `FrameErrors`, the means of `FRAME_MEASURES`, `perceptual` and `edge_ratio`.

    `edge_ratio` is the Sobel magnitude of all predictions over that of all targets: 1 where they are as sharp.

    Args:
        perceptual_distance: the measure whose mean is `perceptual`; `None` leaves it out.
    """

    def __init__(self, perceptual_distance: FrameMeasure | None):
        super().__init__()
        perceptual = {} if perceptual_distance is None else {"perceptual": perceptual_distance}
        self.measures = {**FRAME_MEASURES, **perceptual}

    def update(self, predictions: torch.Tensor, targets: torch.Tensor, previous_frames: torch.Tensor) -> None:
        """Add frames, see `FrameErrors.update`."""
        super().update(predictions, targets, previous_frames)
        for name, measure in self.measures.items():
            self.sums[name] += measure(predictions, targets).float().sum().item()
        self.sums["edges"] += edge_energy(predictions)
        self.sums["target_edges"] += edge_energy(targets)

    def compute(self) -> dict[str, float | None]:
        """Return all measures by name; `None` where nothing was measured."""
        means = {name: ratio(self.sums[name], self.count) for name in self.measures}
        means.setdefault("perceptual", None)
        return {**super().compute(), **means, "edge_ratio": ratio(self.sums["edges"], self.sums["target_edges"])}


class EventMetrics:
    """
    The errors of frames by kind of event.

    Of each kind: `l1_changed`, `copy_last_l1_changed` (the same of the previous frame as the prediction), `count`,
    and `placement`: of the `count_with_box` events that have a box, the share where inside it the prediction is nearer
    (L1) to the target than to the previous frame; `None` without boxes.
    """

    def __init__(self):
        self.errors = defaultdict(FrameErrors)
        self.copy_errors = defaultdict(FrameErrors)
        self.placements = defaultdict(list)

    def update(
        self,
        kind: str,
        box: list[float] | None,
        prediction: torch.Tensor,
        target: torch.Tensor,
        previous_frame: torch.Tensor,
    ) -> None:
        """
        Add one event.

        Args:
            kind: the kind of event.
            box: where it happens, `[x1, y1, x2, y2]` in pixels of the frames, see `box_region`.
            prediction: the frame as the model paints it, `(3, H, W)` in [0, 1].
            target: the true frame, of the same shape.
            previous_frame: the true frame before it, of the same shape.
        """
        self.errors[kind].update(prediction[None], target[None], previous_frame[None])
        self.copy_errors[kind].update(previous_frame[None], target[None], previous_frame[None])
        region = None if box is None else box_region(box, *target.shape[-2:])
        if region is not None:
            to_target = (prediction[region] - target[region]).abs().mean()
            to_previous = (prediction[region] - previous_frame[region]).abs().mean()
            self.placements[kind].append(bool(to_target < to_previous))

    def compute(self) -> dict[str, dict[str, float | int | None]]:
        """Return the measures of each kind, in alphabetical order of the kinds."""
        return {
            kind: {
                "l1_changed": errors.compute()["l1_changed"],
                "copy_last_l1_changed": self.copy_errors[kind].compute()["l1_changed"],
                "placement": ratio(sum(self.placements[kind]), len(self.placements[kind])),
                "count": errors.count,
                "count_with_box": len(self.placements[kind]),
            }
            for kind, errors in sorted(self.errors.items())
        }


def box_region(box: list[float], height: int, width: int) -> tuple | None:
    """
    Return the index of the pixels that a box touches.

    Args:
        box: `[x1, y1, x2, y2]` in pixels; it is rounded outwards and cut at the border.
        height: rows of the frame.
        width: columns of the frame.

    Returns:
        An index of tensors `(..., height, width)`; `None` where the box lies outside of the frame.
    """
    x1, y1 = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
    x2, y2 = min(width, math.ceil(box[2])), min(height, math.ceil(box[3]))
    return None if x1 >= x2 or y1 >= y2 else (..., slice(y1, y2), slice(x1, x2))


def ratio(total: float, count: float) -> float | None:
    """Return `total / count`, `None` where `count` is 0."""
    return total / count if count else None
