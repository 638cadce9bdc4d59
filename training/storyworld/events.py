"""Events of StoryWorld: each changes the stage and has a caption."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from .captions import event_caption
from .props import PROPS
from .stage import Stage


@dataclass(frozen=True)
class Step:
    """One event of a story.

    Attributes:
        stage: the moment after the event.
        kind: one of `EVENT_KINDS`.
        entity: the character or prop that the event moves; empty where it moves none.
        caption: its caption.
    """

    stage: Stage
    kind: str
    entity: str
    caption: str


def other_place(rng: random.Random, place: int) -> int:
    """Draw one of the two places that are not `place`."""
    return rng.choice([other for other in range(3) if other != place])


def _arrive(rng: random.Random, stage: Stage, who: str, place: int, kind: str, **names: str) -> Step:
    """Move `who` to a place; `names` are the prop and the other character of the caption."""
    after = stage.changed(where={**stage.where, who: place})
    return Step(after, kind, who, event_caption(kind, rng, after, who, place, **names))


def _around_hero(rng: random.Random, after: Stage, kind: str, caption_kind: str) -> Step:
    """Return an event that moves nothing, with a caption that names the hero and the place of the hero."""
    hero = after.cast[0]
    return Step(after, kind, "", event_caption(caption_kind, rng, after, hero, after.where[hero]))


def _friend(stage: Stage) -> str | None:
    return stage.cast[1] if stage.cast[1] in stage.where else None


def _enter(rng: random.Random, stage: Stage, value: str, settings: list[str]) -> Step | None:
    hero, friend = stage.cast
    if friend in stage.where:
        return None
    return _arrive(rng, stage, friend, rng.randrange(3), "enter")


def _leave(rng: random.Random, stage: Stage, value: str, settings: list[str]) -> Step | None:
    friend = _friend(stage)
    if friend is None:
        return None
    place, held = stage.where[friend], stage.holding(friend)
    after = stage.changed(
        where={who: at for who, at in stage.where.items() if who != friend},
        held={prop: who for prop, who in stage.held.items() if prop != held},
    )
    return Step(after, "leave", friend, event_caption("leave", rng, after, friend, place))


def _walk(rng: random.Random, stage: Stage, value: str, settings: list[str]) -> Step | None:
    hero = stage.cast[0]
    return _arrive(rng, stage, hero, other_place(rng, stage.where[hero]), "walk")


def _walk_to_friend(rng: random.Random, stage: Stage, value: str, settings: list[str]) -> Step | None:
    hero, friend = stage.cast[0], _friend(stage)
    if friend is None or stage.where[friend] == stage.where[hero]:
        return None
    return _arrive(rng, stage, hero, stage.where[friend], "walk")


def _walk_to_prop(rng: random.Random, stage: Stage, value: str, settings: list[str]) -> Step | None:
    hero = stage.cast[0]
    places = [place for place in stage.lying.values() if place != stage.where[hero]]
    return _arrive(rng, stage, hero, places[0], "walk") if places else None


def _chase(rng: random.Random, stage: Stage, value: str, settings: list[str]) -> Step | None:
    hero, friend = stage.cast[0], _friend(stage)
    if friend is None or stage.where[friend] == stage.where[hero]:
        return None
    return _arrive(rng, stage, friend, stage.where[hero], "chase", other=hero)


def _shelter(rng: random.Random, stage: Stage, value: str, settings: list[str]) -> Step | None:
    if stage.weather not in ("rain", "storm"):
        return None
    hero = stage.cast[0]
    return _arrive(rng, stage, hero, other_place(rng, stage.where[hero]), "shelter")


def _find(rng: random.Random, stage: Stage, value: str, settings: list[str]) -> Step | None:
    hero = stage.cast[0]
    place = stage.where[hero]
    free = [prop for prop in PROPS if prop not in stage.lying and prop not in stage.held]
    if stage.lying or stage.holding(hero):
        return None
    prop = rng.choice(free)
    after = stage.changed(lying={prop: place})
    return Step(after, "find", prop, event_caption("find", rng, after, hero, place, prop))


def _pick_up(rng: random.Random, stage: Stage, value: str, settings: list[str]) -> Step | None:
    hero = stage.cast[0]
    place = stage.where[hero]
    here = [prop for prop, at in stage.lying.items() if at == place]
    if not here or stage.holding(hero):
        return None
    lying = {prop: at for prop, at in stage.lying.items() if prop != here[0]}
    after = stage.changed(lying=lying, held={**stage.held, here[0]: hero})
    return Step(after, "pick_up", here[0], event_caption("pick_up", rng, after, hero, place, here[0]))


def _put_down(rng: random.Random, stage: Stage, value: str, settings: list[str]) -> Step | None:
    hero = stage.cast[0]
    prop, place = stage.holding(hero), stage.where[hero]
    if prop is None or place in stage.lying.values():
        return None
    held = {other: who for other, who in stage.held.items() if other != prop}
    after = stage.changed(held=held, lying={**stage.lying, prop: place})
    return Step(after, "put_down", prop, event_caption("put_down", rng, after, hero, place, prop))


def _hand_over(rng: random.Random, stage: Stage, giver: str | None, taker: str | None) -> Step | None:
    if giver is None or taker is None or stage.holding(taker):
        return None
    prop = stage.holding(giver)
    if prop is None:
        return None
    after = stage.changed(held={**stage.held, prop: taker})
    place = stage.where[taker]
    return Step(after, "give", prop, event_caption("give", rng, after, giver, place, prop, taker))


def _give(rng: random.Random, stage: Stage, value: str, settings: list[str]) -> Step | None:
    return _hand_over(rng, stage, stage.cast[0], _friend(stage))


def _give_back(rng: random.Random, stage: Stage, value: str, settings: list[str]) -> Step | None:
    return _hand_over(rng, stage, _friend(stage), stage.cast[0])


def _lose(rng: random.Random, stage: Stage, value: str, settings: list[str]) -> Step | None:
    hero = stage.cast[0]
    prop = stage.holding(hero)
    if prop is None:
        return None
    after = stage.changed(held={other: who for other, who in stage.held.items() if other != prop})
    return Step(after, "lose", prop, event_caption("lose", rng, after, hero, stage.where[hero], prop))


def _help(rng: random.Random, stage: Stage, value: str, settings: list[str]) -> Step | None:
    """Let the friend arrive with a prop, which the caption names."""
    hero, friend = stage.cast
    if friend in stage.where:
        return None
    prop = rng.choice([prop for prop in PROPS if prop not in stage.lying and prop not in stage.held])
    stage = stage.changed(held={**stage.held, prop: friend})
    return _arrive(rng, stage, friend, stage.where[hero], "help", prop=prop, other=hero)


def _weather(rng: random.Random, stage: Stage, value: str, settings: list[str]) -> Step | None:
    following = {
        "clear": ("cloudy", "snow", "rain"),
        "cloudy": ("rain", "snow", "clear", "storm"),
        "rain": ("clear", "storm"),
        "snow": ("clear", "cloudy"),
        "storm": ("clear", "rain"),
    }
    weather = value or rng.choice(following[stage.weather])
    if weather == stage.weather:
        return None
    return _around_hero(rng, stage.changed(weather=weather), "weather", f"weather/{weather}")


def _time(rng: random.Random, stage: Stage, value: str, settings: list[str]) -> Step | None:
    time = value or {"day": "evening", "evening": "night", "night": "day"}[stage.time]
    if time == stage.time:
        return None
    return _around_hero(rng, stage.changed(time=time), "time", f"time/{time}")


def _travel(rng: random.Random, stage: Stage, value: str, settings: list[str]) -> Step | None:
    """Move the hero, and the friend if on stage, with what they hold; what lies on the ground stays behind."""
    elsewhere = [setting for setting in settings if setting != stage.setting]
    if not elsewhere:
        return None
    hero, friend = stage.cast[0], _friend(stage)
    place = rng.randrange(3)
    after = stage.changed(
        setting=rng.choice(elsewhere), where=dict.fromkeys(stage.where, place), lying={}, festive=False
    )
    caption_kind = "travel/both" if friend else "travel"
    return Step(after, "travel", "", event_caption(caption_kind, rng, after, hero, place, other=friend or ""))


def _celebrate(rng: random.Random, stage: Stage, value: str, settings: list[str]) -> Step | None:
    if stage.festive:
        return None
    return _around_hero(rng, stage.changed(festive=True), "celebrate", "celebrate")


# From random numbers, the stage, the value behind the event's name, and the settings for travel.
Event = Callable[[random.Random, Stage, str, list[str]], Step | None]
# By the name of an event: what it does. An event that is impossible on a stage returns `None`.
EVENTS: dict[str, Event] = {
    "enter": _enter,
    "leave": _leave,
    "walk": _walk,
    "walk_to_friend": _walk_to_friend,
    "walk_to_prop": _walk_to_prop,
    "return": _walk_to_prop,
    "chase": _chase,
    "shelter": _shelter,
    "find": _find,
    "pick_up": _pick_up,
    "put_down": _put_down,
    "give": _give,
    "give_back": _give_back,
    "lose": _lose,
    "help": _help,
    "weather": _weather,
    "time": _time,
    "travel": _travel,
    "celebrate": _celebrate,
}
# Kinds of events, as stories name them.
EVENT_KINDS = (
    "opening",
    "enter",
    "leave",
    "walk",
    "chase",
    "shelter",
    "find",
    "pick_up",
    "put_down",
    "give",
    "lose",
    "help",
    "weather",
    "time",
    "travel",
    "celebrate",
)
