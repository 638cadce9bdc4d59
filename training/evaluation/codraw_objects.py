"""
What paintings of CoDraw show: the published measures, in the closed loop and from true pictures, with floors.

El-Nouby et al. 2019 paint every turn from the model's own last painting, and compare what a detector finds in the
painting with what it finds in the true picture. Their detector cannot be had; numbers here are under our own.
"""

from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm

from ..codraw.clip_art import CANVAS_HEIGHT, CANVAS_WIDTH
from ..codraw.detector import CodrawDetector
from ..codraw.object_metrics import FARTHEST, Detection, mean_scores, with_whole_depths
from ..codraw.renderer import MIN_VISIBLE
from .closed_loop import paint_stories

COLUMN = "clip_art"  # of stories that have what is measured here
PAINTED = {"closed_loop": True, "from_true_pictures": False}  # name: whether the model sees its own paintings
FLOORS = ("empty_canvas", "last_true_frame")
FRAMES_AT_ONCE = 64  # that the detector reads


def measure_objects(
    model: Any,
    processor: Any,
    stories: Any,
    indices: list[int],
    detector: CodrawDetector,
    *,
    batch_size: int = 16,
    context_frames: int | None = None,
    progress: bool = True,
) -> dict:
    """
    Measure what the paintings of stories of CoDraw show; every frame but the first, empty one counts.

    Args:
        model: paints; in evaluation mode.
        processor: the model's.
        stories: have `clip_art` beside `frames` and `captions`.
        indices: which of them are measured.
        detector: reads frames.
        batch_size: stories at once.
        context_frames: the most frames that the model is shown; by default as many as it reads.
        progress: whether to show a progress bar.

    Returns:
        `closed_loop` (each frame painted from the model's own paintings), `from_true_pictures`, `floors`
        (`empty_canvas` and `last_true_frame`, in place of paintings) and `detector` (what it finds in the true frames):
        for each `against_detections` (in the true frame) and `against_annotation`, see `mean_scores`, with
        `rsim_whole_depths`, where equal depths are equal. Against the annotation depths are always rounded so.
    """
    collected = _Collected(detector)
    bar = tqdm(total=len(indices), desc="painting stories", unit="story", disable=not progress)
    for start in range(0, len(indices), batch_size):
        batch = [stories[index] for index in indices[start : start + batch_size]]
        for name, closed in PAINTED.items():
            painted = paint_stories(model, processor, batch, closed=closed, context_frames=context_frames)
            collected.add(name, [picture for story in painted for picture in story])
        collected.add("detector", [frame for story in batch for frame in story["frames"][1:]])
        collected.add("empty_canvas", [story["frames"][0] for story in batch for _ in story["frames"][1:]])
        collected.add("last_true_frame", [frame for story in batch for frame in story["frames"][:-1]])
        for story in batch:
            collected.annotation += [annotated(objects) for objects in story[COLUMN][1:]]
        bar.update(len(batch))
    bar.close()
    scores = {name: collected.scores(name) for name in collected.detections}
    return {
        **{name: scores[name] for name in PAINTED},
        "floors": {name: scores[name] for name in FLOORS},
        "detector": {"against_annotation": scores["detector"]["against_annotation"]},
    }


def annotated(objects: list[dict]) -> list[Detection]:
    """Return the visible objects of a frame (an item of the column `clip_art`) as a perfect detector would."""
    return [
        Detection(found["class_id"], found["x"] / CANVAS_WIDTH, found["y"] / CANVAS_HEIGHT, found["depth"] / FARTHEST)
        for found in objects
        if found["visible"] >= MIN_VISIBLE
    ]


class _Collected:
    """What the detector finds in the frames of each kind, and what the true ones show."""

    def __init__(self, detector: CodrawDetector):
        self.detector = detector
        self.detections: dict[str, list[list[Detection]]] = {}
        self.annotation: list[list[Detection]] = []

    def add(self, name: str, frames: list[Image.Image]) -> None:
        """Read frames of the kind `name`."""
        found = self.detections.setdefault(name, [])
        for start in range(0, len(frames), FRAMES_AT_ONCE):
            pixels = np.stack([np.asarray(frame.convert("RGB")) for frame in frames[start : start + FRAMES_AT_ONCE]])
            found += self.detector.detect(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)

    def scores(self, name: str) -> dict[str, dict[str, float]]:
        """Return the measures of the frames of the kind `name`."""
        painted, true = self.detections[name], self.detections["detector"]
        painted_whole, true_whole = ([with_whole_depths(found) for found in lists] for lists in (painted, true))
        detected = mean_scores(zip(painted, true))
        detected["rsim_whole_depths"] = mean_scores(zip(painted_whole, true_whole))["rsim"]
        return {
            "against_detections": detected,
            "against_annotation": mean_scores(zip(painted_whole, self.annotation)),
        }
