"""Stories that belong together, and splits by whole groups."""

import io

import numpy as np
import pytest
from book_repositories import picture
from encoded_pictures import encode
from PIL import Image as PILImage
from storyattn.training.data.near_duplicates import group_stories, picture_hash, split_groups


def test_hashes_recognize_a_picture_and_skip_plain_ones():
    hashes = [picture_hash(picture(number)) for number in range(30)]
    jpeg = encode(picture(3).resize((130, 100)), "JPEG", quality=30)
    assert (hashes[3] != picture_hash(PILImage.open(io.BytesIO(jpeg)))).sum() <= 40
    assert min((hashes[a] != hashes[b]).sum() for a in range(30) for b in range(a)) > 80
    ramp = np.tile(np.linspace(0, 255, 256, dtype=np.uint8), (256, 1))
    plain = [PILImage.new("L", (99, 99), 255), PILImage.fromarray(ramp), PILImage.fromarray(ramp.T.copy())]
    noise = np.random.default_rng(0).integers(250, 253, (17, 17), dtype=np.uint8)  # as of JPEG
    plain += [PILImage.fromarray(noise)]
    assert [picture_hash(image) for image in plain] == [None] * 4


def test_groups_join_through_a_third_story():
    bits = [picture_hash(picture(number)) for number in range(6)]
    titles = ["A tale", "Other", "a  TALE.", "Fourth", "?", "!"]
    hashes = [[bits[0]], [bits[1], bits[2]], [bits[3], bits[2]], [bits[4], None], [bits[5]], [None]]
    assert sorted(map(sorted, group_stories(titles, hashes))) == [[0, 1, 2], [3], [4], [5]]
    star = [[bits[0], bits[1], bits[2]], [bits[0]], [bits[1]], [bits[2]]]
    assert group_stories(["a", "b", "c", "d"], star) == [[0, 1, 2, 3]]


@pytest.mark.parametrize("shares", [(0.06, 0.095), (0.6, 0.2), (0.2, 0.7)])
@pytest.mark.parametrize("sizes", [[1, 1, 1], [5, 4, 3], [2, 1, 1, 1, 1], [150, 8, *[1] * 146]])
def test_each_split_gets_whole_groups_and_at_least_one(sizes, shares):
    starts = np.cumsum([0, *sizes])
    groups = [list(range(start, start + size)) for start, size in zip(starts, sizes)]
    splits = split_groups(groups, *shares, seed=1)
    assert sorted(sum(splits.values(), [])) == list(range(sum(sizes)))
    assert all(splits.values()) and all(sum(set(group) <= set(s) for s in splits.values()) == 1 for group in groups)
    assert set(max(groups, key=len)) <= set(splits["train"]) or len(set(sizes)) == 1
    if len(sizes) > 100 and shares == (0.06, 0.095):
        assert [len(splits[name]) for name in ("validation", "test")] == [18, 29]
