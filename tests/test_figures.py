"""Pictures have the size that their contents need, mark predictions, and accept any text."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont
from storyattn.training import figures
from storyattn.training.engine.loss_curves import loss_curves
from storyattn.training.evaluation.pictures import attention_overlay
from storyattn.training.figures import story_sheet, story_strip, wrap_text

LONG = "She runs after the kite, on and on over the hills and far away, past the mill and the old oak tree. " * 5


def picture(size: tuple[int, int] = (96, 64), colour: tuple[int, int, int] = (120, 180, 230)) -> Image.Image:
    return Image.new("RGB", size, colour)


def has_colour(image: Image.Image, colour: tuple[int, int, int]) -> bool:
    return bool((np.asarray(image) == colour).all(axis=-1).any())


@pytest.mark.parametrize("count, columns", [(1, 1), (2, 2), (5, 5), (6, 3), (7, 4), (8, 4)])
def test_a_strip_is_as_wide_as_its_columns(count, columns):
    strip = story_strip([picture()] * count, ["A fox."] * count, frame_width=120)
    assert strip.width == 2 * figures.MARGIN + columns * 120 + (columns - 1) * figures.GAP


def test_a_strip_grows_with_its_captions_up_to_a_limit():
    heights = [story_strip([picture()], [text]).height for text in (None, "A fox.", LONG, LONG * 3)]
    assert heights[0] < heights[1] < heights[2] == heights[3]


def test_only_painted_frames_are_marked():
    frames, captions = [picture()] * 2, ["", ""]
    assert not has_colour(story_strip(frames, captions), figures.PAINTED)
    strip = np.asarray(story_strip(frames, captions, [False, True]))
    marked = np.flatnonzero((strip == figures.PAINTED).all(axis=-1).any(axis=0))
    assert marked.min() >= figures.MARGIN + 240 + figures.GAP


def test_written_captions_have_another_colour():
    frames, captions = [picture()], ["A fox."]
    assert has_colour(story_strip(frames, captions, written=[True]), figures.PAINTED)
    assert not has_colour(story_strip(frames, captions, written=[False]), figures.PAINTED)


@pytest.mark.parametrize("size", [(40, 160), (300, 60), (1, 1), (1200, 900)])
def test_frames_of_any_shape_fit_into_their_column(size):
    strip = story_strip([picture(size, (9, 99, 9))] * 2, ["a", "b"], frame_width=100)
    assert strip.width == 2 * figures.MARGIN + 200 + figures.GAP
    assert strip.height < 2 * figures.MARGIN + 100 * figures.MAX_ASPECT + 60
    assert has_colour(strip, (9, 99, 9))


@pytest.mark.parametrize(
    "text",
    ["🦊🪁👩‍👩‍👧", "שועל מוצא עפיפון", "وجد الثعلب طائرة", "狐は赤い凧を見つける", "a\x00b\nc\t", "x" * 400, " "],
)
def test_hard_text_is_drawn(text):
    story_strip([picture()], [text], title=text)


def test_wrapped_lines_fit_and_lose_no_word_unless_cut():
    font = ImageFont.load_default(16)
    lines = wrap_text(LONG, font, 150, 1000)
    assert " ".join(lines).split() == LONG.split()
    cut = wrap_text(LONG, font, 150, 3)
    assert len(cut) == 3 and cut[-1].endswith("…") and cut[:2] == lines[:2]
    assert all(font.getlength(line) <= 150 for line in [*lines, *cut, *wrap_text("x" * 300, font, 150, 9)])
    assert wrap_text("  ", font, 150, 3) == []


def test_unequal_numbers_are_refused():
    with pytest.raises(ValueError, match="captions: got 1 for 2 frames, expected one for each"):
        story_strip([picture()] * 2, ["a"])
    with pytest.raises(ValueError, match="captions: got 0 for 0 frames"):
        story_strip([], [])


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
    assert two.width == 2 * figures.MARGIN + 8 * 200 + 7 * figures.GAP and one.width < two.width
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
