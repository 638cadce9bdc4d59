"""The losses, compared with values computed by hand."""

import math

import pytest
import torch
from storyattn.contrastive_loss import alignment_loss
from storyattn.losses import (
    caption_loss,
    changed_loss,
    changed_pixels,
    masked_mean,
    moving_cells,
    pixel_losses,
    relative_loss,
    sobel_magnitude,
)


def test_masked_mean():
    values, mask = torch.tensor([[1.0, 2.0], [3.0, 100.0]]), torch.tensor([[True, True], [True, False]])
    assert masked_mean(values, mask) == 2
    assert masked_mean(values, mask & False) == 0


def test_edges_that_are_elsewhere_count_unless_a_window_holds_both():
    """With `edge_window` as many edges as there are will do; without, none is better than one beside its place."""
    target, moved = torch.zeros(2, 1, 1, 3, 8, 8)
    target[..., 3:], moved[..., 4:] = 1, 1
    mask = torch.tensor([[True]])
    blurred, exact = torch.full_like(target, 0.5), {"edge_window": 1}
    assert pixel_losses(moved, target, mask, **exact)["edge"] >= pixel_losses(blurred, target, mask, **exact)["edge"]
    near, blank = (pixel_losses(picture, target, mask, edge_window=8)["edge"] for picture in (moved, blurred))
    assert near < 1e-6 < 0.1 < blank


def test_pixel_losses_by_hand():
    target = torch.zeros(1, 2, 3, 4, 4)
    predicted = target + 0.5
    predicted[0, 1] = 9.0  # masked
    parts = pixel_losses(predicted, target, torch.tensor([[True, False]]))
    assert parts["l1"] == 0.5 and parts["mse"] == 0.25 and parts["edge"] == 0


def test_changed_loss_counts_every_frame_alike():
    last, target = torch.zeros(1, 3, 3, 4, 4), torch.zeros(1, 3, 3, 4, 4)
    target[0, 0, :, 0, 0] = 1.0  # one pixel
    target[0, 1] = 1.0  # all of them
    predicted = target.clone()
    predicted[0, 0, :, 0, 0] = 0.2
    predicted[0, 0, :, 1:] = 0.7  # where nothing changes
    predicted[0, 1] = 0.6
    changed = changed_pixels(target, last)
    mask = changed.flatten(2).any(-1)
    assert mask.tolist() == [[True, True, False]]
    assert changed_loss(predicted, target, changed, mask).item() == pytest.approx((0.8 + 0.4) / 2)
    assert changed_loss(predicted, target, changed, mask & False) == 0


def test_relative_loss_counts_a_wrong_change_as_much_as_a_missing_one():
    """Of two figures one leaves: to erase both costs as much as to leave both, and half of the two as much."""
    last = torch.zeros(1, 1, 3, 8, 8)
    last[..., 0, 0] = last[..., 4, 4] = 1.0
    target = last.clone()
    target[..., 0, 0] = 0.0
    changed, mask = changed_pixels(target, last), torch.tensor([[True]])
    losses = [relative_loss(predicted, target, changed, mask).item() for predicted in (last * 0, last, last / 2)]
    assert losses == pytest.approx([1, 1, 1])
    assert relative_loss(target, target, changed, mask) == 0
    assert changed_loss(last * 0, target, changed, mask) == 0, "which does not see the wrong change"
    assert relative_loss(last, target, changed, mask & False) == 0


def test_sobel_magnitude_of_a_ramp_and_an_edge():
    ramp = torch.arange(6.0).expand(1, 1, 6, 6)
    assert torch.allclose(sobel_magnitude(ramp)[..., 1:-1], torch.tensor(2.0), atol=1e-3)
    assert torch.allclose(sobel_magnitude(ramp.transpose(-1, -2))[..., 1:-1, :], torch.tensor(2.0), atol=1e-3)
    assert sobel_magnitude(torch.ones(1, 3, 5, 5)).max() < 2e-3


def test_caption_loss_by_hand():
    logits = torch.zeros(1, 1, 4, 5)
    ids, mask = torch.tensor([[[1, 3, 2, 0]]]), torch.tensor([[[1, 1, 1, 0]]])
    assert caption_loss(logits, ids, mask).item() == pytest.approx(math.log(5))
    logits[0, 0, 0, 3] = logits[0, 0, 1, 2] = 50.0
    assert caption_loss(logits, ids, mask).item() == pytest.approx(0, abs=1e-6)
    logits[0, 0, 2, 4] = 100.0  # after the last token: counts for nothing
    assert caption_loss(logits, ids, mask).item() == pytest.approx(0, abs=1e-6)


def test_alignment_loss_by_hand():
    images = torch.eye(3)[None]
    mask = torch.tensor([[True, True, False]])
    scale = torch.tensor(2.0)
    expected = math.log(1 + math.exp(-2.0))  # two pairs, similarity 1 to itself and 0 to the other
    assert alignment_loss(images, images, scale, mask).item() == pytest.approx(expected, rel=1e-5)
    swapped = images[:, [1, 0, 2]]
    assert alignment_loss(images, swapped, scale, mask).item() == pytest.approx(2 + expected, rel=1e-5)
    assert alignment_loss(images, images, scale, mask & False) == 0


def test_attention_looks_for_what_differs_from_most_frames_of_the_story():
    """A figure that walks on counts where it stands; where it stood, little; another light, not at all."""
    frames = torch.zeros(1, 4, 3, 8, 64)
    for moment in range(4):
        frames[0, moment, :, :, 8 * moment : 8 * moment + 8] = 1  # one cell of eight
    mask = torch.ones(1, 4, dtype=torch.bool)
    cells = moving_cells(frames, mask, (1, 8))[0, :, 0]
    torch.testing.assert_close(cells[:, :4], torch.full((4, 4), 1 / 6) + torch.eye(4) / 3)
    ends = moving_cells(frames, torch.tensor([[True, True, False, False]]), (1, 8))[0, :, 0]
    assert ends[0].tolist() == pytest.approx([0.5, 0.5, *[0] * 6]) and not ends[2:].any(), "frames that are not there"
    night = frames.clone()
    night[:, 2:] = 1 - night[:, 2:]
    cells = moving_cells(night, mask, (1, 8))[0, :, 0]
    assert not cells.isnan().any() and cells[0].tolist() == pytest.approx([0.5, 0.5, *[0] * 6]), (
        "by day it saw one change"
    )
