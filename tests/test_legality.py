"""Which pictures of StoryWorld may follow one another: all that the world draws, and nothing that it could not."""

from dataclasses import replace

import pytest
from storyattn.training.storyworld import draw_counterfactual, generate_story
from storyattn.training.storyworld.legality import cast_of, is_twice, legal_kinds, next_states, stage_of
from storyattn.training.storyworld.state_reader import read_picture
from storyattn.training.storyworld.states import LEFT, RIGHT, Figure, Lying, PictureState

ALONE = PictureState("forest", "clear", "day", False, (Figure("fox", 0, LEFT, None),), ())


def followers(state: PictureState = ALONE, cast: tuple[str, str] = ("fox", "owl")) -> dict:
    return next_states(state, cast)


@pytest.mark.parametrize("split", ["validation", "test_unseen"])
def test_every_step_that_the_world_draws_is_legal(split):
    kinds = set()
    for seed in range(10):
        story = generate_story(seed, split, num_frames=8)
        states = [PictureState.from_json(text) for text in story["states"]]
        for position in range(1, len(states)):
            named = legal_kinds(states[position - 1], states[position], states[: position - 1])
            kind = story["events"][position]["kind"]
            assert kind in named or (kind == "two_events" and named), (story["story_id"], position, kind, named)
            kinds |= named
    assert len(kinds) >= 14, "nearly all kinds were among them"


def test_what_might_have_happened_instead_is_legal():
    for seed in range(4):
        states = [PictureState.from_json(text) for text in generate_story(seed, "train")["states"]]
        for number in range(3):
            other = read_picture(draw_counterfactual(f"train-{seed}", 3, number=number)["frame"]).state
            assert legal_kinds(states[2], other, states[:2])


def test_what_no_event_does_is_not_legal():
    fox = ALONE.figures[0]
    for wrong in (
        replace(ALONE, weather="storm", time="night", festive=True),  # three events
        replace(ALONE, figures=(fox, Figure("fox", 2, RIGHT, None))),  # a second self
        replace(ALONE, figures=()),  # nobody is left to act
        replace(ALONE, figures=(Figure("owl", 0, LEFT, None),)),  # somebody else in the same place
        replace(ALONE, figures=(fox._replace(prop="key"),), ground=(Lying("key", 1),)),  # one prop at two places
        replace(ALONE, ground=(Lying("key", 0), Lying("ball", 1))),  # nobody finds two at once
        replace(ALONE, setting="beach", festive=True),  # flags stay behind
    ):
        assert not legal_kinds(ALONE, wrong), wrong
    assert legal_kinds(ALONE, ALONE) == {"wait"}
    assert legal_kinds(ALONE, replace(ALONE, ground=(Lying("key", 0),))) == {"find"}


def test_a_newcomer_may_be_anybody_until_the_friend_was_seen():
    fox = ALONE.figures[0]
    owl, hare = (replace(ALONE, figures=(fox, Figure(name, 1, RIGHT, None))) for name in ("owl", "rabbit"))
    assert legal_kinds(ALONE, owl) == legal_kinds(ALONE, hare) == {"enter"}
    assert legal_kinds(ALONE, owl, [owl]) and not legal_kinds(ALONE, hare, [owl])
    assert cast_of([owl]) == ("fox", "owl") and cast_of([owl, hare]) is None


def test_followers_of_a_picture_that_is_no_stage_are_none():
    double = replace(ALONE, figures=(ALONE.figures[0], Figure("fox", 2, LEFT, None)))
    assert is_twice(double) and not is_twice(ALONE)
    assert stage_of(double, ("fox", "owl")) is None and followers(double) == {}
    assert len(followers()) > 100
