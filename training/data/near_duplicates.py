"""
Which stories belong together, so that none of a group is trained on and another tested on: those with the same title,
and those that share a picture; and a split by whole groups.

Pictures are compared by a difference hash (after N. Krawetz, "Kind of like that", 2013): whether the brightness rises
from a cell of a coarse grid to the next, to the right and downwards.
"""

import random
import unicodedata
from collections.abc import Iterator

import numpy as np
from PIL import Image

SIDE = 16  # cells; a hash has 2 * SIDE * SIDE = 512 bits
RISE = 2  # grey levels (of 255) that brightness must rise by: less is the noise of JPEG
# Measured on the 3,373 pages of 304 picture books: every pair of pages of different stories that is 20 to 43 bits apart
# shows the same picture (with other lettering or colours, or a figure more); at 44 to 60 come unrelated ones as well.
NEAR = 40  # bits
# Blank pages, even colour and plain gradients have next to no bit that differs from the others of its direction, so
# such hashes would be near one another. A picture with fewer such bits than this is compared with none.
TELLING = 32  # bits
BLOCK = 1024  # pictures compared at a time with all others


def picture_hash(image: Image.Image) -> np.ndarray | None:
    """The difference hash of an image, `bool` of shape `(2 * SIDE * SIDE,)`; `None` for a plain one."""
    grid = image.convert("L").resize((SIDE + 1, SIDE + 1), Image.Resampling.BOX)
    brightness = np.asarray(grid, dtype=np.int16)
    rises = np.stack([np.diff(brightness, axis=1)[:SIDE], np.diff(brightness, axis=0)[:, :SIDE]]) > RISE
    bits = rises.reshape(2, -1)  # (direction, cell)
    ones = bits.sum(axis=1)
    telling = np.minimum(ones, bits.shape[1] - ones).sum()
    return bits.reshape(-1) if telling >= TELLING else None


def group_stories(titles: list[str], hashes: list[list[np.ndarray | None]]) -> list[list[int]]:
    """
    The numbers of the stories, grouped: two with the same title or a near-identical picture are in one group, and so
    are two that a third one connects. `hashes` has those of each story's pictures.
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
    """
    The numbers of the stories of each split, by whole groups, drawn by `seed`.

    The shares are of stories, from 0 on and below 1 together. The largest group is always trained on, as is every group
    too large for what a split still needs. With three groups or more, a split with a share above 0 gets at least one.
    """
    shares = {"validation": validation_share, "test": test_share}
    if min(shares.values()) < 0 or sum(shares.values()) >= 1:
        raise ValueError(f"found the shares {validation_share} and {test_share}, expected 0 or more, below 1 together")
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
    """Pairs of rows of `bits (n, 512)` and `others (m, 512)`, hashes of pictures, that are at most `NEAR` apart."""
    others = others.astype(np.float32)
    for start in range(0, len(bits), BLOCK):
        block = bits[start : start + BLOCK].astype(np.float32)
        distances = block @ (1 - others).T + (1 - block) @ others.T  # (block, others), exact in float32
        for row, column in np.argwhere(distances <= NEAR):
            yield start + int(row), int(column)


def _near_stories(hashes: list[list[np.ndarray | None]]) -> list[tuple[int, int]]:
    """Pairs of different stories that have pictures at most `NEAR` bits apart."""
    known = [(index, bits) for index, story in enumerate(hashes) for bits in story if bits is not None]
    if not known:
        return []
    owners = [index for index, _ in known]
    bits = np.stack([bits for _, bits in known])
    found = {tuple(sorted((owners[row], owners[column]))) for row, column in near_pictures(bits, bits)}
    return sorted((first, second) for first, second in found if first != second)


def title_key(title: str) -> str:
    """What is equal for titles that differ in case, accents, punctuation and white space alone."""
    letters = unicodedata.normalize("NFKD", title.casefold())
    return "".join(letter for letter in letters if letter.isalnum())
