"""Does the spatial attention look at what the story is about? Scored against true boxes, next to chance."""

import torch

from .frame_metrics import box_region, ratio


class AttentionMetrics:
    """
    Sums up over frames: `pointing_game` (Zhang et al. 2018), the share of frames where the maximum of the map, at the
    centre of its cell, falls into a box (`chance_pointing_game`: the boxes' mean share of the frame), and
    `mass_over_area`, the map's mass inside the boxes over their share of the frame (`chance_mass_over_area`: 1).
    Both on the mean map of all heads, and again under `per_head`. Cells that tie for the maximum share the point.
    """

    def __init__(self):
        self.count = 0
        self.pointing = self.mass = None
        self.area = 0.0

    def update(self, maps: torch.Tensor, boxes: list[list[float]], height: int, width: int) -> None:
        """
        Adds one frame: `maps (heads, h, w)`, each summing to 1, and the boxes `[x1, y1, x2, y2]` of all visible
        entities in pixels of the processed frame of `height` x `width`. A frame without a box that lies in it is
        passed over.
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
        """The measures, or `None` where no frame had a box."""
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
    """Share `(n,)` of the maximal cells of each map whose centre lies in a box."""
    height, width = inside.shape
    rows, columns = maps.shape[-2:]
    y = ((torch.arange(rows) + 0.5) * height / rows).long()
    x = ((torch.arange(columns) + 0.5) * width / columns).long()
    peaks = (maps == maps.amax(dim=(1, 2), keepdim=True)).float()
    return (peaks * inside[y][:, x]).sum(dim=(1, 2)) / peaks.sum(dim=(1, 2))


def _cover(inside: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Share `(rows, columns)` of each cell that the boxes cover; exact where cells cut through pixels, too."""
    return _overlap(rows, inside.shape[0]) @ inside @ _overlap(columns, inside.shape[1]).T


def _overlap(cells: int, pixels: int) -> torch.Tensor:
    """Share `(cells, pixels)` of each cell that each pixel takes up, along one side of the frame."""
    edges = torch.arange(cells + 1) * pixels / cells
    starts = torch.arange(pixels)
    ends = torch.minimum(edges[1:, None], starts + 1.0)
    return (ends - torch.maximum(edges[:-1, None], starts.float())).clamp(min=0) * cells / pixels
