"""Say what a picture of StoryWorld shows: who stands where, with what in hand, what lies around, in which light."""

import json
from dataclasses import asdict, dataclass
from typing import NamedTuple

from .stage import Stage

LEFT, RIGHT = SIDES = ("left", "right")


class Figure(NamedTuple):
    """A character of a picture: at which place (0 to 2), on which side of its landmark, with which prop in hand."""

    who: str
    place: int
    side: str
    prop: str | None


class Lying(NamedTuple):
    """A prop on the ground, and its place (0 to 2)."""

    prop: str
    place: int


@dataclass(frozen=True)
class PictureState:
    """
    All that a picture of StoryWorld is drawn from.

    Two pictures are equal where their states are. `figures` and `ground` are sorted.
    """

    setting: str
    weather: str
    time: str
    festive: bool
    figures: tuple[Figure, ...]
    ground: tuple[Lying, ...]

    @classmethod
    def of(cls, stage: Stage) -> "PictureState":
        """Return what the picture of a stage shows."""
        figures = [
            Figure(who, place, LEFT if who == stage.cast[0] else RIGHT, stage.holding(who))
            for who, place in stage.where.items()
        ]
        ground = [Lying(prop, place) for prop, place in stage.lying.items()]
        weather = stage.setting, stage.weather, stage.time, stage.festive
        return cls(*weather, tuple(sorted(figures, key=str)), tuple(sorted(ground)))

    @classmethod
    def from_json(cls, text: str) -> "PictureState":
        """Return the state that `to_json` has written.

        Raises:
            ValueError: for a text of something else.
        """
        try:
            values = json.loads(text)
            figures = tuple(Figure(**figure) for figure in values.pop("figures"))
            ground = tuple(Lying(**prop) for prop in values.pop("ground"))
            return cls(**values, figures=figures, ground=ground)
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ValueError(f"states: got {text[:80]!r}, expected the state of a picture of StoryWorld") from error

    def to_json(self) -> str:
        """Return the state as compact JSON."""
        values = asdict(self)
        values["figures"] = [figure._asdict() for figure in self.figures]
        values["ground"] = [prop._asdict() for prop in self.ground]
        return json.dumps(values, separators=(",", ":"))


def slots(state: PictureState) -> dict[str, object]:
    """
    Return the parts of a state that are compared.

    `who`: the characters; `where`: the place and the side of each; `hand`: who holds which prop; `ground`: which prop
    lies where; `weather`; `time`; `setting`; `flags`: whether flags hang. All together are the state.
    """
    return {
        "who": [figure.who for figure in state.figures],
        "where": [figure[:3] for figure in state.figures],
        "hand": [(figure.who, figure.prop) for figure in state.figures if figure.prop],
        "ground": list(state.ground),
        "weather": state.weather,
        "time": state.time,
        "setting": state.setting,
        "flags": state.festive,
    }


SLOTS = ("who", "where", "hand", "ground", "weather", "time", "setting", "flags")
