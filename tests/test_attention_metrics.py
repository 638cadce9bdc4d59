"""Where the spatial attention looks, next to chance."""

import pytest
import torch
from storyattn.training.evaluation.attention_metrics import AttentionMetrics, box_region
from torch.testing import assert_close

HEIGHT, WIDTH = 16, 24


def test_attention_on_the_box_is_measured_against_its_share_of_the_frame():
    on_box, off_box = torch.zeros(2, 4, 6), torch.zeros(2, 4, 6)
    on_box[:, 1, 1] = 1.0  # the cell of pixels 4:8, 4:8
    off_box[:, 3, 5] = 1.0
    metrics = AttentionMetrics()
    for maps in (on_box, off_box):
        metrics.update(maps, [[4, 4, 12, 8]], HEIGHT, WIDTH)
    metrics.update(on_box, [], HEIGHT, WIDTH)  # nothing to look at: does not count
    share = 32 / (HEIGHT * WIDTH)
    result = metrics.compute()
    assert (result["pointing_game"], result["num_frames"]) == (0.5, 2)
    assert_close(result["chance_pointing_game"], share)
    assert_close(result["mass_over_area"], (1 / share + 0) / 2)
    assert result["per_head"]["pointing_game"] == [0.5, 0.5]


def test_uniform_attention_scores_chance():
    metrics = AttentionMetrics()
    metrics.update(torch.full((3, 4, 6), 1 / 24), [[0, 0, 12, 8], [4, 0, 12, 8]], HEIGHT, WIDTH)
    result = metrics.compute()
    assert_close(result["mass_over_area"], 1.0)
    assert_close(result["pointing_game"], result["chance_pointing_game"])


@pytest.mark.parametrize(
    "column, box", [(3, [3.9, 2.9, 8.0, 5.1]), (8, [4.0, 2.9, 8.1, 5.1]), (3, [4.0, 3.0, 8.0, 5.0])]
)
def test_boxes_are_rounded_outwards(column, box):
    frame = torch.zeros(HEIGHT, WIDTH)
    frame[2:6, column] = 1.0
    is_touched = box[0] < column + 1 and column < box[2]
    assert bool(frame[box_region(box, HEIGHT, WIDTH)].any()) == is_touched
    assert box_region([900, 900, 950, 950], HEIGHT, WIDTH) is None
