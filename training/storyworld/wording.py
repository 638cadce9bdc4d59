"""Parse the wordings of StoryWorld's captions: their conditions, tenses, verbs and alternatives."""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

from .held_out_wordings import HELD_OUT_VERBS, HELD_OUT_WORDINGS
from .inflection import TENSES, inflect
from .scene_wordings import SCENE_WORDINGS
from .wordings import EVENT_WORDINGS, VERBS

WORDINGS = {**EVENT_WORDINGS, **SCENE_WORDINGS}
ALTERNATIVES = re.compile(r"\(([^()]*)\)")
SLOT = re.compile(r"\{([a-z.!?*]+)\}")
VERB = re.compile(r"\[([&=~]?)([^\]+]+)(\+?)\]")
TENSE_SETS = {
    "pp": ("present", "past"),
    "np": ("present", "progressive", "past"),
    "nf": ("present", "past", "perfect"),
}
STATIVE = {"be", "do", "want", "can", "have", "like"}  # these have neither progressive nor perfect here
FORMS = {"=": "bare", "~": "ing"}
FIXED_STARTS = ("now", "here", "after", "because", "tired", "to ", "over", "together", "(", "suddenly")
ACTOR = "{who} ["  # how a wording begins that joins another of the same actor, or a held-out construction


@dataclass(frozen=True)
class Wording:
    """A way to say that an event happens.

    Attributes:
        text: what becomes the sentence.
        conditions: what must hold of the moment.
        tenses: those that it may stand in.
        is_clause: whether it is a plain clause, which can stand beside another in a sentence.
        takes_opener: whether a word such as "then" may stand before it.
    """

    text: str
    conditions: frozenset[str]
    tenses: tuple[str, ...]
    is_clause: bool
    takes_opener: bool

    @property
    def has_actor(self) -> bool:
        """Return whether it is a plain clause that begins with who acts and a verb."""
        return self.is_clause and self.text.startswith(ACTOR)

    def can_hold_out(self) -> bool:
        """Return whether one of its verbs has held-out synonyms."""
        return any(verb in HELD_OUT_VERBS for _, verb, _ in VERB.findall(self.text))


def parse(entry: str) -> Wording:
    """Parse an entry of the tables: conditions before `>`, then the text."""
    head, separator, text = entry.partition("> ")
    if not separator:
        head, text = "", entry
    conditions = set(head.split())
    limit = next((TENSE_SETS[name] for name in TENSE_SETS if name in conditions), TENSES)
    verbs = {verb for _, names, _ in VERB.findall(text) for verb in names.split("/")}
    if verbs & STATIVE:
        limit = TENSE_SETS["pp"]
    bare = SLOT.sub("", text)
    is_sentence = "[" in text and not any(mark in bare for mark in '"!?:')
    starts_fixed = text.startswith(FIXED_STARTS)
    is_plain = "," not in bare and not any(word in bare for word in (" and ", " but ", " while ", " because "))
    return Wording(
        text=text,
        conditions=frozenset(conditions - set(TENSE_SETS)),
        tenses=limit,
        is_clause=is_sentence and is_plain and not starts_fixed,
        takes_opener=is_sentence and not starts_fixed,
    )


@cache
def wordings_of(kind: str, held_out: bool = False) -> tuple[Wording, ...]:
    """Return the wordings of a kind of event, of training or those that are held out."""
    table = HELD_OUT_WORDINGS if held_out else WORDINGS
    return tuple(parse(entry) for entry in table.get(kind, ()))


def constructed(wording: Wording, construction: str) -> Wording:
    """Put a clause that begins with who acts into one of `HELD_OUT_CONSTRUCTIONS`."""
    verb, _, rest = wording.text.removeprefix(ACTOR).partition("]")
    text = re.sub(r"\[([=~]?)verb\]", lambda match: f"[{match[1]}{verb}]", construction)
    text = text.replace("{rest}", rest.strip().replace("{who", "{he"))
    if re.search(r"\[[=~]", text):  # the verbs behind it take the form of the first
        form = re.search(r"\[([=~])", text)[1]
        text = text.replace("[&", f"[{form}")
    tenses = tuple(tense for tense in wording.tenses if tense in ("present", "past"))
    return Wording(text, wording.conditions, tenses, False, False)


def choose_alternatives(text: str, rng: random.Random) -> str:
    """Draw one of each group of alternatives."""
    return ALTERNATIVES.sub(lambda match: rng.choice(match[1].split("|")), text)


def all_alternatives(text: str) -> Iterator[str]:
    """Yield the text with every choice of alternatives."""
    pieces = ALTERNATIVES.split(text)
    choices = [piece.split("|") if number % 2 else [piece] for number, piece in enumerate(pieces)]
    for chosen in product(*choices):
        yield "".join(chosen)


def verbs_of(name: str, held_out: bool = False) -> tuple[str, ...]:
    """Return the verbs behind a name in square brackets: a set, those between `/`, or the verb itself."""
    if "/" in name:
        return tuple(name.split("/"))
    if held_out:
        return HELD_OUT_VERBS.get(name, ()) or VERBS.get(name, (name,))
    return VERBS.get(name, (name,))


def inflect_verbs(text: str, tense: str, pick: Callable[[str], str]) -> str:
    """Put the verbs of a text into a tense.

    Args:
        text: the text of a wording.
        tense: one of `TENSES`.
        pick: chooses one verb for a name in square brackets.
    """

    def form(match: re.Match) -> str:
        mark, name, plural = match.groups()
        verb, _, rest = pick(name).partition(" ")
        word = inflect(verb, FORMS.get(mark, tense), plural=bool(plural), second=mark == "&")
        return f"{word} {rest}".rstrip()

    return VERB.sub(form, text)
