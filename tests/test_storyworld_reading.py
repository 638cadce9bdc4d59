"""Captions of StoryWorld read back: exactly where a template made them, as far as it goes where a model did."""

import random

import pytest
from storyattn.training.storyworld import generate_story
from storyattn.training.storyworld import plots as plots_module
from storyattn.training.storyworld.captions import SETTING_NAMES, TEMPLATES, tell
from storyattn.training.storyworld.characters import CHARACTERS
from storyattn.training.storyworld.props import PROPS
from storyattn.training.storyworld.reading import CaptionFacts, read_caption
from storyattn.training.storyworld.scenery import SETTINGS
from storyattn.training.storyworld.stage import Stage


def test_what_stories_tell_is_recovered_exactly(monkeypatch):
    """Against what was asked of the templates in 300 stories; a template need not name a setting or a friend."""
    asked, kinds = {}, set()

    def recorded(kind, rng, stage, who, place, prop="", other=""):
        text = tell(kind, rng, stage, who, place, prop, other)
        asked[text] = kind.removesuffix("/both"), who, other, stage.landmark(place), stage.setting, prop
        return text

    monkeypatch.setattr(plots_module, "tell", recorded)
    for seed in range(300):
        asked.clear()
        story = generate_story(seed, "train", image_size=(16, 24), num_frames=9)
        opening, *events = story["captions"]
        for caption, event in zip(events, story["events"][1:]):
            kind, who, other, landmark, setting, prop = asked[caption]
            assert kind.split("/")[0] == event["kind"]
            named = (who, other) if f"the {other}" in caption.lower() and other else (who,)
            said = setting if SETTING_NAMES[setting] in caption else None
            assert read_caption(caption) == CaptionFacts(kind, named, landmark, said, prop or None), caption
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
def test_every_template_is_read_whatever_stands_in_it(kind):
    rng = random.Random(kind)
    for template in TEMPLATES[kind]:
        drawn = type("One", (), {"choice": lambda self, templates, template=template: template})()
        for _ in range(20):
            stage = Stage(rng.choice(list(SETTINGS)), "clear", "day", ("fox", "owl"))
            (who, other), prop = rng.sample(list(CHARACTERS), 2), rng.choice(list(PROPS))
            facts = read_caption(tell(kind, drawn, stage, who, 1, prop, other))
            assert facts == CaptionFacts(
                kind.removesuffix("/both"),
                (who, other) if "{other}" in template else (who,),
                stage.landmark(1),
                stage.setting if "{setting}" in template else None,
                prop if "{prop}" in template else None,
            )


def test_texts_that_no_template_made_are_read_as_far_as_they_go():
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
