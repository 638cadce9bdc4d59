"""Bring captions of StoryWorld into a plain form: words for names, verbs in their base form, no openers and places."""

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cache

from .held_out_wordings import HELD_OUT_CONSTRUCTIONS, HELD_OUT_OPENERS, HELD_OUT_VERBS, HELD_OUT_WORDINGS
from .inflection import IRREGULAR, verb_forms
from .nouns import (
    CHARACTER_WORDS,
    HELD_OUT_LANDMARK_SYNONYMS,
    HELD_OUT_PROP_SYNONYMS,
    HELD_OUT_SETTING_WORDS,
    LANDMARK_SYNONYMS,
    PRONOUN_CASES,
    PROP_SYNONYMS,
    SETTING_WORDS,
    SHARED_FEATURES,
    SIDES,
    landmark_phrases,
)
from .scene_wordings import OPENERS
from .sentences import expand
from .wording import VERB, VERBS, WORDINGS

# In the plain form: a character, a prop, a landmark, a position, a setting, and any pronoun.
WHO, PROP, PLACE, WHERE, SETTING, PRONOUN = "WHO", "PROP", "PLACE", "WHERE", "SETTING", "it"
PRONOUN_WORDS = {word for cases in PRONOUN_CASES.values() for word in cases.values()}


def _phrases(*tables: dict[str, Iterable[str]]) -> dict[str, str]:
    """Return what each phrase names, in lower case and without "the"."""
    return {
        phrase.lower().removeprefix("the "): key
        for table in tables
        for key, phrases in table.items()
        for phrase in phrases
    }


def _settings(*tables: dict[str, tuple[tuple[str, str], ...]]) -> dict[str, str]:
    names = defaultdict(list)
    for table in tables:
        for key, words in table.items():
            names[key] += [phrase for _, phrase in words]
    return _phrases(names)


PROPS = _phrases({prop: (prop,) for prop in PROP_SYNONYMS}, PROP_SYNONYMS, HELD_OUT_PROP_SYNONYMS)
LANDMARKS = _phrases({key: landmark_phrases(key) for key in LANDMARK_SYNONYMS}, HELD_OUT_LANDMARK_SYNONYMS)
SETTINGS = _settings(SETTING_WORDS, HELD_OUT_SETTING_WORDS)
CHARACTERS: dict[str, str | None] = {
    **{phrase.removeprefix("the "): None for phrase in (*SHARED_FEATURES, *SIDES[True], *SIDES[False])},
    **_phrases(
        {who: (who, *words.synonyms, *words.features, *words.held_out) for who, words in CHARACTER_WORDS.items()}
    ),
}


def any_of(phrases: Iterable[str]) -> str:
    """Return a regular expression for one of some phrases, the longest first, with or without "the"."""
    return rf"\b(?:the )?({'|'.join(map(re.escape, sorted(phrases, key=len, reverse=True)))})\b"


FIND_PROP, FIND_LANDMARK, FIND_SETTING, FIND_CHARACTER = map(
    re.compile, map(any_of, (PROPS, LANDMARKS, SETTINGS, CHARACTERS))
)
OPENED = re.compile(
    rf"^(?:{any_of(word.strip(',:') for words in (*OPENERS.values(), HELD_OUT_OPENERS) for word in words)}[,:]? ?)+"
)
# What becomes of places, in this order.
PLACES = (
    (r"\b(an?|the|my|this) PROP\b", PROP),
    (r"\bover to\b", "to"),
    (r"\bto the (left side|right side|middle)\b", f"to {PLACE}"),
    (r"\b(by|near|next to|beside|at|close to) PLACE\b|\bon the (left|right)\b|\bin the middle\b", WHERE),
    (r"\b(next to|beside|close to) WHO\b", WHERE),
    (r"\b(high up )?(in|on|by) SETTING\b", f"in {SETTING}"),
    (r",? ?\bto SETTING,? to PLACE\b|,? ?\bto PLACE in SETTING\b|,? ?\bto SETTING\b", f" to {SETTING}"),
    (r"[,:]? (WHERE|in SETTING)\b", ""),
    (r"[^a-zA-Z']+", " "),
)


def plain_form(text: str) -> tuple[str, list[str | None]]:
    """Bring a caption into its plain form.

    Args:
        text: the caption, in lower case.

    Returns:
        The plain form, and the character behind each `WHO` in it; `None` where what is visible names several.
    """
    text = FIND_PROP.sub(PROP, expand(text))
    text = FIND_LANDMARK.sub(PLACE, text)
    text = re.sub(rf"\b(next to|beside|close to) {FIND_CHARACTER.pattern[2:]}", WHERE, text)
    named = [CHARACTERS[match[1]] for match in FIND_CHARACTER.finditer(text)]
    text = FIND_CHARACTER.sub(WHO, text)
    return normalize(FIND_SETTING.sub(SETTING, text)), named


def normalize(text: str) -> str:
    """Return a text with words for names without positions, openers, auxiliaries and the forms of verbs."""
    text = f" {text}"
    for pattern, word in PLACES:
        text = re.sub(pattern, word, text)
    words = OPENED.sub("", text.strip()).split()
    bases, participles = verb_bases()
    plain = []
    for word, following in zip(words, [*words[1:], ""]):
        base = PRONOUN if word in PRONOUN_WORDS else bases.get(word, word)
        if base not in ("be", "have") or following not in participles:
            plain.append(base)
    return " ".join(plain)


@cache
def verb_bases() -> tuple[dict[str, str], set[str]]:
    """Return the base form of each form of the verbs that captions use, and which forms follow an auxiliary."""
    bases, participles = dict.fromkeys(("are", "were"), "be"), set()
    for verb in sorted(_verbs() | set(IRREGULAR), reverse=True):
        third, ing, past, participle = verb_forms(verb)
        bases.update(dict.fromkeys(filter(None, (third, ing, past, participle)), verb))
        participles |= {ing, participle} - {""}
    # "lay" is a verb and the past of another.
    return {word: "lay" if base == "lie" else base for word, base in bases.items()} | {"lie": "lay"}, participles


def _verbs() -> set[str]:
    """Return the verbs of all wordings, in their base form."""
    texts = [text for table in (WORDINGS, HELD_OUT_WORDINGS) for texts in table.values() for text in texts]
    names = {name for text in texts for _, names, _ in VERB.findall(text) for name in names.split("/")}
    members = [verb for table in (VERBS, HELD_OUT_VERBS) for verbs in table.values() for verb in verbs]
    return {verb.split()[0] for verb in (*names, *members) if verb.islower()} | {"go"} | set(_construction_verbs())


def _construction_verbs() -> Iterable[str]:
    return (name for text in HELD_OUT_CONSTRUCTIONS for _, name, _ in VERB.findall(text) if name != "verb")
