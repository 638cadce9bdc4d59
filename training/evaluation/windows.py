"""The windows of a split that an evaluation measures, batches of them, and what is exchanged between them."""

import random

import torch

from ..data.windows import StoryWindows


class MeasuredWindows:
    """
    The windows of `stories` (schema of `read_stories`) with at least two frames, in order; `max_windows` of them,
    evenly spread.

    `story_of[i]` is the index of window i's story, `captions_of[i]` its captions, `num_left_out` counts windows of
    one frame. Raises `ValueError` where no story has two frames.
    """

    def __init__(self, stories, num_frames: int, max_windows: int | None = None):
        self._windows = StoryWindows(stories, num_frames)
        captions = list(stories["captions"])
        table = [(story, captions[story][start : start + num_frames]) for story, start in self._windows.index]
        measured = [index for index, (_, told) in enumerate(table) if len(told) > 1]
        self.num_left_out = len(table) - len(measured)
        if not measured:
            raise ValueError(f"stories: found no story with two frames among {len(captions)}, expected at least one")
        if max_windows is not None and max_windows < len(measured):
            measured = [measured[i * len(measured) // max_windows] for i in range(max_windows)]
        self._indices = measured
        self.story_of = [table[index][0] for index in measured]
        self.captions_of = [table[index][1] for index in measured]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, position: int) -> dict:
        return self._windows[self._indices[position]]


def measured_frames(config) -> int:
    """
    Frames of the windows that a model of `config` is measured on: `max_frames`, or more, of which it is shown the last.
    """
    return getattr(config, "measured_frames", config.max_frames)


def frames_shown(config, context_frames: int | None = None) -> int:
    """Most frames before the measured one that a model of `config` is shown, and `context_frames` at most."""
    most = config.max_frames - 1
    return most if context_frames is None else min(most, context_frames)


class WindowBatch:
    """
    Windows as tensors on the model's device: `inputs` (frames and captions), `given` (the same without each window's
    last frame and caption), `targets` and `last_frames (B, 3, H, W)` in [0, 1]: the last frame of each window and the
    one before, `target_ids` and `target_mask (B, L)`: the last caption, as the text decoder knows it.

    `inputs` and `given` have as many of the frames before a window's last one as `frames_shown` says, the latest.
    """

    def __init__(self, model, processor, items: list[dict], context_frames: int | None = None):
        self.model = model
        self.items = items
        kept = 1 + frames_shown(model.config, context_frames)
        self.shown = [{name: item[name][-kept:] for name in ("frames", "captions")} for item in items]
        self.inputs = self._tensors(processor, [item["frames"] for item in self.shown])
        self.processor = processor
        self.rows = torch.arange(len(items), device=model.device)
        self.last = self.inputs["frame_mask"].sum(dim=1) - 1  # (B,)
        self.pixels = model.unnormalize(self.inputs["pixel_values"]).float()  # (B, T, 3, H, W)
        self.targets = self.pixels[self.rows, self.last]
        self.last_frames = self.pixels[self.rows, self.last - 1]
        self.masks = [name for name in self.inputs if name.endswith("attention_mask")]
        kind = "decoder_" if "decoder_input_ids" in self.inputs else ""
        self.target_ids = self.inputs[f"{kind}input_ids"][self.rows, self.last]
        self.target_mask = self.inputs[f"{kind}attention_mask"][self.rows, self.last]

    @property
    def given(self) -> dict[str, torch.Tensor]:
        """The inputs that a story has before its last frame, cut to the frames that are left."""
        given = self._without_last("frame_mask", *self.masks)
        return {name: values[:, : int(self.last.max())] for name, values in given.items()}

    @property
    def undescribed(self) -> dict[str, torch.Tensor]:
        """The inputs with every frame, without the last caption."""
        return self._without_last(*self.masks)

    def last_transition(self, predicted: torch.Tensor) -> torch.Tensor:
        """
        Of `predicted (B, T-1, ...)`, whose index t belongs to frame t+1, what belongs to each last frame: `(B, ...)`.
        """
        return predicted[self.rows, self.last - 1]

    def last_frame(self, values: torch.Tensor) -> torch.Tensor:
        """Of `values (B, T, ...)` those of each window's last frame: `(B, ...)`."""
        return values[self.rows, self.last]

    def input_frames(self, row: int) -> torch.Tensor:
        """The frames `(n, 3, H, W)` in [0, 1] before the target of window `row`, whether they are shown or not."""
        shown = self.pixels[row, : int(self.last[row])]
        hidden = self.items[row]["frames"][: -len(shown) - 1]
        if not hidden:
            return shown
        values = self.processor(frames=[hidden], return_tensors="pt").to(self.model.device)["pixel_values"]
        return torch.cat([self.model.unnormalize(values)[0].float(), shown])

    def with_frames(self, donors: list[dict]) -> dict[str, torch.Tensor]:
        """
        The inputs with the pictures of `donors`, repeated where a donor has fewer frames, and the captions as they
        are.
        """
        frames = []
        for item, donor in zip(self.shown, donors):
            pictures = donor["frames"]
            frames.append([pictures[i % len(pictures)] for i in range(len(item["frames"]))])
        return self._tensors(self.processor, frames)

    def encode_captions(self, captions: list[str | None]) -> dict[str, torch.Tensor]:
        """`next_input_ids` and `next_attention_mask (B, L)` of one caption per window."""
        encoded = self.processor.tokenize_captions([[text] for text in captions]).to(self.model.device)
        return {"next_input_ids": encoded["input_ids"][:, 0], "next_attention_mask": encoded["attention_mask"][:, 0]}

    def _tensors(self, processor, frames) -> dict[str, torch.Tensor]:
        captions = [item["captions"] for item in self.shown]
        return dict(processor(frames=frames, captions=captions, return_tensors="pt").to(self.model.device))

    def _without_last(self, *names: str) -> dict[str, torch.Tensor]:
        inputs = dict(self.inputs)
        for name in names:
            inputs[name] = inputs[name].clone()
            inputs[name][self.rows, self.last] = 0
        return inputs


def exchange(groups: list[int], seed: int) -> list[int | None]:
    """
    For each item another one, of another group, drawn by `seed`; `groups[i]` is the group of item i.

    Everyone gives once, as long as no group holds more than half of all items; then what is left over draws freely
    from the other groups. `None` where all items are of one group.
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
    shift = max(map(len, order), default=0)  # far enough to leave one's own group
    donors: list[int | None] = [None] * len(groups)
    for position, item in enumerate(sorted_items):
        donor = sorted_items[(position + shift) % len(sorted_items)]
        if groups[donor] == groups[item]:
            others = [other for other in sorted_items if groups[other] != groups[item]]
            donor = generator.choice(others) if others else None
        donors[item] = donor
    return donors
