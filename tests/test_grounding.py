"""Boxes around what the attention looks at, against numbers worked out by hand."""

import pytest
import torch
from storyattn.training.evaluation.grounding import GroundingMetrics, attended_boxes, overlap

HEIGHT, WIDTH = 16, 24  # four pixels a cell


def looking_at(*cells: tuple[int, int], values: tuple[float, ...] | None = None) -> torch.Tensor:
    """A map of 4 x 6 cells that looks at some of them, equally or as `values` say."""
    maps = torch.zeros(4, 6)
    for cell, value in zip(cells, values or [1.0] * len(cells)):
        maps[cell] = value
    return maps / maps.sum()


def test_a_box_is_drawn_around_each_connected_part():
    maps = looking_at((1, 1), (1, 2), (3, 5), (0, 3), values=(0.4, 0.4, 0.3, 0.1))
    boxes = attended_boxes(maps[None], HEIGHT, WIDTH)
    assert [box for _, box in boxes] == [(4, 4, 12, 8), (20, 12, 24, 16)]  # the last cell is below half the maximum
    assert [round(score, 4) for score, _ in boxes] == [round(0.8 / 1.2, 4), 0.25]


def test_of_two_heads_that_look_at_the_same_one_box_is_left():
    maps = torch.stack([looking_at((1, 1), (1, 2)), looking_at((1, 1), (1, 2), (2, 1), (2, 2)), looking_at((3, 5))])
    assert sorted(box for _, box in attended_boxes(maps, HEIGHT, WIDTH)) == [
        (4, 4, 12, 8),
        (4, 4, 12, 12),
        (20, 12, 24, 16),
    ]
    same = torch.stack([looking_at((1, 1)), looking_at((1, 1))])
    assert len(attended_boxes(same, HEIGHT, WIDTH)) == 1


def test_overlap_is_intersection_over_union():
    assert overlap((0, 0, 4, 4), (0, 0, 4, 4)) == 1
    assert overlap((0, 0, 4, 4), (2, 0, 6, 4)) == pytest.approx(8 / 24)
    assert overlap((0, 0, 4, 4), (4, 0, 8, 4)) == 0


def test_precision_recall_and_average_precision():
    metrics = GroundingMetrics()
    # One true box is found exactly, one not at all; a second look is wrong and has a lower score.
    maps = torch.stack([looking_at((1, 1), (1, 2)), looking_at((3, 5), (0, 0), values=(0.6, 0.4))])
    metrics.update(maps, [[4, 4, 12, 8], [12, 0, 20, 8]], HEIGHT, WIDTH)
    metrics.update(maps, [], HEIGHT, WIDTH)  # does not count
    metrics.update(maps, [[30, 0, 40, 8]], HEIGHT, WIDTH)  # lies outside
    scores = metrics.compute()
    assert scores["num_frames"] == 1
    assert (scores["precision"], scores["recall"]) == (pytest.approx(1 / 3), 0.5)
    assert scores["f1"] == pytest.approx(0.4) and scores["map"] == pytest.approx(0.5)
    assert scores["floors"]["whole_frame"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "map": 0.0}


def test_a_true_box_counts_once_and_better_overlap_counts_more():
    metrics = GroundingMetrics()
    metrics.update(looking_at((1, 1))[None], [[4, 4, 8, 8], [4, 4, 8, 8]], HEIGHT, WIDTH)
    scores = metrics.compute()
    assert (scores["precision"], scores["recall"]) == (1.0, 0.5)
    close = GroundingMetrics()
    close.update(looking_at((1, 1))[None], [[4, 4, 8, 10]], HEIGHT, WIDTH)  # an overlap of 2/3: four thresholds of ten
    assert close.compute()["map"] == pytest.approx(0.4) and close.compute()["f1"] == 1.0


def test_the_floors_are_boxes_that_know_nothing():
    metrics = GroundingMetrics()
    metrics.update(looking_at((0, 0))[None], [[0, 0, 24, 16]], HEIGHT, WIDTH)
    metrics.update(looking_at((0, 0))[None], [[6, 4, 18, 12]], HEIGHT, WIDTH)
    scores = metrics.compute()
    assert scores["f1"] == 0 and GroundingMetrics().compute() is None
    assert scores["floors"]["whole_frame"]["recall"] == scores["floors"]["middle"]["recall"] == 0.5
