"""Stories as people use them: their pages, printed, shown in a notebook, and saved as files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from PIL import Image

from .pictures import read_picture, shortened
from .story_drawing import Page, story_strip
from .story_formats import FORMATS, encode_story, html_cards, html_rows
from .story_inputs import CheckedStory, check_stories, check_story, is_story, kind_of


class Story(Sequence):
    """A picture story: pages that were given, and pages that a model added.

    `len`, indices, slices and loops go over the pages, each a [`Page`]; a slice is a story. `print` shows the captions,
    a notebook shows the pictures, and `save` writes the story as a file. `references` are pages that are no part of the
    story and are read before it, see `continue_story`.

    ```python
    >>> story = model.continue_story(processor, ["one.png", "two.png"], ["A fox wakes.", None], num_steps=3)
    >>> story.continuation.captions  # the three texts that the model wrote
    >>> story.save("story.gif")
    ```
    """

    def __init__(
        self,
        frames: Sequence,
        captions: Sequence[str | None] | None = None,
        painted: Sequence[bool] | None = None,
        written: Sequence[bool] | None = None,
        attentions: Sequence[torch.Tensor] | None = None,
    ):
        """Open the pictures of a story.

        Args:
            frames: pictures of all kinds that the processor takes.
            captions: a text or `None` for each; by default there are none.
            painted: whether a model painted each frame; by default no frame.
            written: whether a model wrote each caption; by default as `painted`.
            attentions: the maps `(T, heads, h, w)` of each painted frame, see [`Page`].

        Raises:
            ValueError: for what is no picture or no text, and for unequal numbers.
        """
        pages = open_story(check_story(frames, captions, 0)).pages
        painted = [False] * len(pages) if painted is None else [bool(value) for value in painted]
        written = painted if written is None else [bool(value) for value in written]
        maps = [None] * sum(painted) if attentions is None else list(attentions)
        for name, values, count in (
            ("painted", painted, len(pages)),
            ("written", written, len(pages)),
            ("attentions", maps, sum(painted)),
        ):
            if len(values) != count:
                kind = "painted frame" if name == "attentions" else "frame"
                raise ValueError(f"{name}: got {len(values)}, expected {count}, one for each {kind}")
        left, self.references = iter(maps), []
        self.pages = [
            page._replace(is_painted=is_painted, is_written=is_written, attention=next(left) if is_painted else None)
            for page, is_painted, is_written in zip(pages, painted, written)
        ]

    @classmethod
    def from_pages(cls, pages: Iterable[Page], references: Iterable[Page] = ()) -> Story:
        """Return the story of these pages, which may be of several stories, and with these `references`."""
        story = cls.__new__(cls)
        story.pages, story.references = list(pages), list(references)
        return story

    @property
    def frames(self) -> list[Image.Image]:
        """The pictures of all pages, RGB."""
        return [page.frame for page in self.pages]

    @property
    def captions(self) -> list[str | None]:
        """The captions of all pages."""
        return [page.caption for page in self.pages]

    @property
    def num_given(self) -> int:
        """How many pages were given, and not painted by a model."""
        return sum(not page.is_painted for page in self.pages)

    @property
    def attentions(self) -> list[torch.Tensor] | None:
        """The maps `(T, heads, h, w)` of each painted page, see [`Page`]; `None` where a page has none."""
        maps = [page.attention for page in self.pages if page.is_painted]
        return None if any(values is None for values in maps) else maps

    @property
    def continuation(self) -> Story:
        """The story of the painted pages alone."""
        return self.from_pages(page for page in self.pages if page.is_painted)

    def strip(self, title: str = "", frame_width: int = 240, columns: int | None = None) -> Image.Image:
        """Draw the story as one picture: frames in rows, each with its number and caption.

        Args:
            title: line above the rows.
            frame_width: about the width of a frame, in pixels; small frames are enlarged by a whole factor.
            columns: frames in a row; by default at most 5, in rows as even as possible.

        Returns:
            the strip, RGB.

        Raises:
            ValueError: for a story without pages.
        """
        return story_strip(self.pages, title=title, frame_width=frame_width, columns=columns)

    def save(self, path: str | os.PathLike) -> Path:
        """Write the story as a file; return its path.

        Args:
            path: its suffix says what is written: `.png`, `.jpg` or `.jpeg`, a strip; `.html`, a web page in one file;
                `.gif`, one page after another; `.pdf`, a page of paper for each. Missing folders are created.

        Raises:
            ValueError: for another suffix, and for a story without pages.
            OSError: for a file that cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() not in FORMATS:
            raise ValueError(f"path: got {shortened(repr(str(path)))}, expected one of {', '.join(FORMATS)}")
        content = encode_story(self.pages, path.suffix.lower())
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            got, reason = shortened(repr(str(path))), error.strerror or shortened(error)
            raise OSError(f"path: got {got}, expected a file that can be written ({reason})") from error
        return path

    def __len__(self) -> int:
        return len(self.pages)

    def __getitem__(self, index: int | slice) -> Page | Story:
        if not isinstance(index, slice):
            return self.pages[index]
        return self.from_pages(self.pages[index], self.references)

    def __repr__(self) -> str:
        return f"<Story of {self.num_given} given and {len(self) - self.num_given} painted pages>"

    def __str__(self) -> str:
        marks = ("(written) " if page.is_written else "" for page in self.pages)
        lines = zip(range(1, len(self) + 1), marks, self.captions)
        return "\n".join(f"{number}. {mark}{' '.join((text or '').split()) or '-'}" for number, mark, text in lines)

    def _repr_html_(self) -> str:
        return html_cards(self.pages)

    def _repr_png_(self) -> bytes | None:
        return encode_story(self.pages, ".png") if self.pages else None


class Stories(list):
    """A list of stories, which a notebook shows in a row each, and `print` one below the other.

    `scores`, one a story, is what `continue_story` ranked them by with `rank_by`, else `None`.
    """

    def __init__(self, stories: Iterable[Story] = (), scores: list[float] | None = None):
        super().__init__(stories)
        self.scores = scores

    def __getitem__(self, index: int | slice) -> Story | Stories:
        if not isinstance(index, slice):
            return super().__getitem__(index)
        return Stories(super().__getitem__(index), None if self.scores is None else self.scores[index])

    def __str__(self) -> str:
        return "\n\n".join(f"Story {number}\n{story}" for number, story in enumerate(self, start=1))

    def _repr_html_(self) -> str:
        return html_rows([(f"Story {number}", story.pages) for number, story in enumerate(self, start=1)])


def open_story(story: CheckedStory) -> Story:
    """Open the pictures of a story whose form was checked; raise `ValueError` for one that cannot be read."""
    place = f"frames: story {story.index}, frame"
    frames = [read_picture(frame, f"{place} {position}") for position, frame in enumerate(story.frames)]
    return Story.from_pages(map(Page, frames, story.captions))


def open_stories(frames: object, captions: object = None) -> tuple[list[Story], bool]:
    """Open one story or several.

    Args:
        frames: a story, as [`Story`] or in a form that `check_story` accepts, or a list of stories.
        captions (*optional*): a text or `None` a picture, and for several stories a list of such lists.

    Returns:
        the stories, and whether one was given that is not in a list.

    Raises:
        ValueError: for anything else, with the story and the place, and for captions of a [`Story`].
    """
    is_one = isinstance(frames, Story) or is_story(frames)
    if is_one:
        frames, captions = [frames], None if captions is None else [captions]
    if not (isinstance(frames, (list, tuple)) and frames and all(isinstance(story, Story) for story in frames)):
        return [open_story(story) for story in check_stories(frames, captions)], is_one
    if captions is not None:
        raise ValueError(f"captions: got {kind_of(captions)}, expected none: a Story has its captions")
    if empty := [index for index, story in enumerate(frames) if not story]:
        raise ValueError(f"frames: story {empty[0]}: got no picture, expected at least one")
    return list(frames), is_one
