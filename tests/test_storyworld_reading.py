"""Captions of StoryWorld are read: exactly those of templates, and those of a model as far as possible."""

import random

import pytest
from storyattn.training.storyworld import dataset, events, generate_story
from storyattn.training.storyworld.captions import SETTING_NAMES, TEMPLATES, event_caption
from storyattn.training.storyworld.characters import CHARACTERS
from storyattn.training.storyworld.props import PROPS
from storyattn.training.storyworld.reading import CaptionFacts, read_caption
from storyattn.training.storyworld.settings import SETTINGS
from storyattn.training.storyworld.stage import Stage


def test_the_facts_of_stories_are_read_exactly(monkeypatch):
    """The captions of 300 stories are compared with the arguments of their templates."""
    arguments, kinds = {}, set()

    def recorded(kind, rng, stage, who, place, prop="", other=""):
        text = event_caption(kind, rng, stage, who, place, prop, other)
        arguments[text] = kind.removesuffix("/both"), who, other, stage.landmark(place), stage.setting, prop
        return text

    monkeypatch.setattr(events, "event_caption", recorded)
    monkeypatch.setattr(dataset, "_belongs", lambda stages, split: True)  # stories of any split, drawn in one attempt
    for seed in range(300):
        arguments.clear()
        story = generate_story(seed, "train", image_size=(16, 24), num_frames=9)
        opening, *captions = story["captions"]
        for caption, event in zip(captions, story["events"][1:]):
            kind, who, other, landmark, setting, prop = arguments[caption]
            assert kind.split("/")[0] == event["kind"]
            # A template need not name the other character or the setting.
            named = (who, other) if f"the {other}" in caption.lower() and other else (who,)
            named_setting = setting if SETTING_NAMES[setting] in caption else None
            assert read_caption(caption) == CaptionFacts(kind, named, landmark, named_setting, prop or None), caption
            kinds.add(kind)
        characters, props = (
            {box["entity"] for box in story["boxes"][0] if box["kind"] == kind} for kind in ("character", "prop")
        )
        facts = read_caption(opening)
        assert (facts.kind, facts.setting, set(facts.characters)) == ("opening", story["setting"], characters)
        assert facts.characters[0] == story["characters"][0]
        assert facts.landmark in SETTINGS[story["setting"]]["landmarks"]
        assert {facts.prop} - {None} == props, opening
    assert kinds == {kind.removesuffix("/both") for kind in TEMPLATES}


@pytest.mark.parametrize("kind", TEMPLATES)
def test_every_template_is_read_with_any_names(kind):
    rng = random.Random(kind)
    for template in TEMPLATES[kind]:
        drawn = type("One", (), {"choice": lambda self, templates, template=template: template})()
        for _ in range(20):
            stage = Stage(rng.choice(list(SETTINGS)), "clear", "day", ("fox", "owl"))
            (who, other), prop = rng.sample(list(CHARACTERS), 2), rng.choice(list(PROPS))
            facts = read_caption(event_caption(kind, drawn, stage, who, 1, prop, other))
            assert facts == CaptionFacts(
                kind.removesuffix("/both"),
                (who, other) if "{other}" in template else (who,),
                stage.landmark(1),
                stage.setting if "{setting}" in template else None,
                prop if "{prop}" in template else None,
            )


def test_other_texts_are_read_as_far_as_possible():
    nothing = CaptionFacts(None, (), None, None, None)
    for text in ("", "?", "The goose sings.", "A foxglove and a wellington boot."):
        assert read_caption(text) == nothing
    mixed = read_caption("The owl the owl near the well and the fox")
    assert mixed == CaptionFacts(None, ("owl", "fox"), "well", None, None)
    assert read_caption("the fox walks over to the old the").kind == "walk"
    unfinished = read_caption("The fox walks over to the the cave in the")
    assert unfinished == CaptionFacts("walk", ("fox",), "cave", None, None)
    # Words of two templates, of which the second has more.
    assert read_caption("The fox finds a key, puts the key down on the ground by the cave").kind == "put_down"
    garbled = read_caption("At the well the  the  gets the key from the fox")
    assert (garbled.kind, garbled.characters, garbled.prop) == ("give", ("fox",), "key")
