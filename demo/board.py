"""What the page shows: a story, the continuation that is tried, and futures to choose from."""

import base64
import html
import itertools
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pictures import story_cards, strip
from PIL import Image

if TYPE_CHECKING:
    from story import Storyteller
    from storyattn import Story

EXAMPLES = sorted(path for path in (Path(__file__).parent / "examples").iterdir() if path.is_dir())
DRAWINGS = itertools.count()
TYPES = {".png": "image/png", ".gif": "image/gif"}


@dataclass(frozen=True)
class Board:
    """A story in work.

    Args:
        story: its pages.
        start: the number of pages before the continuation that "More like this" and "Another future" replace.
        futures: stories that begin with those pages, one of which can be chosen.
    """

    story: "Story"
    start: int
    futures: tuple["Story", ...] = ()

    @classmethod
    def of(cls, story: "Story") -> "Board":
        """Return the board of a story without a continuation."""
        return cls(story, len(story))

    @property
    def beginning(self) -> "Story":
        """The pages before the continuation."""
        return self.story[: self.start]

    @property
    def num_continued(self) -> int:
        """How many pages the continuation has."""
        return len(self.story) - self.start

    def with_captions(self, captions: list[str] | None) -> "Board":
        """Return the board with the captions that the page shows; those of other stories change nothing."""
        if captions is None or len(captions) != len(self.story):
            return self
        pages = [
            page
            if caption == (page.caption or "").strip()
            else page._replace(caption=caption or None, is_written=False)
            for page, caption in zip(self.story, captions)
        ]
        return replace(self, story=self.story.from_pages(pages))

    def with_painted(self, story: "Story", index: int) -> "Board":
        """Return the board of a story whose page `index` was painted again, and is no longer replaced."""
        return Board(story, max(self.start, index + 1))

    def without(self, index: int) -> "Board":
        """Return the board without a page."""
        pages = [page for number, page in enumerate(self.story) if number != index]
        return Board(self.story.from_pages(pages), self.start - (index < self.start))

    def as_given(self) -> "Board":
        """Return the board whose pages all count as given by the user."""
        pages = [page._replace(is_painted=False, is_written=False, attention=None) for page in self.story]
        return Board.of(self.story.from_pages(pages))

    def html(self, num_waiting: int = 0) -> str:
        """Return the board as HTML, with places for pages that are being written and painted.

        Each drawing differs, for the browser would leave captions that were edited where it gets the same text again.
        """
        content = self._futures_html() if self.futures else self._story_html(num_waiting)
        return f'<div data-drawing="{next(DRAWINGS)}">{content}</div>'

    def _story_html(self, num_waiting: int) -> str:
        cards = story_cards(self.story)
        for index, card in enumerate(cards):
            paint = [("paint", "Paint again")] if self.story[index].is_painted else []
            card.update(page=index, buttons=[*paint, ("remove", "×")] if len(cards) > 1 and not num_waiting else [])
        last = len(cards) + num_waiting
        for number in range(len(cards) + 1, last + 1):
            text = "is being written and painted …" if number == len(cards) + 1 else ""
            cards.append({"picture": None, "label": f"{number} of {last}", "text": text, "kind": "painted waiting"})
        return strip(cards)

    def _futures_html(self) -> str:
        rows = [strip(story_cards(self.beginning))]
        for index, future in enumerate(self.futures):
            choose = f'<button class="choose" data-event="choose" data-index="{index}">Choose this future</button>'
            heading = f"<h3>Future {index + 1} {choose}</h3>"
            rows.append(f'<div class="future">{heading}{strip(story_cards(future[self.start :], self.start))}</div>')
        return "".join(rows)


def open_example(teller: "Storyteller", folder: Path) -> Board:
    """Return the board of an example: its frames, and the continuation that was painted by `draw_examples.py`."""
    continuation = _continuation(folder)
    given = (folder / "captions.txt").read_text(encoding="utf-8").splitlines()
    captions = [*given, *continuation["captions"]]
    frames = [Image.open(folder / f"{number}.png") for number in range(1, len(captions) + 1)]
    painted = [index >= len(given) for index in range(len(captions))]
    return Board(teller.story_class(frames, captions, painted), len(given))


def model_of(folder: Path) -> str:
    """Return the name of the model that continued an example, which may be another than the one that is loaded."""
    return _continuation(folder)["model"]


def title_of(folder: Path) -> str:
    """Return the title of an example."""
    return folder.name.replace("_", " ").capitalize()


def _continuation(folder: Path) -> dict:
    """Return the captions that a model wrote for an example, and its name."""
    return json.loads((folder / "continuation.json").read_text(encoding="utf-8"))


def story_file(story: "Story", suffix: str) -> dict[str, str]:
    """Return the name of a file of the story and its content as a data URL; the suffix is one of `TYPES`."""
    with tempfile.TemporaryDirectory() as folder:
        content = story.save(Path(folder, f"story{suffix}")).read_bytes()
    return {"name": f"story{suffix}", "url": f"data:{TYPES[suffix]};base64,{base64.b64encode(content).decode()}"}


def note(text: str) -> str:
    """Return a line of text as HTML."""
    return f'<p class="note">{html.escape(text)}</p>'
