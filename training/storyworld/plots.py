"""Plots of StoryWorld: stories in which one event leads to the next."""

import random

from .events import EVENTS, Step, other_place
from .props import PROPS
from .stage import Stage

# Each plot: what is on stage at its opening beside the hero, and the events that follow. `|` separates events of which
# one is drawn, `:` an event from its value.
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
    """Draw the stage on which a plot begins.

    Args:
        plot: one of `PLOTS`.
        rng: draws what the plot leaves open.
        setting: one of `SETTINGS`.
        cast: the hero and the friend.
    """
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
        return stage.changed(where={**where, friend: other_place(rng, where[hero])})
    if opening == "prop":
        place = other_place(rng, where[hero]) if "walk_to_prop" in steps else where[hero]
        return stage.changed(lying={prop: place})
    return stage.changed(held={prop: hero}) if opening == "held" else stage


def play(plot: str, rng: random.Random, stage: Stage, num_events: int, settings: list[str]) -> list[Step]:
    """Play the events of a plot.

    Args:
        plot: one of `PLOTS`.
        rng: draws the events and their captions.
        stage: the stage of the opening.
        num_events: number of events; where the plot has fewer, others follow at random.
        settings: settings to which the story may travel.

    Returns:
        The events in their order.
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
