"""Group stories that belong together, and split data sets by whole groups.

Stories with the same title and stories that share a picture are in one group, so that none of a group is trained on and
another tested on. Pictures are compared by a difference hash (after N. Krawetz, "Kind of like that", 2013): whether the
brightness rises from a cell of a coarse grid to the next, to the right and downwards.
"""

import random
import unicodedata
from collections.abc import Iterator

import numpy as np
from PIL import Image

HASH_SIDE = 16  # cells; a hash has 2 * HASH_SIDE * HASH_SIDE = 512 bits
MIN_RISE = 2  # grey levels (of 255) by which brightness must rise: a smaller rise is the noise of JPEG
# Measured on the 3,373 pages of 304 picture books: every pair of pages of different stories that is 20 to 43 bits apart
# shows the same picture (with other lettering or colours, or one figure more); from 44 to 60 unrelated pages appear.
MAX_DISTANCE = 40  # bits
# Blank pages, even colour and plain gradients have almost no bit that differs from the others of its direction, so
# their hashes would be near one another. A picture with fewer such bits than this is compared with none.
MIN_DISTINCT_BITS = 32
BLOCK = 1024  # pictures compared at a time with all others


def picture_hash(image: Image.Image) -> np.ndarray | None:
    """Return the difference hash of an image, `(2 * HASH_SIDE * HASH_SIDE,)`, bool; `None` for a plain image."""
    grid = image.convert("L").resize((HASH_SIDE + 1, HASH_SIDE + 1), Image.Resampling.BOX)
    brightness = np.asarray(grid, dtype=np.int16)
    rises = np.stack([np.diff(brightness, axis=1)[:HASH_SIDE], np.diff(brightness, axis=0)[:, :HASH_SIDE]]) > MIN_RISE
    bits = rises.reshape(2, -1)  # (direction, cell)
    ones = bits.sum(axis=1)
    num_distinct = np.minimum(ones, bits.shape[1] - ones).sum()
    return bits.reshape(-1) if num_distinct >= MIN_DISTINCT_BITS else None


def group_stories(titles: list[str], hashes: list[list[np.ndarray | None]]) -> list[list[int]]:
    """Group stories that have the same title or a near-identical picture, directly or through other stories.

    Args:
        titles: title of each story; one without letters and digits is compared with none.
        hashes: `picture_hash` of each picture of each story.

    Returns:
        Groups of the numbers of the stories, from 0.
    """
    parents = list(range(len(titles)))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    by_title: dict[str, int] = {}
    pairs = [(index, by_title.setdefault(key, index)) for index, key in enumerate(map(title_key, titles)) if key]
    for first, second in [*pairs, *_near_stories(hashes)]:
        parents[root(first)] = root(second)
    groups: dict[int, list[int]] = {}
    for index in range(len(titles)):
        groups.setdefault(root(index), []).append(index)
    return list(groups.values())


def split_groups(
    groups: list[list[int]], validation_share: float, test_share: float, seed: int = 0
) -> dict[str, list[int]]:
    """Split stories by whole groups.

    The largest group goes to `train`, as does every group that is too large for what a split still needs. With three
    groups or more, a split with a share above 0 gets at least one.

    Args:
        groups: groups of the numbers of stories, from `group_stories`.
        validation_share: share of the stories for `validation`, at least 0.
        test_share: share for `test`, at least 0; below 1 together with `validation_share`.
        seed: draws the order in which groups are assigned.

    Returns:
        By split, the sorted numbers of its stories.

    Raises:
        ValueError: for shares out of range.
    """
    shares = {"validation": validation_share, "test": test_share}
    if min(shares.values()) < 0 or sum(shares.values()) >= 1:
        raise ValueError(f"shares: got {validation_share} and {test_share}, expected 0 or more, below 1 together")
    total = sum(map(len, groups))
    wanted = {name: round(total * share) for name, share in shares.items()}
    drawn = sorted(groups)
    random.Random(seed).shuffle(drawn)
    largest = max(drawn, key=len)
    drawn.remove(largest)
    splits: dict[str, list[list[int]]] = {"train": [largest], "validation": [], "test": []}
    for group in drawn:
        fitting = [name for name in shares if len(group) <= wanted[name] - sum(map(len, splits[name]))]
        splits[fitting[0] if fitting else "train"].append(group)
    for name, share in shares.items():
        if share > 0 and not splits[name] and len(groups) >= len(splits):
            giver = max(splits.values(), key=len)  # has two or more: there are as many groups as splits
            smallest = min((group for group in giver if group is not largest), key=len)
            giver.remove(smallest)
            splits[name].append(smallest)
    return {name: sorted(index for group in chosen for index in group) for name, chosen in splits.items()}


def near_pictures(bits: np.ndarray, others: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the pairs of rows of `bits (n, 512)` and `others (m, 512)`, hashes, at most `MAX_DISTANCE` bits apart."""
    others = others.astype(np.float32)
    for start in range(0, len(bits), BLOCK):
        block = bits[start : start + BLOCK].astype(np.float32)
        distances = block @ (1 - others).T + (1 - block) @ others.T  # (block, others), exact in float32
        for row, column in np.argwhere(distances <= MAX_DISTANCE):
            yield start + int(row), int(column)


def title_key(title: str) -> str:
    """Return a key that is equal for titles that differ only in case, accents, punctuation and white space."""
    letters = unicodedata.normalize("NFKD", title.casefold())
    return "".join(letter for letter in letters if letter.isalnum())


def _near_stories(hashes: list[list[np.ndarray | None]]) -> list[tuple[int, int]]:
    """Return the pairs of different stories that have pictures at most `MAX_DISTANCE` bits apart."""
    hashed = [(index, bits) for index, story in enumerate(hashes) for bits in story if bits is not None]
    if not hashed:
        return []
    owners = [index for index, _ in hashed]
    bits = np.stack([bits for _, bits in hashed])
    pairs = {tuple(sorted((owners[row], owners[column]))) for row, column in near_pictures(bits, bits)}
    return sorted((first, second) for first, second in pairs if first != second)
