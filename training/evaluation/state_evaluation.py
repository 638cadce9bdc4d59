"""
Which state of StoryWorld do painted frames show? `state` of the results.

Frames are read by a fixed reader (`storyattn.training.storyworld.state_reader`), the same for all models. A frame that
it cannot read is wrong in everything.
"""

from collections import defaultdict

import torch
import torch.nn.functional as F
from datasets import Dataset

from ..data.prepared_stories import PreparedStories
from ..storyworld.state_reader import state_reader
from ..storyworld.states import SLOTS, PictureState, slots

BLUR = 1 / 16  # standard deviation of the control `blur`, as a share of the height of a frame
COLUMNS = {"states", "setting", "plot"}  # of stories of StoryWorld


def has_states(stories: Dataset | PreparedStories) -> bool:
    """Return whether stories are of StoryWorld and say of each frame what it shows."""
    return set(stories.column_names) >= COLUMNS


class StateEvaluation:
    """
    Measures how often frames show the state that they should, and each part of it.

    Args:
        seed: the seed of the control `noise`.
    """

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)
        self.hits: dict[str, list[dict[str, bool]]] = defaultdict(list)
        self.groups: dict[str, dict[str, list[dict]]] = {
            "by_event": defaultdict(list),
            "by_position": defaultdict(list),
        }

    def update(self, name: str, frames: torch.Tensor, items: list[dict]) -> list[dict[str, bool]]:
        """
        Read frames and compare them with what they should show.

        Args:
            name: what the frames are.
            frames: `(N, 3, H, W)` in [0, 1].
            items: the windows whose last frame each should be, with its `states`.

        Returns:
            Of each frame what is right: `exact`, each of `SLOTS`, and `readable`.

        Raises:
            ValueError: for states that are none, with the story.
        """
        readings = state_reader(tuple(frames.shape[-2:])).read(frames)
        hits = [_hits(reading.state, _state(item, -1)) for reading, item in zip(readings, items)]
        self.hits[name] += hits
        return hits

    def update_groups(self, hits: list[dict[str, bool]], items: list[dict]) -> None:
        """Add what is right in the last frame of windows to the measures by kind of event and by position."""
        for hit, item in zip(hits, items):
            self.groups["by_position"][item["last"]].append(hit)
            if item.get("events"):
                self.groups["by_event"][item["events"][-1]["kind"]].append(hit)

    def update_controls(self, targets: torch.Tensor, items: list[dict]) -> None:
        """
        Add the true frames, and what must not score: the last frame, the true one blurred, noise, and gray.

        Args:
            targets: the true last frames, `(N, 3, H, W)` in [0, 1].
            items: their windows.
        """
        self.update("true_frames", targets, items)
        self.hits["last_frame"] += [_hits(_state(item, -2), _state(item, -1)) for item in items]
        noise = torch.rand(targets.shape, generator=self.generator)
        for name, frames in (("blur", blurred(targets)), ("noise", noise), ("gray", torch.full_like(noise, 0.5))):
            self.update(name, frames, items)

    def compute(self) -> dict[str, dict]:
        """
        Return the shares of frames that are right; nothing where none was added.

        By name of the frames, then `exact` (the whole state), each of `SLOTS`, and `readable`. The controls stand in
        `controls`; `by_event` and `by_position` are those of the groups, with their `count`.
        """
        if not self.hits:
            return {}
        shares = {name: _shares(hits) for name, hits in self.hits.items()}
        controls = {name: shares.pop(name) for name in ("last_frame", "blur", "noise", "gray") if name in shares}
        groups = {
            kind: {str(group): {**_shares(hits), "count": len(hits)} for group, hits in sorted(by_group.items())}
            for kind, by_group in self.groups.items()
            if by_group
        }
        return {**shares, "controls": controls, **groups}


def blurred(frames: torch.Tensor) -> torch.Tensor:
    """Return frames `(N, 3, H, W)` after a Gaussian blur, whose deviation is `BLUR` of their height."""
    deviation = BLUR * frames.shape[-2]
    reach = round(3 * deviation)
    weights = torch.exp(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * deviation**2)).to(frames)
    weights = (weights / weights.sum()).expand(3, 1, 1, -1)
    rows = F.conv2d(F.pad(frames, (reach, reach, 0, 0), mode="replicate"), weights, groups=3)
    columns = F.pad(rows, (0, 0, reach, reach), mode="replicate")
    return F.conv2d(columns, weights.transpose(2, 3), groups=3)


def _state(item: dict, position: int) -> PictureState:
    try:
        return PictureState.from_json(item["states"][position])
    except ValueError as error:
        raise ValueError(f"story {item['story_id']!r}, {error}") from error


def _hits(state: PictureState | None, expected: PictureState) -> dict[str, bool]:
    """Return what is right in a state; nothing is in an unreadable one."""
    shown, true = {} if state is None else slots(state), slots(expected)
    right = {slot: state is not None and shown[slot] == true[slot] for slot in SLOTS}
    return {"exact": state == expected, **right, "readable": state is not None}


def _shares(hits: list[dict[str, bool]]) -> dict[str, float]:
    return {name: sum(hit[name] for hit in hits) / len(hits) for name in hits[0]}
