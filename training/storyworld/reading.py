"""Read captions of StoryWorld: the kind of event, and who, where and what its words name."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product

from .held_out_wordings import HELD_OUT_CONSTRUCTIONS
from .openings import WEATHER_WORDS
from .plain_form import (
    FIND_LANDMARK,
    FIND_PROP,
    FIND_SETTING,
    LANDMARKS,
    PLACE,
    PRONOUN,
    PROP,
    PROPS,
    SETTING,
    SETTINGS,
    WHERE,
    WHO,
    normalize,
    plain_form,
)
from .weather import TIMES
from .wording import (
    SLOT,
    VERB,
    WORDINGS,
    all_alternatives,
    constructed,
    verbs_of,
    wordings_of,
)

OPENING, TWO_EVENTS = "opening", "two_events"
NEAREST = 0.6  # the least likeness of a text to a wording whose kind it is read to have
JOINTS = re.compile(r" and then | then | and | while ")
MENTIONED = (WHO, PRONOUN)
SLOT_WORDS = {
    **dict.fromkeys(("who", "other", "who.obj", "other.obj"), MENTIONED),
    **dict.fromkeys(("who!", "other!", "absent", "who.bare"), (WHO,)),
    **dict.fromkeys(("who.poss", "other.poss"), (f"{WHO}'s", PRONOUN)),
    **dict.fromkeys(("he", "him", "his", "himself", "other.he", "other.him"), (PRONOUN, WHO)),
    **dict.fromkeys(("the.prop", "a.prop", "bare.prop", "the.held"), (PROP,)),
    **dict.fromkeys(("place", "from"), (PLACE,)),
    **dict.fromkeys(("at", "at.from", "at.other", "at?", "at*", "at.mark?"), (WHERE,)),
    **dict.fromkeys(("in", "in.old", "in?"), (f"in {SETTING}",)),
    **dict.fromkeys(("setting", "old", "bare.old"), (SETTING,)),
    "it": (PROP, PRONOUN),
    "both": (f"{WHO} and {WHO}",),
    "to": (f"to {PLACE}", f"to {WHO}"),
    "dest": (f"to {SETTING}",),
    "wet": ("rain", "snow", "storm"),
    "time": TIMES,
}
OPENINGS = re.compile(
    rf"\b(?:on a|it (?:is|was) a|one|^a) (?:{'|'.join(WEATHER_WORDS.values())}) (?:{'|'.join(TIMES)})\b"
)


@dataclass(frozen=True)
class CaptionFacts:
    """What a caption says; `None`, or no character, for what it does not say in words of StoryWorld.

    Attributes:
        kind: a kind of event, of weather and time with what they become, such as `weather/rain`; or `opening`.
        characters: all that are named, by a name or by what is visible of them alone: first who acts, then who is acted
            upon. In an opening, and where the kind is unknown, they stand in the order of the text.
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

    What the grammar can say is read exactly, save that a pronoun, and what is visible of several characters, name
    nobody. Any other text has the kind of the wording that is most like it, if one is.
    """
    text = " ".join(text.lower().split())
    plain, named = plain_form(text)
    kind, roles = _kind(text, plain, len(named))
    if len(roles) == len(named):
        named = [name for _, name in sorted(zip(roles, named), key=lambda pair: pair[0])]
    return CaptionFacts(
        kind=kind and kind.removesuffix("/both"),
        characters=tuple(dict.fromkeys(name for name in named if name)),
        landmark=_first(FIND_LANDMARK, LANDMARKS, text),
        setting=_first(FIND_SETTING, SETTINGS, text),
        prop=_first(FIND_PROP, PROPS, text),
    )


def named_characters(text: str) -> set[str]:
    """Return the characters of StoryWorld that a text names."""
    return set(read_caption(text).characters)


def _first(pattern: re.Pattern, phrases: dict[str, str], text: str) -> str | None:
    match = pattern.search(text)
    return phrases[match[1]] if match else None


def _kind(text: str, plain: str, num_named: int) -> tuple[str | None, tuple[int, ...]]:
    """Return the kind, and the role of each character of the text: 0 for who acts, 1 for the other one."""
    if num_named and OPENINGS.search(text):
        return OPENING, ()
    table = plain_wordings()
    if plain in table:
        return table[plain]
    for joint in JOINTS.finditer(plain):
        first, second = plain[: joint.start()], plain[joint.end() :]
        entries = table.get(first), table.get(second) or table.get(f"{WHO} {second}")
        if all(entries) and entries[0][0] != entries[1][0]:
            return TWO_EVENTS, ()
    return _nearest(plain), ()


def _nearest(plain: str) -> str | None:
    """Return the kind of the wording that shares most words with a text."""
    words = set(plain.split())
    shared = Counter(wording for word in words for wording in _wordings_by_word().get(word, ()))
    likeness = {wording: 2 * count / (len(words) + len(set(wording.split()))) for wording, count in shared.items()}
    best = max(likeness, key=lambda wording: (likeness[wording], wording), default=None)
    return plain_wordings()[best][0] if best and likeness[best] >= NEAREST else None


@cache
def _wordings_by_word() -> dict[str, list[str]]:
    """Return the plain wordings that have each word."""
    index = defaultdict(list)
    for wording in plain_wordings():
        for word in set(wording.split()):
            index[word].append(wording)
    return index


@cache
def plain_wordings() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the kind of each wording in its plain form, and the role of each `WHO` in it, see `_kind`."""
    table = {}
    for kind in WORDINGS:
        for text in _texts(kind):
            for plain, roles in _plain_texts(text):
                table.setdefault(plain, (kind, roles))
    return table


def _texts(kind: str) -> Iterator[str]:
    """Yield the texts of a kind with every choice of alternatives and verbs, the verbs in their base form."""
    wordings = wordings_of(kind)
    texts = {wording.text for wording in (*wordings, *wordings_of(kind, held_out=True))}
    for wording in wordings:
        if wording.has_actor:
            texts |= {constructed(wording, construction).text for construction in HELD_OUT_CONSTRUCTIONS}
    for text in sorted(texts):
        for chosen in all_alternatives(text):
            groups = [{*verbs_of(name), *verbs_of(name, held_out=True)} for _, name, _ in VERB.findall(chosen)]
            for verbs in product(*map(sorted, groups)):
                remaining = iter(verbs)
                yield VERB.sub(lambda match, remaining=remaining: next(remaining), chosen).lower()


def _plain_texts(text: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield a text in its plain form with every choice of a name or a pronoun, and the roles of the names."""
    slots = SLOT.findall(text)
    for words in product(*(SLOT_WORDS[name] for name in slots)):
        remaining = iter(words)
        roles = [
            role
            for name, word in zip(slots, words)
            for role in ((0, 1) if name == "both" else (_role(name),))
            if WHO in word
        ]
        yield normalize(SLOT.sub(lambda match, remaining=remaining: next(remaining), text)), tuple(roles)


def _role(slot: str) -> int:
    """Return the role of the character in a slot: 0 for who acts, 1 for the other one."""
    return 1 if slot.startswith(("other", "to", "absent")) else 0
