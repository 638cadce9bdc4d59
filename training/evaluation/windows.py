"""The windows of a split that an evaluation measures, batches of them, and what is exchanged between them."""

import random
from collections import Counter, defaultdict

import torch
from datasets import Dataset
from PIL import Image
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration, StoryAttnProcessor

from ..data.prepared_stories import PreparedStories
from ..data.windows import StoryTransitions, memory_frames, window_to
from ..models.baselines import BaselineConfig, BaselineModel

GOLDEN = (5**0.5 - 1) / 2  # its multiples, taken modulo 1, fill the unit interval evenly at any length

Model = StoryAttnForConditionalGeneration | BaselineModel


class MeasuredWindows:
    """
    Every transition of `stories`, each as the window that it ends, in order; or some of them, evenly spread.

    A window is the frame to predict and at most `num_frames - 1` frames before it. Stories of a single frame have none
    and are counted in `num_left_out`.

    Args:
        stories: stories of the schema of `read_stories`.
        num_frames: the most frames of a window.
        max_windows: the most windows to take, see `spread`; all by default.
        num_memory: so many of the frames of a window are early ones of a longer story, as of `continue_story`.

    Raises:
        ValueError: no story has two frames.
    """

    story_of: list[int]  # by window: the index of its story
    captions_of: list[list[str | None]]  # by window: the captions of its frames

    def __init__(
        self, stories: Dataset | PreparedStories, num_frames: int, max_windows: int | None = None, num_memory: int = 0
    ):
        self._windows = StoryTransitions(stories, num_frames, num_memory)
        captions, index = list(stories["captions"]), self._windows.index
        self.num_left_out = sum(len(story_captions) == 1 for story_captions in captions)
        if not index:
            raise ValueError(f"stories: got no story with two frames among {len(captions)}, expected at least one")
        self._indices = list(range(len(index)))
        if max_windows is not None and max_windows < len(index):
            self._indices = spread(index, max_windows)
        measured = [index[i] for i in self._indices]
        self.story_of = [story for story, _ in measured]
        self.captions_of = [
            [captions[story][frame] for frame in window_to(last, num_frames, num_memory)] for story, last in measured
        ]

    @classmethod
    def of_model(
        cls, model: Model, stories: Dataset | PreparedStories, max_windows: int | None = None
    ) -> "MeasuredWindows":
        """Return the windows that a model is measured on; of a long story they hold what the model reads of it."""
        return cls(stories, measured_frames(model.config), max_windows, memory_frames(model.config))

    @property
    def stories(self) -> list[int]:
        """The indices of the stories that have a window here, in order."""
        return sorted(set(self.story_of))

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, position: int) -> dict:
        return self._windows[self._indices[position]]


def spread(transitions: list[tuple[int, int]], number: int) -> list[int]:
    """
    Choose transitions that are evenly spread over the stories and over the positions in a story.

    Of each position its share is taken, up to rounding. Within a position those stories come first of which fewest
    transitions were taken for what they have so far, and among equal ones a sequence of low discrepancy decides. So
    the choice depends on nothing but the arguments.

    Args:
        transitions: the story and the position of each.
        number: how many to choose, at most as many as there are.

    Returns:
        The indices of those chosen, in order.
    """
    by_position = defaultdict(list)
    for index, (story, position) in enumerate(transitions):
        by_position[position].append((story, index))
    passed, chosen_of, so_far, chosen = 0, Counter(), Counter(), []
    for position in sorted(by_position):
        stories = by_position[position]
        quota = _rounded((passed + len(stories)) * number, len(transitions)) - _rounded(
            passed * number, len(transitions)
        )
        so_far.update(story for story, _ in stories)
        owed = {story: number * so_far[story] - len(transitions) * chosen_of[story] for story, _ in stories}
        taken = sorted(stories, key=lambda entry: (-owed[entry[0]], entry[0] * GOLDEN % 1))[:quota]
        chosen_of.update(story for story, _ in taken)
        chosen += [index for _, index in taken]
        passed += len(stories)
    return sorted(chosen)


def _rounded(dividend: int, divisor: int) -> int:
    return (2 * dividend + divisor) // (2 * divisor)


def measured_frames(config: StoryAttnConfig | BaselineConfig) -> int:
    """
    Return the number of frames of the windows that a model is measured on.

    It is `max_frames`, or more: then the model is shown the last frames of a window.
    A window that ends early in a story has fewer.
    """
    return getattr(config, "measured_frames", config.max_frames)


def frames_shown(config: StoryAttnConfig | BaselineConfig, context_frames: int | None = None) -> int:
    """Return how many frames before the measured one a model is shown at most: those it reads, or `context_frames`."""
    most = config.max_frames - 1
    return most if context_frames is None else min(most, context_frames)


def chunks(count: int, size: int) -> list[range]:
    """Split the positions 0 to `count - 1` into ranges of `size`; the last may be shorter."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


class WindowBatch:
    """
    Windows as tensors on the model's device.

    Of the frames before a window's last one the model is shown the latest, as many as `frames_shown` says.

    Args:
        model: the model that is measured.
        processor: its processor.
        items: windows, items of `MeasuredWindows`.
        context_frames: the most frames to show before the last one; as many as the model reads by default.
    """

    inputs: dict[str, torch.Tensor]  # the frames and captions that are shown, and the last ones
    pixels: torch.Tensor  # the frames of `inputs`, (B, T, 3, H, W) in [0, 1]
    targets: torch.Tensor  # the last frame of each window, (B, 3, H, W) in [0, 1]
    previous_frames: torch.Tensor  # the frame before it, (B, 3, H, W) in [0, 1]
    target_ids: torch.Tensor  # the last caption in tokens of the text decoder, (B, L)
    target_mask: torch.Tensor  # its mask, (B, L)

    def __init__(
        self, model: Model, processor: StoryAttnProcessor, items: list[dict], context_frames: int | None = None
    ):
        self.model, self.processor, self.items = model, processor, items
        num_frames = frames_shown(model.config, context_frames) + 1
        self.shown = [{name: item[name][-num_frames:] for name in ("frames", "captions")} for item in items]
        self.inputs = self._tensors([item["frames"] for item in self.shown])
        self.rows = torch.arange(len(items), device=model.device)
        self.last = self.inputs["frame_mask"].sum(dim=1) - 1  # (B,)
        self.pixels = model.unnormalize(self.inputs["pixel_values"]).float()
        self.targets = self.at_last_frame(self.pixels)
        self.previous_frames = self.at_last_transition(self.pixels)
        self.caption_masks = [name for name in self.inputs if name.endswith("attention_mask")]
        kind = "decoder_" if "decoder_input_ids" in self.inputs else ""
        self.target_ids = self.at_last_frame(self.inputs[f"{kind}input_ids"])
        self.target_mask = self.at_last_frame(self.inputs[f"{kind}attention_mask"])

    @property
    def context(self) -> dict[str, torch.Tensor]:
        """The inputs without the last frame and caption of each window."""
        inputs = self._without_last("frame_mask", *self.caption_masks)
        return {name: values[:, : int(self.last.max())] for name, values in inputs.items()}

    @property
    def without_last_caption(self) -> dict[str, torch.Tensor]:
        """The inputs with every frame, without the last caption of each window."""
        return self._without_last(*self.caption_masks)

    def at_last_transition(self, values: torch.Tensor) -> torch.Tensor:
        """Select of `values (B, T-1, ...)`, those at t being of frame t+1, those of each last frame: `(B, ...)`."""
        return values[self.rows, self.last - 1]

    def at_last_frame(self, values: torch.Tensor) -> torch.Tensor:
        """Select of `values (B, T, ...)` those of each window's last frame: `(B, ...)`."""
        return values[self.rows, self.last]

    def frames_before(self, row: int) -> torch.Tensor:
        """Return all frames `(n, 3, H, W)` in [0, 1] before the last one of window `row`, shown to the model or not."""
        shown = self.pixels[row, : int(self.last[row])]
        hidden = self.items[row]["frames"][: -len(shown) - 1]
        return torch.cat([to_pixels(self.model, self.processor, hidden), shown]) if hidden else shown

    def with_frames_of(self, donors: list[dict]) -> dict[str, torch.Tensor]:
        """Return the inputs with the frames of other windows, repeated where a donor has fewer, and these captions."""
        frames = []
        for item, donor in zip(self.shown, donors):
            pictures = donor["frames"]
            frames.append([pictures[i % len(pictures)] for i in range(len(item["frames"]))])
        return self._tensors(frames)

    def encode_captions(self, captions: list[str | None]) -> dict[str, torch.Tensor]:
        """Return `next_input_ids` and `next_attention_mask (B, L)` of one caption per window."""
        encoded = self.processor.tokenize_captions([[text] for text in captions]).to(self.model.device)
        return {"next_input_ids": encoded["input_ids"][:, 0], "next_attention_mask": encoded["attention_mask"][:, 0]}

    def _tensors(self, frames: list[list[Image.Image]]) -> dict[str, torch.Tensor]:
        captions = [item["captions"] for item in self.shown]
        return dict(self.processor(frames=frames, captions=captions, return_tensors="pt").to(self.model.device))

    def _without_last(self, *masks: str) -> dict[str, torch.Tensor]:
        """Return the inputs with 0 in `masks` at the last frame of each window."""
        inputs = dict(self.inputs)
        for name in masks:
            inputs[name] = inputs[name].clone()
            inputs[name][self.rows, self.last] = 0
        return inputs


def to_pixels(model: Model, processor: StoryAttnProcessor, frames: list[Image.Image]) -> torch.Tensor:
    """Return pictures as the frames that the model reads and paints: `(n, 3, H, W)` in [0, 1], on its device."""
    inputs = processor(frames=[frames], return_tensors="pt").to(model.device)
    return model.unnormalize(inputs["pixel_values"])[0].float()


def exchange(groups: list[int], seed: int) -> list[int | None]:
    """
    Draw for each item another one, of another group.

    Each item is drawn once, as long as no group holds more than half of all items. Otherwise those that remain draw
    freely from the other groups.

    Args:
        groups: the group of each item.
        seed: the seed of the draw.

    Returns:
        The index of the drawn item for each item; `None` where all items are of one group.
    """
    generator = random.Random(seed)
    members: dict[int, list[int]] = {}
    for item, group in enumerate(groups):
        members.setdefault(group, []).append(item)
    order = list(members.values())
    generator.shuffle(order)
    for items in order:
        generator.shuffle(items)
    sorted_items = [item for items in order for item in items]
    shift = max(map(len, order), default=0)  # far enough to leave the group
    donors: list[int | None] = [None] * len(groups)
    for position, item in enumerate(sorted_items):
        donor = sorted_items[(position + shift) % len(sorted_items)]
        if groups[donor] == groups[item]:
            others = [other for other in sorted_items if groups[other] != groups[item]]
            donor = generator.choice(others) if others else None
        donors[item] = donor
    return donors
