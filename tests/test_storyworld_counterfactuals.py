"""Counterfactuals of StoryWorld: the same story so far, another event, its caption and its frame."""

import numpy as np
import pytest
from storyattn.training.storyworld import EVENT_KINDS, counterfactuals, dataset, draw_counterfactual, generate_story
from storyattn.training.storyworld.dataset import may_show
from storyattn.training.storyworld.reading import read_caption
from storyattn.training.storyworld.stage import draw_stage

SMALL = {"image_size": (16, 24)}


def test_another_event_has_another_caption_and_another_frame():
    captions, kinds = set(), set()
    for seed in range(12):
        story = generate_story(seed, "train", image_size=(32, 48))
        for position in range(1, 6):
            other = draw_counterfactual(story["story_id"], position, image_size=(32, 48))
            assert not np.array_equal(np.asarray(other["frame"]), np.asarray(story["frames"][position]))
            assert other["caption"] != story["captions"][position]
            assert other["event"]["kind"] in EVENT_KINDS and other["frame"].size == (48, 32)
            read = read_caption(other["caption"]).kind
            assert read.split("/")[0] == other["event"]["kind"], other["caption"]
            captions.add(other["caption"])
            kinds.add(other["event"]["kind"])
    assert len(captions) > 45 and len(kinds) > 10


def test_what_happened_before_stays(monkeypatch):
    """The frame differs from the one before by the event alone, which starts from the true stage."""
    script = dataset.write_script(7, "test", 6)
    steps = []
    draw = counterfactuals.draw_event

    def recorded(*arguments):
        steps.append(draw(*arguments))
        return steps[-1]

    monkeypatch.setattr(counterfactuals, "draw_event", recorded)
    other = draw_counterfactual("test-7", 4, **SMALL)
    assert steps[-1].before == script.stages[3] and steps[-1].stage.look() != script.stages[4].look()
    assert np.array_equal(np.asarray(other["frame"]), np.asarray(draw_stage(steps[-1].stage, (16, 24))[0]))


def test_it_is_a_function_of_the_story_the_position_and_the_number():
    first, again = (draw_counterfactual("validation-3", 2, **SMALL) for _ in range(2))
    assert first["caption"] == again["caption"] and first["event"] == again["event"]
    numbers = {draw_counterfactual("validation-3", 2, number=number, **SMALL)["caption"] for number in range(12)}
    assert len(numbers) > 8


def test_training_gets_no_reserved_picture(monkeypatch):
    shown = []
    draw = counterfactuals.draw_stage
    monkeypatch.setattr(counterfactuals, "draw_stage", lambda stage, size: shown.append(stage) or draw(stage, size))
    for seed in range(40):
        draw_counterfactual(f"train-{seed}", 3, **SMALL)
    assert len(shown) == 80 and all(may_show(stage, "train") for stage in shown)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", 1), "story_id: got 'train', expected a split and a number, such as train-12"),
        (("dev-1", 1), "split: got 'dev', expected one of train,"),
        (("train-1", 0), "position: got 0, expected 1 to 5"),
        (("train-1", 6), "position: got 6, expected 1 to 5"),
    ],
)
def test_stories_and_positions_that_do_not_exist_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_counterfactual(*arguments)
