"""
Make further training stories of SCONE's: colours exchanged in words and states alike, left and right exchanged.

A person who wrote "the man in red moves left" would have written "the man in green moves right" of the story in which
red is green and the scene is seen in a mirror. So a variant is as true as its story, and a model cannot answer by what
was said of this very colour or side.
"""

import random
import re

from .sequences import Sequence
from .states import ALCHEMY, COLOUR_NAMES, DOMAINS, SCENE, TANGRAMS, State

FIXED = {ALCHEMY: "b"}  # brown is what a mixture becomes, and no colour like the others
SIDES = {"left": "right", "leftmost": "rightmost", "leftward": "rightward", "lefthand": "righthand"}
SIDES |= {right: left for left, right in SIDES.items()}
# Words that count places from the left, without saying so.
COUNTS = re.compile(
    r"\b(first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|last|\d+(st|nd|rd|th)?|number\w*)\b", re.I
)

ARTICLE = re.compile(r"\b(a)n?(\s+)(?=(?:red|orange|yellow|green|blue|purple)\b)([a-z])", re.I)


def variants(sequence: Sequence, count: int) -> list[Sequence]:
    """
    Return `count` variants of a story, the same ones each time; what is drawn depends on its name alone.

    Colours are exchanged at random, all at once (of `tangrams` the figures, which nobody names). Half of the variants
    of `scene` are mirrored, where no instruction counts places.
    """
    rng = random.Random(f"variants/{sequence.name}")
    return [_variant(sequence, f"{sequence.name}~{number}", rng) for number in range(1, count + 1)]


def _variant(sequence: Sequence, name: str, rng: random.Random) -> Sequence:
    domain = sequence.states[0].domain
    symbols = [symbol for symbol in DOMAINS[domain].symbols if symbol not in FIXED.get(domain, "")]
    exchanged = dict(zip(symbols, rng.sample(symbols, len(symbols))))
    words = {}
    if domain != TANGRAMS:
        names = COLOUR_NAMES[domain]
        words = {names[old]: names[new] for old, new in exchanged.items()}
    is_mirrored = domain == SCENE and rng.random() < 0.5 and not any(map(COUNTS.search, sequence.instructions))
    if is_mirrored:
        words |= SIDES
    states = tuple(_exchanged_state(state, exchanged, is_mirrored) for state in sequence.states)
    return Sequence(name, states, tuple(exchange_words(text, words) for text in sequence.instructions))


def _exchanged_state(state: State, symbols: dict[str, str], is_mirrored: bool) -> State:
    slots = tuple("".join(symbols.get(symbol, symbol) for symbol in slot) for slot in state.slots)
    return State(state.domain, slots[::-1] if is_mirrored else slots)


def exchange_words(text: str, words: dict[str, str]) -> str:
    """Exchange whole words of `text`, and those with an s at their end ("the reds"), all at once."""
    if not words:
        return text
    pattern = re.compile(rf"\b({'|'.join(sorted(words, key=len, reverse=True))})(s?)\b", re.I)
    exchanged = pattern.sub(lambda match: _as_written(match[1], words[match[1].lower()]) + match[2], text)
    return ARTICLE.sub(
        lambda match: match[1] + ("n" if match[3].lower() == "o" else "") + match[2] + match[3], exchanged
    )


def _as_written(old: str, new: str) -> str:
    return new.upper() if old.isupper() and len(old) > 1 else new.capitalize() if old[0].isupper() else new
