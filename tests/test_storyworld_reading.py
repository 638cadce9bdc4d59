"""Captions of StoryWorld are read: exactly those of the grammar, and those of a model as far as possible."""

import random

import pytest
from storyattn.training.storyworld import dataset, reading
from storyattn.training.storyworld.captions import Narrator
from storyattn.training.storyworld.events import draw_event
from storyattn.training.storyworld.plain_form import plain_form
from storyattn.training.storyworld.reading import CaptionFacts, plain_wordings, read_caption, read_captions
from storyattn.training.storyworld.stage import Stage

NOTHING = CaptionFacts(None, (), None, None, None)


@pytest.mark.parametrize("split", ["train", "test_words"])
def test_the_facts_of_stories_are_read_exactly(split):
    """The kind of every caption, and no character, prop or place that is not in its event."""
    kinds = set()
    for seed in range(60):
        script = dataset.write_script(seed, split, 6)
        narrator = dataset.narrator_of(seed, split, script)
        opening = read_caption(narrator.open(script.opening))
        assert (opening.kind, opening.setting) == ("opening", script.opening.setting)
        assert set(opening.characters) == set(script.opening.where)
        for step in script.steps:
            caption = narrator.tell(step)
            facts = read_caption(caption)
            assert facts.kind == step.wording_kind.removesuffix("/both"), caption
            assert set(facts.characters) <= set(step.stage.cast), caption
            props = {part.prop for part in (step, *step.parts)}
            assert facts.prop is None or facts.prop in props, caption
            settings = {step.before.setting, step.stage.setting}
            assert facts.setting is None or facts.setting in settings, caption
            kinds.add(step.kind)
    assert len(kinds) > 14


def test_who_acts_comes_first():
    """In the active and the passive voice, in questions and in speech; a neighbour is nobody in the event."""
    both = {
        "The fox hands the key to the owl.": ("fox", "owl"),
        "The owl is given the key by the fox.": ("fox", "owl"),
        '"Thank you for the key!" says the owl to the fox.': ("fox", "owl"),
        "The owl gets the golden key from the one with the bushy tail next to the bakery.": ("fox", "owl"),
        "The sheep is chased by the girl, all the way to the well.": ("girl", "sheep"),
        "It is Granny who runs after the bunny.": ("grandmother", "rabbit"),
        "He walks to the well.": (),
        "The one in the hat walks to the well.": (),
        "A key lies at the sailor's feet.": ("sailor",),
        "The fox walks next to the owl, then sits.": ("fox",),
    }
    for text, characters in both.items():
        assert read_caption(text).characters == characters, text


def test_pronouns_name_whom_the_captions_before_leave():
    """One of those who were named last, whom the word fits, or whom the same caption names in the same role."""
    stories = {
        ("The fox walks to the cave.", "She leaves."): ("fox",),
        ("The fox walks to the cave.", None, "It is raining.", "She leaves."): ("fox",),
        ("The fox hands the key to the owl.", "He leaves."): ("owl",),
        ("The bear hands the key to the owl.", "He leaves."): (),
        ("The fox walks to the cave.", "He leaves."): (),
        ("The fox walks to the cave.", "The owl hands the key to her."): ("owl", "fox"),
        ("The fox walks to the cave.", "She hands the key to the owl."): ("fox", "owl"),
        ("The fox walks to the cave.", "The owl is given the key by her."): ("fox", "owl"),
    }
    for captions, characters in stories.items():
        assert read_captions(captions)[-1].characters == characters, captions


def test_a_walk_leads_to_the_last_landmark():
    assert read_caption("The fox leaves the cave for the well.").landmark == "well"


def test_no_wording_belongs_to_two_kinds():
    kinds = {}
    for kind in reading.WORDINGS:
        for text in reading._texts(kind):
            for plain, _ in reading._plain_texts(text):
                name = kind.removesuffix("/both")
                assert kinds.setdefault(plain, name) == name, plain
    assert len(kinds) > 5000 and kinds.keys() == plain_wordings().keys()


def test_tenses_openers_and_places_have_one_plain_form():
    plain = {
        plain_form(text)[0]
        for text in (
            "the fox walks to the well.",
            "now the fox is walking over to the old well",
            "soon the one with the bushy tail walked to the barn.",
            "the fox has walked to the left side.",
            "meanwhile, the vixen walked to the well",
        )
    }
    assert plain == {"WHO walk to PLACE"}


def test_a_story_that_goes_on_for_long_is_read():
    stage, rng = Stage("farm", "clear", "day", ("fox", "owl"), {"fox": 0}), random.Random(0)
    narrator = Narrator(rng, stage.cast)
    for _ in range(40):
        step = draw_event(rng, stage, rng.choice(("enter", "leave", "walk", "time", "celebrate")), [])
        if step is not None:
            assert read_caption(narrator.tell(step)).kind == step.wording_kind
            stage = step.stage


def test_other_texts_are_read_as_far_as_possible():
    for text in ("", "?", "A foxglove and a wellington boot."):
        assert read_caption(text) == NOTHING, text
    mixed = read_caption("Purple owl the owl near the well, very big fox")
    assert mixed == CaptionFacts(None, ("owl", "fox"), "well", None, None)
    unfinished = read_caption("The fox walks quickly over to the to the cave in the")
    assert unfinished == CaptionFacts("walk", ("fox",), "cave", None, None)
    assert read_caption("And the rain comes pouring down all night").kind == "weather/rain"
    garbled = read_caption("the  gives the the key to the owl")
    assert (garbled.kind, garbled.characters, garbled.prop) == ("give", ("owl",), "key")
