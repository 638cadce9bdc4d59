"""Which transitions an evaluation measures: all, or some that no position or story is left out of."""

from collections import Counter

import pytest
from level_model import level_stories
from storyattn.training.evaluation.windows import MeasuredWindows, spread


def transitions(lengths: list[int]) -> list[tuple[int, int]]:
    return [(story, position) for story, length in enumerate(lengths) for position in range(1, length)]


def chosen_of(lengths: list[int], number: int) -> list[tuple[int, int]]:
    of = transitions(lengths)
    chosen = spread(of, number)
    assert len(chosen) == len(set(chosen)) == number and chosen == sorted(chosen)
    return [of[index] for index in chosen]


@pytest.mark.parametrize("number", [5, 40, 64, 100, 200, 301, 999])
def test_no_position_and_no_story_is_preferred(number):
    """With 200 stories of six frames a fixed stride would take the same position everywhere."""
    chosen = chosen_of([6] * 200, number)
    of_positions, of_stories = Counter(position for _, position in chosen), Counter(story for story, _ in chosen)
    assert max(of_positions.values()) - min(of_positions.values()) <= 1 and len(of_positions) == 5
    counts = [of_stories[story] for story in range(200)]
    assert max(counts) - min(counts) <= 1
    quarters = [sum(counts[start : start + 50]) for start in range(0, 200, 50)]
    assert max(quarters) - min(quarters) <= 0.06 * number + 2  # anywhere in the split


def test_a_position_does_not_go_with_the_number_of_the_story():
    together = Counter((story % 5, position) for story, position in chosen_of([6] * 200, 200))
    assert len(together) == 25 and max(together.values()) <= 12  # 8 of each, if they were independent


def test_longer_stories_have_their_share():
    lengths = [2 + 7 * story % 29 for story in range(50)]
    of, chosen = transitions(lengths), chosen_of(lengths, 120)
    share = 120 / len(of)
    for key in (0, 1):
        wanted, counts = (Counter(transition[key] for transition in group) for group in (of, chosen))
        assert max(abs(counts[name] - share * count) for name, count in wanted.items()) < 1.5


def test_windows_lead_to_the_measured_frame_and_are_chosen_alike_each_time():
    stories = level_stories([[0, 2, 5, 6, 7], [1, 4, 2], [3], [3, 6, 8, 9]])
    windows = MeasuredWindows(stories, 3)
    assert windows.captions_of == [
        *(["0", "2"], ["0", "2", "5"], ["2", "5", "6"], ["5", "6", "7"]),
        *(["1", "4"], ["1", "4", "2"]),
        *(["3", "6"], ["3", "6", "8"], ["6", "8", "9"]),
    ]
    assert [windows[i]["captions"] for i in range(len(windows))] == windows.captions_of
    assert windows.story_of == [0] * 4 + [1] * 2 + [3] * 3 and windows.num_left_out == 1
    some, again = (MeasuredWindows(stories, 3, 4).captions_of for _ in range(2))
    assert some == again and len(some) == 4
    assert len(MeasuredWindows(stories, 3, 100)) == 9


def test_windows_of_a_memory_hold_the_first_frame_of_a_long_story():
    windows = MeasuredWindows(level_stories([[0, 2, 5, 6, 7, 9], [1, 4, 2]]), 4, num_memory=1)
    assert windows.captions_of == [
        *(["0", "2"], ["0", "2", "5"], ["0", "2", "5", "6"], ["0", "5", "6", "7"], ["0", "6", "7", "9"]),
        *(["1", "4"], ["1", "4", "2"]),
    ]
    assert [windows[i]["captions"] for i in range(len(windows))] == windows.captions_of
    assert [windows[i]["last"] for i in range(len(windows))] == [1, 2, 3, 4, 5, 1, 2]
