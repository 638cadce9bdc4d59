"""`storyattn mean`: weights between those of two models, and what is refused."""

import pytest
import torch
from conftest import refused_line, small_config
from storyattn import StoryAttnForConditionalGeneration, StoryAttnProcessor
from storyattn.training.cli import mean as mean_cli
from torch.testing import assert_close


@pytest.fixture
def two(small_processor, tmp_path):
    """Folders of two models with different weights."""
    folders = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        folders.append(tmp_path / f"model-{seed}")
        for part in (StoryAttnForConditionalGeneration(small_config()), small_processor):
            part.save_pretrained(folders[-1])
    return [*map(str, folders)]


def weights(folder) -> dict:
    return StoryAttnForConditionalGeneration.from_pretrained(folder).state_dict()


def test_weights_lie_between(two, tmp_path):
    mean_cli.main([*two, "--share", "0.75", "--output_dir", str(tmp_path / "mean")])
    first, second, mean = weights(two[0]), weights(two[1]), weights(tmp_path / "mean")
    for name in mean:
        assert_close(mean[name], 0.25 * first[name] + 0.75 * second[name])
    assert StoryAttnProcessor.from_pretrained(tmp_path / "mean").tokenizer is not None


def test_what_cannot_be_averaged_is_one_line(two, small_processor, tmp_path):
    output = ["--output_dir", str(tmp_path / "mean")]
    line = refused_line(mean_cli.main, [*two, "--share", "1.5", *output])
    assert "share: got 1.5, expected a number in [0, 1]" in line
    line = refused_line(mean_cli.main, [*two, "--output_dir", two[0]])
    assert f"output_dir: got {two[0]!r}, which exists, expected a new or an empty folder" in line
    other = tmp_path / "other"
    for part in (StoryAttnForConditionalGeneration(small_config(projection_dim=8)), small_processor):
        part.save_pretrained(other)
    line = refused_line(mean_cli.main, [two[0], str(other), *output])
    assert "model.image_projection.weight: got (16, 96) in the first model, expected (8, 96) as in the second" in line
    assert not (tmp_path / "mean").exists()
