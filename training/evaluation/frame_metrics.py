"""Measures of predicted frames, summed up batch by batch: overall, by kind of event and by position."""

from collections import defaultdict
from collections.abc import Callable

import torch
from storyattn.losses import changed_pixels, sobel_gradients

from .distribution_metrics import DistributionMetrics

# PSNR of frames whose mean squared error is at most 1e-10, identical ones included.
MAX_PSNR = 100.0

# A measure of predictions beside targets, both `(N, 3, H, W)` in [0, 1]: `(N,)`, of each frame.
FrameMeasure = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def edge_energy(frames: torch.Tensor) -> float:
    """Return the sum of the Sobel gradient magnitude of `(N, C, H, W)`, over all pixels but those at the border."""
    return torch.hypot(*sobel_gradients(frames)).double().sum().item()


def psnr(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the peak signal-to-noise ratio of each frame, `(N,)` in decibels, at most `MAX_PSNR`."""
    from torchmetrics.functional.image import peak_signal_noise_ratio  # its import takes long

    decibels = peak_signal_noise_ratio(predictions, targets, data_range=(0.0, 1.0), reduction="none", dim=(1, 2, 3))
    return decibels.clamp(max=MAX_PSNR)


def ssim(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the structural similarity (Wang et al. 2004) of each frame, `(N,)`, at most 1."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    return structural_similarity_index_measure(predictions, targets, data_range=1.0, reduction="none")


# The measures of which `FrameMetrics` takes the mean over frames, beside L1 and the perceptual distance.
FRAME_MEASURES: dict[str, FrameMeasure] = {"psnr": psnr, "ssim": ssim}


class FrameErrors:
    """
    Errors of frames, in [0, 1].

    `l1` is the mean over frames. `l1_changed` is the mean over all changed pixels of all frames, so that frames in
    which much changes (light, weather) weigh most. `l1_changed_per_frame` is the mean over frames of the mean over the
    changed pixels of each; frames without any are left out.
    """

    def __init__(self):
        self.count = 0
        self.sums = defaultdict(float)

    def update(self, predictions: torch.Tensor, targets: torch.Tensor, previous_frames: torch.Tensor) -> None:
        """
        Add frames, each `(N, 3, H, W)` in [0, 1].

        Args:
            predictions: the frames as the model paints them.
            targets: the true frames.
            previous_frames: the true frames before them, from which pixels have changed (see `changed_pixels`).
        """
        errors = (predictions - targets).abs()
        changed = changed_pixels(targets, previous_frames)
        self.count += len(targets)
        self.sums["l1"] += errors.flatten(1).mean(dim=1).double().sum().item()
        changed_error = (errors.mean(dim=1) * changed).flatten(1).double().sum(dim=1)  # (N,)
        changed_pixels_of = changed.flatten(1).sum(dim=1)  # (N,)
        has_changed = changed_pixels_of > 0
        self.sums["changed_error"] += changed_error.sum().item()
        self.sums["changed_pixels"] += changed_pixels_of.sum().item()
        self.sums["changed_means"] += (changed_error / changed_pixels_of)[has_changed].sum().item()
        self.sums["changed_frames"] += has_changed.sum().item()

    def compute(self) -> dict[str, float | None]:
        """Return the means; `None` where nothing was measured (no frame, no changed pixel)."""
        return {
            "l1": ratio(self.sums["l1"], self.count),
            "l1_changed": ratio(self.sums["changed_error"], self.sums["changed_pixels"]),
            "l1_changed_per_frame": ratio(self.sums["changed_means"], self.sums["changed_frames"]),
        }


class FrameMetrics(FrameErrors):
    """
    `FrameErrors`, the means of `FRAME_MEASURES`, `perceptual`, `edge_ratio`, `fid` and `kid`.

    `edge_ratio` is the Sobel magnitude of all predictions over that of all targets: 1 where they are as sharp. For the
    last two see `DistributionMetrics`.

    Args:
        perceptual_distance: the measure whose mean is `perceptual`; `None` leaves it out.
        pooled: gives the features `(N, D)` of frames in which `fid` and `kid` are measured; `None` leaves them out.
    """

    def __init__(
        self,
        perceptual_distance: FrameMeasure | None,
        pooled: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ):
        super().__init__()
        self.pooled, self.distributions = pooled, DistributionMetrics()
        perceptual = {} if perceptual_distance is None else {"perceptual": perceptual_distance}
        self.measures = {**FRAME_MEASURES, **perceptual}

    def update(self, predictions: torch.Tensor, targets: torch.Tensor, previous_frames: torch.Tensor) -> None:
        """Add frames, see `FrameErrors.update`."""
        super().update(predictions, targets, previous_frames)
        for name, measure in self.measures.items():
            self.sums[name] += measure(predictions, targets).float().sum().item()
        self.sums["edges"] += edge_energy(predictions)
        self.sums["target_edges"] += edge_energy(targets)
        if self.pooled is not None:
            self.distributions.update(self.pooled(predictions), self.pooled(targets))

    def compute(self) -> dict[str, float | None]:
        """Return all measures by name; `None` where nothing was measured."""
        means = {name: ratio(self.sums[name], self.count) for name in self.measures}
        means.setdefault("perceptual", None)
        edge_ratio = ratio(self.sums["edges"], self.sums["target_edges"])
        return {**super().compute(), **means, "edge_ratio": edge_ratio, **self.distributions.compute()}


class GroupErrors:
    """
    The errors of frames by group: by kind of event, or by position in the story.

    Of each group: those of `FrameErrors`, `copy_last_l1_changed` and `copy_last_l1_changed_per_frame` (the same of the
    previous frame as the prediction), and `count`.
    """

    def __init__(self):
        self.errors = defaultdict(FrameErrors)
        self.copy_errors = defaultdict(FrameErrors)

    def update(
        self, group: str | int, prediction: torch.Tensor, target: torch.Tensor, previous_frame: torch.Tensor
    ) -> None:
        """
        Add one frame.

        Args:
            group: the kind of its event, or its position.
            prediction: the frame as the model paints it, `(3, H, W)` in [0, 1].
            target: the true frame, of the same shape.
            previous_frame: the true frame before it, of the same shape.
        """
        self.errors[group].update(prediction[None], target[None], previous_frame[None])
        self.copy_errors[group].update(previous_frame[None], target[None], previous_frame[None])

    def compute(self) -> dict[str, dict[str, float | int | None]]:
        """Return the measures of each group, in the order of the groups."""
        groups = {}
        for group, errors in sorted(self.errors.items()):
            copied = {f"copy_last_{name}": value for name, value in self.copy_errors[group].compute().items()}
            copied.pop("copy_last_l1")
            groups[str(group)] = {**errors.compute(), **copied, "count": errors.count}
        return groups


def ratio(total: float, count: float) -> float | None:
    """Return `total / count`, `None` where `count` is 0."""
    return total / count if count else None
