"""Draw the losses of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def loss_curves(metrics_path: str | Path, png_path: str | Path) -> Path:
    """
    Draw the curves of `metrics.jsonl` as a PNG; return its path.

    Panels: the loss, its parts, and, where there were evaluations, the error of the next frame beside that of copying
    the last frame. Training lines have `step`, `loss` and `loss_parts`; evaluation lines have `step` and `eval`, with
    the keys of `quick_metrics`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # its import takes long
    from matplotlib.figure import Figure

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


def _plot_loss(axes: Axes, training: list[dict], evaluations: list[dict]) -> None:
    steps, losses = [line["step"] for line in training], [line["loss"] for line in training]
    axes.plot(steps, losses, color="tab:blue", alpha=0.25, linewidth=0.8)
    axes.plot(steps, _smooth(losses), color="tab:blue", label="training (smoothed)")
    measured = [line for line in evaluations if line["eval"].get("loss") is not None]
    if measured:
        values = [line["eval"]["loss"] for line in measured]
        axes.plot([line["step"] for line in measured], values, "o-", color="tab:red", markersize=3, label="evaluation")
    axes.set_title("loss")


def _plot_parts(axes: Axes, training: list[dict]) -> None:
    names = dict.fromkeys(name for line in training for name in line.get("loss_parts", {}))
    for number, name in enumerate(names):
        positive = [line for line in training if line.get("loss_parts", {}).get(name, 0) > 0]  # the axis is logarithmic
        values = _smooth([line["loss_parts"][name] for line in positive])
        colour = matplotlib.colormaps["tab20"](number % 20)
        axes.plot([line["step"] for line in positive], values, color=colour, linewidth=1.2, label=name)
    axes.set_yscale("log")
    axes.set_title("parts of the loss (unweighted, smoothed)")


def _plot_frame_errors(axes: Axes, evaluations: list[dict]) -> None:
    for measure, colour, name in (("l1", "tab:green", "all pixels"), ("l1_changed", "tab:purple", "changed pixels")):
        for source, style, label in (("next_frame", "o-", "model"), ("copy_last", "--", "copy last")):
            key = f"{source}/{measure}"
            measured = [line for line in evaluations if line["eval"].get(key) is not None]
            values = [line["eval"][key] for line in measured]
            steps = [line["step"] for line in measured]
            axes.plot(steps, values, style, color=colour, markersize=3, label=f"{label}, {name}")
    axes.set_ylim(bottom=0)
    axes.set_title("L1 of the next frame")


def _smooth(values: list[float], weight: float = 0.8) -> list[float]:
    """Return the exponential moving average of `values`, corrected for its start."""
    smoothed, average = [], 0.0
    for count, value in enumerate(values, start=1):
        average = weight * average + (1 - weight) * value
        smoothed.append(average / (1 - weight**count))
    return smoothed
