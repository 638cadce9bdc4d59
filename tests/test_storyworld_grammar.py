"""The grammar of StoryWorld's captions: many wordings, which determine the change, and words for one test alone."""

import copy
import random
import re
from collections.abc import Iterator

import pytest
from storyattn.training.storyworld import generate_story, phrases
from storyattn.training.storyworld.captions import Narrator
from storyattn.training.storyworld.characters import CHARACTERS
from storyattn.training.storyworld.dataset import narrator_of, tell_script, write_script
from storyattn.training.storyworld.events import Step, draw_event
from storyattn.training.storyworld.held_out_wordings import (
    HELD_OUT_CONSTRUCTIONS,
    HELD_OUT_OPENERS,
    HELD_OUT_VERBS,
    HELD_OUT_WORDINGS,
)
from storyattn.training.storyworld.inflection import inflect, verb_forms
from storyattn.training.storyworld.landmarks import LANDMARK_NAMES
from storyattn.training.storyworld.nouns import (
    CHARACTER_WORDS,
    HELD_OUT_LANDMARK_SYNONYMS,
    HELD_OUT_PROP_SYNONYMS,
    HELD_OUT_SETTING_WORDS,
    LANDMARK_SYNONYMS,
    PROP_SYNONYMS,
    SETTING_WORDS,
    SHARED_FEATURES,
)
from storyattn.training.storyworld.openings import FORMS, WEATHER_WORDS
from storyattn.training.storyworld.openings import HELD_OUT_VERBS as HELD_OUT_OPENING_VERBS
from storyattn.training.storyworld.phrases import Phrases
from storyattn.training.storyworld.props import PROPS
from storyattn.training.storyworld.scene_wordings import OPENERS
from storyattn.training.storyworld.sentences import contract, expand
from storyattn.training.storyworld.settings import SETTINGS
from storyattn.training.storyworld.stage import Stage
from storyattn.training.storyworld.weather import TIMES, WEATHERS
from storyattn.training.storyworld.wording import VERB, VERBS, WORDINGS

WORD = re.compile(r"[a-z]+")
# How held-out constructions look, whatever their words.
CONSTRUCTION = re.compile(
    r"^it('s| is| was) .+ who |^the one who |^watch |^see (?!what lies)|^we can see |^there('s| is) (the|gran)"
    r"|^guess who |^did you know|^what (do|does|did|\[do\]) .+ do\b"
)


def captioned_steps(split: str, count: int, training_words: bool = False) -> Iterator[tuple[Step | None, str]]:
    """Yield the steps of stories with their captions; the opening has no step."""
    for seed in range(count):
        script = write_script(seed, split, 6)
        narrator = narrator_of(seed, split, script, training_words)
        yield from zip([None, *script.steps], tell_script(narrator, script))


def any_step(rng: random.Random, kind: str) -> Step:
    """Draw an event whose wordings are those of `kind`, on any stage of a fox and an owl."""
    while True:
        where = rng.choice(({"fox": 0}, {"fox": 0, "owl": 0}, {"fox": 0, "owl": 2}))
        lying, held = rng.choice(({}, {"ball": 0})), rng.choice(({}, {"kite": "fox"}))
        weather, time = rng.choice(WEATHERS), rng.choice(TIMES)
        stage = Stage("farm", weather, time, ("fox", "owl"), where, lying, held)
        name, _, value = kind.partition("/")
        step = draw_event(rng, stage, name, ["farm", "beach"], value=value if name in ("weather", "time") else "")
        if step is not None and step.wording_kind == kind:
            return step


@pytest.mark.parametrize("kind", WORDINGS)
def test_every_kind_of_event_has_200_wordings(kind, monkeypatch):
    """With the usual names alone, and no pronouns: the names would multiply them."""
    for chance in ("SYNONYM", "FEATURE", "PRONOUN", "OTHER_PLACE_NAME"):
        monkeypatch.setattr(phrases, chance, 0)
    rng, captions = random.Random(kind), set()
    for _ in range(1500):
        captions.add(Narrator(rng, ("fox", "owl")).tell(any_step(rng, kind)))
    assert len(captions) >= 200, len(captions)


@pytest.mark.parametrize("split", ["train", "test_words"])
def test_a_caption_determines_the_change(split):
    """With the same random numbers, another change of the same kind on the same stage has another caption."""
    compared = 0
    for seed in range(60):
        script, rng = write_script(seed, split, 6), random.Random(seed)
        narrator = narrator_of(seed, split, script)
        narrator.open(script.opening)
        for step in script.steps:
            before = copy.deepcopy(narrator)
            caption = narrator.tell(step)
            others = (draw_event(rng, step.before, step.kind, script.settings) for _ in range(8))
            for other in others:
                if other is not None and other.stage.look() != step.stage.look():
                    assert copy.deepcopy(before).tell(other) != caption, caption
                    compared += 1
    assert compared > 500


def test_places_that_are_left_out_follow_the_convention():
    """A newcomer stops beside the other one, and a journey ends in the middle."""
    rng = random.Random(0)
    left_out = {"enter": 0, "travel": 0}
    for kind in left_out:
        for _ in range(600):
            step = any_step(rng, kind)
            caption = Narrator(rng, ("fox", "owl")).tell(step).lower()
            names = [*LANDMARK_NAMES.values(), *(name for names in LANDMARK_SYNONYMS.values() for name in names)]
            names += ["left", "right", "middle", "next to", "beside", "close to"]
            if not any(name in caption for name in names):
                left_out[kind] += 1
                assert step.joins if kind == "enter" else step.place == 1, caption
    assert all(count > 30 for count in left_out.values())


@pytest.mark.parametrize(
    ("cast", "named", "clear"),
    [
        (("frog", "rabbit"), {"frog"}, True),
        (("frog", "rabbit"), {"frog", "rabbit"}, False),
        (("frog", "rabbit"), {"rabbit"}, False),
        (("frog", "rabbit"), set(), False),
        (("girl", "boy"), {"girl", "boy"}, True),
        (("girl", "frog"), {"girl", "frog"}, False),  # the frog may be a she
    ],
)
def test_a_pronoun_has_one_antecedent(cast, named, clear):
    """It stands for the one whom the caption before names, and for nobody where that names two whom it may mean."""
    stage = Stage("farm", "clear", "day", cast, {cast[0]: 0, cast[1]: 2})
    step, rng = draw_event(random.Random(0), stage, "walk", [], cast[0]), random.Random(0)
    pronouns = {"frog": "he", "rabbit": "it", "girl": "she", "boy": "he"}
    texts = {Phrases(rng, step, pronouns, (named, set()), False).fill("{who}") for _ in range(60)}
    assert bool(texts & {"he", "she", "it"}) == clear and len(texts) > 3


def words_of_training() -> set[str]:
    """Return every word that a caption in words of training can have."""
    entries = [text for texts in WORDINGS.values() for text in texts]
    verbs = {verb for members in VERBS.values() for verb in members}
    verbs |= {verb for entry in entries for _, names, _ in VERB.findall(entry) for verb in names.split("/")}
    texts = [re.sub(r"^[a-z ]+> |\{[^}]*\}|\[[^\]]*\]", " ", entry) for entry in entries]
    for verb in verbs - set(VERBS):
        first, _, rest = verb.partition(" ")
        texts += [first, rest, *verb_forms(first)]
    texts += [*FORMS, *WEATHER_WORDS.values(), *TIMES, *SHARED_FEATURES, *LANDMARK_NAMES.values()]
    texts += [f"{who} {' '.join((*words.synonyms, *words.features))}" for who, words in CHARACTER_WORDS.items()]
    texts += [" ".join(names) for table in (PROP_SYNONYMS, LANDMARK_SYNONYMS) for names in table.values()]
    texts += [f"{place} {name}" for places in SETTING_WORDS.values() for place, name in places]
    texts += [*PROPS, *CHARACTERS, *(word for words in OPENERS.values() for word in words)]
    texts += ["he him his himself she her herself it its itself they s are were"]
    texts += ["don doesn didn isn wasn aren weren hasn couldn can t i m ll let"]
    texts += ["on the left right side in middle by near next to beside at close over"]
    return set(WORD.findall(" ".join(texts).lower()))


def test_every_held_out_entry_has_a_word_that_training_never_shows():
    training = words_of_training()
    entries = [verb for verbs in (*HELD_OUT_VERBS.values(), HELD_OUT_OPENING_VERBS) for verb in verbs]
    entries += [name for words in CHARACTER_WORDS.values() for name in words.held_out]
    for table in (HELD_OUT_PROP_SYNONYMS, HELD_OUT_LANDMARK_SYNONYMS):
        entries += [name for names in table.values() for name in names]
    entries += [name for places in HELD_OUT_SETTING_WORDS.values() for _, name in places]
    entries += [entry for texts in HELD_OUT_WORDINGS.values() for entry in texts if not CONSTRUCTION.match(entry)]
    entries += HELD_OUT_OPENERS
    for entry in entries:
        words = set(WORD.findall(re.sub(r"^[a-z ]+> |\{[^}]*\}", " ", entry.lower())))
        assert words - training or set(re.findall(r"[A-Z]{2,}", entry)) & set(HELD_OUT_VERBS), entry


def test_training_never_shows_held_out_words_and_test_words_always():
    training = words_of_training()
    for split in ("train", "validation", "test", "test_unseen"):
        for _, caption in captioned_steps(split, 120 if split == "train" else 15):
            assert set(WORD.findall(caption.lower())) <= training, caption
            assert not CONSTRUCTION.match(caption.lower()), caption
    for _, caption in captioned_steps("test_words", 60):
        new = set(WORD.findall(caption.lower())) - training
        assert new or CONSTRUCTION.match(caption.lower()), caption
    for _, caption in captioned_steps("test_words", 30, training_words=True):
        assert set(WORD.findall(caption.lower())) <= training, caption


def test_held_out_constructions_are_recognized():
    for construction in HELD_OUT_CONSTRUCTIONS:
        text = re.sub(r"\[[^\]]*\]", "is", construction).replace("{who!}", "the fox").replace("(watch|see)", "watch")
        assert CONSTRUCTION.match(text), text


def test_test_words_has_the_same_events_in_words_of_training():
    story = generate_story(4, "test_words", image_size=(16, 24))
    assert len(story["training_captions"]) == len(story["captions"]) == 6
    assert not set(story["training_captions"]) & set(story["captions"])
    assert "training_captions" not in generate_story(4, "test", image_size=(16, 24))


def test_contractions_are_those_of_people():
    expected = {
        "It is not raining.": "It's not raining.",
        "The fox does not stay where she is.": "The fox doesn't stay where she is.",
        '"I am cold, and I will go home," says the owl.': "\"I'm cold, and I'll go home,\" says the owl.",
        '"Let us go!" It was not late.': "\"Let's go!\" It wasn't late.",
    }
    for text, short in expected.items():
        assert contract(text) == short and expand(short.lower()) == text.lower()


def test_verbs_have_their_forms():
    expected = {"walk": "walks walking walked walked", "carry": "carries carrying carried carried"}
    expected |= {"hurry": "hurries hurrying hurried hurried", "rush": "rushes rushing rushed rushed"}
    expected |= {"stop": "stops stopping stopped stopped", "flee": "flees fleeing fled fled"}
    expected |= {"chase": "chases chasing chased chased", "stay": "stays staying stayed stayed"}
    assert {verb: " ".join(verb_forms(verb)) for verb in expected} == expected
    assert inflect("go", "perfect", plural=True) == "have gone" and inflect("be", "past", plural=True) == "were"
    assert inflect("go", "progressive", second=True) == "going" and inflect("do", "present", plural=True) == "do"


def test_every_noun_of_the_world_has_words():
    assert set(CHARACTER_WORDS) == set(CHARACTERS) and set(PROP_SYNONYMS) == set(PROPS)
    assert set(LANDMARK_SYNONYMS) == set(LANDMARK_NAMES) and set(SETTING_WORDS) == set(SETTINGS)
