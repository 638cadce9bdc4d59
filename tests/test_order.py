"""The order in which training sees stories: each once an epoch, shared out over processes, the same after a resume."""

import io
from collections import Counter

import numpy as np
import pytest
import torch
from conftest import small_config
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage
from storyattn.training.data.augmentation import Augmentation
from storyattn.training.data.prepared_stories import prepare_stories
from storyattn.training.data.sources import read_stories
from storyattn.training.data.stream_source import first_stories, open_stream
from storyattn.training.data.streaming import StoryStream, stream_loader
from storyattn.training.data.windows import StoryOrder, TrainingWindows, draw_start, training_loader


def _png() -> bytes:
    file = io.BytesIO()
    PILImage.new("RGB", (48, 32), "red").save(file, "PNG")
    return file.getvalue()


PNG = _png()


@pytest.fixture(scope="module")
def stories(stories_folder, small_processor):
    return prepare_stories(read_stories(str(stories_folder), "train"), small_processor.image_processor, "train")


@pytest.fixture
def named(stories, small_processor):
    """Windows whose batches tell epoch, story and first frame instead of tensors."""

    class Named(TrainingWindows):
        def __getitem__(self, position):
            return {**super().__getitem__(position), "position": position}

    return Named(stories, small_processor, small_config())


class Names:
    """In place of the collator."""

    def __init__(self, processor):
        pass

    def __call__(self, items):
        return [(*item["position"], item["start"]) for item in items]


# Stories at hand


def positions(process=0, num_processes=1, first_batch=0, num_batches=30, batch_size=3, seed=0, num_stories=10):
    options = {"process": process, "num_processes": num_processes, "first_batch": first_batch, "seed": seed}
    return list(StoryOrder(num_stories, batch_size, num_batches=num_batches, **options))


@pytest.mark.parametrize("num_processes", [1, 2, 3])
def test_every_epoch_has_each_story_once_over_all_processes(num_processes):
    seen = Counter(
        place for process in range(num_processes) for batch in positions(process, num_processes) for place in batch
    )
    whole = num_processes * 90 // 10  # epochs that are over; 10 stories, batches of 3
    assert all(seen[epoch, story] == 1 for epoch in range(whole) for story in range(10))
    assert set(seen.values()) == {1}


def test_several_processes_see_together_what_one_sees():
    alone = positions(batch_size=6)
    shared = [positions(process, 2, batch_size=3) for process in range(2)]
    assert [first + second for first, second in zip(*shared)] == alone


def test_epochs_and_seeds_have_orders_of_their_own():
    places = [place for batch in positions(batch_size=5, num_batches=4) for place in batch]
    first, second = ([story for epoch, story in places if epoch == number] for number in (0, 1))
    assert sorted(first) == sorted(second) == list(range(10)) and first != second
    assert positions(seed=1) != positions(seed=0) == positions(seed=0)


@pytest.mark.parametrize("first_batch", [1, 7, 29, 30])
def test_a_resumed_order_goes_on_where_it_stopped(first_batch):
    assert positions(1, 2, first_batch) == positions(1, 2)[first_batch:]


def test_fewer_stories_than_a_batch_has():
    (batch,) = positions(num_stories=2, batch_size=5, num_batches=1)
    assert Counter(story for _, story in batch[:4]) == {0: 2, 1: 2}


def test_windows_are_drawn_by_seed_epoch_and_story(stories, small_processor):
    def starts(seed, epoch):
        windows = TrainingWindows(stories, small_processor, small_config(max_frames=2), seed)
        return [windows[epoch, story]["start"] for story in range(24)]

    drawn = [starts(seed, epoch) for seed in range(2) for epoch in range(3)]
    assert drawn == [starts(seed, epoch) for seed in range(2) for epoch in range(3)]
    assert len({tuple(starts) for starts in drawn}) == 6
    assert {start for starts in drawn for start in starts} == {0, 1, 2}
    assert draw_start(2, 5, 0, 0, 0) == 0  # a shorter story is one window


def test_windows_of_a_long_story_are_drawn_evenly():
    """Over 4000 epochs each of 36 windows of 40 frames about as often as any other, for several stories alike."""
    for story in range(3):
        counts = Counter(draw_start(40, 5, 0, epoch, story) for epoch in range(4000))
        expected = 4000 / 36
        assert set(counts) == set(range(36))
        # Chi squared with 35 degrees of freedom: above 66 once in a thousand.
        assert sum((count - expected) ** 2 / expected for count in counts.values()) < 66


def test_a_window_is_a_part_of_its_story(stories, small_processor):
    item = TrainingWindows(stories, small_processor, small_config(max_frames=2), seed=3)[1, 5]
    window = slice(item["start"], item["start"] + 2)
    assert np.array_equal(item["pixels"], stories.pixels(5)[window])
    expected = small_processor.encode_captions(stories["captions"][5][window])
    assert [list(ids) for ids in item["caption_ids"]] == expected


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_change_neither_order_nor_windows(named, small_processor, monkeypatch, num_workers):
    monkeypatch.setattr("storyattn.training.data.windows.TrainingCollator", Names)
    options = {"batch_size": 5, "seed": 0, "first_batch": 2, "num_batches": 12}
    alone, workers = (
        list(training_loader(named, small_processor, num_workers=number, **options)) for number in (0, num_workers)
    )
    assert alone == workers and len(alone) == 10


# Streams


@pytest.fixture(scope="module", params=["one file", "three files", "saved"])
def streamed(request, tmp_path_factory, stories_folder) -> str:
    """The 24 training stories as a data set of one shard, of three, or as `save_to_disk` writes it."""
    folder = tmp_path_factory.mktemp("streamed")
    dataset = read_stories(str(stories_folder), "train")
    if request.param == "saved":
        from datasets import DatasetDict

        DatasetDict(dict.fromkeys(("train", "validation", "test"), dataset)).save_to_disk(folder / "set")
        return str(folder / "set")
    number = 1 if request.param == "one file" else 3
    for index in range(number):
        dataset.shard(number, index).to_parquet(folder / f"train-{index:05d}-of-{number:05d}.parquet")
    for split in ("validation", "test"):
        dataset.select(range(4)).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return str(folder)


@pytest.fixture
def read(streamed, small_processor, monkeypatch):
    """Reads a stream through a loader; gives the batches as lists of `(epoch, story_id)`."""

    class Told(StoryStream):
        def _window(self, epoch, row):
            return {**super()._window(epoch, row), "position": (epoch, row["story_id"])}

    class Positions(Names):
        def __call__(self, items):
            return [tuple(item["position"]) for item in items]

    monkeypatch.setattr("storyattn.training.data.streaming.TrainingCollator", Positions)

    def run(num_workers=0, **options):
        options = {"num_batches": 12, "buffer_size": 5, "batch_size": 4, **options}
        batch_size = options.pop("batch_size")
        stream = Told(open_stream(streamed, "train"), small_processor, small_config(), batch_size, **options)
        loader = {"num_workers": num_workers, "pin_memory": False, "on_bad_story": "raise", "warn": pytest.fail}
        # On their way out of a loader tuples become lists.
        return [[tuple(place) for place in batch] for batch in stream_loader(stream, "the stream", **loader)]

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
@pytest.mark.parametrize("first_batch", [1, 6, 11])
def test_a_resumed_stream_goes_on_at_the_same_story(read, num_workers, first_batch):
    whole = read(num_workers)
    assert len(whole) == 12 and all(len(batch) == 4 for batch in whole)
    assert read(num_workers, first_batch=first_batch) == whole[first_batch:]


def test_a_stream_is_shuffled_by_seed_and_epoch(read):
    first, again, other = read(), read(), read(seed=1)
    assert first == again != other
    epochs = [[name for batch in first for epoch, name in batch if epoch == number] for number in (0, 1)]
    assert sorted(epochs[0]) == sorted(epochs[1]) and epochs[0] != epochs[1] and epochs[0] != sorted(epochs[0])


def test_a_streamed_window_is_that_of_the_story_at_hand(streamed, small_processor, stories):
    options = {"buffer_size": 1, "num_batches": 24, "batch_size": 1}
    batch_size = options.pop("batch_size")
    stream = StoryStream(
        open_stream(streamed, "train"), small_processor, small_config(max_frames=9), batch_size, **options
    )
    loaded = list(stream_loader(stream, "s", num_workers=0, pin_memory=False, on_bad_story="raise", warn=pytest.fail))
    expected = [small_processor.batch_frames([stories.pixels(story)])["pixel_values"] for story in range(24)]
    assert {tensor.numpy().tobytes() for tensor in expected} == {b["pixel_values"].numpy().tobytes() for b in loaded}
    assert all(batch["frame_mask"].sum() == 4 and batch["input_ids"].dtype == torch.long for batch in loaded)


def test_a_stream_is_changed_alike_before_and_after_a_resume(streamed, small_processor):
    def pixels(first_batch=0, **options):
        rows, order = open_stream(streamed, "train"), {"first_batch": first_batch, "num_batches": 6, "buffer_size": 5}
        stream = StoryStream(rows, small_processor, small_config(), 4, **order, **options)
        loader = {"num_workers": 0, "pin_memory": False, "on_bad_story": "raise", "warn": pytest.fail}
        return [(b["pixel_values"], b["caption_mask"]) for b in stream_loader(stream, "s", **loader)]

    plain, changed = pixels(), pixels(augmentation=Augmentation(crop=0.2, colour=0.2, caption_dropout=0.5))
    assert all(not torch.equal(one[0], other[0]) for one, other in zip(plain, changed))
    assert all(mask.all() for _, mask in plain) and not all(mask.all() for _, mask in changed)
    again = pixels(3, augmentation=Augmentation(crop=0.2, colour=0.2, caption_dropout=0.5))
    assert len(again) == 3
    assert all(torch.equal(*pair) for one, other in zip(changed[3:], again) for pair in zip(one, other))


def test_the_first_stories_of_a_stream(streamed):
    sample = first_stories(open_stream(streamed, "train"), 5, "the stream")
    assert len(sample) == 5 and all(len(story["frames"]) == len(story["captions"]) == 4 for story in sample)
    assert len(set(sample["story_id"])) == 5


@pytest.mark.parametrize("num_workers", [0, 2])
def test_no_story_comes_more_often_where_numbers_are_uneven(tmp_path, stories_folder, small_processor, num_workers):
    dataset = read_stories(str(stories_folder), "train").select(range(11))
    for index, rows in enumerate((range(2), range(2, 10), range(10, 11))):
        dataset.select(rows).to_parquet(tmp_path / f"train-{index:05d}-of-00003.parquet")
    for split in ("validation", "test"):
        dataset.select(range(1)).to_parquet(tmp_path / f"{split}-00000-of-00001.parquet")
    seen = Counter()
    for process in range(2):
        options = {"process": process, "num_processes": 2, "num_batches": 22, "buffer_size": 4}
        stream = Named(open_stream(str(tmp_path), "train"), small_processor, small_config(), 1, **options)
        loader = {"num_workers": num_workers, "pin_memory": False, "on_bad_story": "raise", "warn": pytest.fail}
        seen.update(batch["names"][0] for batch in stream_loader(stream, "s", **loader))
    assert len(seen) == 11 and set(seen.values()) == {4}  # 2 x 22 rows are four epochs of 11


class Named(StoryStream):
    """Batches of one story, with its id."""

    def _window(self, epoch, row):
        self.name = row["story_id"]
        return super()._window(epoch, row)

    def _batches(self):
        for tensors, bad, seen in super()._batches():
            yield {**tensors, "names": [self.name]}, bad, seen


def test_bad_stories_that_come_together_stop_no_stream(tmp_path, small_processor):
    """4 in 100 are bad, all of them near the beginning."""
    picture = {"bytes": b"no image", "path": None}
    good = {"bytes": PNG, "path": None}
    rows = [
        {"frames": [picture if 20 <= k < 30 else good] * 2, "captions": ["One.", "Two."], "story_id": f"s{k}"}
        for k in range(250)
    ]
    encoded = List({"bytes": Value("binary"), "path": Value("string")})
    features = Features({"frames": encoded, "captions": List(Value("string")), "story_id": Value("string")})
    dataset = Dataset.from_list(rows, features=features)
    for split in ("train", "validation", "test"):
        dataset.to_parquet(tmp_path / f"{split}-00000-of-00001.parquet")
    told = []
    stream = StoryStream(
        open_stream(str(tmp_path), "train"),
        small_processor,
        small_config(max_frames=2),
        5,
        buffer_size=10,
        num_batches=100,
    )
    options = {"num_workers": 0, "pin_memory": False, "on_bad_story": "skip", "warn": told.append}
    batches = list(stream_loader(stream, "the stream", **options))
    assert len(batches) == 100 and sum(len(batch["frame_mask"]) for batch in batches) >= 480
    assert sum(line.count("is no image") for line in told) == 10, "each is told of once, in two epochs"


TYPES = {
    "one image": ({"frames": Image()}, {"frames": None}, "column 'frames'.*expected a list"),
    "a string": ({"captions": Value("string")}, {"captions": "One."}, "column 'captions'.*expected a list"),
    "numbers": ({"captions": List(Value("int64"))}, {"captions": [1]}, "column 'captions'.*expected strings"),
    "boxes": ({"boxes": Value("string")}, {"boxes": "none"}, "column 'boxes'.*expected for each frame"),
    "ids": ({"story_id": List(Value("string"))}, {"story_id": ["a"]}, "column 'story_id'.*expected a string"),
}


@pytest.mark.parametrize("case", TYPES)
def test_columns_of_another_type_are_refused_alike(tmp_path, case):
    changed, values, message = TYPES[case]
    features = Features({"frames": List(Image()), "captions": List(Value("string")), **changed})
    dataset = Dataset.from_list([{"frames": [], "captions": [], **values}] * 3, features=features)
    for split in ("train", "validation", "test"):
        dataset.to_parquet(tmp_path / f"{split}-00000-of-00001.parquet")
    for read_any in (read_stories, open_stream):
        with pytest.raises(ValueError, match=message):
            read_any(str(tmp_path), "train")


def test_stories_that_lack_something_are_in_the_sample_of_a_stream(tmp_path, small_processor):
    rows = [{"frames": None, "captions": ["One."]}, {"frames": [{"bytes": PNG, "path": None}], "captions": None}]
    features = Features({"frames": List(Image()), "captions": List(Value("string"))})
    for split in ("train", "validation", "test"):
        dataset = Dataset.from_list(rows, features=features)
        dataset.to_parquet(tmp_path / f"{split}-00000-of-00001.parquet")
    sample = first_stories(open_stream(str(tmp_path), "train"), 5, "the stream")
    with pytest.raises(ValueError, match="2 of 2 stories are bad.*frames is empty.*captions is missing"):
        prepare_stories(sample, small_processor.image_processor, "the sample", cache_dir=tmp_path / "cache")
