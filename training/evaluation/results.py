"""The document that `results.json` holds."""

import math
import platform
from importlib.metadata import version

LIBRARIES = ("storyattn", "torch", "transformers", "datasets", "evaluate", "torchmetrics", "sacrebleu", "rouge-score")


def results_document(metrics: dict, *, dataset: str, split: str, model: str, seed: int, command: str) -> dict:
    """
    What `results.json` holds: `metrics` of `evaluate_model` and how they came about. Numbers that are not finite:
    `None`.
    """
    return {
        "dataset": dataset,
        "split": split,
        "model": model,
        "num_stories": metrics["num_stories"],
        "num_windows": metrics["num_windows"],
        "seed": seed,
        "command": command,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        "metrics": _finite(metrics),
    }


def _finite(value):
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
