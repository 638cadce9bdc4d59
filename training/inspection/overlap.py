"""Find stories that are in two splits of a data set, by their pictures and by their captions."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np

from ..data.near_duplicates import near_pictures
from .survey import MAX_THUMBNAIL_DIFFERENCE, Survey, distinctive_captions

MAX_CAPTION_STORIES = 100  # of a split: a caption of more stories does not say which story it is from


@dataclass
class SharedStory:
    """A story of split `first` and one of split `second` that have something in common; rows count all stories."""

    first: str
    second: str
    first_row: int
    second_row: int
    frames: list[tuple[int, int]] = field(default_factory=list)  # pairs of frames that show the same
    num_captions: int = 0  # captions that are the same
    same_pictures: bool = False  # more than half of those of the shorter story
    same_captions: bool = False

    @property
    def is_same(self) -> bool:
        """Whether it is one story, not two that share something."""
        return self.same_pictures or self.same_captions


def shared_stories(first: str, second: str, surveys: dict[str, Survey]) -> list[SharedStory]:
    """Return the pairs of stories of two splits that share pictures or captions.

    A pair shares a picture, or more than half of the distinctive captions (at least two) of one of its stories. Two
    pictures are the same where their hashes are near and no cell of their thumbnails differs by more than
    `MAX_THUMBNAIL_DIFFERENCE`.

    Args:
        first: name of the one split.
        second: name of the other.
        surveys: survey of each split by name.

    Returns:
        Pairs, those that have most in common first.
    """
    one, other = surveys[first], surveys[second]
    pairs: dict[tuple[int, int], SharedStory] = {}

    def pair(row: int, other_row: int) -> SharedStory:
        return pairs.setdefault((row, other_row), SharedStory(first, second, row, other_row))

    for row, position, other_row, other_position in _same_pictures(one, other):
        pair(row, other_row).frames.append((position, other_position))
    frames, others = dict(zip(one.rows, one.frames)), dict(zip(other.rows, other.frames))
    for shared in pairs.values():
        number = min(len(set(positions)) for positions in zip(*shared.frames))
        shared.same_pictures = number > min(frames[shared.first_row], others[shared.second_row]) / 2
    for (row, other_row), (number, shorter) in _same_captions(one, other).items():
        if number > max(1, shorter / 2):
            pair(row, other_row).same_captions = True
        if (row, other_row) in pairs:
            pairs[row, other_row].num_captions = number
    return sorted(pairs.values(), key=lambda shared: (-shared.is_same, -len(shared.frames), -shared.num_captions))


def _same_pictures(one: Survey, other: Survey) -> list[tuple[int, int, int, int]]:
    """Return row and frame in `one`, row and frame in `other`, of each two pictures that are the same."""
    first, second = one.fingerprints, other.fingerprints
    thumbnails, others = first.thumbnails, second.thumbnails
    return [
        (first.owners[a], first.positions[a], second.owners[b], second.positions[b])
        for a, b in near_pictures(first.bits, second.bits)
        if np.abs(thumbnails[a] - others[b]).max() <= MAX_THUMBNAIL_DIFFERENCE
    ]


def _same_captions(one: Survey, other: Survey) -> dict[tuple[int, int], tuple[int, int]]:
    """Return of each two rows that share a caption how many they share.

    The second number is how many distinctive captions the row with fewer has.
    """
    rows_with: dict[str, list[int]] = defaultdict(list)
    captions_of = {row: distinctive_captions(captions) for row, captions in zip(one.rows, one.captions)}
    for row, captions in captions_of.items():
        for text in captions:
            rows_with[text].append(row)
    numbers = {}
    for other_row, captions in zip(other.rows, other.captions):
        texts = distinctive_captions(captions)
        candidates = [rows_with.get(text, ()) for text in texts]
        shared = Counter(row for rows in candidates if len(rows) <= MAX_CAPTION_STORIES for row in rows)
        for row, number in shared.items():
            numbers[row, other_row] = number, min(len(captions_of[row]), len(texts))
    return numbers
