"""
Find the stories of `scene` whose instructions run one step behind their states.

In about 2% of the stories the first instruction describes the scene before anything has happened, the second tells of
the first change, and so on. The rule compares words with changes. A pair of an instruction and a change has two points:

- colours: +1 where the instruction names a colour of a place that changes, -1 where it names others alone;
- the event: +1 where it has a verb of what happens (somebody enters, leaves or moves, or hats change heads), -1 where
  it has verbs of other events alone.

The story runs behind where instructions 2 to 5 have more points with changes 1 to 4 than instructions 1 to 5 with
changes 1 to 5. An opening that describes (no verb of an event, but "stands", "there are" and the like) counts as
`OPENING_POINTS` points for it.
"""

import re

from .sequences import Sequence
from .states import SCENE, State

OPENING_POINTS = 4
ENTERS, LEAVES, HATS, MOVES = "enters", "leaves", "hats", "moves"
COLOUR = re.compile(r"\b(red|orange|yellow|green|blue|purple)\b")
VERBS = {
    ENTERS: re.compile(r"appear|enter|join|arriv|shows? up|comes? in|came in|pop(s|ped)? (in|up)|new "),
    LEAVES: re.compile(r"disappear|leav|exit|left the|gone|vanish|goes away|walks? (off|out|away)|departs?"),
    HATS: re.compile(
        r"\b(takes?|took|gives?|gave|trad\w*|swap\w*|switch\w*|exchang\w*|steals?|stole|wear\w*|puts?)\b.*\bhats?\b"
        r"|\bhats?\b.*\b(taken|trade|traded|swap|swapped|switch|switched|exchanged|stolen)\b"
    ),
    MOVES: re.compile(r"mov|walk|step|goes|switch|return|scoot|shift|run|back|slide|hop"),
}
DESCRIBES = re.compile(r"\b(stands?|standing|there|are|is|scene|wear\w*|look\w*|starts?)\b")


def runs_behind(sequence: Sequence) -> bool:
    """Return whether the instructions run one step behind the states; only `scene` has such stories."""
    if sequence.states[0].domain != SCENE:
        return False
    instructions = [instruction.lower() for instruction in sequence.instructions]
    changes = list(zip(sequence.states, sequence.states[1:]))
    in_step = sum(map(_points, instructions, changes))
    behind = sum(map(_points, instructions[1:], changes)) + (OPENING_POINTS if _only_describes(instructions[0]) else 0)
    return behind > in_step


def _points(instruction: str, change: tuple[State, State]) -> int:
    """The points of a pair: -2 to 2."""
    points = 0
    colours, changed = {word[0] for word in COLOUR.findall(instruction)}, _changed_colours(*change)
    if colours and changed:
        points += 1 if colours & changed else -1
    events, event = _events(instruction), _event(*change)
    if events and event:
        points += 1 if event in events else -1
    return points


def _only_describes(instruction: str) -> bool:
    return not _events(instruction) - {HATS} and bool(DESCRIBES.search(instruction))


def _events(instruction: str) -> set[str]:
    return {event for event, verbs in VERBS.items() if verbs.search(instruction)}


def _event(before: State, after: State) -> str | None:
    """What happens between two states of `scene`; `None` where nothing does."""
    if before == after:
        return None
    people = [[slot[0] for slot in state.slots] for state in (before, after)]
    missing = [row.count("_") for row in people]
    if missing[0] != missing[1]:
        return ENTERS if missing[1] < missing[0] else LEAVES
    return HATS if people[0] == people[1] else MOVES


def _changed_colours(before: State, after: State) -> set[str]:
    """The colours, before or after, of the places that change."""
    pairs = zip(before.slots, after.slots)
    return {colour for pair in pairs if pair[0] != pair[1] for colour in "".join(pair)} - {"_"}
