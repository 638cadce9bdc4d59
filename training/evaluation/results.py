"""The document that `results.json` holds."""

import math
import platform
from datetime import datetime, timezone

from ..common.versions import package_version
from .comparison import BEFORE

LIBRARIES = (
    "storyattn",
    "torch",
    "transformers",
    "datasets",
    "evaluate",
    "torchmetrics",
    "sacrebleu",
    "rouge-score",
    "nltk",
)


def results_document(metrics: dict, *, dataset: str, split: str, model: str, seed: int, command: str) -> dict:
    """
    Return what `results.json` holds: the numbers, and how they were measured.

    Args:
        metrics: the metrics of `evaluate_model`; numbers that are not finite become `None`.
        dataset: name, folder or Hub id of the stories.
        split: the split that was measured.
        model: folder or Hub id of the model.
        seed: the seed of the evaluation.
        command: the command line that measures the same.

    Returns:
        A document that JSON can hold. The version of a library without metadata is `None`.
    """
    return {
        "dataset": dataset,
        "split": split,
        "model": model,
        "num_stories": metrics["num_stories"],
        "num_windows": metrics["num_windows"],
        "seed": seed,
        "command": command,
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
        "versions": {"python": platform.python_version(), **{name: package_version(name) for name in LIBRARIES}},
        "metrics": _finite(metrics),
    }


def drop_examples(document: dict) -> None:
    """Take the captions of stories, which stand beside those that were written, out of a document of results."""
    for metrics in (document["metrics"], document.get("test_unseen", {}), document.get(BEFORE, {})):
        for task in ("next_caption", "describe"):
            metrics.get(task, {}).pop("examples", None)


def _finite(value: object) -> object:
    """Return nested dictionaries and lists with `None` in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
