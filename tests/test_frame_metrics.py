"""Measures of frames and their floors, against numbers worked out by hand."""

import pytest
import torch
from storyattn.training.evaluation.floors import floor_predictions, train_median
from storyattn.training.evaluation.frame_metrics import EventMetrics, FrameErrors, FrameMetrics
from torch.testing import assert_close

HEIGHT, WIDTH = 16, 24


def plain(level: float) -> torch.Tensor:
    return torch.full((3, HEIGHT, WIDTH), level)


def noise(seed: int) -> torch.Tensor:
    return torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


def l1_distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).abs().flatten(1).mean(dim=1)


def test_l1_changed_counts_only_changed_pixels_and_pools_them():
    target = plain(0.0)
    target[0, :4, :6] = 1.0  # 24 of 384 pixels change, in one channel
    errors = FrameErrors()
    errors.update(plain(0.0)[None], target[None], plain(0.0)[None])
    assert_close(errors.compute(), {"l1": 24 / (3 * 384), "l1_changed": 1 / 3})
    errors.update(plain(0.5)[None], plain(1.0)[None], plain(0.0)[None])  # 384 changed pixels, each 0.5 off
    assert_close(errors.compute()["l1_changed"], (24 / 3 + 384 * 0.5) / (24 + 384))


def test_a_change_of_two_levels_is_no_change_but_three_are():
    errors = FrameErrors()
    errors.update(plain(0.0)[None], plain(102 / 255)[None], plain(100 / 255)[None])
    assert errors.compute()["l1_changed"] is None
    errors.update(plain(0.0)[None], plain(103 / 255)[None], plain(100 / 255)[None])
    assert_close(errors.compute()["l1_changed"], 103 / 255)


def test_identical_frames_have_finite_psnr_and_perfect_similarity():
    metrics = FrameMetrics(l1_distance)
    metrics.update(noise(0)[None], noise(0)[None], noise(1)[None])
    expected = {"l1": 0.0, "l1_changed": 0.0, "psnr": 100.0, "ssim": 1.0, "perceptual": 0.0, "edge_ratio": 1.0}
    assert_close(metrics.compute(), expected)


def test_psnr_of_a_known_error_is_averaged_over_frames():
    metrics = FrameMetrics(l1_distance)
    targets = torch.stack([noise(0) * 0.5, noise(1) * 0.5])
    offsets = torch.tensor([0.1, 0.01])[:, None, None, None]  # 20 and 40 decibels
    metrics.update(targets + offsets, targets, targets)
    assert_close(metrics.compute()["psnr"], 30.0, atol=1e-3, rtol=0)
    assert_close(metrics.compute()["perceptual"], 0.055, atol=1e-5, rtol=0)


def test_edge_ratio_falls_with_contrast_and_is_zero_for_a_blob():
    for factor in (0.5, 0.0):
        metrics = FrameMetrics(l1_distance)
        metrics.update(factor * noise(0)[None], noise(0)[None], noise(0)[None])
        assert_close(metrics.compute()["edge_ratio"], factor)


def test_edges_of_a_target_without_any_are_not_divided_by():
    metrics = FrameMetrics(l1_distance)
    metrics.update(noise(0)[None], plain(0.3)[None], plain(0.3)[None])
    assert metrics.compute()["edge_ratio"] is None


def test_placement_is_the_share_of_events_painted_in_their_box():
    target, last = plain(0.0), plain(0.0)
    target[:, 2:6, 3:9] = 1.0
    half = plain(0.0)
    half[:, 2:6, 3:9] = 0.6
    events = EventMetrics()
    events.update("enters", [3.2, 2.1, 8.7, 5.9], half, target, last)  # rounded outwards: rows 2:6, columns 3:9
    events.update("enters", [3, 2, 9, 6], last, target, last)
    events.update("enters", [900, 900, 950, 950], target, target, last)  # lies outside: cannot be judged
    events.update("night", None, target, target, last)
    result = events.compute()
    assert_close(result["enters"]["l1_changed"], (0.4 + 1.0 + 0.0) / 3)
    assert result["enters"]["copy_last_l1_changed"] == 1.0
    assert (result["enters"]["placement"], result["enters"]["count"], result["enters"]["count_with_box"]) == (0.5, 3, 2)
    assert (result["night"]["placement"], result["night"]["l1_changed"]) == (None, 0.0)


@pytest.mark.parametrize(
    "column, box", [(3, [3.9, 2.9, 8.0, 5.1]), (8, [4.0, 2.9, 8.1, 5.1]), (3, [4.0, 3.0, 8.0, 5.0])]
)
def test_boxes_are_rounded_outwards(column, box):
    target, last = plain(0.0), plain(0.0)
    target[:, 2:6, column] = 1.0
    events = EventMetrics()
    events.update("enters", box, target, target, last)
    is_touched = box[0] < column + 1 and column < box[2]
    assert events.compute()["enters"]["placement"] == float(is_touched)


def test_floors_are_what_they_are_called():
    inputs = torch.stack([plain(0.9), plain(0.0), plain(0.3)])
    floors = floor_predictions(inputs, plain(1.0), plain(0.5))
    levels = {name: floor.mean().item() for name, floor in floors.items()}
    assert_close(levels, {"copy_last": 0.3, "mean": 0.4, "oracle_input": 0.9, "train_median": 0.5})
    assert "train_median" not in floor_predictions(inputs, plain(1.0), None)


def test_train_median_is_taken_per_pixel_over_at_most_the_given_frames():
    stories = [{"frames": [0.0, 1.0]}, {"frames": [0.2]}, {"frames": [0.4, 0.6]}]
    seen = []

    def to_pixels(frames):
        seen.extend(frames)
        return torch.stack([plain(level) for level in frames])

    assert_close(train_median(stories, to_pixels), plain(102 / 255))
    seen.clear()
    train_median(stories, to_pixels, max_frames=3)
    assert len(seen) == 3
