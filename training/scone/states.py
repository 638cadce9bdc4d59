"""
Read and check the states of SCONE's three domains.

A state is written as the data set writes it, slot by slot from the left:

    scene     1:r_ 2:__ 3:yo ... 10:__   ten places: shirt and hat; `_` no hat, `__` nobody
    alchemy   1:_ 2:ggg ... 7:bo         seven beakers: up to four units from the bottom up; `b` is brown here
    tangrams  1:C 2:A ...                up to five figures in a row, `A` to `E`; nothing at all is a state too
"""

import random
import re
from dataclasses import dataclass

NOTHING = "_"
SCENE, ALCHEMY, TANGRAMS = "scene", "alchemy", "tangrams"
COLOURS = {"r": "red", "o": "orange", "y": "yellow", "g": "green", "p": "purple"}
COLOUR_NAMES = {SCENE: {**COLOURS, "b": "blue"}, ALCHEMY: {**COLOURS, "b": "brown"}}
SLOT = re.compile(r"([0-9]+):([A-Za-z_]+)")


@dataclass(frozen=True)
class Domain:
    """
    What a domain's states are made of.

    `num_slots` slots, each of `parts` symbols out of `symbols` or `_`: shirt and hat of a place, the units of a beaker
    from the bottom up, the figure at a place of the row.
    """

    name: str
    num_slots: int
    parts: int
    symbols: str


DOMAINS = {
    SCENE: Domain(SCENE, num_slots=10, parts=2, symbols="roygbp"),
    ALCHEMY: Domain(ALCHEMY, num_slots=7, parts=4, symbols="roygpb"),
    TANGRAMS: Domain(TANGRAMS, num_slots=5, parts=1, symbols="ABCDE"),
}


@dataclass(frozen=True)
class State:
    """
    What stands in each slot of a domain: `slots[i]` has the symbol of every part of slot i, `_` where there is none.

    So a place of `scene` is `r_`, a beaker of `alchemy` is `gg__`, and a place of `tangrams` is `A` or `_`. A state
    that was read from a picture may be illegal, see `fault_of`.
    """

    domain: str
    slots: tuple[str, ...]

    def __str__(self) -> str:
        """The state as the data set writes it; of an illegal one what it would be."""
        return " ".join(f"{number}:{_written(self.domain, slot)}" for number, slot in self._shown())

    def _shown(self) -> list[tuple[int, str]]:
        """Numbers and slots that are written; `tangrams` ends with its last figure."""
        slots = list(enumerate(self.slots, start=1))
        while self.domain == TANGRAMS and slots and slots[-1][1] == NOTHING:
            slots.pop()
        return slots


def domain_named(name: str) -> Domain:
    """Return the domain `name`; raises `ValueError` where there is none."""
    if name not in DOMAINS:
        raise ValueError(f"domain: got {name!r}, expected one of {', '.join(DOMAINS)}")
    return DOMAINS[name]


def parse_state(domain: str, text: str) -> State:
    """
    Read a legal state as the data set writes it, so that `str` of it is `text` again.

    Raises `ValueError`, naming the slot, for anything else.
    """
    shape = domain_named(domain)
    matches = [SLOT.fullmatch(slot) for slot in text.split(" ")] if text else []
    numbers = [match and int(match[1]) for match in matches]
    count = len(matches) if domain == TANGRAMS else shape.num_slots
    if numbers != list(range(1, count + 1)) or count > shape.num_slots:
        most = f"1: to {shape.num_slots}:" if domain != TANGRAMS else f"1: and so on, at most {shape.num_slots}"
        raise ValueError(f"got {text!r}, expected slots {most} of {domain}")
    slots = [_padded(shape, "" if match[2] == NOTHING else match[2]) for match in matches]
    slots += [NOTHING * shape.parts] * (shape.num_slots - len(slots))
    state = State(domain, tuple(slots))
    fault = fault_of(state)
    if fault is None and str(state) != text:
        fault = f"got {text!r}, expected {str(state)!r}"
    if fault is not None:
        raise ValueError(fault)
    return state


def fault_of(state: State) -> str | None:
    """Return why a state is illegal, with the slot; `None` where it is legal."""
    shape = DOMAINS[state.domain]
    if len(state.slots) != shape.num_slots:
        return f"got {len(state.slots)} slots, expected {shape.num_slots}"
    for number, slot in enumerate(state.slots, start=1):
        written = f"slot {number}: got {_written(state.domain, slot)!r}"
        if len(slot) != shape.parts or not set(slot) <= {*shape.symbols, NOTHING}:
            return f"{written}, expected {shape.parts} of {shape.symbols} or {NOTHING}"
        if NOTHING in slot.rstrip(NOTHING):
            why = "a person under the hat" if state.domain == SCENE else "units from the bottom up"
            return f"{written}, expected {why}"
    return _row_fault(state.slots) if state.domain == TANGRAMS else None


def random_state(domain: str, rng: random.Random) -> State:
    """Draw a legal state: every slot by itself, empty with a chance of its own, so that full and empty ones occur."""
    shape = domain_named(domain)
    if domain == TANGRAMS:
        figures = rng.sample(shape.symbols, rng.randint(0, shape.num_slots))
        return State(domain, tuple(figures) + (NOTHING,) * (shape.num_slots - len(figures)))
    density = rng.random()
    slots = []
    for _ in range(shape.num_slots):
        count = rng.randint(1, shape.parts) if rng.random() < density else 0
        slots.append(_padded(shape, "".join(rng.choices(shape.symbols, k=count))))
    return State(domain, tuple(slots))


def _row_fault(slots: tuple[str, ...]) -> str | None:
    """Why the figures are no row: a gap, or one of them twice."""
    figures = [slot for slot in slots if slot != NOTHING]
    if slots[: len(figures)] != tuple(figures):
        return f"slot {slots.index(NOTHING) + 1}: got nothing, expected no gap between figures"
    for number, figure in enumerate(figures, start=1):
        if figure in figures[: number - 1]:
            return f"slot {number}: got {figure!r} again, expected each figure once"
    return None


def _padded(shape: Domain, symbols: str) -> str:
    return symbols.ljust(shape.parts, NOTHING)


def _written(domain: str, slot: str) -> str:
    """A slot as the data set writes it: a beaker without the room that is left in it."""
    return slot if domain != ALCHEMY else slot.rstrip(NOTHING) or NOTHING
