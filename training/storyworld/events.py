"""Events of StoryWorld: each changes the stage, save one in which nothing happens."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from .props import PROPS
from .stage import Stage

OPENING = "opening"  # the first moment of a story
WET = {"rain": "rainy", "snow": "snowy", "storm": "stormy"}


@dataclass(frozen=True)
class Step:
    """One event of a story.

    Attributes:
        before: the moment before the event.
        stage: the moment after it.
        kind: one of `EVENT_KINDS`.
        who: the character who acts; of weather, time, celebrations and journeys one who is on stage.
        place: where `who` is after the event, or was where `who` has left, 0 to 2.
        other: the other character, where it is on stage before or after the event.
        prop: the prop of the event, if there is one.
        entity: the character or prop that the event moves; empty where it moves none.
        parts: the two events of a `two_events`.
    """

    before: Stage
    stage: Stage
    kind: str
    who: str = ""
    place: int = 0
    other: str = ""
    prop: str = ""
    entity: str = ""
    parts: tuple["Step", ...] = ()

    @property
    def wording_kind(self) -> str:
        """Return the kind of its wordings: weather and time by what they become, journeys by who travels."""
        if self.kind in ("weather", "time"):
            return f"{self.kind}/{getattr(self.stage, self.kind)}"
        return "travel/both" if self.kind == "travel" and self.other else self.kind

    @property
    def absent(self) -> str:
        """Return a character who is not on stage."""
        return next(who for who in self.stage.cast if who not in self.stage.where)

    @property
    def joins(self) -> bool:
        """Return whether a newcomer stops where the other character stands."""
        return self.stage.where.get(self.who) == self.stage.where.get(self.other)

    def facts(self) -> set[str]:
        """Return which conditions of wordings hold."""
        before, weather = self.before, self.before.weather
        clear_sky = weather in ("clear", "cloudy")
        held = before.holding(self.who)
        conditions = {
            weather: weather in ("clear", "cloudy"),
            WET.get(weather, ""): weather in WET,
            "dry": clear_sky,
            "wet": not clear_sky,
            "calm": weather != "storm",
            "lit": weather == "clear" and before.time != "night",
            before.time: True,
            "sun": self.stage.time != "night",
            "moon": self.stage.time == "night",
            "both": len(before.where) == 2,
            "alone": len(before.where) == 1,
            "join": self.joins,
            "held": held is not None,
            "holds": bool(self.prop) and held == self.prop,
            "lying": self.prop in before.lying,
        }
        return {name for name, holds in conditions.items() if holds}


def other_place(rng: random.Random, place: int) -> int:
    """Draw one of the two places that are not `place`."""
    return rng.choice([other for other in range(3) if other != place])


def _partner(stage: Stage, who: str) -> str:
    """Return the other character of the cast."""
    return stage.cast[1] if who == stage.cast[0] else stage.cast[0]


def _present_partner(stage: Stage, who: str) -> str:
    """Return the other character if it is on stage, else an empty text."""
    other = _partner(stage, who)
    return other if other in stage.where else ""


def _move(stage: Stage, kind: str, who: str, place: int, prop: str = "", after: Stage | None = None) -> Step:
    """Move `who` to a place; `after` is the stage where more than that changes."""
    after = (after or stage).changed(where={**stage.where, who: place})
    return Step(stage, after, kind, who, place, _present_partner(stage, who), prop, who)


def _handle(stage: Stage, after: Stage, kind: str, who: str, prop: str) -> Step:
    """Return an event in which `who` does something with a prop."""
    return Step(stage, after, kind, who, stage.where[who], _present_partner(stage, who), prop, prop)


def _without(holders: dict, prop: str) -> dict:
    return {name: value for name, value in holders.items() if name != prop}


def _enter(rng: random.Random, stage: Stage, who: str, value: str, settings: list[str]) -> Step | None:
    newcomer = _partner(stage, who)
    return None if newcomer in stage.where else _move(stage, "enter", newcomer, rng.randrange(3))


def _help(rng: random.Random, stage: Stage, who: str, value: str, settings: list[str]) -> Step | None:
    """Let the other character arrive with a prop, beside the one on stage."""
    newcomer = _partner(stage, who)
    if newcomer in stage.where:
        return None
    prop = _free_prop(rng, stage)
    after = stage.changed(held={**stage.held, prop: newcomer})
    return _move(stage, "help", newcomer, stage.where[who], prop, after)


def _leave(rng: random.Random, stage: Stage, who: str, value: str, settings: list[str]) -> Step | None:
    other = _present_partner(stage, who)
    if not other:
        return None
    place, held = stage.where[who], stage.holding(who)
    after = stage.changed(where=_without(stage.where, who), held=_without(stage.held, held))
    return Step(stage, after, "leave", who, place, other, held or "", who)


def _walk(rng: random.Random, stage: Stage, who: str, value: str, settings: list[str]) -> Step | None:
    here, other = stage.where[who], _present_partner(stage, who)
    if value == "friend":
        return _move(stage, "walk", who, stage.where[other]) if other and stage.where[other] != here else None
    if value == "prop":
        places = [place for place in stage.lying.values() if place != here]
        return _move(stage, "walk", who, places[0]) if places else None
    return _move(stage, "walk", who, other_place(rng, here))


def _chase(rng: random.Random, stage: Stage, who: str, value: str, settings: list[str]) -> Step | None:
    other = _present_partner(stage, who)
    if not other or stage.where[other] == stage.where[who]:
        return None
    return _move(stage, "chase", who, stage.where[other])


def _shelter(rng: random.Random, stage: Stage, who: str, value: str, settings: list[str]) -> Step | None:
    if stage.weather not in ("rain", "storm"):
        return None
    return _move(stage, "shelter", who, other_place(rng, stage.where[who]))


def _free_prop(rng: random.Random, stage: Stage) -> str:
    return rng.choice([prop for prop in PROPS if prop not in stage.lying and prop not in stage.held])


def _find(rng: random.Random, stage: Stage, who: str, value: str, settings: list[str]) -> Step | None:
    if stage.lying or stage.holding(who):
        return None
    prop = _free_prop(rng, stage)
    return _handle(stage, stage.changed(lying={prop: stage.where[who]}), "find", who, prop)


def _pick_up(rng: random.Random, stage: Stage, who: str, value: str, settings: list[str]) -> Step | None:
    here = [prop for prop, place in stage.lying.items() if place == stage.where[who]]
    if not here or stage.holding(who):
        return None
    prop = here[0]
    after = stage.changed(lying=_without(stage.lying, prop), held={**stage.held, prop: who})
    return _handle(stage, after, "pick_up", who, prop)


def _put_down(rng: random.Random, stage: Stage, who: str, value: str, settings: list[str]) -> Step | None:
    prop, place = stage.holding(who), stage.where[who]
    if prop is None or place in stage.lying.values():
        return None
    after = stage.changed(held=_without(stage.held, prop), lying={**stage.lying, prop: place})
    return _handle(stage, after, "put_down", who, prop)


def _give(rng: random.Random, stage: Stage, who: str, value: str, settings: list[str]) -> Step | None:
    prop, other = stage.holding(who), _present_partner(stage, who)
    if prop is None or not other or stage.holding(other):
        return None
    return _handle(stage, stage.changed(held={**stage.held, prop: other}), "give", who, prop)


def _lose(rng: random.Random, stage: Stage, who: str, value: str, settings: list[str]) -> Step | None:
    prop = stage.holding(who)
    return None if prop is None else _handle(stage, stage.changed(held=_without(stage.held, prop)), "lose", who, prop)


def _everywhere(stage: Stage, after: Stage, kind: str, who: str) -> Step:
    """Return an event that shows everywhere and moves nothing."""
    return Step(stage, after, kind, who, after.where[who], _present_partner(stage, who))


def _weather(rng: random.Random, stage: Stage, who: str, value: str, settings: list[str]) -> Step | None:
    following = {
        "clear": ("cloudy", "snow", "rain"),
        "cloudy": ("rain", "snow", "clear", "storm"),
        "rain": ("clear", "storm"),
        "snow": ("clear", "cloudy"),
        "storm": ("clear", "rain"),
    }
    weather = value or rng.choice(following[stage.weather])
    return None if weather == stage.weather else _everywhere(stage, stage.changed(weather=weather), "weather", who)


def _time(rng: random.Random, stage: Stage, who: str, value: str, settings: list[str]) -> Step | None:
    time = value or {"day": "evening", "evening": "night", "night": "day"}[stage.time]
    return None if time == stage.time else _everywhere(stage, stage.changed(time=time), "time", who)


def _travel(rng: random.Random, stage: Stage, who: str, value: str, settings: list[str]) -> Step | None:
    """Move all who are on stage, with what they hold; what lies on the ground stays behind."""
    elsewhere = [setting for setting in settings if setting != stage.setting]
    if not elsewhere:
        return None
    where = dict.fromkeys(stage.where, rng.randrange(3))
    after = stage.changed(setting=rng.choice(elsewhere), where=where, lying={}, festive=False)
    return _everywhere(stage, after, "travel", who)


def _celebrate(rng: random.Random, stage: Stage, who: str, value: str, settings: list[str]) -> Step | None:
    return None if stage.festive else _everywhere(stage, stage.changed(festive=True), "celebrate", who)


def _wait(rng: random.Random, stage: Stage, who: str, value: str, settings: list[str]) -> Step:
    """Change nothing; the caption may say so of a prop that is held or lies on the ground."""
    held = stage.holding(who)
    prop = held or next(iter(stage.lying), "")
    return Step(stage, stage, "wait", who, stage.where[who], _present_partner(stage, who), prop)


# From random numbers, the stage, who acts, the value that is asked for, and the settings for travel: the event, or
# `None` where it is impossible.
Event = Callable[[random.Random, Stage, str, str, list[str]], Step | None]
SIMPLE_EVENTS: dict[str, Event] = {
    "enter": _enter,
    "leave": _leave,
    "walk": _walk,
    "chase": _chase,
    "shelter": _shelter,
    "find": _find,
    "pick_up": _pick_up,
    "put_down": _put_down,
    "give": _give,
    "lose": _lose,
    "help": _help,
    "weather": _weather,
    "time": _time,
    "travel": _travel,
    "celebrate": _celebrate,
    "wait": _wait,
}
PASSED_ON = (("find", "pick_up"), ("pick_up", "give"))  # two events with one prop, both of which show
MOVES = ("walk", "chase", "shelter")
PAIRED = tuple(kind for kind in SIMPLE_EVENTS if kind not in ("travel", "wait", "help"))


def _two_events(rng: random.Random, stage: Stage, who: str, value: str, settings: list[str]) -> Step | None:
    """Let two events happen in one step, of which the picture shows both."""
    for _ in range(12):
        first = draw_event(rng, stage, rng.choice(PAIRED), settings, who)
        if first is None:
            continue
        after = first.stage
        actor = who if who in after.where and rng.random() < 0.7 else rng.choice(list(after.where))
        second = draw_event(rng, after, rng.choice(PAIRED), settings, actor)
        if second is None or not both_show(first, second):
            continue
        entity = second.entity or first.entity
        return Step(stage, second.stage, "two_events", first.who, 0, first.other, "", entity, (first, second))
    return None


def both_show(first: Step, second: Step) -> bool:
    """Return whether the picture after two events shows both of them."""
    looks = [step.look() for step in (first.before, first.stage, second.stage)]
    same_actor = first.who == second.who
    hidden = first.kind == second.kind or (same_actor and first.kind in MOVES and second.kind in MOVES)
    undone = same_actor and (first.kind == "leave" or (second.kind == "leave" and first.kind != "put_down"))
    passed_on = first.prop == second.prop and (first.kind, second.kind) not in PASSED_ON
    return looks[0] != looks[2] and not (hidden or undone or (first.prop and passed_on))


EVENTS: dict[str, Event] = {**SIMPLE_EVENTS, "two_events": _two_events}
# Kinds of events, as stories name them.
EVENT_KINDS = (OPENING, *EVENTS)


def draw_event(
    rng: random.Random, stage: Stage, kind: str, settings: list[str], who: str = "", value: str = ""
) -> Step | None:
    """Draw an event.

    Args:
        rng: draws what is open.
        stage: the moment before the event.
        kind: one of `EVENTS`.
        settings: settings to which a story may travel.
        who: who acts, a character on stage; by default one is drawn.
        value: what weather or time becomes, and "friend" or "prop" for where to walk; by default it is drawn.

    Returns:
        The event, or `None` where it is impossible.
    """
    return EVENTS[kind](rng, stage, who or rng.choice(list(stage.where)), value, settings)
