"""Sheets of stories, overlays of the attention, and curves of the losses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from storyattn.story_drawing import GAP, MARGIN
from storyattn.training.engine.loss_curves import loss_curves
from storyattn.training.evaluation.pictures import attention_overlay
from storyattn.training.figures import story_sheet


def picture(size: tuple[int, int] = (96, 64), colour: tuple[int, int, int] = (120, 180, 230)) -> Image.Image:
    return Image.new("RGB", size, colour)


def test_the_overlay_is_brightest_where_the_attention_looks():
    maps = torch.zeros(2, 4, 6)
    maps[:, 3, 5] = 1.0
    overlay = np.asarray(attention_overlay(picture(), maps)).astype(int).sum(axis=-1)
    assert overlay.shape == (64, 96)
    assert overlay[56:, 80:].mean() > overlay[:32, :48].mean() + 100


def test_a_sheet_has_a_row_for_each_story(tmp_path):
    stories = [
        {"story_id": f"s{i}", "frames": [picture()] * n, "captions": ["A fox."] * n} for i, n in enumerate((3, 12))
    ]
    one = Image.open(story_sheet(stories, tmp_path / "one.png", num_stories=1))
    two = Image.open(story_sheet(stories, tmp_path / "deep" / "two.png"))
    assert two.width == 2 * MARGIN + 8 * 192 + 7 * GAP and one.width < two.width
    assert two.height > 1.7 * one.height


def write_lines(path: Path, lines: list[dict]) -> Path:
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return path


def test_loss_curves_of_a_whole_and_of_a_young_run(tmp_path):
    training = [{"step": i, "loss": 2 / i, "loss_parts": {"l1": 1 / i, "off": 0.0}} for i in range(1, 30)]
    numbers = {"loss": 1.0, "next_frame/l1": 0.1, "copy_last/l1": 0.2, "next_frame/l1_changed": None}
    whole = write_lines(tmp_path / "whole.jsonl", [*training, {"step": 30, "eval": numbers}])
    image = np.asarray(Image.open(loss_curves(whole, tmp_path / "curves" / "loss.png")).convert("RGB"))
    assert image.shape[1] > 2.5 * image.shape[0]
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 50
    young = write_lines(tmp_path / "young.jsonl", training[:1])
    without_evaluation = np.asarray(Image.open(loss_curves(young, tmp_path / "young.png")))
    assert without_evaluation.shape[1] == pytest.approx(image.shape[1] * 2 / 3, abs=1)  # no empty third panel
