"""Read captions of StoryWorld: the kind of event, and who, where and what its words name."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product

from .events import OPENING
from .held_out_wordings import HELD_OUT_CONSTRUCTIONS
from .nouns import CHARACTER_WORDS, PRONOUN_CASES
from .openings import WEATHER_WORDS
from .plain_form import (
    FIND_LANDMARK,
    FIND_PROP,
    FIND_SETTING,
    LANDMARKS,
    PLACE,
    PRONOUN,
    PRONOUN_WORDS,
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

TWO_EVENTS = "two_events"
NEAREST = 0.6  # the least likeness of a text to a wording whose kind it is read to have
JOINTS = re.compile(r" and then | then | and | while ")
MENTIONED = (WHO, PRONOUN)
MENTION = re.compile(rf"\b(?:{WHO}|{PRONOUN})\b")
SLOT_OR_PRONOUN = re.compile(rf"{SLOT.pattern}|\b(?:{'|'.join(sorted(PRONOUN_WORDS))})\b")
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
        characters: all that are named, by a name, by what is visible of them alone, or by a pronoun that the captions
            before resolve: first who acts, then who is acted upon. In an opening, and where the kind is unknown, they
            stand in the order of the text, and pronouns name nobody.
        landmark: the first landmark in the text; of a walk the last, which is where it leads.
        setting: the setting in the text.
        prop: the first prop in the text.
    """

    kind: str | None
    characters: tuple[str, ...]
    landmark: str | None
    setting: str | None
    prop: str | None

    @property
    def event(self) -> str | None:
        """The kind of event as stories have it, without what weather or time becomes."""
        return self.kind and self.kind.split("/")[0]


def read_captions(captions: Sequence[str | None]) -> list[CaptionFacts]:
    """Return the facts of captions of one story, in order; a pronoun names whom the last caption with names leaves."""
    facts, named = [], ()
    for caption in captions:
        facts.append(read_caption(caption or "", named))
        named = facts[-1].characters or named
    return facts


@lru_cache(maxsize=100_000)
def read_caption(text: str, named_before: tuple[str, ...] = ()) -> CaptionFacts:
    """Return the facts of a caption.

    What the grammar can say is read exactly, save that what is visible of several characters names nobody. Any other
    text has the kind of the wording that is most like it, if one is.

    Args:
        text: the caption.
        named_before: the characters whom pronouns may name. One names a character if it fits no other.
    """
    text = " ".join(text.lower().split())
    plain, mentions = _mentions(text)
    kind, roles = _kind(text, plain, any(mention not in PRONOUN_WORDS for mention in mentions))
    return CaptionFacts(
        kind=kind and kind.removesuffix("/both"),
        characters=tuple(_characters(mentions, roles, named_before)),
        landmark=_one_of(FIND_LANDMARK, LANDMARKS, text, last=kind == "walk"),
        setting=_one_of(FIND_SETTING, SETTINGS, text),
        prop=_one_of(FIND_PROP, PROPS, text),
    )


def named_characters(text: str) -> set[str]:
    """Return the characters of StoryWorld that a text names."""
    return set(read_caption(text).characters)


def _mentions(text: str) -> tuple[str, list[str | None]]:
    """Return a text in its plain form, and for each character or pronoun in it the name or the pronoun, in order.

    `None` stands for what is visible of several characters.
    """
    plain, named = plain_form(text)
    pronouns = [word for word in re.findall(r"[a-z]+", text) if word in PRONOUN_WORDS]
    words = MENTION.findall(plain)
    if words.count(PRONOUN) != len(pronouns):  # a contraction, or one in words for a place
        pronouns = [PRONOUN] * words.count(PRONOUN)
    remaining = {WHO: iter(named), PRONOUN: iter(pronouns)}
    return plain, [next(remaining[word]) for word in words]


def _characters(
    mentions: list[str | None], roles: tuple[int | None, ...], named_before: tuple[str, ...]
) -> Iterator[str]:
    """Yield the characters of a caption, by their roles where these are known."""
    names = [None if mention in PRONOUN_WORDS else mention for mention in mentions]
    if len(roles) != len(mentions):
        yield from dict.fromkeys(filter(None, names))
        return
    for role in (0, 1):
        of_role = [number for number, other in enumerate(roles) if other == role]
        name = next((names[number] for number in of_role if names[number]), None)
        if name is None:
            pronouns = [mentions[number] for number in of_role if mentions[number]]
            fitting = {who for who in named_before if pronouns and pronouns[0] in pronouns_of(who)} - set(names)
            name = next(iter(fitting)) if len(fitting) == 1 else None
        if name is not None:
            yield name


@cache
def pronouns_of(who: str) -> set[str]:
    """Return every pronoun, in every case, by which a story may call a character."""
    return {word for pronoun in CHARACTER_WORDS[who].pronouns for word in PRONOUN_CASES[pronoun].values()}


def _one_of(pattern: re.Pattern, phrases: dict[str, str], text: str, last: bool = False) -> str | None:
    """Return what the first phrase of a kind in a text names, or the last."""
    matches = [phrases[match[1]] for match in pattern.finditer(text)]
    return matches[-1 if last else 0] if matches else None


def _kind(text: str, plain: str, names_someone: bool) -> tuple[str | None, tuple[int | None, ...]]:
    """Return the kind, and the role of each character and pronoun of the plain text, see `_plain_texts`."""
    if names_someone and OPENINGS.search(text):
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
def plain_wordings() -> dict[str, tuple[str, tuple[int | None, ...]]]:
    """Return the kind of each wording in its plain form, and its roles, see `_plain_texts`."""
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


def _plain_texts(text: str) -> Iterator[tuple[str, tuple[int | None, ...]]]:
    """Yield a text in its plain form with every choice of a name or a pronoun, and the role of each in it.

    A role is 0 for who acts, 1 for the other one, and `None` for a pronoun that means no character.
    """
    slots = SLOT.findall(text)
    for words in product(*(SLOT_WORDS[name] for name in slots)):
        remaining, roles = iter(words), []
        for match in SLOT_OR_PRONOUN.finditer(text):
            count = len(MENTION.findall(next(remaining))) if match[1] else 1
            roles += (0, 1) if match[1] == "both" else [_role(match[1])] * count
        remaining = iter(words)
        yield normalize(SLOT.sub(lambda match, remaining=remaining: next(remaining), text)), tuple(roles)


def _role(slot: str | None) -> int | None:
    """Return the role of what a slot, or a pronoun in the wording itself, stands for, see `_plain_texts`."""
    if slot in (None, "it"):
        return None
    return 1 if slot.startswith(("other", "to", "absent")) else 0
