"""Stories longer than what a model reads at once: which pages are read, in use and in training; and references."""

from unittest.mock import DEFAULT, Mock

import pytest
import torch
from conftest import draw_story, refused_line, uneven_model
from PIL import Image
from storyattn import Story, StoryAttnConfig
from storyattn.story_loss import Supervision
from storyattn.story_memory import pages_to_read
from storyattn.training.cli import tell
from storyattn.training.data.windows import draw_window, runs_of, transitions_of
from storyattn.training.evaluation.closed_loop import paint_stories
from storyattn.training.telling import describe_stories
from transformers.utils import logging

SHORT = {"max_new_tokens": 4}


@pytest.fixture(scope="module")
def model(small_processor):
    """A model of 4 frames, which reads 3, one of them from before the last ones."""
    model = uneven_model(small_processor, decoder_context_captions=2, std=0.5)
    model.config.max_frames, model.config.num_memory_frames = 4, 1
    return model


@pytest.fixture(scope="module")
def long_story() -> dict:
    return draw_story(3, num_frames=6)


def told(model, processor, story: dict, kept: list[int], **options) -> Story:
    frames, captions = ([story[name][index] for index in kept] for name in ("frames", "captions"))
    return model.continue_story(processor, frames, captions, **SHORT, **options).continuation


def is_same(one: Story, other: Story) -> bool:
    pictures = zip(one.frames, other.frames)
    return one.captions == other.captions and all(a.tobytes() == b.tobytes() for a, b in pictures)


@pytest.mark.parametrize(
    "number, most, num_memory, expected",
    [
        (4, 5, 2, [0, 1, 2, 3]),
        (9, 5, 0, [4, 5, 6, 7, 8]),
        (9, 5, 1, [0, 5, 6, 7, 8]),
        (9, 5, 2, [0, 3, 6, 7, 8]),
        (9, 2, 5, [0, 8]),
        (3, 1, 1, [2]),
    ],
)
def test_the_first_page_is_kept_and_others_at_even_distances(number, most, num_memory, expected):
    assert pages_to_read(number, most, num_memory) == expected


def test_a_long_story_is_read_by_its_first_and_last_pages(model, small_processor, long_story):
    whole = told(model, small_processor, long_story, range(6))
    assert is_same(whole, told(model, small_processor, long_story, [0, 4, 5]))
    assert not is_same(whole, told(model, small_processor, long_story, [3, 4, 5]))


@pytest.mark.parametrize("page, is_read", [(0, True), (1, False), (3, True)])
def test_closed_loops_and_descriptions_read_what_a_continuation_reads(
    model, small_processor, long_story, page, is_read
):
    """The model reads four pages to describe the last one, three to paint it: the first page is among them."""
    story = {name: long_story[name] for name in ("frames", "captions")}
    frames = list(story["frames"])
    frames[page] = frames[page].transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    changed = {**story, "frames": frames}
    last, other = (paint_stories(model, small_processor, [one], closed=False)[0][-1] for one in (story, changed))
    assert (last.tobytes() != other.tobytes()) == is_read
    read = []
    recorder = Mock(wraps=small_processor, side_effect=lambda **given: read.append(given) or DEFAULT)
    (written,) = describe_stories(model, recorder, [story["frames"]], **SHORT)
    assert [len(given["frames"][0]) for given in read] == [1, 2, 3, 4, 4, 4]
    assert any(picture is story["frames"][page] for picture in read[-1]["frames"][0]) == is_read
    assert read[-1]["captions"] == [[written[0], written[3], written[4], None]]


def test_what_is_not_read_is_named(model, small_processor, long_story, caplog, monkeypatch):
    logging.warning_once.cache_clear()
    monkeypatch.setattr(logging.get_logger("transformers"), "propagate", True)
    told(model, small_processor, long_story, range(3))
    assert "frames: of" not in caplog.text
    told(model, small_processor, long_story, range(6))
    assert "frames: of 6 frames the model reads 1 of the earlier frames and the last 2" in caplog.text


def test_references_are_read_at_each_step_and_are_no_part_of_the_story(model, small_processor, long_story):
    portrait, text = long_story["frames"][5], "This is Mara."
    options = {"reference_frames": [portrait], "reference_captions": [text]}
    first = told(model, small_processor, long_story, [0, 1], **options)
    as_page = model.continue_story(
        small_processor,
        [portrait, *long_story["frames"][:2]],
        [text, *long_story["captions"][:2]],
        **SHORT,
    )
    assert is_same(first, as_page.continuation)
    story = model.continue_story(
        small_processor, long_story["frames"][:2], long_story["captions"][:2], num_steps=2, **options, **SHORT
    )
    assert len(story) == 4 and is_same(story[2:3], first)
    assert [page.caption for page in story.references] == [text]
    kept = model.continue_story(small_processor, story[:3], **SHORT)
    assert is_same(kept[3:], story[3:]), "a story keeps its references where it goes on"


def test_references_of_a_batch_are_those_of_each_story(model, small_processor, long_story):
    frames, captions = long_story["frames"], long_story["captions"]
    stories = {"frames": [frames[:2], frames[2:4]], "captions": [captions[:2], captions[2:4]]}
    each = model.continue_story(small_processor, **stories, reference_frames=[[frames[4]], [frames[5]]], **SHORT)
    for start, reference, story in zip((0, 2), (4, 5), each):
        alone = told(model, small_processor, long_story, [start, start + 1], reference_frames=[frames[reference]])
        assert is_same(story.continuation, alone)
    shared = model.continue_story(small_processor, **stories, reference_frames=[frames[4]], **SHORT)
    assert is_same(shared[0], each[0]) and not is_same(shared[1], each[1])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"reference_captions": ["This is Mara."]}, "reference_captions: got .*, expected none without reference_fr"),
        ({"reference_frames": [[], []]}, "reference_frames: story 0"),
        ({"reference_frames": 3}, "reference_frames: "),
        ({"reference_frames": range(3), "reference_captions": ["One."]}, "reference_captions: "),
        ({"reference_frames": range(3)}, "reference_frames: story 0: got 3, expected at most 2"),
    ],
)
def test_references_that_cannot_be_read_are_named(model, small_processor, long_story, options, message):
    pictures = long_story["frames"]
    if isinstance(options.get("reference_frames"), range):
        options = {**options, "reference_frames": pictures[:3]}
    with pytest.raises(ValueError, match=f"^{message}"):
        model.continue_story(small_processor, pictures[:2], **options)


def test_training_windows_hold_earlier_frames():
    config = StoryAttnConfig(max_frames=6, num_memory_frames=2)
    windows = [draw_window(10, config, 0, 0, story) for story in range(400)]
    assert all(len(window) == 6 and window == sorted(set(window)) for window in windows)
    later = [window for window in windows if window[-1] > 5]
    broken = [window for window in later if len(runs_of(window)) > 1]
    assert 0.35 < len(broken) / len(later) < 0.5, "half, of which some happen to follow one another"
    assert all(len(runs_of(window[2:])) == 1 for window in windows), "the last ones follow one another"
    assert len({tuple(window[:2]) for window in broken}) > 10
    plain = StoryAttnConfig(max_frames=6)
    assert all(len(runs_of(draw_window(10, plain, 0, 0, story))) == 1 for story in range(50))
    assert transitions_of([0, 4, 5], config) == {"transition_mask": [False, True]} and not transitions_of([0], plain)


def test_frames_that_do_not_follow_one_another_have_no_loss(small_processor, long_story):
    frames = torch.rand(1, 4, 3, 8, 8)
    ids = torch.ones(1, 4, 5, dtype=torch.long)
    common = frames, torch.ones(1, 4, dtype=torch.bool), (ids, ids), torch.ones(1, 3, dtype=torch.bool)
    follows = torch.tensor([[0, 1, 1]])
    supervision = Supervision(*common, torch.tensor([[0]]), (2, 2), None, follows)
    assert supervision.next_frame.tolist() == [[False, True, True]]
    assert supervision.changed.tolist() == [[False, True, True]]
    assert supervision.next_caption.any(-1).tolist() == [[False, True, True]]
    assert supervision.captioned.all() and supervision.describe.all()
    with pytest.raises(ValueError, match="transition_mask: "):
        Supervision(*common, torch.tensor([[0]]), (2, 2), None, follows[:, :2])


def test_the_loss_and_its_counts_agree_on_what_follows(model, small_processor, long_story):
    story = {name: [long_story[name][:4]] for name in ("frames", "captions")}
    batch = {**small_processor(**story, return_tensors="pt"), "transition_mask": torch.tensor([[1, 0, 1]])}
    assert float(model.loss_counts(**batch)["next_frame"]) == 2
    with torch.no_grad():
        masked = model(**batch, return_loss=True).loss_parts
        whole = model(**{**batch, "transition_mask": torch.ones(1, 3)}, return_loss=True).loss_parts
    assert masked["next_frame_l1"] != whole["next_frame_l1"] and masked["next_caption"] != whole["next_caption"]
    assert masked["reconstruction_l1"] == whole["reconstruction_l1"] and masked["describe"] == whole["describe"]


def test_tell_reads_references(model, small_processor, long_story, tmp_path):
    folder, files = tmp_path / "model", []
    model.save_pretrained(folder)
    small_processor.save_pretrained(folder)
    for index in range(3):
        files.append(str(tmp_path / f"{index}.png"))
        long_story["frames"][index].save(files[-1])
    given = ["--model", str(folder), "--output", str(tmp_path / "story.html"), "--steps", "1", "--max_new_tokens", "4"]
    given += ["--frames", files[0], "--captions", "One."]
    texts = []
    for more in ([], ["--reference_frames", *files[1:], "--reference_captions", "This is Mara.", "This is Ben."]):
        tell.main([*given, *more])
        texts.append((tmp_path / "story.html").read_text())
    assert texts[0] != texts[1] and "Mara" not in texts[1]
    line = refused_line(tell.main, [*given, "--reference_captions", "Mara."])
    assert "reference_captions: got 1, expected 0, one per reference frame" in line
