"""What a caption of StoryWorld says, read back from its words: the kind of event, who, where and what."""

import re
from dataclasses import dataclass
from functools import lru_cache

from .captions import SETTING_NAMES, TEMPLATES, WEATHER_WORDS
from .characters import CHARACTERS
from .props import PROPS
from .scenery import LANDMARK_NAMES, TIMES

OPENING = "opening"


@dataclass(frozen=True)
class CaptionFacts:
    """
    What a caption says; `None`, or no character, for what it does not say in words of StoryWorld.

    `kind` is a key of `TEMPLATES` (`travel` with and without a friend alike) or `opening`. `characters` are all that
    are named: first who acts, then whom it is done to; of an opening, and where the kind is not known, in the order of
    the text. `landmark` and `prop` are the first of their kind in the text.
    """

    kind: str | None
    characters: tuple[str, ...]
    landmark: str | None
    setting: str | None
    prop: str | None


@lru_cache(maxsize=100_000)
def read_caption(text: str) -> CaptionFacts:
    """
    The facts of a caption. Whatever a template can say is read exactly; any other text has the kind of the longest
    template whose words it has in their order, whatever stands in the places of its names.
    """
    text = " ".join(text.lower().split()).rstrip(".!? ")
    kind, parts = _kind(text)
    named = [*(_first(CHARACTER, part) for part in parts), *CHARACTER.findall(text)]
    landmark, setting = _first(LANDMARK, text), _first(SETTING, text)
    return CaptionFacts(
        kind=kind,
        characters=tuple(dict.fromkeys(name for name in named if name)),
        landmark=LANDMARKS.get(landmark),
        setting=SETTINGS.get(setting),
        prop=_first(PROP, text),
    )


def named_characters(text: str) -> set[str]:
    """The characters of StoryWorld that a text names."""
    return set(read_caption(text).characters)


def _kind(text: str) -> tuple[str | None, list[str]]:
    """The kind, and what the text has in the places of `{who}` and `{other}`."""
    if OPENINGS.match(text):
        return OPENING, []
    for kind, pattern in PATTERNS:
        if found := pattern.fullmatch(text):
            parts = found.groupdict()
            return kind, [parts[name] for name in ("who", "other") if name in parts]
    return None, []


def _first(words: re.Pattern, text: str) -> str | None:
    found = words.search(text)
    return found.group(1) if found else None


def _any_of(words) -> re.Pattern:
    return re.compile(rf"\b({'|'.join(map(re.escape, words))})\b")


def _pattern(template: str) -> tuple[int, re.Pattern]:
    """Length of the words of a template and a pattern of lower-case text that has them; names may be anything."""
    words, pattern, seen = 0, "", set()
    for piece in re.split(r"(\{\w+\})", template.lower().rstrip(".")):
        if piece in ("{who}", "{other}") and piece not in seen:
            seen.add(piece)
            pattern += f"(?P<{piece[1:-1]}>.+?)"
        elif piece.startswith("{"):
            pattern += ".+?"
        else:
            words += len(piece.strip())
            pattern += re.sub(r"\ba\b", "an?", re.escape(piece))
    return words, re.compile(pattern)


def _patterns() -> list[tuple[str, re.Pattern]]:
    """Kind and pattern of every template, those with the most words first."""
    found = [(*_pattern(template), kind) for kind, templates in TEMPLATES.items() for template in templates]
    found.sort(key=lambda entry: -entry[0])
    return [(kind.removesuffix("/both"), pattern) for _, pattern, kind in found]


LANDMARKS = {name: key for key, name in LANDMARK_NAMES.items()}
SETTINGS = {name: key for key, name in SETTING_NAMES.items()}
CHARACTER, PROP, LANDMARK, SETTING = map(_any_of, (CHARACTERS, PROPS, LANDMARKS, SETTINGS))
PATTERNS = _patterns()
OPENINGS = re.compile(
    rf"(on a|it is a|one|once, on a) ({'|'.join(WEATHER_WORDS.values())}) ({'|'.join(TIMES)}) ({'|'.join(SETTINGS)})\b"
)
