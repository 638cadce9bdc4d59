"""Splits that a data set lacks: derived by story, the same in every reading, and only where they are lacking."""

import logging
from collections import Counter
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict
from encoded_pictures import encoded_frame, plain_picture
from storyattn.training.data.sources import read_stories
from storyattn.training.data.splits import assign_splits, hash_position, splits_to_derive

BOTH = ("test", "validation")
FRAME = encoded_frame(plain_picture(size=(4, 4)))


def ids(count: int) -> list[str]:
    return [f"story-{number}" for number in range(count)]


@pytest.mark.parametrize(
    ("existing", "derived"),
    [
        (["train"], ("test", "validation")),
        (["train", "test"], ("validation",)),
        (["validation", "train"], ("test",)),
        (["train", "validation", "test"], ()),
        (["test"], ()),
        (["validation", "test"], ()),
        (["train", "dev"], ()),
        (["train", "test", "test_unseen"], ()),
    ],
)
def test_the_splits_that_are_derived(existing, derived):
    assert splits_to_derive(existing) == derived


def test_shares():
    counts = Counter(assign_splits(ids(4000), BOTH))
    assert 150 < counts["test"] < 250 and 150 < counts["validation"] < 250 and sum(counts.values()) == 4000
    assert 150 < Counter(assign_splits(ids(4000), ("validation",)))["validation"] < 250


def test_a_split_goes_with_the_id_alone():
    few = dict(zip(ids(400), assign_splits(ids(400), BOTH)))
    many = dict(zip(ids(900), assign_splits(ids(900), BOTH)))
    assert all(many[name] == split for name, split in few.items())
    backwards = ids(400)[::-1]
    assert dict(zip(backwards, assign_splits(backwards, BOTH))) == few


def test_assignments_stay_the_same_in_every_release():
    """Another division would mix training and test for a model that was trained with an earlier release."""
    assert hash_position("fox") == pytest.approx(0.4634670787245021, abs=1e-12)
    splits = assign_splits(ids(60), BOTH)
    assert [number for number, split in enumerate(splits) if split == "test"] == [8, 16, 20, 21, 35, 40]
    assert [number for number, split in enumerate(splits) if split == "validation"] == [18, 19, 23]


@pytest.mark.parametrize("derived", [BOTH, ("validation",), ("test",)])
def test_no_split_is_empty_from_three_stories_on(derived):
    for start in range(0, 200, 10):
        for count in (3, 4, 7):
            splits = assign_splits([f"story-{start + number}" for number in range(count)], derived)
            assert set(splits) == {"train", *derived}
    assert assign_splits(["a", "b", "a", "b"], derived) == ["train"] * 4


def test_no_split_is_empty_where_all_would_go_to_one():
    low = [name for name in ids(2000) if hash_position(name) < 0.05]
    middle = [name for name in ids(2000) if 0.05 <= hash_position(name) < 0.1]
    assert Counter(assign_splits(low[:3], BOTH)) == {"train": 1, "validation": 1, "test": 1}
    assert Counter(assign_splits(middle[:5], BOTH)) == {"train": 1, "validation": 3, "test": 1}


def test_stories_of_one_id_stay_together():
    names = [name for name in ids(200) for _ in range(2)]
    splits = assign_splits(names, BOTH)
    assert splits[::2] == splits[1::2] and len(set(splits)) == 3


def story(count: int, **columns: object) -> dict:
    """Return a story of `count` equal frames."""
    return {"frames": [FRAME] * count, "captions": ["One."] * count, **columns}


def named(count: int) -> list[dict]:
    return [story(1, story_id=name) for name in ids(count)]


def folder(path: Path, **splits: list[dict]) -> str:
    """Save stories as a data set, and return the folder's name."""
    DatasetDict({split: Dataset.from_list(stories) for split, stories in splits.items()}).save_to_disk(path)
    return str(path)


def load_all(name: str) -> dict[str, list[str]]:
    """Return the ids of the stories of each split."""
    return {split: list(read_stories(name, split)["story_id"]) for split in ("train", "validation", "test")}


def test_a_data_set_with_train_alone(tmp_path):
    splits = load_all(folder(tmp_path / "set", train=named(60)))
    assert sorted(sum(splits.values(), [])) == sorted(ids(60)) and all(splits.values())
    expected = assign_splits(ids(60), BOTH)
    assert all(splits[split] == [name for name, part in zip(ids(60), expected) if part == split] for split in splits)
    Dataset.from_list(named(60)).save_to_disk(tmp_path / "single")
    assert load_all(str(tmp_path / "single")) == splits


def test_a_data_set_without_validation_or_test(tmp_path):
    held_out = [story(1, story_id="mine")]
    for given, derived in (("test", "validation"), ("validation", "test")):
        splits = load_all(folder(tmp_path / given, train=named(60), **{given: held_out}))
        assert splits[given] == ["mine"] and splits[derived]
        assert sorted(splits["train"] + splits[derived]) == sorted(ids(60))


def test_splits_that_exist_are_used_as_they_are(tmp_path):
    complete = folder(tmp_path / "all", train=named(60), validation=named(1), test=named(2))
    sizes = {split: len(names) for split, names in load_all(complete).items()}
    assert sizes == {"train": 60, "validation": 1, "test": 2}
    other = folder(tmp_path / "other", train=named(60), dev=named(2))
    assert len(read_stories(other, "train")) == 60 and len(read_stories(other, "dev")) == 2
    with pytest.raises(ValueError, match="split: got 'validation', expected one of train, dev"):
        read_stories(other, "validation")


def test_a_split_that_cannot_be_derived_is_refused(tmp_path):
    two = folder(tmp_path / "two", train=named(2))
    assert len(read_stories(two, "train")) == 2
    with pytest.raises(ValueError, match="got 2 stories in 'train' of .*, expected at least 3 to derive"):
        read_stories(two, "test")
    with pytest.raises(ValueError, match="split: got 'foo', expected one of train in '"):
        read_stories(folder(tmp_path / "many", train=named(9)), "foo")


def test_the_first_stories_of_a_derived_split(tmp_path):
    name = folder(tmp_path / "set", train=named(90))
    whole = list(read_stories(name, "train")["story_id"])
    assert list(read_stories(name, "train", max_stories=5)["story_id"]) == whole[:5]
    assert len(read_stories(name, "test", max_stories=1)) == 1
    complete = folder(tmp_path / "all", train=named(9), validation=named(3), test=named(3))
    assert list(read_stories(complete, "train", max_stories=2)["story_id"]) == ids(2)


def test_one_line_names_the_derived_splits(tmp_path, caplog):
    name = folder(tmp_path / "set", train=named(60))
    with caplog.at_level(logging.WARNING):
        sizes = {split: len(names) for split, names in load_all(name).items()}
    (line,) = [record.getMessage() for record in caplog.records if name in record.getMessage()]
    expected = f"train {sizes['train']}, test {sizes['test']}, validation {sizes['validation']}"
    assert line == f"{name} has no split test and no validation: train is divided by story, into {expected}"


def test_equal_ids_stay_in_one_split_and_become_unique(tmp_path):
    stories = [story(1, story_id=name) for name in [*ids(60), *ids(60), "story-5-2", *ids(60)]]
    splits = load_all(folder(tmp_path / "set", train=stories))
    assert len(set(sum(splits.values(), []))) == 181
    split_of = {name: split for split, names in splits.items() for name in names}
    assert all(
        split_of[name] == split_of[f"{name}-2"] == split_of[f"{name}-3"] for name in ids(60) if name != "story-5"
    )
    assert split_of["story-5"] == split_of["story-5-3"] == split_of["story-5-4"]
    twice = folder(tmp_path / "twice", test=[story(1, story_id="a"), story(2, story_id="a")])
    assert [(row["story_id"], len(row["frames"])) for row in read_stories(twice, "test")] == [("a", 1), ("a-2", 2)]


def test_stories_without_ids_go_by_their_captions(tmp_path):
    captioned = [story(1, captions=[f"Caption {number}."]) for number in range(60)]
    one, other = (
        read_stories(folder(tmp_path / name, train=stories), "train")
        for name, stories in (("one", captioned), ("other", captioned[::-1]))
    )
    assert sorted(one["captions"]) == sorted(other["captions"]) and len(one) < 60
    caption_of = {f"train-{number}": f"Caption {number}." for number in range(60)}
    assert all(row["captions"] == [caption_of[row["story_id"]]] for row in one)
    name = folder(tmp_path / "without", train=[story(1, captions=[None]) for _ in range(60)])
    assert sum(len(read_stories(name, split)) for split in ("train", "validation", "test")) == 60
