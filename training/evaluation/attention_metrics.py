"""Score the spatial attention against the true boxes of what the story is about, next to chance."""

import math

import torch

from .frame_metrics import ratio


class AttentionMetrics:
    """
    Sums up over frames where the spatial attention looks.

    `pointing_game` (Zhang et al. 2018) is the share of frames in which the maximum of the map, at the centre of its
    cell, lies in a box; `chance_pointing_game` is the boxes' mean share of the frame. Cells that tie for the maximum
    share the point. `mass_over_area` is the map's mass inside the boxes over their share of the frame;
    `chance_mass_over_area` is 1. Both are of the mean map of all heads, and again `per_head`.
    """

    def __init__(self):
        self.count = 0
        self.pointing = self.mass = None
        self.area = 0.0

    def update(self, maps: torch.Tensor, boxes: list[list[float]], height: int, width: int) -> None:
        """
        Add one frame; it is left out where no box lies in it.

        Args:
            maps: the attention maps `(heads, h, w)`, each summing to 1.
            boxes: the boxes of all visible entities, `[x1, y1, x2, y2]` in pixels of the processed frame.
            height: rows of the processed frame.
            width: columns of the processed frame.
        """
        inside = torch.zeros(height, width)
        for box in boxes:
            region = box_region([round(edge) for edge in box], height, width)
            if region is not None:
                inside[region] = 1
        area = inside.mean().item()
        if area == 0:
            return
        maps = maps.float().cpu()
        maps = torch.cat([maps.mean(dim=0, keepdim=True), maps])  # (1 + heads, h, w)
        pointing = _points(maps, inside)
        mass = (maps * _cover(inside, *maps.shape[-2:])).sum(dim=(1, 2)) / area
        self.pointing = pointing if self.pointing is None else self.pointing + pointing
        self.mass = mass if self.mass is None else self.mass + mass
        self.area += area
        self.count += 1

    def compute(self) -> dict | None:
        """Return the measures and `num_frames`, or `None` where no frame had a box."""
        if not self.count:
            return None
        pointing, mass = (self.pointing / self.count).tolist(), (self.mass / self.count).tolist()
        return {
            "pointing_game": pointing[0],
            "chance_pointing_game": ratio(self.area, self.count),
            "mass_over_area": mass[0],
            "chance_mass_over_area": 1.0,
            "per_head": {"pointing_game": pointing[1:], "mass_over_area": mass[1:]},
            "num_frames": self.count,
        }


def _points(maps: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Return the share `(n,)` of the maximal cells of each map `(n, h, w)` whose centre lies in a box."""
    height, width = inside.shape
    rows, columns = maps.shape[-2:]
    y = ((torch.arange(rows) + 0.5) * height / rows).long()
    x = ((torch.arange(columns) + 0.5) * width / columns).long()
    peaks = (maps == maps.amax(dim=(1, 2), keepdim=True)).float()
    return (peaks * inside[y][:, x]).sum(dim=(1, 2)) / peaks.sum(dim=(1, 2))


def _cover(inside: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Return the share `(rows, columns)` of each cell that the boxes cover, also where cells cut through pixels."""
    return _overlap(rows, inside.shape[0]) @ inside @ _overlap(columns, inside.shape[1]).T


def _overlap(cells: int, pixels: int) -> torch.Tensor:
    """Return the share `(cells, pixels)` of each cell that each pixel takes up, along one side of the frame."""
    edges = torch.arange(cells + 1) * pixels / cells
    starts = torch.arange(pixels)
    ends = torch.minimum(edges[1:, None], starts + 1.0)
    return (ends - torch.maximum(edges[:-1, None], starts.float())).clamp(min=0) * cells / pixels


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
