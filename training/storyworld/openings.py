"""Write the first caption of a story: weather, time, setting, and every character and prop on stage."""

import random

from .inflection import inflect
from .landmarks import LANDMARK_NAMES
from .nouns import CHARACTER_WORDS, HELD_OUT_SETTING_WORDS, SETTING_WORDS
from .phrases import NEAR
from .sentences import sentence
from .stage import Stage

WEATHER_WORDS = {"clear": "clear", "cloudy": "cloudy", "rain": "rainy", "snow": "snowy", "storm": "stormy"}
FORMS = (
    "on a {when} {where}, {who}",
    "once, on a {when} {where}, {who}",
    "it {be} a {when} {where}: {who}",
    "it {be} a {when} {where}. {who}",
    "one {when} {where}, {who}",
    "{who}. it {be} a {when} {where}",
    "{where}, on a {when}, {who}",
    "a {when} {where}. {who}",
)
VERBS = ("stand", "wait", "be")
HELD_OUT_VERBS = ("linger", "idle", "remain", "loiter")


def opening_text(stage: Stage, rng: random.Random, held_out: bool = False) -> str:
    """Write the first caption of a story.

    Args:
        stage: the first moment.
        rng: draws the words.
        held_out: use verbs and names that training never shows.
    """
    tense = rng.choice(("present", "present", "past"))
    verb = inflect(rng.choice(HELD_OUT_VERBS if held_out else VERBS), tense)
    is_long = len(stage.where) + len(stage.lying) > 2  # then it names each with few words
    parts = []
    for who, place in stage.where.items():
        name = f"the {who}" if is_long and not held_out else _name(who, rng, held_out)
        does = "" if is_long and parts else verb
        parts.append(f"{name} {does} {rng.choice(NEAR[:2] if is_long else NEAR)} {_landmark(stage, place)}")
        parts[-1] += _with(stage, who)
    lie = inflect("lie", tense)
    parts += [
        f"{_article(prop)} {lie} {rng.choice(NEAR[:2])} {_landmark(stage, at)}" for prop, at in stage.lying.items()
    ]
    words = HELD_OUT_SETTING_WORDS.get(stage.setting) if held_out and rng.random() < 0.3 else None
    text = rng.choice(FORMS).format(
        when=f"{WEATHER_WORDS[stage.weather]} {stage.time}",
        where=" ".join(rng.choice((words or SETTING_WORDS[stage.setting])[: 1 if is_long else None])),
        be=inflect("be", tense),
        who=", and ".join([", ".join(parts[:-1]), parts[-1]] if is_long else parts),
    )
    return sentence(text)


def _with(stage: Stage, who: str) -> str:
    held = stage.holding(who)
    return f" with {_article(held)}" if held else ""


def _name(who: str, rng: random.Random, held_out: bool) -> str:
    words = CHARACTER_WORDS[who]
    chance = rng.random()
    if held_out and chance < 0.3:
        return rng.choice(words.held_out)
    return rng.choice(words.synonyms) if chance > 0.8 else f"the {who}"


def _landmark(stage: Stage, place: int) -> str:
    return LANDMARK_NAMES[stage.landmark(place)]


def _article(prop: str) -> str:
    return f"{'an' if prop[0] in 'aeiou' else 'a'} {prop}"
