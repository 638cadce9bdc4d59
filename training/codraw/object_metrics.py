"""
Measure how alike two pictures are in what they show: the published measures of CoDraw, from lists of detections.

El-Nouby et al. 2019, "Tell, Draw, and Repeat": precision, recall and F1 of the classes, averaged over pictures, and the
relational similarity (RSIM), which compares what is left of what, and what is in front of what.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

NAMES = ("precision", "recall", "f1", "rsim")
CENTER = 0.5  # of the picture, and of the depths
FARTHEST = 2  # the depth of a scene that is 1 here


@dataclass(frozen=True)
class Detection:
    """A class that a picture shows: its center as shares of the width and the height, its depth 0 (near) to 1 (far)."""

    class_id: int
    x: float
    y: float
    depth: float


def picture_scores(painted: list[Detection], true: list[Detection]) -> dict[str, float]:
    """
    Return `precision`, `recall` and `f1` of the classes of one picture, and `rsim`.

    A share of nothing is 0, as in the published measures. At most one detection of a class in each list.
    """
    classes, expected = ({detection.class_id for detection in detections} for detections in (painted, true))
    shared = len(classes & expected)
    recall = shared / len(expected) if expected else 0.0
    return {
        "precision": shared / len(classes) if classes else 0.0,
        "recall": recall,
        "f1": 2 * shared / (len(classes) + len(expected)) if shared else 0.0,
        "rsim": recall * relation_agreement(painted, true),
    }


def relation_agreement(painted: list[Detection], true: list[Detection]) -> float:
    """
    Return the share of relations that two pictures have in common, over the classes that both show; 0 without any.

    The relations of an ordered pair of classes are the signs of the differences in x and in depth; those of a class
    with itself are the signs against the picture's center.
    """
    places = [{detection.class_id: detection for detection in detections} for detections in (painted, true)]
    shared = sorted(places[0].keys() & places[1].keys())
    if not shared:
        return 0.0
    first, second = (_relations([place[class_id] for class_id in shared]) for place in places)
    return float((first == second).mean())


def mean_scores(pairs: Iterable[tuple[list[Detection], list[Detection]]]) -> dict[str, float]:
    """Return `picture_scores` of (painted, true) averaged over pictures, and their `count`; nothing for none."""
    scores = [picture_scores(painted, true) for painted, true in pairs]
    if not scores:
        return {}
    return {**{name: sum(score[name] for score in scores) / len(scores) for name in NAMES}, "count": len(scores)}


def with_whole_depths(detections: list[Detection]) -> list[Detection]:
    """Return detections with their depths rounded to the three that clip art has, so that equal ones are equal."""
    return [
        Detection(seen.class_id, seen.x, seen.y, min(max(round(seen.depth * FARTHEST), 0), FARTHEST) / FARTHEST)
        for seen in detections
    ]


def _relations(detections: list[Detection]) -> np.ndarray:
    """Return the signs `(2, n, n)` of the differences in x and in depth."""
    relations = []
    for values in ([detection.x for detection in detections], [detection.depth for detection in detections]):
        values = np.array(values)
        differences = values[:, None] - values[None]
        np.fill_diagonal(differences, values - CENTER)
        relations.append(np.sign(differences))
    return np.stack(relations)
