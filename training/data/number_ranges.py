"""Hold the pictures of a data set to one range of floats, and to one of whole numbers."""

from collections.abc import Iterable

from PIL import Image
from storyattn.pictures import UnknownRange

KINDS = ("floats", "whole numbers")


class NumberRanges:
    """Which range each kind of numbers has, and the first story whose pictures have it.

    One picture alone shows only its largest number: a dark one of floats from 0 to 255 looks like one from 0 to 1.
    """

    def __init__(self):
        self.first: dict[str, tuple[str, str]] = {}  # range and story by kind

    def add(self, stories: Iterable[tuple[str, Iterable[str]]]) -> None:
        """Add stories, by their ids, with the ranges of their pictures, from `range_of`.

        Raises:
            ValueError: where an earlier story has another range of the same kind of numbers.
        """
        for story, new in ((story, new) for story, ranges in stories for new in ranges):
            kind = next(kind for kind in KINDS if new.startswith(kind))
            earlier, other = self.first.setdefault(kind, (new, story))
            if earlier != new:
                got = f"got {earlier} in story {other!r} and {new} in story {story!r}"
                raise ValueError(f"frames: {got}, expected one range in all stories")

    def lines(self) -> list[str]:
        """Return a sentence for each range that is known."""
        given_ranges = [numbers for numbers, _ in self.first.values() if " from " in numbers]
        return [f"frames: got {numbers}, which are taken for black to white" for numbers in given_ranges]


def range_of(result: Image.Image | Exception) -> str | None:
    """Return the range of a picture from `decode_frame`, or of one that it refused; `None` where nothing is open."""
    if isinstance(result, Image.Image):
        return result.info["range"]
    cause = result.__cause__
    return f"{cause.kind} of no known range" if isinstance(cause, UnknownRange) else None
