"""Plots of StoryWorld: stories in which one event leads to the next, with others in between."""

import random
from collections.abc import Callable

from .events import EVENTS, Step, draw_event, other_place
from .props import PROPS
from .stage import Stage

# Each plot: what is on stage at its opening beside the hero, and the events that follow. `|` separates events of which
# one is drawn, `:` an event from its value. The hero acts, or where the event stands in `BY_FRIEND` the friend.
PLOTS = {
    "lost and found": ("", "find", "pick_up", "enter", "give", "celebrate|time|walk"),
    "storm": ("", "weather:cloudy|walk", "weather:storm", "shelter", "weather:clear", "enter|find"),
    "nightfall": ("friend", "walk", "time:evening", "leave|chase", "time:night", "walk|find"),
    "chase": ("prop", "pick_up", "enter", "walk", "chase", "put_down|give"),
    "gift": ("prop", "pick_up", "enter", "walk:friend", "give", "celebrate|time"),
    "journey": ("held", "walk", "travel", "enter", "give|put_down", "time|weather"),
    "helping": ("held", "lose", "walk|weather", "help", "give_back", "walk|celebrate"),
    "first snow": ("friend", "weather:snow", "walk", "chase", "find", "pick_up|time"),
    "rainy day": ("held", "weather:rain", "put_down", "walk", "weather:clear", "walk:prop|enter"),
    "party": ("held", "put_down", "enter", "celebrate", "time:evening|walk", "leave|time"),
    "treasure": ("prop", "walk:prop", "pick_up", "travel|walk", "put_down", "time|enter"),
    "new friend": ("", "enter", "walk:friend", "find", "pick_up", "give|leave"),
}
BY_ANYBODY = ("enter", "help", "weather", "time", "celebrate", "travel")
BY_FRIEND = {"leave": "leave", "chase": "chase", "give_back": "give"}
# Shares of the events that stand between those of a plot: nothing happens, two events at once, any event.
WAIT, TWO_EVENTS, ANY_EVENT = 0.06, 0.1, 0.24
RARE = ("give", "chase", "shelter", "leave", "help")  # these need much to be possible, so they are tried earlier
EXTRA = 0.35  # chance that the friend, or a prop, is on stage at the opening where the plot does not ask for it


def open_stage(plot: str, rng: random.Random, setting: str, cast: tuple[str, str]) -> Stage:
    """Draw the stage on which a plot begins.

    Args:
        plot: one of `PLOTS`.
        rng: draws what the plot leaves open.
        setting: one of `SETTINGS`.
        cast: the hero and the friend.
    """
    opening, *steps = PLOTS[plot]
    weathers = ["clear"] * 5 + ["cloudy"] * 2 + ["rain", "snow", "storm"]
    times = ["day"] * 4 + ["evening", "night"]
    if any(step.startswith("weather:") for step in steps) and rng.random() > EXTRA:
        weathers = ["clear"]
    if any(step.startswith("time:") for step in steps) and rng.random() > EXTRA:
        times = ["day"]
    hero, friend = cast
    where = {hero: rng.randrange(3)}
    first, second = rng.sample(list(PROPS), 2)
    stage = Stage(setting, rng.choice(weathers), rng.choice(times), cast, where)
    if opening == "friend" or rng.random() < EXTRA:
        stage = stage.changed(where={**where, friend: other_place(rng, where[hero])})
    if opening == "prop" or rng.random() < EXTRA:
        place = other_place(rng, where[hero]) if "walk:prop" in steps else where[hero]
        stage = stage.changed(lying={first: place})
    if opening == "held" or rng.random() < EXTRA:
        holder = hero if opening == "held" else rng.choice(list(stage.where))
        stage = stage.changed(held={second: holder})
    return stage


def play(
    plot: str,
    rng: random.Random,
    stage: Stage,
    num_events: int,
    settings: list[str],
    allowed: Callable[[Stage], bool] = lambda stage: True,
) -> list[Step] | None:
    """Play the events of a plot.

    Args:
        plot: one of `PLOTS`.
        rng: draws the events.
        stage: the stage of the opening.
        num_events: number of events; where the plot has fewer, others follow at random.
        settings: settings to which the story may travel.
        allowed: returns whether a moment may be in the story.

    Returns:
        The events in their order, or `None` for a story with a moment that is not allowed.
    """
    steps: list[Step] = []
    planned = list(PLOTS[plot][1:])
    for _ in range(num_events):
        step = _next_step(rng, stage, planned, settings)
        if not allowed(step.stage):
            return None
        steps.append(step)
        stage = step.stage
    return steps


def _next_step(rng: random.Random, stage: Stage, planned: list[str], settings: list[str]) -> Step:
    """Draw the next event: mostly that of the plot, which is then taken from `planned`."""
    chance = rng.random()
    if chance < WAIT:
        return draw_event(rng, stage, "wait", settings)
    step = None
    if chance < WAIT + TWO_EVENTS:
        step = draw_event(rng, stage, "two_events", settings)
    elif planned and chance > WAIT + TWO_EVENTS + ANY_EVENT:
        choices = planned.pop(0).split("|")
        rng.shuffle(choices)
        step = next(filter(None, (_of_plot(rng, stage, name, settings) for name in choices)), None)
    return step or _any_step(rng, stage, settings)


def _of_plot(rng: random.Random, stage: Stage, name: str, settings: list[str]) -> Step | None:
    """Draw an event of a plot, or return `None` where it is impossible."""
    kind, _, value = name.partition(":")
    who = stage.cast[kind in BY_FRIEND]
    kind = BY_FRIEND.get(kind, kind)
    if who not in stage.where and kind not in BY_ANYBODY:
        return None
    return draw_event(rng, stage, kind, settings, who if who in stage.where else "", value)


def _any_step(rng: random.Random, stage: Stage, settings: list[str]) -> Step:
    """Draw one of the events that are possible, those of `RARE` kinds more often."""
    kinds = [kind for kind in EVENTS if kind not in ("wait", "two_events")]
    kinds.sort(key=lambda kind: rng.random() * (0.5 if kind in RARE else 1))
    return next(filter(None, (draw_event(rng, stage, kind, settings) for kind in kinds)))
