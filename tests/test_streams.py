"""Streams of stories: shared out over processes and workers, the same after a resume, and checked as they are read."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from conftest import small_config
from datasets import Dataset, DatasetDict, Features, Image, List, Value
from encoded_pictures import ENCODED_IMAGES, encoded_frame, plain_picture
from storyattn.training.data.augmentation import Augmentation
from storyattn.training.data.prepared_stories import prepare_stories
from storyattn.training.data.sources import read_stories
from storyattn.training.data.stream_source import first_stories, open_stream
from storyattn.training.data.streaming import StoryStream, stream_loader

FRAME = encoded_frame(plain_picture())
SPLITS = ("train", "validation", "test")


class NamedStream(StoryStream):
    """A stream whose windows have their epoch and the id of their story, for `collate_positions`."""

    def _window(self, epoch, row):
        return {**super()._window(epoch, row), "position": (epoch, row["story_id"])}


def collate_positions(items: list[dict]) -> list[tuple[int, str]]:
    """Return the epoch and the id of the story of each window, in place of tensors."""
    return [tuple(item["position"]) for item in items]


def write_splits(folder: Path, dataset: Dataset, splits: tuple[str, ...] = SPLITS) -> str:
    """Write the same rows as each split, and return the folder's name."""
    for split in splits:
        dataset.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return str(folder)


def load(stream: StoryStream, num_workers: int = 0, on_bad_story: str = "raise", warn=pytest.fail) -> list:
    """Return all batches of a stream."""
    options = {"num_workers": num_workers, "pin_memory": False, "on_bad_story": on_bad_story, "warn": warn}
    return list(stream_loader(stream, "the stream", **options))


@pytest.fixture(scope="module", params=["one file", "three files", "saved"])
def streamed(request, tmp_path_factory, stories_folder) -> str:
    """The 24 training stories as a data set of one shard, of three, or as `save_to_disk` writes it."""
    folder = tmp_path_factory.mktemp("streamed")
    dataset = read_stories(str(stories_folder), "train")
    if request.param == "saved":
        DatasetDict(dict.fromkeys(SPLITS, dataset)).save_to_disk(folder / "set")
        return str(folder / "set")
    number = 1 if request.param == "one file" else 3
    for index in range(number):
        dataset.shard(number, index).to_parquet(folder / f"train-{index:05d}-of-{number:05d}.parquet")
    return write_splits(folder, dataset.select(range(4)), ("validation", "test"))


@pytest.fixture
def read(streamed, small_processor, monkeypatch):
    """Return a function that reads a stream and returns its batches as lists of `(epoch, story_id)`."""
    monkeypatch.setattr("storyattn.training.data.streaming.TrainingCollator", lambda processor: collate_positions)

    def run(num_workers=0, batch_size=4, **options):
        options = {"num_batches": 12, "buffer_size": 5, **options}
        rows = open_stream(streamed, "train")
        stream = NamedStream(rows, small_processor, small_config(), batch_size, **options)
        # The loader turns tuples into lists.
        return [[tuple(place) for place in batch] for batch in load(stream, num_workers)]

    return run


@pytest.mark.parametrize("num_workers", [0, 2])
def test_processes_share_a_stream_without_overlap_or_loss(read, num_workers):
    seen = Counter()
    for process in range(2):
        batches = read(num_workers, process=process, num_processes=2, num_batches=16, batch_size=3)
        seen.update(place for batch in batches for place in batch)
    assert len([place for place in seen if place[0] == 0]) == 24
    assert set(seen.values()) == {1}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_stream_goes_on_at_the_same_story(read, num_workers):
    whole = read(num_workers)
    assert len(whole) == 12 and all(len(batch) == 4 for batch in whole)
    for first_batch in (1, 6, 11):
        assert read(num_workers, first_batch=first_batch) == whole[first_batch:]


def test_a_stream_is_shuffled_by_seed_and_epoch(read):
    first, again, other = read(), read(), read(seed=1)
    assert first == again != other
    epochs = [[name for batch in first for epoch, name in batch if epoch == number] for number in (0, 1)]
    assert sorted(epochs[0]) == sorted(epochs[1]) and epochs[0] != epochs[1] and epochs[0] != sorted(epochs[0])


def test_a_streamed_window_is_that_of_the_story_on_the_disk(streamed, small_processor, stories_folder):
    rows = open_stream(streamed, "train")
    loaded = load(StoryStream(rows, small_processor, small_config(max_frames=9), 1, buffer_size=1, num_batches=24))
    stories = prepare_stories(read_stories(str(stories_folder), "train"), small_processor.image_processor, "train")
    expected = [small_processor.batch_frames([stories.pixels(story)])["pixel_values"] for story in range(24)]
    assert {tensor.numpy().tobytes() for tensor in expected} == {b["pixel_values"].numpy().tobytes() for b in loaded}
    assert all(batch["frame_mask"].sum() == 4 and batch["input_ids"].dtype == torch.long for batch in loaded)


def test_a_stream_is_augmented_alike_before_and_after_a_resume(streamed, small_processor):
    def read_pixels(first_batch=0, **options):
        rows, order = open_stream(streamed, "train"), {"first_batch": first_batch, "num_batches": 6, "buffer_size": 5}
        stream = StoryStream(rows, small_processor, small_config(), 4, **order, **options)
        return [(batch["pixel_values"], batch["caption_mask"]) for batch in load(stream)]

    augmentation = Augmentation(crop=0.2, colour=0.2, caption_dropout=0.5)
    plain, changed = read_pixels(), read_pixels(augmentation=augmentation)
    assert all(not torch.equal(one[0], other[0]) for one, other in zip(plain, changed))
    assert all(mask.all() for _, mask in plain) and not all(mask.all() for _, mask in changed)
    again = read_pixels(3, augmentation=augmentation)
    assert len(again) == 3
    assert all(torch.equal(*pair) for one, other in zip(changed[3:], again) for pair in zip(one, other))


def test_mirrored_windows_of_a_stream_name_the_other_side(streamed, small_processor):
    rows, options = open_stream(streamed, "train").map(name_a_side), {"augmentation": Augmentation(flip=True)}
    loaded = load(StoryStream(rows, small_processor, small_config(), 1, buffer_size=1, num_batches=24, **options))
    captions = {small_processor.batch_decode(batch["input_ids"][0], skip_special_tokens=True)[0] for batch in loaded}
    expected = small_processor.encode_captions(["left", "right"])
    assert captions == set(small_processor.batch_decode(expected, skip_special_tokens=True))


def name_a_side(row: dict) -> dict:
    """Return the row with captions that name a side."""
    return {"captions": ["left"] * len(row["captions"])}


def test_the_first_stories_of_a_stream(streamed):
    sample = first_stories(open_stream(streamed, "train"), 5, "the stream")
    assert len(sample) == 5 and all(len(story["frames"]) == len(story["captions"]) == 4 for story in sample)
    assert len(set(sample["story_id"])) == 5


@pytest.mark.parametrize("num_workers", [0, 2])
def test_no_story_comes_more_often_where_numbers_are_uneven(
    tmp_path, stories_folder, small_processor, num_workers, monkeypatch
):
    monkeypatch.setattr("storyattn.training.data.streaming.TrainingCollator", lambda processor: collate_positions)
    dataset = read_stories(str(stories_folder), "train").select(range(11))
    for index, rows in enumerate((range(2), range(2, 10), range(10, 11))):
        dataset.select(rows).to_parquet(tmp_path / f"train-{index:05d}-of-00003.parquet")
    write_splits(tmp_path, dataset.select(range(1)), ("validation", "test"))
    seen = Counter()
    for process in range(2):
        options = {"process": process, "num_processes": 2, "num_batches": 22, "buffer_size": 4}
        stream = NamedStream(open_stream(str(tmp_path), "train"), small_processor, small_config(), 1, **options)
        seen.update(name for batch in load(stream, num_workers) for _, name in batch)
    assert len(seen) == 11 and set(seen.values()) == {4}  # 2 x 22 rows are four epochs of 11


def test_bad_stories_that_come_together_stop_no_stream(tmp_path, small_processor):
    """4 in 100 are bad, all of them near the beginning."""
    no_image = {"bytes": b"no image", "path": None}
    rows = [
        {"frames": [no_image if 20 <= k < 30 else FRAME] * 2, "captions": ["One.", "Two."], "story_id": f"s{k}"}
        for k in range(250)
    ]
    features = Features({"frames": ENCODED_IMAGES, "captions": List(Value("string")), "story_id": Value("string")})
    stories = open_stream(write_splits(tmp_path, Dataset.from_list(rows, features=features)), "train")
    stream = StoryStream(stories, small_processor, small_config(max_frames=2), 5, buffer_size=10, num_batches=100)
    warnings = []
    batches = load(stream, on_bad_story="skip", warn=warnings.append)
    assert len(batches) == 100 and sum(len(batch["frame_mask"]) for batch in batches) >= 480
    assert sum(line.count("no image that Pillow") for line in warnings) == 10, "each is named once, in two epochs"


WRONG_TYPES = {
    "one image": ({"frames": Image()}, {"frames": None}, "column 'frames'.*expected a list"),
    "a string": ({"captions": Value("string")}, {"captions": "One."}, "column 'captions'.*expected a list"),
    "numbers": ({"captions": List(Value("int64"))}, {"captions": [1]}, "column 'captions'.*expected strings"),
    "boxes": ({"boxes": Value("string")}, {"boxes": "none"}, "column 'boxes'.*expected for each frame"),
    "ids": ({"story_id": List(Value("string"))}, {"story_id": ["a"]}, "column 'story_id'.*expected a string"),
}


@pytest.mark.parametrize("case", WRONG_TYPES)
def test_a_stream_and_stories_on_the_disk_refuse_the_same_columns(tmp_path, case):
    changed, values, message = WRONG_TYPES[case]
    features = Features({"frames": List(Image()), "captions": List(Value("string")), **changed})
    dataset = Dataset.from_list([{"frames": [], "captions": [], **values}] * 3, features=features)
    name = write_splits(tmp_path, dataset)
    for read_any in (read_stories, open_stream):
        with pytest.raises(ValueError, match=message):
            read_any(name, "train")


def test_stories_that_lack_something_are_in_the_sample_of_a_stream(tmp_path, small_processor):
    rows = [{"frames": None, "captions": ["One."]}, {"frames": [FRAME], "captions": None}]
    features = Features({"frames": List(Image()), "captions": List(Value("string"))})
    name = write_splits(tmp_path, Dataset.from_list(rows, features=features))
    sample = first_stories(open_stream(name, "train"), 5, "the stream")
    with pytest.raises(ValueError, match="got 2 bad of 2 stories, .*frames: got none.*captions: got none"):
        prepare_stories(sample, small_processor.image_processor, "the sample", cache_dir=tmp_path / "cache")
