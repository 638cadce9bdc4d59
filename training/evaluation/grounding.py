"""Score boxes that are drawn around what the spatial attention looks at against the true boxes of a frame."""

from collections.abc import Iterator, Sequence

import torch

from .attention_metrics import box_region
from .frame_metrics import ratio

THRESHOLD = 0.5  # of the highest value of a map: what is above it is looked at
FEWEST_OVERLAP = 0.5  # intersection over union of a box that counts as right
OVERLAPS = tuple(0.5 + 0.05 * step for step in range(10))  # over which the average precision is averaged, as in COCO

Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels


class GroundingMetrics:
    """
    Collects, over frames, boxes from attention maps and true boxes, whatever these are called.

    A box is drawn around every connected part of a head's map that is at least half as high as its maximum; its score
    is the mass of the map in it. Of boxes that overlap by more than half the one with the higher score is left.
    `precision`, `recall` and `f1` count a box as right if it overlaps a true box by at least half (intersection over
    union), each true box once. `map` is the average precision over ten such thresholds from 0.5 to 0.95 (Lin et al.
    2014). `floors`: one box around the whole frame, and one of half its height and width in the middle.
    """

    def __init__(self):
        self.predicted: dict[str, list[list[tuple[float, Box]]]] = {"attention": [], "whole_frame": [], "middle": []}
        self.true: list[list[Box]] = []

    def update(self, maps: torch.Tensor, boxes: list[list[float]], height: int, width: int) -> None:
        """
        Add one frame; it is left out where no box lies in it.

        Args:
            maps: the attention maps `(heads, h, w)`, each summing to 1.
            boxes: the boxes of all visible entities, `[x1, y1, x2, y2]` in pixels of the processed frame.
            height: rows of the processed frame.
            width: columns of the processed frame.
        """
        visible = [tuple(box) for box in boxes if box_region(box, height, width) is not None]
        if not visible:
            return
        self.true.append(visible)
        self.predicted["attention"].append(attended_boxes(maps, height, width))
        self.predicted["whole_frame"].append([(1.0, (0, 0, width, height))])
        self.predicted["middle"].append([(1.0, (width / 4, height / 4, width * 3 / 4, height * 3 / 4))])

    def compute(self) -> dict | None:
        """Return the measures, `num_frames` and `floors`, or `None` where no frame had a box."""
        if not self.true:
            return None
        scores = {name: _scores(predicted, self.true) for name, predicted in self.predicted.items()}
        return {**scores.pop("attention"), "num_frames": len(self.true), "floors": scores}


def attended_boxes(maps: torch.Tensor, height: int, width: int) -> list[tuple[float, Box]]:
    """Return the boxes around what maps `(heads, h, w)` look at, each after its score, the highest first."""
    rows, columns = maps.shape[-2:]
    candidates = []
    for values in maps.float().cpu():
        for cells in _connected(values >= THRESHOLD * values.max()):
            ys, xs = [row for row, _ in cells], [column for _, column in cells]
            box = min(xs) * width / columns, min(ys) * height / rows
            box += (max(xs) + 1) * width / columns, (max(ys) + 1) * height / rows
            candidates.append((float(values[ys, xs].sum()), box))
    chosen: list[tuple[float, Box]] = []
    for score, box in sorted(candidates, reverse=True):
        if all(overlap(box, other) <= FEWEST_OVERLAP for _, other in chosen):
            chosen.append((score, box))
    return chosen


def overlap(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(0.0, width) * max(0.0, height)
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return common / max(sum(areas) - common, 1e-9)


def _connected(mask: torch.Tensor) -> Iterator[list[tuple[int, int]]]:
    """Yield the cells of each part of a mask `(h, w)` that hangs together by edges."""
    remaining = {tuple(cell) for cell in mask.nonzero().tolist()}
    while remaining:
        part, reached = [], [remaining.pop()]
        while reached:
            row, column = reached.pop()
            part.append((row, column))
            for cell in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if cell in remaining:
                    remaining.remove(cell)
                    reached.append(cell)
        yield part


def _scores(predicted: list[list[tuple[float, Box]]], true: list[list[Box]]) -> dict[str, float | None]:
    """Return the measures of the boxes of some frames."""
    count = sum(map(len, true))
    hits = _hits(predicted, true, FEWEST_OVERLAP)
    precision, recall = ratio(sum(hits), len(hits)), sum(hits) / count
    precisions = (_average_precision(_hits(predicted, true, least), count) for least in OVERLAPS)
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if precision and recall else 0.0,
        "map": sum(precisions) / len(OVERLAPS),
    }


def _hits(predicted: list[list[tuple[float, Box]]], true: list[list[Box]], least: float) -> list[bool]:
    """Return for all predicted boxes, the highest scores first, whether each is right."""
    boxes = ((score, frame, box) for frame, of_frame in enumerate(predicted) for score, box in of_frame)
    ranked = sorted(boxes, key=lambda box: -box[0])
    taken: set[tuple[int, int]] = set()
    hits = []
    for _, frame, box in ranked:
        overlaps = [(overlap(box, other), number) for number, other in enumerate(true[frame])]
        best, number = max((pair for pair in overlaps if (frame, pair[1]) not in taken), default=(0.0, -1))
        hits.append(best >= least)
        if best >= least:
            taken.add((frame, number))
    return hits


def _average_precision(hits: Sequence[bool], count: int) -> float:
    """Return the area below the curve of precision over recall, where precision never rises with recall."""
    precisions, right = [], 0
    for number, hit in enumerate(hits, start=1):
        right += hit
        precisions.append(right / number)
    for number in range(len(precisions) - 2, -1, -1):
        precisions[number] = max(precisions[number], precisions[number + 1])
    return sum(precision for precision, hit in zip(precisions, hits) if hit) / count
