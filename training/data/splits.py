"""The splits that a data set lacks, made by story out of its training split."""

import hashlib
from collections.abc import Collection

SHARE = 0.05  # of the training stories, for each split that is made
MIN_STORIES = 3  # fewer are not divided
SOURCE = "train"
# In the order in which they are cut out of the training split, lowest hashes first.
MADE = ("test", "validation")


def splits_to_make(existing: Collection[str]) -> tuple[str, ...]:
    """
    Those of `test` and `validation` that are cut out of `train` because the data set lacks them.

    None where there is no `train`, and none where it has a split of another name: it was divided in a way of its own.
    """
    if SOURCE not in existing or not set(existing) <= {SOURCE, *MADE}:
        return ()
    return tuple(name for name in MADE if name not in existing)


def assign_splits(story_ids: list[str], made: tuple[str, ...]) -> list[str]:
    """
    The split of each story: one of `made`, or `train`. Equal ids get the same one.

    By the hash of its id alone a story goes into a split of `made`, with a chance of 5% each, or stays in `train`; so
    it keeps its split when stories are added, removed or put in another order. Of three different ids or more every
    split gets at least one: the nearest by hash moves into a split that would be empty, and is the only one that may
    move again as stories are added. Fewer ids all stay in `train`.
    """
    ids = sorted(set(story_ids), key=hash_position)
    if len(ids) < MIN_STORIES:
        return [SOURCE] * len(story_ids)
    split_of, start = dict.fromkeys(ids, SOURCE), 0
    for number, split in enumerate(made, start=1):
        below = sum(hash_position(story_id) < number * SHARE for story_id in ids)
        end = min(max(below, start + 1), len(ids) - 1 - (len(made) - number))
        split_of.update(dict.fromkeys(ids[start:end], split))
        start = end
    return [split_of[story_id] for story_id in story_ids]


def hash_position(story_id: str) -> float:
    """Where a story stands in [0, 1), drawn from the hash of its id."""
    digest = hashlib.sha256(f"storyattn/{story_id}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
