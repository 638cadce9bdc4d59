"""What happens in StoryWorld: events that change the stage, and plots in which one event leads to the next."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from .captions import tell
from .props import PROPS
from .scenery import SETTINGS
from .stage import Stage


@dataclass(frozen=True)
class Step:
    """An event that has happened: the stage after it, its kind, the entity it moves, and how it is told."""

    stage: Stage
    kind: str
    entity: str
    caption: str


# Each plot: what is on stage at its opening, and the events that follow. Of several in one step one is drawn.
PLOTS = {
    "lost and found": ("", "find", "pick_up", "enter", "give", "celebrate|time|walk"),
    "storm": ("", "weather:cloudy|walk", "weather:storm", "shelter", "weather:clear", "enter|find"),
    "nightfall": ("friend", "walk", "time:evening", "leave|chase", "time:night", "walk|find"),
    "chase": ("prop", "pick_up", "enter", "walk", "chase", "put_down|give"),
    "gift": ("prop", "pick_up", "enter", "walk_to_friend", "give", "celebrate|time"),
    "journey": ("held", "walk", "travel", "enter", "give|put_down", "time|weather"),
    "helping": ("held", "lose", "walk|weather", "help", "give_back", "walk|celebrate"),
    "first snow": ("friend", "weather:snow", "walk", "chase", "find", "pick_up|time"),
    "rainy day": ("held", "weather:rain", "put_down", "walk", "weather:clear", "return|enter"),
    "party": ("held", "put_down", "enter", "celebrate", "time:evening|walk", "leave|time"),
    "treasure": ("prop", "walk_to_prop", "pick_up", "travel|walk", "put_down", "time|enter"),
    "new friend": ("", "enter", "walk_to_friend", "find", "pick_up", "give|leave"),
}


def open_stage(plot: str, rng: random.Random, setting: str, cast: tuple[str, str]) -> Stage:
    """The stage on which a plot begins."""
    opening, *steps = PLOTS[plot]
    weathers = ["clear"] * 5 + ["cloudy"] * 2 + ["rain", "snow"]
    times = ["day"] * 4 + ["evening", "night"]
    if any(step.startswith("weather:") for step in steps):
        weathers = ["clear"]
    if any(step.startswith("time:") for step in steps):
        times = ["day"]
    hero, friend = cast
    where = {hero: rng.randrange(3)}
    prop = rng.choice(list(PROPS))
    stage = Stage(setting, rng.choice(weathers), rng.choice(times), cast, where)
    if opening == "friend":
        return stage.changed(where={**where, friend: _elsewhere(rng, where[hero])})
    if opening == "prop":
        place = _elsewhere(rng, where[hero]) if "walk_to_prop" in steps else where[hero]
        return stage.changed(lying={prop: place})
    return stage.changed(held={prop: hero}) if opening == "held" else stage


def play(plot: str, rng: random.Random, stage: Stage, num_events: int, settings: list[str]) -> list[Step]:
    """
    The events of a plot; where there are to be more than it has, others follow at random. `settings` may be travelled
    to.
    """
    steps = []
    planned = list(PLOTS[plot][1:])
    for number in range(num_events):
        choices = planned[number].split("|") if number < len(planned) else []
        rng.shuffle(choices)
        anything = list(EVENTS)
        rng.shuffle(anything)
        for name in choices + anything:
            event, _, value = name.partition(":")
            step = EVENTS[event](rng, stage, value, settings)
            if step is not None:
                break
        steps.append(step)
        stage = step.stage
    return steps


def _elsewhere(rng: random.Random, place: int) -> int:
    return rng.choice([other for other in range(3) if other != place])


def _arrive(rng, stage: Stage, who: str, place: int, kind: str, words: str = "", **told) -> Step:
    after = stage.changed(where={**stage.where, who: place})
    return Step(after, kind, who, tell(words or kind, rng, after, who, place, **told))


def _friend(stage: Stage) -> str | None:
    return stage.cast[1] if stage.cast[1] in stage.where else None


def _enter(rng, stage, value, settings):
    hero, friend = stage.cast
    if friend in stage.where:
        return None
    return _arrive(rng, stage, friend, rng.randrange(3), "enter")


def _leave(rng, stage, value, settings):
    friend = _friend(stage)
    if friend is None:
        return None
    place, held = stage.where[friend], stage.holding(friend)
    after = stage.changed(
        where={who: at for who, at in stage.where.items() if who != friend},
        held={prop: who for prop, who in stage.held.items() if prop != held},
    )
    return Step(after, "leave", friend, tell("leave", rng, after, friend, place))


def _walk(rng, stage, value, settings):
    hero = stage.cast[0]
    return _arrive(rng, stage, hero, _elsewhere(rng, stage.where[hero]), "walk")


def _walk_to_friend(rng, stage, value, settings):
    hero, friend = stage.cast[0], _friend(stage)
    if friend is None or stage.where[friend] == stage.where[hero]:
        return None
    return _arrive(rng, stage, hero, stage.where[friend], "walk")


def _walk_to_prop(rng, stage, value, settings):
    hero = stage.cast[0]
    places = [place for place in stage.lying.values() if place != stage.where[hero]]
    return _arrive(rng, stage, hero, places[0], "walk") if places else None


def _chase(rng, stage, value, settings):
    hero, friend = stage.cast[0], _friend(stage)
    if friend is None or stage.where[friend] == stage.where[hero]:
        return None
    return _arrive(rng, stage, friend, stage.where[hero], "chase", other=hero)


def _shelter(rng, stage, value, settings):
    if stage.weather not in ("rain", "storm"):
        return None
    hero = stage.cast[0]
    return _arrive(rng, stage, hero, _elsewhere(rng, stage.where[hero]), "shelter")


def _find(rng, stage, value, settings):
    hero = stage.cast[0]
    place = stage.where[hero]
    free = [prop for prop in PROPS if prop not in stage.lying and prop not in stage.held]
    if stage.lying or stage.holding(hero):
        return None
    prop = rng.choice(free)
    after = stage.changed(lying={prop: place})
    return Step(after, "find", prop, tell("find", rng, after, hero, place, prop))


def _pick_up(rng, stage, value, settings):
    hero = stage.cast[0]
    place = stage.where[hero]
    here = [prop for prop, at in stage.lying.items() if at == place]
    if not here or stage.holding(hero):
        return None
    lying = {prop: at for prop, at in stage.lying.items() if prop != here[0]}
    after = stage.changed(lying=lying, held={**stage.held, here[0]: hero})
    return Step(after, "pick_up", here[0], tell("pick_up", rng, after, hero, place, here[0]))


def _put_down(rng, stage, value, settings):
    hero = stage.cast[0]
    prop, place = stage.holding(hero), stage.where[hero]
    if prop is None or place in stage.lying.values():
        return None
    held = {other: who for other, who in stage.held.items() if other != prop}
    after = stage.changed(held=held, lying={**stage.lying, prop: place})
    return Step(after, "put_down", prop, tell("put_down", rng, after, hero, place, prop))


def _hand_over(rng, stage, giver, taker):
    if giver is None or taker is None or stage.holding(taker):
        return None
    prop = stage.holding(giver)
    if prop is None:
        return None
    after = stage.changed(held={**stage.held, prop: taker})
    place = stage.where[taker]
    return Step(after, "give", prop, tell("give", rng, after, giver, place, prop, taker))


def _give(rng, stage, value, settings):
    return _hand_over(rng, stage, stage.cast[0], _friend(stage))


def _give_back(rng, stage, value, settings):
    return _hand_over(rng, stage, _friend(stage), stage.cast[0])


def _lose(rng, stage, value, settings):
    hero = stage.cast[0]
    prop = stage.holding(hero)
    if prop is None:
        return None
    after = stage.changed(held={other: who for other, who in stage.held.items() if other != prop})
    return Step(after, "lose", prop, tell("lose", rng, after, hero, stage.where[hero], prop))


def _help(rng, stage, value, settings):
    """The friend arrives with a prop; which one the words say."""
    hero, friend = stage.cast
    if friend in stage.where:
        return None
    prop = rng.choice([prop for prop in PROPS if prop not in stage.lying and prop not in stage.held])
    stage = stage.changed(held={**stage.held, prop: friend})
    return _arrive(rng, stage, friend, stage.where[hero], "help", prop=prop, other=hero)


def _weather(rng, stage, value, settings):
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
    after = stage.changed(weather=weather)
    hero = stage.cast[0]
    return Step(after, "weather", "", tell(f"weather/{weather}", rng, after, hero, stage.where[hero]))


def _time(rng, stage, value, settings):
    time = value or {"day": "evening", "evening": "night", "night": "day"}[stage.time]
    if time == stage.time:
        return None
    after = stage.changed(time=time)
    hero = stage.cast[0]
    return Step(after, "time", "", tell(f"time/{time}", rng, after, hero, stage.where[hero]))


def _travel(rng, stage, value, settings):
    """The hero, and the friend if there, with what they hold; what lies on the ground stays behind."""
    elsewhere = [setting for setting in settings if setting != stage.setting]
    if not elsewhere:
        return None
    hero, friend = stage.cast[0], _friend(stage)
    place = rng.randrange(3)
    after = stage.changed(
        setting=rng.choice(elsewhere), where=dict.fromkeys(stage.where, place), lying={}, festive=False
    )
    words = "travel/both" if friend else "travel"
    return Step(after, "travel", "", tell(words, rng, after, hero, place, other=friend or ""))


def _celebrate(rng, stage, value, settings):
    if stage.festive:
        return None
    after = stage.changed(festive=True)
    hero = stage.cast[0]
    return Step(after, "celebrate", "", tell("celebrate", rng, after, hero, stage.where[hero]))


Event = Callable[[random.Random, Stage, str, list[str]], Step | None]
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
ALL_SETTINGS = tuple(SETTINGS)
