"""Whether the captions and the pictures of stories of StoryWorld that a model tells say the same; for `futures.py`."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from storyattn.training.storyworld.reading import CaptionFacts, read_captions


class Agreement:
    """Collects the steps of told stories: the caption that was written, its picture, and what describes the picture.

    A caption fits its picture if its kind of event leads from what the picture before shows to what this one shows. It
    fits the description if both have one kind of event, with the same characters. The floors are the same numbers with
    the caption of the next step of the same story in place of its own, that of the first step for the last.
    """

    def __init__(self):
        self.fits: dict[str, list[bool]] = defaultdict(list)

    def update(
        self,
        given: Sequence[str | None],
        written: Sequence[str],
        described: Sequence[str],
        shown: Sequence[frozenset[str]],
    ) -> None:
        """
        Add a story.

        Args:
            given: the captions that it began with.
            written: the captions of its n further steps.
            described: what the model says of their pictures, one caption each.
            shown: the kinds of events that lead to each of these pictures; none where nothing legal does.
        """
        facts = read_captions([*given, *written])[len(given) :]
        of_pictures = [read_captions([*given, *written[:step], text])[-1] for step, text in enumerate(described)]
        for name, shift in (("", 0), ("_floor", 1)):
            said = [facts[(step + shift) % len(facts)] for step in range(len(facts))]
            self.fits[f"painted{name}"] += [one.event in kinds for one, kinds in zip(said, shown)]
            self.fits[f"described{name}"] += [_is_same(one, other) for one, other in zip(said, of_pictures)]

    def compute(self) -> dict[str, float]:
        """Return the shares of steps that fit, as `painted` and `described`, and their floors as `..._floor`."""
        return {name: float(np.mean(values)) for name, values in self.fits.items()}


def _is_same(one: CaptionFacts, other: CaptionFacts) -> bool:
    return one.kind is not None and (one.kind, one.characters) == (other.kind, other.characters)
