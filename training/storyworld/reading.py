"""Read captions of StoryWorld: the kind of event, and who, where and what its words name."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from .captions import SETTING_NAMES, TEMPLATES, WEATHER_WORDS
from .characters import CHARACTERS
from .landmarks import LANDMARK_NAMES
from .props import PROPS
from .weather import TIMES

OPENING = "opening"


@dataclass(frozen=True)
class CaptionFacts:
    """What a caption says; `None`, or no character, for what it does not say in words of StoryWorld.

    Attributes:
        kind: a key of `TEMPLATES` (`travel` with and without a friend) or `opening`.
        characters: all that are named: first who acts, then who is acted upon. In an opening, and where the kind is
            unknown, they stand in the order of the text.
        landmark: the first landmark in the text.
        setting: the setting in the text.
        prop: the first prop in the text.
    """

    kind: str | None
    characters: tuple[str, ...]
    landmark: str | None
    setting: str | None
    prop: str | None


@lru_cache(maxsize=100_000)
def read_caption(text: str) -> CaptionFacts:
    """Return the facts of a caption.

    What a template can say is read exactly. Any other text has the kind of the longest template whose words it has in
    their order, whatever words stand in the places of names.
    """
    text = " ".join(text.lower().split()).rstrip(".!? ")
    kind, parts = _kind(text)
    named = [*(_first(CHARACTER, part) for part in parts), *CHARACTER.findall(text)]
    landmark, setting = _first(LANDMARK, text), _first(SETTING, text)
    return CaptionFacts(
        kind=kind,
        characters=tuple(dict.fromkeys(name for name in named if name)),
        landmark=LANDMARK_OF_NAME.get(landmark),
        setting=SETTING_OF_NAME.get(setting),
        prop=_first(PROP, text),
    )


def named_characters(text: str) -> set[str]:
    """Return the characters of StoryWorld that a text names."""
    return set(read_caption(text).characters)


def _kind(text: str) -> tuple[str | None, list[str]]:
    """Return the kind, and the words of the text in the places of `{who}` and `{other}`."""
    if OPENINGS.match(text):
        return OPENING, []
    for kind, pattern in PATTERNS:
        if match := pattern.fullmatch(text):
            parts = match.groupdict()
            return kind, [parts[name] for name in ("who", "other") if name in parts]
    return None, []


def _first(words: re.Pattern, text: str) -> str | None:
    match = words.search(text)
    return match.group(1) if match else None


def _any_of(words: Iterable[str]) -> re.Pattern:
    return re.compile(rf"\b({'|'.join(map(re.escape, words))})\b")


def _pattern(template: str) -> tuple[int, re.Pattern]:
    """Return the length of a template's words, and a pattern of lower-case text that has them around any names."""
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
    """Return kind and pattern of every template, those with the most words first."""
    patterns = [(*_pattern(template), kind) for kind, templates in TEMPLATES.items() for template in templates]
    patterns.sort(key=lambda entry: -entry[0])
    return [(kind.removesuffix("/both"), pattern) for _, pattern, kind in patterns]


LANDMARK_OF_NAME = {name: key for key, name in LANDMARK_NAMES.items()}
SETTING_OF_NAME = {name: key for key, name in SETTING_NAMES.items()}
CHARACTER, PROP, LANDMARK, SETTING = map(_any_of, (CHARACTERS, PROPS, LANDMARK_OF_NAME, SETTING_OF_NAME))
PATTERNS = _patterns()
OPENINGS = re.compile(
    rf"(on a|it is a|one|once, on a) ({'|'.join(WEATHER_WORDS.values())}) ({'|'.join(TIMES)}) "
    rf"({'|'.join(SETTING_OF_NAME)})\b"
)
