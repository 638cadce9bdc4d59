"""Say which pictures may follow a picture of StoryWorld: those after an event that the world itself could draw.

>>> from storyattn.training.storyworld.legality import legal_kinds
>>> legal_kinds(before, after, [before])  # {"enter"}; an empty set where nothing leads from one to the other

The rule is that of the world: its own events are run with every choice that they could draw.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from .characters import CHARACTERS
from .events import PAIRED, SIMPLE_EVENTS, Step, both_show, draw_event
from .plots import PLOTS
from .settings import ALL_SETTINGS
from .stage import Stage
from .states import LEFT, RIGHT, PictureState

CACHED = 512  # pictures whose followers are kept


def legal_kinds(before: PictureState, after: PictureState, seen: Iterable[PictureState] = ()) -> frozenset[str]:
    """
    Return the kinds of events that lead from one picture to another; none where the world has no such event.

    Args:
        before: what the last picture shows.
        after: what the next one shows.
        seen: what the pictures before these show: a story has two characters, and each keeps its side of a landmark.
    """
    cast = cast_of([*seen, before, after])
    return frozenset() if cast is None else next_states(before, cast).get(after, frozenset())


def cast_of(states: Iterable[PictureState]) -> tuple[str, str] | None:
    """Return the two characters of a story, any other for one who is not seen; `None` where there are more."""
    sides: dict[str, set[str]] = {LEFT: set(), RIGHT: set()}
    for state in states:
        for figure in state.figures:
            sides[figure.side].add(figure.who)
    if max(map(len, sides.values())) > 1 or sides[LEFT] & sides[RIGHT]:
        return None
    left, right = (next(iter(sides[side]), None) for side in (LEFT, RIGHT))
    strangers = (name for name in CHARACTERS if name not in (left, right))
    return left or next(strangers), right or next(strangers)


def is_twice(state: PictureState) -> bool:
    """Return whether somebody is there twice."""
    names = [figure.who for figure in state.figures]
    return len(set(names)) < len(names)


def stage_of(state: PictureState, cast: tuple[str, str]) -> Stage | None:
    """Return the stage that a picture shows; `None` for what no stage is: somebody, or a prop, at two places."""
    where = {figure.who: figure.place for figure in state.figures}
    held = {figure.prop: figure.who for figure in state.figures if figure.prop}
    lying = {prop.prop: prop.place for prop in state.ground}
    stage = Stage(state.setting, state.weather, state.time, cast, where, lying, held, state.festive)
    return stage if PictureState.of(stage) == state and not held.keys() & lying.keys() and where else None


@lru_cache(CACHED)
def next_states(state: PictureState, cast: tuple[str, str]) -> dict[PictureState, frozenset[str]]:
    """Return what the next picture may show, each with the kinds of events that lead there."""
    stage, kinds = stage_of(state, cast), defaultdict(set)
    if stage is None:
        return {}
    for first in _simple_steps(stage, SIMPLE_EVENTS, with_values=True):
        kinds[PictureState.of(first.stage)].add(first.kind)
    for first in _simple_steps(stage, PAIRED):
        for second in _simple_steps(first.stage, PAIRED):
            after = PictureState.of(second.stage)
            if (after not in kinds or kinds[after] == {"two_events"}) and both_show(first, second):
                kinds[after].add("two_events")
    return {after: frozenset(names) for after, names in kinds.items()}


def _simple_steps(stage: Stage, kinds: Iterable[str], with_values: bool = False) -> Iterator[Step]:
    """Yield all events of these kinds that are possible, by whoever acts, with the values of plots or without."""
    for kind in kinds:
        for who in stage.where:
            for value in (*_values_of_plots(kind), "") if with_values else ("",):
                if value == "friend" and len(stage.where) < 2:
                    continue
                arguments = stage, kind, list(ALL_SETTINGS), who, value
                yield from filter(None, _outcomes(lambda rng, arguments=arguments: draw_event(rng, *arguments)))


def _values_of_plots(kind: str) -> set[str]:
    """Return the values that plots give events of a kind."""
    names = [name.partition(":") for steps in PLOTS.values() for step in steps for name in step.split("|")]
    return {value for of, _, value in names if of == kind and value}


def _outcomes(draw: Callable[["_Chooser"], Any]) -> Iterator[Any]:
    """Yield what a function returns for every sequence of choices that it could draw."""
    path: list[int] = []
    while True:
        chooser = _Chooser(path)
        yield draw(chooser)
        taken = chooser.taken
        while taken and taken[-1][0] + 1 == taken[-1][1]:
            taken.pop()
        if not taken:
            return
        path = [index for index, _ in taken]
        path[-1] += 1


class _Chooser:
    """In the place of `random.Random`: takes the choices of a path, and the first of each from there on."""

    def __init__(self, path: list[int]):
        self.path, self.taken = path, []

    def randrange(self, number: int) -> int:
        """Return the next choice among 0 to `number` - 1."""
        place = len(self.taken)
        index = self.path[place] if place < len(self.path) else 0
        self.taken.append((index, number))
        return index

    def choice(self, options: Sequence) -> Any:
        """Return the next choice among options."""
        return options[self.randrange(len(options))]
