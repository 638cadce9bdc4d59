"""What the mover takes from where, and what predictions take on, pixel by pixel."""

import pytest
import torch
import torch.nn.functional as F
from conftest import SMALL_CONFIG
from storyattn import StoryAttnConfig
from storyattn.frame_copier import Mover

STRIDE, ROWS, COLUMNS = 8, 4, 6


@pytest.fixture
def frames() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(2, 3, 3, STRIDE * ROWS, STRIDE * COLUMNS)


@pytest.fixture
def mover() -> Mover:
    torch.manual_seed(0)
    return Mover(StoryAttnConfig(**SMALL_CONFIG, frame_stride=STRIDE))


def move(mover, frames, monkeypatch, frame: int, cell_shift: int, rows: int, columns: int) -> torch.Tensor:
    """What comes of taking, for each cell, that `cell_shift` further on in `frame`, some rows and columns on in it."""
    batch, cells = len(frames), ROWS * COLUMNS
    taken = F.one_hot((torch.arange(cells) + cell_shift) % cells + frame * cells, frames.shape[1] * cells).float()
    monkeypatch.setattr(mover, "_attend", lambda *args: taken.expand(batch, 1, -1, -1))
    mover.shift.weight.data.zero_()
    mover.shift.bias.data.fill_(-100).view(2, -1)[[0, 1], [STRIDE // 2 + rows, STRIDE // 2 + columns]] = 100
    size = mover.query.in_features
    plan, states = torch.zeros(batch, 1, cells, size), torch.zeros(batch, frames.shape[1], cells, size)
    source = torch.full((batch, 1), frames.shape[1] - 1)
    return mover(plan, states, frames, source, torch.ones(batch, 1, frames.shape[1], dtype=torch.bool))[:, 0]


def test_a_piece_is_taken_as_it_is(mover, frames, monkeypatch):
    assert torch.allclose(move(mover, frames, monkeypatch, 1, 0, 0, 0), frames[:, 1], atol=1e-6)


def test_a_piece_is_taken_from_other_cells_and_shifted_by_pixels(mover, frames, monkeypatch):
    """One cell on is 8 pixels to the right; 3 rows up and 2 columns further right of it."""
    moved = move(mover, frames, monkeypatch, 2, 1, -3, 2)
    inner = slice(STRIDE, -STRIDE), slice(0, STRIDE * (COLUMNS - 2))
    expected = frames[:, 2].roll((3, -10), dims=(-2, -1))
    assert torch.allclose(moved[..., inner[0], inner[1]], expected[..., inner[0], inner[1]], atol=1e-6)


def test_beyond_the_border_the_border_goes_on(mover, frames, monkeypatch):
    moved = move(mover, frames, monkeypatch, 0, 0, -STRIDE // 2, 0)
    top = frames[:, 0, :, :1].expand(-1, -1, STRIDE // 2, -1)
    assert torch.allclose(moved[:, :, : STRIDE // 2], top, atol=1e-6)


def test_only_visible_frames_are_taken_from(mover, frames):
    plan, cells = torch.randn(2, 1, ROWS * COLUMNS, 32), torch.randn(2, 3, ROWS * COLUMNS, 32)
    source, visible = torch.ones(2, 1, dtype=torch.long), torch.tensor([True, True, False]).expand(2, 1, 3)
    moved = mover(plan, cells, frames, source, visible)
    for index, changes in ((2, False), (0, True)):
        other_frames, other_cells = frames.clone(), cells.clone()
        other_frames[:, index], other_cells[:, index] = 0, 7.0
        same = torch.equal(moved, mover(plan, other_cells, other_frames, source, visible))
        assert same != changes


def test_it_learns_where_a_figure_has_gone(mover):
    """A square goes 13 pixels to the right and 3 down; the plan says whether it does."""
    torch.manual_seed(0)
    before = torch.rand(8, 1, 3, STRIDE * ROWS, STRIDE * COLUMNS) * 0.2
    after = before.clone()
    before[..., 8:18, 8:18] = 1.0
    after[4:, ..., 8:18, 8:18] = before[4:, ..., 8:18, 8:18]
    after[:4, ..., 11:21, 21:31] = 1.0
    embed = torch.nn.Parameter(torch.randn(2, ROWS * COLUMNS, 32))
    goes = torch.tensor([0] * 4 + [1] * 4)
    cells = torch.randn(1, 1, ROWS * COLUMNS, 32).expand(8, -1, -1, -1)
    optimizer = torch.optim.Adam([embed, *mover.parameters()], lr=0.02)
    source, visible = torch.zeros(8, 1, dtype=torch.long), torch.ones(8, 1, 1, dtype=torch.bool)
    for _ in range(150):
        errors = (mover(embed[goes][:, None], cells, before, source, visible) - after).abs()
        optimizer.zero_grad()
        errors.mean().backward()
        optimizer.step()
    errors_there = errors[..., 11:21, 21:31].mean(dim=(1, 2, 3, 4))
    assert errors_there.max() < 0.15, "where it is to be, and where it stays away"
