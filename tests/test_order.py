"""The order in which training sees stories: each once an epoch, shared out over processes, the same after a resume."""

from collections import Counter

import numpy as np
import pytest
from conftest import small_config
from storyattn.training.data.prepared_stories import PreparedStories, prepare_stories
from storyattn.training.data.sources import read_stories
from storyattn.training.data.windows import StoryOrder, TrainingWindows, draw_start, training_loader


@pytest.fixture(scope="module")
def stories(stories_folder, small_processor) -> PreparedStories:
    return prepare_stories(read_stories(str(stories_folder), "train"), small_processor.image_processor, "train")


@pytest.fixture
def windows(stories, small_processor) -> TrainingWindows:
    """Windows with their epoch and story, for `collate_positions`."""

    class PositionedWindows(TrainingWindows):
        def __getitem__(self, position):
            return {**super().__getitem__(position), "position": position}

    return PositionedWindows(stories, small_processor, small_config())


def collate_positions(items: list[dict]) -> list[tuple[int, int, int]]:
    """Return epoch, story and first frame of each window, in place of tensors."""
    return [(*item["position"], item["start"]) for item in items]


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


def test_epochs_and_seeds_have_different_orders():
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
    """Over 4000 epochs each of 36 windows of 40 frames comes about as often as any other, for several stories."""
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
def test_workers_change_neither_order_nor_windows(windows, small_processor, monkeypatch, num_workers):
    monkeypatch.setattr("storyattn.training.data.windows.TrainingCollator", lambda processor: collate_positions)
    options = {"batch_size": 5, "seed": 0, "first_batch": 2, "num_batches": 12}
    alone, workers = (
        list(training_loader(windows, small_processor, num_workers=number, **options)) for number in (0, num_workers)
    )
    assert alone == workers and len(alone) == 10
