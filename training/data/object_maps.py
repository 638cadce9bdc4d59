"""Where the named objects of training stories come, move, change or go, for the slots of the frame decoder."""

import numpy as np
import torch
from datasets import Dataset
from storyattn import StoryAttnImageProcessor
from storyattn.losses import CHANGED_THRESHOLD
from transformers import PreTrainedConfig

from .augmentation import Augmentation
from .prepared_stories import PreparedStories

LOSS = "next_frame_objects"
MOST_NAMES = 500
CHANGED_SHARE = 1 / 3  # of the pixels in its box, above which an object that stays in its place has changed its looks
Objects = tuple[np.ndarray, np.ndarray]  # numbers of their names (n,), and their edges (n, 4)


def set_object_names(config: PreTrainedConfig, stories: Dataset | PreparedStories) -> None:
    """Set the names of the objects that a model has slots for, where it has their loss and no names yet.

    Args:
        config: configuration of the model; a baseline has no such loss.
        stories: the training stories.

    Raises:
        ValueError: for stories without `boxes`, or with more than `MOST_NAMES` names in them.
    """
    weight = _weight(config)
    if not weight or config.object_names:
        return
    given = f"config_overrides: got loss_weights.{LOSS} {weight:g}"
    if "boxes" not in stories.column_names:
        raise ValueError(f"{given} and training stories without boxes, expected a column `boxes`, or a weight of 0")
    names = {box["entity"] for story in stories["boxes"] for boxes in story or [] for box in boxes}
    if not 0 < len(names) <= MOST_NAMES:
        raise ValueError(f"{given} and boxes with {len(names)} different names, expected 1 to {MOST_NAMES}")
    config.object_names = sorted(names)


class ObjectMaps:
    """Turns boxes of frames into maps of the objects that change, for a model that is trained to place objects.

    For another one, and for a baseline, it finds and draws nothing.

    Args:
        config: configuration of the model, with the names and the grid.
        image_processor: the processor by which frames are prepared.
        augmentation: changes of the windows.
    """

    def __init__(self, config: PreTrainedConfig, image_processor: StoryAttnImageProcessor, augmentation: Augmentation):
        names = (getattr(config, "object_names", None) or []) if _weight(config) else []
        self.numbers = {name: number for number, name in enumerate(names)}
        self.grid = config.frame_grid if names else (0, 0)
        self.image_processor, self.augmentation = image_processor, augmentation

    def find_all(self, stories: PreparedStories) -> list[list[Objects]]:
        """Return the objects of each frame of each story."""
        boxes = stories["boxes"] if self.numbers and "boxes" in stories.column_names else [None] * len(stories)
        return [self.find(of_story, stories.sizes(number)) if of_story else [] for number, of_story in enumerate(boxes)]

    def find(self, boxes: list[list[dict]] | None, sizes: list[list[int]]) -> list[Objects]:
        """Return the objects of each frame, those that have a name; what the crop leaves out has no area.

        Args:
            boxes: of each frame `entity` and `box` `[x1, y1, x2, y2]` in pixels.
            sizes: height and width of the picture that the boxes of each frame are in.

        Returns:
            of each frame the numbers of the names `(n,)`, int16, and the edges `(n, 4)` as shares of the frame.
        """
        if not self.numbers:
            return []
        return [self._found(of_frame, size) for of_frame, size in zip(boxes or [], sizes)]

    def _found(self, boxes: list[dict], size: list[int]) -> Objects:
        known = [box for box in boxes if box["entity"] in self.numbers and box["box"]]
        labels = np.array([self.numbers[box["entity"]] for box in known], np.int16)
        frame = self.image_processor.size
        moved = np.array(self.image_processor.transform_boxes([box["box"] for box in known], tuple(size)), np.float32)
        edges = moved.reshape(-1, 4) / np.array([frame["width"], frame["height"]] * 2, np.float32)
        return labels, edges

    def draw(
        self, objects: list[Objects], pixels: np.ndarray, window: list[int], seed: int, epoch: int, story: int | str
    ) -> dict[str, np.ndarray]:
        """Draw the maps of a window, changed as its pixels are.

        An object has a map in a frame where it comes, moves, or changes its looks: the cells of its box there. It
        changes its looks where more than `CHANGED_SHARE` of the pixels in its box differ from those of the frame
        before. Where it goes, its map has the cells of its box in the frame before. A box covers the cells whose
        centres lie in it, and the cell that its own centre lies in.

        Args:
            objects: of each frame of the story, or none at all.
            pixels: the frames of the window as training sees them, `(n, height, width, 3)`, uint8.
            window: the indices of the frames.
            seed, epoch, story: as in `Augmentation.apply`.

        Returns:
            `object_maps (n, names, cells)`, bool, without any in the first frame; nothing where no objects are named.
        """
        if not self.numbers:
            return {}
        covered = np.zeros((len(window), len(self.numbers), *self.grid), bool)
        looks = np.zeros(covered.shape[:2], bool)
        move = self.augmentation.mover(seed, epoch, story)
        for number, (labels, edges) in enumerate([objects[frame] for frame in window] if objects else []):
            for label, box in zip(labels, move(edges)):
                if box[2] > box[0] and box[3] > box[1]:
                    covered[number, label] |= _covered(box, self.grid)
                    looks[number, label] |= number > 0 and _has_changed(box, pixels[number], pixels[number - 1])
        return {"object_maps": _changes(covered.reshape(*looks.shape, -1), looks)}


def _changes(covered: np.ndarray, looks: np.ndarray) -> np.ndarray:
    """Return the maps of what changes, of the cells `(n, names, cells)` that objects cover and of changed looks."""
    maps = np.zeros_like(covered)
    later, before = covered[1:], covered[:-1]
    changes = (later != before).any(-1) | looks[1:]
    maps[1:] = np.where(later.any(-1, keepdims=True), later, before) & changes[..., None]
    return maps


def _has_changed(box: np.ndarray, frame: np.ndarray, last: np.ndarray) -> bool:
    """Return whether a box `(4,)` of shares shows something else than in the last frame, both `(height, width, 3)`."""
    height, width = frame.shape[:2]
    left, top, right, bottom = (box * [width, height, width, height]).round().astype(int)
    rows, columns = slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))
    difference = np.abs(frame[rows, columns].astype(np.int16) - last[rows, columns]).max(-1, initial=0)
    return difference.size > 0 and (difference > CHANGED_THRESHOLD * 255).mean() > CHANGED_SHARE


def _weight(config: PreTrainedConfig) -> float:
    """Return the weight of the loss; 0 for a baseline."""
    return getattr(config, "loss_weights", {}).get(LOSS, 0.0)


def _covered(box: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return which cells of a grid a box `(4,)` of shares of the frame covers."""
    left, top, right, bottom = box.tolist()
    covered = []
    for first, last, size in ((top, bottom, grid[0]), (left, right, grid[1])):
        centres = (np.arange(size) + 0.5) / size
        inside = (centres >= first) & (centres < last)
        inside[min(int((first + last) / 2 * size), size - 1)] = True
        covered.append(inside)
    return covered[0][:, None] & covered[1]


def collate_maps(windows: list[np.ndarray], num_frames: int) -> torch.Tensor:
    """Pad the maps of windows to `(B, num_frames, names, cells)`, bool."""
    maps = torch.zeros(len(windows), num_frames, *windows[0].shape[1:], dtype=torch.bool)
    for number, window in enumerate(windows):
        maps[number, : len(window)] = torch.from_numpy(window)
    return maps
