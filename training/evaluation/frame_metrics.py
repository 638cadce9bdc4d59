"""Measures of painted frames, summed up batch by batch: overall and by kind of event."""

import math
from collections import defaultdict

import torch
import torch.nn.functional as F
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

# A pixel has changed where any channel differs by more than this (2 of 255 levels) from the last input frame.
CHANGE_THRESHOLD = 2 / 255
# PSNR of frames whose mean squared error is at most 1e-10, identical ones included.
MAX_PSNR = 100.0
# A difference of exactly two levels comes out of float32 arithmetic a hair above or below the threshold.
ROUNDING = 1e-5


def changed_mask(targets: torch.Tensor, last_frames: torch.Tensor) -> torch.Tensor:
    """Pixels `(N, H, W)`, bool, in which `targets` differ from `last_frames`, both `(N, 3, H, W)` in [0, 1]."""
    return ((targets - last_frames).abs() > CHANGE_THRESHOLD + ROUNDING).any(dim=1)


def sobel_energy(frames: torch.Tensor) -> float:
    """Sum of the Sobel gradient magnitude over all pixels but the border's and all channels of `(N, C, H, W)`."""
    kernel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=frames.device)
    kernels = torch.stack([kernel, kernel.T])[:, None]  # (2, 1, 3, 3)
    gradients = F.conv2d(frames.flatten(0, 1)[:, None], kernels)  # (N*C, 2, H-2, W-2)
    return gradients.norm(dim=1).double().sum().item()


def psnr(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio of each frame, `(N,)` in decibels, at most `MAX_PSNR`, for frames in [0, 1]."""
    decibels = peak_signal_noise_ratio(predictions, targets, data_range=(0.0, 1.0), reduction="none", dim=(1, 2, 3))
    return decibels.clamp(max=MAX_PSNR)


class FrameErrors:
    """`l1` (mean over frames) and `l1_changed` (over all changed pixels of all frames), both in [0, 1]."""

    def __init__(self):
        self.count = 0
        self.sums = defaultdict(float)

    def update(self, predictions: torch.Tensor, targets: torch.Tensor, last_frames: torch.Tensor) -> None:
        """Adds frames, each `(N, 3, H, W)` in [0, 1]; `last_frames` are the last input frames."""
        errors = (predictions - targets).abs()
        changed = changed_mask(targets, last_frames)
        self.count += len(targets)
        self.sums["l1"] += errors.flatten(1).mean(dim=1).double().sum().item()
        self.sums["changed_error"] += (errors.mean(dim=1) * changed).double().sum().item()
        self.sums["changed_pixels"] += changed.sum().item()

    def compute(self) -> dict[str, float | None]:
        """The means; `None` where there was nothing to measure (no frame, no changed pixel)."""
        return {
            "l1": ratio(self.sums["l1"], self.count),
            "l1_changed": ratio(self.sums["changed_error"], self.sums["changed_pixels"]),
        }


class FrameMetrics(FrameErrors):
    """
    Adds `psnr` (decibels, mean over frames), `ssim` (mean over frames), `perceptual` (mean of `perceptual_distance`,
    `None` without one) and `edge_ratio`: Sobel magnitude of all predictions over that of all targets, 1 where as sharp.
    """

    def __init__(self, perceptual_distance):
        super().__init__()
        self.perceptual_distance = perceptual_distance

    def update(self, predictions: torch.Tensor, targets: torch.Tensor, last_frames: torch.Tensor) -> None:
        """Adds frames, each `(N, 3, H, W)` in [0, 1]; `last_frames` are the last input frames."""
        super().update(predictions, targets, last_frames)
        similarity = structural_similarity_index_measure(predictions, targets, data_range=1.0, reduction="none")
        self.sums["psnr"] += psnr(predictions, targets).sum().item()
        self.sums["ssim"] += similarity.sum().item()
        if self.perceptual_distance is not None:
            self.sums["perceptual"] += self.perceptual_distance(predictions, targets).float().sum().item()
        self.sums["edges"] += sobel_energy(predictions)
        self.sums["target_edges"] += sobel_energy(targets)

    def compute(self) -> dict[str, float | None]:
        """All measures by name; `None` where there was nothing to measure."""
        means = {name: ratio(self.sums[name], self.count) for name in ("psnr", "ssim", "perceptual")}
        if self.perceptual_distance is None:
            means["perceptual"] = None
        return {**super().compute(), **means, "edge_ratio": ratio(self.sums["edges"], self.sums["target_edges"])}


class EventMetrics:
    """
    By kind of event: `l1_changed`, `copy_last_l1_changed`, `count`, and `placement`: of the events that have a box, the
    share where inside it the prediction is nearer (L1) to the target than to the last frame; `None` without boxes.
    """

    def __init__(self):
        self.errors = defaultdict(FrameErrors)
        self.copy_errors = defaultdict(FrameErrors)
        self.placed = defaultdict(list)

    def update(self, kind: str, box: list[float] | None, prediction, target, last_frame) -> None:
        """
        Adds one event; frames are `(3, H, W)` in [0, 1], `box` is `[x1, y1, x2, y2]` in their pixels (rounded outwards
        and cut at the border) or `None`.
        """
        self.errors[kind].update(prediction[None], target[None], last_frame[None])
        self.copy_errors[kind].update(last_frame[None], target[None], last_frame[None])
        region = None if box is None else box_region(box, *target.shape[-2:])
        if region is not None:
            to_target = (prediction[region] - target[region]).abs().mean()
            to_last = (prediction[region] - last_frame[region]).abs().mean()
            self.placed[kind].append(bool(to_target < to_last))

    def compute(self) -> dict[str, dict[str, float | int | None]]:
        """The measures of each kind, in alphabetical order of the kinds."""
        return {
            kind: {
                "l1_changed": errors.compute()["l1_changed"],
                "copy_last_l1_changed": self.copy_errors[kind].compute()["l1_changed"],
                "placement": ratio(sum(self.placed[kind]), len(self.placed[kind])),
                "count": errors.count,
                "count_with_box": len(self.placed[kind]),
            }
            for kind, errors in sorted(self.errors.items())
        }


def box_region(box: list[float], height: int, width: int) -> tuple | None:
    """Index of the pixels of `(..., height, width)` that a box touches, or `None` where it lies outside."""
    x1, y1 = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
    x2, y2 = min(width, math.ceil(box[2])), min(height, math.ceil(box[3]))
    return None if x1 >= x2 or y1 >= y2 else (..., slice(y1, y2), slice(x1, x2))


def ratio(total: float, count: float) -> float | None:
    """`total / count`, or `None` where there is nothing to divide by."""
    return total / count if count else None
