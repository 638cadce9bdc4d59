"""
Measure what paintings of CoDraw show: the published measures, in the closed loop and from true pictures, with floors.

El-Nouby et al. 2019 paint every turn from the model's own last painting, and compare what a detector finds in the
painting with what it finds in the true picture. Their detector cannot be had; numbers here are under our own.
"""

from collections.abc import Iterable

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from storyattn import StoryAttnProcessor
from tqdm.auto import tqdm

from ..codraw.clip_art import CANVAS_HEIGHT, CANVAS_WIDTH
from ..codraw.detector import CodrawDetector
from ..codraw.object_metrics import FARTHEST, Detection, mean_scores, with_whole_depths
from ..codraw.renderer import MIN_VISIBLE
from ..data.prepared_stories import PreparedStories
from .closed_loop import paint_stories
from .windows import Model

COLUMN = "clip_art"  # of stories that have what is measured here
PAINTED = {"closed_loop": True, "from_true_pictures": False}  # name: whether the model sees its own paintings
FLOORS = ("empty_canvas", "last_true_frame")
FRAMES_AT_ONCE = 64  # that the detector reads


def measure_objects(
    model: Model,
    processor: StoryAttnProcessor,
    stories: Dataset | PreparedStories,
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
        `against_detections` in the true frames and `against_annotation`. Each has the scores (see `mean_scores`) of
        `closed_loop` (each frame painted from the model's own paintings), of `from_true_pictures`, and of the `floors`
        `empty_canvas` and `last_true_frame` (in place of paintings); the second also those of the `detector` itself
        (in the true frames). `rsim_whole_depths` is `rsim` with depths rounded to the three of clip art, so that equal
        ones are equal; against the annotation `rsim` is this.
    """
    collected = _Collected(detector)
    bar = tqdm(total=len(indices), desc="painting stories", unit="story", disable=not progress)
    for start in range(0, len(indices), batch_size):
        batch = [stories[index] for index in indices[start : start + batch_size]]
        for name, closed in PAINTED.items():
            painted = paint_stories(model, processor, batch, closed=closed, context_frames=context_frames)
            collected.add(name, [picture for story in painted for picture in story])
        collected.add_truth(batch)
        bar.update(len(batch))
    bar.close()
    return collected.scores()


def annotated(objects: list[dict]) -> list[Detection]:
    """Return the visible objects of a frame (an item of the column `clip_art`) as a perfect detector would."""
    return [
        Detection(
            item["class_id"],
            item["x"] / CANVAS_WIDTH,
            item["y"] / CANVAS_HEIGHT,
            item["depth"] / FARTHEST,
        )
        for item in objects
        if item["visible"] >= MIN_VISIBLE
    ]


class _Collected:
    """What the detector finds in the frames of each kind, and what the true ones show."""

    def __init__(self, detector: CodrawDetector):
        self.detector = detector
        self.detections: dict[str, list[list[Detection]]] = {}
        self.annotation: list[list[Detection]] = []

    def add(self, name: str, frames: list[Image.Image]) -> None:
        """Read frames of the kind `name`."""
        detection = self.detections.setdefault(name, [])
        for start in range(0, len(frames), FRAMES_AT_ONCE):
            pixels = np.stack([np.asarray(frame.convert("RGB")) for frame in frames[start : start + FRAMES_AT_ONCE]])
            detection += self.detector.detect(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)

    def add_truth(self, batch: list[dict]) -> None:
        """Add the true frames of stories, their floors, and what the annotation says is in them."""
        self.add("detector", [frame for story in batch for frame in story["frames"][1:]])
        self.add("empty_canvas", [story["frames"][0] for story in batch for _ in story["frames"][1:]])
        self.add("last_true_frame", [frame for story in batch for frame in story["frames"][:-1]])
        for story in batch:
            self.annotation += [annotated(objects) for objects in story[COLUMN][1:]]

    def scores(self) -> dict[str, dict]:
        """Return what `measure_objects` returns."""
        whole = {name: [with_whole_depths(detection) for detection in lists] for name, lists in self.detections.items()}
        detected = {}
        for name, painted in self.detections.items():
            detected[name] = mean_scores(zip(painted, self.detections["detector"]))
            detected[name]["rsim_whole_depths"] = mean_scores(zip(whole[name], whole["detector"]))["rsim"]
        annotated = {name: mean_scores(zip(painted, self.annotation)) for name, painted in whole.items()}
        return {
            "against_detections": _arranged(detected, PAINTED),
            "against_annotation": _arranged(annotated, (*PAINTED, "detector")),
        }


def _arranged(scores: dict[str, dict], names: Iterable[str]) -> dict[str, dict]:
    """Return the scores of `names` and beside them those of the floors."""
    return {**{name: scores[name] for name in names}, "floors": {name: scores[name] for name in FLOORS}}
