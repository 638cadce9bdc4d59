"""Write the captions of StoryWorld: several wordings for each kind of event, each naming who, what and where."""

import random

from .landmarks import LANDMARK_NAMES
from .stage import Stage

SETTING_NAMES = {
    "forest": "in the forest",
    "beach": "on the beach",
    "farm": "on the farm",
    "village": "in the village",
    "mountains": "in the mountains",
    "snowfield": "in the snowfield",
    "garden": "in the garden",
    "desert": "in the desert",
}
WEATHER_WORDS = {"clear": "clear", "cloudy": "cloudy", "rain": "rainy", "snow": "snowy", "storm": "stormy"}

# {who}, {other}: characters; {prop}; {place}: the landmark; {setting}: "in the forest".
TEMPLATES = {
    "enter": [
        "{who} comes along and stops by {place} {setting}.",
        "Look, {who} arrives! Now {who} stands next to {place}.",
        "Down the path comes {who} and waits near {place}.",
        "Here comes {who}, who stops beside {place} to say hello.",
    ],
    "leave": [
        "{who} says goodbye at {place} and goes home.",
        "{who} waves and walks away from {place} {setting}.",
        "It is late, so {who} leaves {place} and is gone.",
    ],
    "walk": [
        "{who} walks over to {place} {setting}.",
        "{who} sets off and goes to {place}.",
        "Slowly {who} wanders across to {place} {setting}.",
        "Now {who} wants to see {place} and walks there.",
        "{who} crosses the ground and stands by {place}.",
    ],
    "chase": [
        "{who} runs after {other}, all the way to {place}.",
        "{who} chases {other} and catches up at {place}.",
        "Wait for me! {who} follows {other} to {place} {setting}.",
    ],
    "shelter": [
        "{who} runs to {place} to stay dry {setting}.",
        "To hide from the storm, {who} hurries to {place}.",
        "{who} is afraid and looks for shelter by {place}.",
    ],
    "find": [
        "{who} finds a {prop} on the ground by {place}.",
        "What is this? A {prop} lies at the foot of {place}, and {who} sees it.",
        "By {place} {who} discovers a lost {prop} {setting}.",
        "{who} looks down at {place} and spots a {prop}.",
    ],
    "pick_up": [
        "{who} picks up the {prop} by {place} {setting}.",
        "{who} bends down at {place} and takes the {prop}.",
        "Now {who} holds the {prop} in hand near {place}.",
    ],
    "put_down": [
        "{who} puts the {prop} down on the ground by {place}.",
        "{who} leaves the {prop} lying at {place} {setting}.",
        "Tired of carrying it, {who} lays the {prop} down near {place}.",
    ],
    "give": [
        "{who} gives the {prop} to {other} by {place}.",
        "{who} hands {other} the {prop}, and {other} is happy at {place}.",
        "At {place} {other} gets the {prop} from {who}.",
    ],
    "lose": [
        "Oh no! The wind takes the {prop} away from {who} at {place}.",
        "{who} loses the {prop} near {place}, and now it is gone.",
        "By {place} the {prop} slips from {who} and blows away.",
    ],
    "help": [
        "{who} comes to help and brings the {prop} back to {place}.",
        "Do not worry! {who} arrives at {place} holding the {prop}.",
        "To help {other}, {who} carries the {prop} to {place}.",
    ],
    "weather/cloudy": [
        "Grey clouds cover the sky over {who} at {place} {setting}.",
        "It gets cloudy {setting}, and {who} looks up by {place}.",
        "Clouds hide the sky while {who} stands by {place}.",
    ],
    "weather/rain": [
        "It begins to rain on {who} by {place} {setting}.",
        "Raindrops fall {setting}, and {who} gets wet at {place}.",
        "The rain comes down while {who} waits by {place}.",
    ],
    "weather/snow": [
        "It begins to snow on {who} by {place} {setting}.",
        "White snow falls {setting} while {who} stands at {place}.",
        "Snowflakes dance around {who} next to {place} {setting}.",
    ],
    "weather/storm": [
        "A storm breaks out {setting}, and lightning scares {who} at {place}.",
        "Thunder and lightning! A dark storm comes over {who} by {place}.",
        "The sky turns black and a storm shakes {place}, where {who} stands.",
    ],
    "weather/clear": [
        "The sky clears {setting}, and {who} smiles by {place}.",
        "The bad weather is over, and {who} enjoys the clear sky at {place}.",
        "All the clouds are gone above {who} and {place} {setting}.",
    ],
    "time/day": [
        "The sun rises {setting}, and {who} wakes up at {place}.",
        "Good morning! A new day begins for {who} by {place}.",
        "It is bright day again at {place}, where {who} stands.",
    ],
    "time/evening": [
        "The sun goes down {setting}, and {who} grows quiet by {place}.",
        "Evening comes, and {place} glows orange around {who}.",
        "The day is ending while {who} rests by {place} {setting}.",
    ],
    "time/night": [
        "Night falls {setting}, and {who} stands in the dark by {place}.",
        "It is night now, and {who} waits quietly at {place}.",
        "Darkness covers {place} {setting}, and {who} yawns.",
    ],
    "travel": [
        "{who} travels far and arrives at {place} {setting}.",
        "After a long way {who} comes to {place} {setting}.",
        "The journey leads {who} to {place} {setting}.",
    ],
    "travel/both": [
        "{who} and {other} travel far and arrive at {place} {setting}.",
        "After a long way {who} and {other} come to {place} {setting}.",
        "The journey leads {who} and {other} to {place} {setting}.",
    ],
    "celebrate": [
        "Time for a party! {who} hangs up colourful flags at {place}.",
        "{who} celebrates by {place} with flags across the sky {setting}.",
        "Hooray! Flags fly over {place}, and {who} is happy.",
    ],
}


def event_caption(
    kind: str, rng: random.Random, stage: Stage, who: str, place: int, prop: str = "", other: str = ""
) -> str:
    """Write the caption of an event.

    Args:
        kind: kind of the event, a key of `TEMPLATES`.
        rng: draws the wording.
        stage: the moment after the event.
        who: the character who acts.
        place: where it happens, 0 to 2.
        prop: the prop of the event, if there is one.
        other: the other character of the event, if there is one.
    """
    template = rng.choice(TEMPLATES[kind])
    text = template.format(
        who=f"the {who}",
        other=f"the {other}",
        prop=prop,
        place=LANDMARK_NAMES[stage.landmark(place)],
        setting=SETTING_NAMES[stage.setting],
    )
    return _sentences(text)


def opening_caption(rng: random.Random, stage: Stage) -> str:
    """Write the first sentence of a story: weather, time, setting, and every character and prop on stage."""
    when = f"{WEATHER_WORDS[stage.weather]} {stage.time}"
    start = rng.choice(
        ("On a {when} {setting}", "It is a {when} {setting}:", "One {when} {setting}", "Once, on a {when} {setting},")
    ).format(when=when, setting=SETTING_NAMES[stage.setting])
    parts = []
    for who, place in stage.where.items():
        held = stage.holding(who)
        carrying = f" with a {held}" if held else ""
        verb = rng.choice(("stands by", "waits near", "is at"))
        parts.append(f"the {who}{carrying} {verb} {LANDMARK_NAMES[stage.landmark(place)]}")
    for prop, place in stage.lying.items():
        parts.append(f"a {prop} lies by {LANDMARK_NAMES[stage.landmark(place)]}")
    return _sentences(f"{start} {', and '.join(parts)}.")


def _sentences(text: str) -> str:
    """Set capital letters at the start of each sentence, and "an" before a vowel."""
    for vowel in "aeiou":
        text = text.replace(f" a {vowel}", f" an {vowel}").replace(f"A {vowel}", f"An {vowel}")
    for mark in ("! ", "? "):
        first, separator, rest = text.partition(mark)
        if separator:
            text = first + mark + rest[0].upper() + rest[1:]
    return text[0].upper() + text[1:]
