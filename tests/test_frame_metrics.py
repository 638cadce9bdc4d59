"""Measures of frames and their floors, against numbers worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import SMALL_CONFIG
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration, build_image_processor
from storyattn.losses import changed_pixels
from storyattn.training.evaluation.floors import floor_predictions, train_median
from storyattn.training.evaluation.frame_metrics import FrameErrors, FrameMetrics, GroupErrors
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
    assert_close(errors.compute(), {"l1": 24 / (3 * 384), "l1_changed": 1 / 3, "l1_changed_per_frame": 1 / 3})
    errors.update(plain(0.5)[None], plain(1.0)[None], plain(0.0)[None])  # 384 changed pixels, each 0.5 off
    assert_close(errors.compute()["l1_changed"], (24 / 3 + 384 * 0.5) / (24 + 384))


def test_each_frame_counts_once_in_the_mean_per_frame():
    """However few of its pixels change; frames without a change are left out."""
    small, nothing = plain(0.0), plain(0.0)
    small[:, 0, 0] = 1.0
    errors = FrameErrors()
    errors.update(torch.stack([nothing] * 3), torch.stack([small, plain(0.5), nothing]), torch.stack([nothing] * 3))
    assert_close(errors.compute()["l1_changed_per_frame"], (1.0 + 0.5) / 2)
    assert_close(errors.compute()["l1_changed"], (1.0 + 384 * 0.5) / 385)
    errors = FrameErrors()
    errors.update(nothing[None], nothing[None], nothing[None])
    assert errors.compute()["l1_changed_per_frame"] is None


def test_a_change_of_two_levels_is_no_change_but_three_are():
    errors = FrameErrors()
    errors.update(plain(0.0)[None], plain(102 / 255)[None], plain(100 / 255)[None])
    assert errors.compute()["l1_changed"] is None
    errors.update(plain(0.0)[None], plain(103 / 255)[None], plain(100 / 255)[None])
    assert_close(errors.compute()["l1_changed"], 103 / 255)


@pytest.mark.parametrize(
    "mean, std",
    [([0.5] * 3, [0.5] * 3), ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), ([0.0] * 3, [1.0] * 3)],
    ids=["half", "ImageNet", "none"],
)
def test_no_rounding_makes_two_levels_a_change(mean, std):
    """All levels of all channels, through the processor's normalization and back."""
    config = StoryAttnConfig(**SMALL_CONFIG | {"image_mean": mean, "image_std": std})
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 1, 256, 3)
    values = torch.from_numpy(build_image_processor(config).to_values(levels))
    pixels = StoryAttnForConditionalGeneration.unnormalize(SimpleNamespace(config=config), values)  # (1, 3, 1, 256)
    for distance in (1, 2, 3):
        darker, brighter = pixels[..., :-distance], pixels[..., distance:]
        for target, previous in ((darker, brighter), (brighter, darker)):
            for channel in range(3):  # the other two stay
                frame = previous.clone()
                frame[:, channel] = target[:, channel]
                assert changed_pixels(frame, previous).all() == (distance > 2)
                assert changed_pixels(frame, previous).any() == (distance > 2)


def test_identical_frames_have_finite_psnr_and_perfect_similarity():
    metrics = FrameMetrics(l1_distance)
    metrics.update(noise(0)[None], noise(0)[None], noise(1)[None])
    expected = {"l1": 0.0, "l1_changed": 0.0, "l1_changed_per_frame": 0.0, "psnr": 100.0, "ssim": 1.0}
    expected |= {"perceptual": 0.0, "edge_ratio": 1.0}
    result = metrics.compute()
    assert (result.pop("fid"), result.pop("kid")) == (None, None)  # without a network
    assert_close(result, expected)


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


def test_groups_have_their_own_errors_beside_those_of_copying():
    target, last, half = plain(1.0), plain(0.0), plain(0.6)
    groups = GroupErrors()
    groups.update("enter", half, target, last)
    groups.update("enter", last, target, last)
    groups.update("night", target, target, last)
    result = groups.compute()
    assert list(result) == ["enter", "night"] and [row["count"] for row in result.values()] == [2, 1]
    assert_close(result["enter"]["l1_changed"], (0.4 + 1.0) / 2)
    assert result["enter"]["copy_last_l1_changed_per_frame"] == 1.0 and result["night"]["l1_changed_per_frame"] == 0.0


def test_positions_are_sorted_as_numbers():
    groups = GroupErrors()
    for position in (10, 9, 2):
        groups.update(position, plain(0.0), plain(1.0), plain(0.0))
    assert list(groups.compute()) == ["2", "9", "10"]


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
