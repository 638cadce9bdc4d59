"""Derive the splits that a data set lacks from its training split, by story."""

import hashlib
from collections.abc import Collection

SPLIT_SHARE = 0.05  # of the training stories, for each derived split
MIN_STORIES = 3  # fewer are not divided
SOURCE = "train"
# In the order in which they are cut out of the training split, lowest hashes first.
DERIVABLE = ("test", "validation")


def splits_to_derive(existing: Collection[str]) -> tuple[str, ...]:
    """Return those of `test` and `validation` that are cut out of `train` because the data set lacks them.

    There are none without a `train`, and none where the data set has a split of another name: its owner divided it in
    another way.
    """
    if SOURCE not in existing or not set(existing) <= {SOURCE, *DERIVABLE}:
        return ()
    return tuple(name for name in DERIVABLE if name not in existing)


def assign_splits(story_ids: list[str], derived: tuple[str, ...]) -> list[str]:
    """Return the split of each story: one of `derived`, or `train`. Equal ids get the same one.

    The hash of its id alone sends a story into a split of `derived`, with a chance of 5% each, or leaves it in `train`.
    So it keeps its split when stories are added, removed or reordered. With three different ids or more every split
    gets at least one: the story with the nearest hash moves into a split that would be empty. Only that story may move
    again when stories are added. With fewer ids all stay in `train`.
    """
    ids = sorted(set(story_ids), key=hash_position)
    if len(ids) < MIN_STORIES:
        return [SOURCE] * len(story_ids)
    split_of, start = dict.fromkeys(ids, SOURCE), 0
    for number, split in enumerate(derived, start=1):
        below = sum(hash_position(story_id) < number * SPLIT_SHARE for story_id in ids)
        end = min(max(below, start + 1), len(ids) - 1 - (len(derived) - number))
        split_of.update(dict.fromkeys(ids[start:end], split))
        start = end
    return [split_of[story_id] for story_id in story_ids]


def hash_position(story_id: str) -> float:
    """Return the place of a story in [0, 1), from the SHA-256 of its id."""
    digest = hashlib.sha256(f"storyattn/{story_id}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
