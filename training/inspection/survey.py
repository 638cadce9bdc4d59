"""What a split of a data set holds: every story read once, its pictures decoded one at a time and then let go."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from datasets import Dataset
from PIL import Image
from tqdm.auto import tqdm

from ..data.near_duplicates import SIDE, picture_hash, title_key
from ..data.validation import PER_FRAME_COLUMNS, decode_frame, story_problem

STORIES_AT_ONCE = 16  # encoded stories in memory
# Levels of 255. Cells of the thumbnails of one picture differ by up to 10 after JPEG of quality 75 at 64x96 pixels, by
# 2 at 256x256. In StoryWorld, where little moves, 19 of 17,500 frames of train differ from the one before by no more.
SAME = 12
TELLING_WORDS = 3  # captions of fewer, such as "The end.", are in many stories


@dataclass
class Survey:
    """What is kept of a split. Numbers of pictures and captions are those of good stories; `row` counts all of them."""

    names: list[str] = field(default_factory=list)  # of all stories
    frames: list[int] = field(default_factory=list)  # of good stories, as is all that follows
    rows: list[int] = field(default_factory=list)
    captions: list[list[str | None]] = field(default_factory=list)
    sizes: Counter = field(default_factory=Counter)  # (width, height) of pictures
    modes: Counter = field(default_factory=Counter)
    repeated: list[tuple[int, int]] = field(default_factory=list)  # row, frame that looks like the one before
    bad: list[tuple[str, str]] = field(default_factory=list)  # name, what is wrong
    unreadable_images: int = 0
    unequal: int = 0  # stories with more frames than captions, and the like
    duplicate_ids: Counter = field(default_factory=Counter)  # id: stories that have it
    prints: "Prints" = field(default_factory=lambda: Prints())

    @property
    def num_stories(self) -> int:
        """All of them, good and bad."""
        return len(self.names)


class Prints:
    """
    Fingerprints of pictures, under a kilobyte each: `owners` (row of the story), `positions` (of the frame in it),
    `bits` (difference hash, packed) and `thumbs` (16x16 RGB). Plain pictures, which have no hash, are not in it.
    """

    def __init__(self):
        self.owners, self.positions, self._bits, self._thumbs = [], [], [], []

    def add(self, row: int, position: int, bits: np.ndarray | None, thumb: np.ndarray) -> None:
        """Keeps the fingerprint of a frame."""
        if bits is not None:
            self.owners.append(row)
            self.positions.append(position)
            self._bits.append(np.packbits(bits))
            self._thumbs.append(thumb)

    @property
    def bits(self) -> np.ndarray:
        """`(pictures, 512)`, bool."""
        packed = np.stack(self._bits) if self._bits else np.zeros((0, SIDE * SIDE // 4), np.uint8)
        return np.unpackbits(packed, axis=1).astype(bool)

    @property
    def thumbs(self) -> np.ndarray:
        """`(pictures, 16 * 16 * 3)`, int16."""
        thumbs = [thumb.reshape(-1) for thumb in self._thumbs]
        return np.stack(thumbs).astype(np.int16) if thumbs else np.zeros((0, SIDE * SIDE * 3), np.int16)


def survey_split(stories: Dataset, name: str) -> Survey:
    """
    Reads each of `stories` (schema of `read_stories`) once, with a progress bar that is called `name`.

    Whatever is wrong with a story is told in `bad`; nothing is raised.
    """
    survey = Survey()
    batches = stories.with_format("arrow").iter(STORIES_AT_ONCE)
    with tqdm(total=len(stories), desc=f"reading {name}", unit="story", disable=None) as progress:
        for batch in batches:
            for story in batch.to_pylist():
                _read_story(survey, story)
                progress.update()
    return survey


def thumbnail(picture: Image.Image) -> np.ndarray:
    """What pictures are compared by: `(16, 16, 3)`, uint8, of an RGB picture."""
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX))


def telling_captions(captions: list[str | None]) -> set[str]:
    """The captions by which a story can be known again, without case, punctuation and white space."""
    return {title_key(text) for text in captions if text and len(text.split()) >= TELLING_WORDS}


def _read_story(survey: Survey, story: dict) -> None:
    row = survey.num_stories
    survey.names.append(story["story_id"])
    problem = story_problem(story)
    if problem is None:
        found, problem = _read_pictures(survey, story)
    if problem is not None:
        survey.unequal += _is_unequal(story)
        survey.bad.append((story["story_id"], problem))
        return
    survey.rows.append(row)
    survey.frames.append(len(found))
    survey.captions.append(story["captions"])
    before = None
    for position, (size, mode, bits, thumb) in enumerate(found):
        survey.sizes[size] += 1
        survey.modes[mode] += 1
        survey.prints.add(row, position, bits, thumb)
        if before is not None and np.abs(thumb.astype(int) - before).max() <= SAME:
            survey.repeated.append((row, position))
        before = thumb


def _read_pictures(survey: Survey, story: dict) -> tuple[list[tuple], str | None]:
    """Size, mode, hash and thumbnail of each frame, and what is wrong with the first one that cannot be read."""
    found, problem = [], None
    for index in range(len(story["frames"])):
        try:
            picture = decode_frame(story, index)
        except ValueError as error:
            survey.unreadable_images += 1
            problem = problem or str(error)
            continue
        found.append((picture.size, picture.info["mode"], picture_hash(picture), thumbnail(picture)))
    return found, problem


def _is_unequal(story: dict) -> bool:
    lengths = {len(story[name]) for name in PER_FRAME_COLUMNS if isinstance(story.get(name), list)}
    return bool(story["frames"]) and bool(lengths - {len(story["frames"])})
