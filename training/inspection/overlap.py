"""Stories that are in two splits of a data set: known again by their pictures and by their captions."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np

from ..data.near_duplicates import near_pictures
from .survey import SAME, Survey, telling_captions

COMMON = 100  # stories of a split: a caption that more of them have does not tell which story it is from


@dataclass
class SharedStory:
    """A story of split `first` and one of split `second` that have something in common; rows count all stories."""

    first: str
    second: str
    first_row: int
    second_row: int
    frames: list[tuple[int, int]] = field(default_factory=list)  # pairs of frames that show the same
    num_captions: int = 0  # that are the same
    same_pictures: bool = False  # more than half of those of the shorter one
    same_captions: bool = False

    @property
    def is_same(self) -> bool:
        """Whether it is one story, not two that share some."""
        return self.same_pictures or self.same_captions


def shared_stories(first: str, second: str, surveys: dict[str, Survey]) -> list[SharedStory]:
    """
    Pairs of stories of two splits that share a picture, or more than half of the captions (two or more) of one of them;
    those that have most in common come first.

    Two pictures are the same where their hashes are near and no cell of their thumbnails differs by more than `SAME`.
    """
    one, other = surveys[first], surveys[second]
    pairs: dict[tuple[int, int], SharedStory] = {}

    def pair(row: int, other_row: int) -> SharedStory:
        return pairs.setdefault((row, other_row), SharedStory(first, second, row, other_row))

    for row, position, other_row, other_position in _same_pictures(one, other):
        pair(row, other_row).frames.append((position, other_position))
    frames, others = dict(zip(one.rows, one.frames)), dict(zip(other.rows, other.frames))
    for found in pairs.values():
        number = min(len(set(positions)) for positions in zip(*found.frames))
        found.same_pictures = number > min(frames[found.first_row], others[found.second_row]) / 2
    for (row, other_row), (number, shorter) in _same_captions(one, other).items():
        if number > max(1, shorter / 2):
            pair(row, other_row).same_captions = True
        if (row, other_row) in pairs:
            pairs[row, other_row].num_captions = number
    return sorted(pairs.values(), key=lambda found: (-found.is_same, -len(found.frames), -found.num_captions))


def _same_pictures(one: Survey, other: Survey) -> list[tuple[int, int, int, int]]:
    """Row and frame in `one`, row and frame in `other`."""
    first, second = one.prints, other.prints
    thumbs, others = first.thumbs, second.thumbs
    return [
        (first.owners[a], first.positions[a], second.owners[b], second.positions[b])
        for a, b in near_pictures(first.bits, second.bits)
        if np.abs(thumbs[a] - others[b]).max() <= SAME
    ]


def _same_captions(one: Survey, other: Survey) -> dict[tuple[int, int], tuple[int, int]]:
    """For each two rows that share a caption: how many, and how many telling captions the one with fewer has."""
    known: dict[str, list[int]] = defaultdict(list)
    told = {row: telling_captions(captions) for row, captions in zip(one.rows, one.captions)}
    for row, captions in told.items():
        for text in captions:
            known[text].append(row)
    found = {}
    for other_row, captions in zip(other.rows, other.captions):
        texts = telling_captions(captions)
        shared = Counter(row for text in texts if len(known.get(text, ())) <= COMMON for row in known.get(text, ()))
        for row, number in shared.items():
            found[row, other_row] = number, min(len(told[row]), len(texts))
    return found
