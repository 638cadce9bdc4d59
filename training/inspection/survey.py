"""Survey a split of a data set: every story is read once, and only one of its pictures is in memory at a time."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from datasets import Dataset
from PIL import Image
from tqdm.auto import tqdm

from ..data.near_duplicates import HASH_SIDE, picture_hash, title_key
from ..data.number_ranges import range_of
from ..data.validation import PER_FRAME_COLUMNS, decode_frame, story_problem

STORIES_AT_ONCE = 16  # encoded stories in memory
THUMBNAIL_SIDE = HASH_SIDE  # cells
# Levels of 255. Cells of the thumbnails of one picture differ by up to 10 after JPEG of quality 75 at 64x96 pixels, by
# 2 at 256x256. In StoryWorld, where little moves, 19 of 17,500 frames of train differ from the one before by no more.
MAX_THUMBNAIL_DIFFERENCE = 12
MIN_DISTINCTIVE_WORDS = 3  # captions of fewer words, such as "The end.", are in many stories


class PictureFingerprints:
    """Fingerprints of pictures, under a kilobyte each.

    `owners` are the rows of their stories, `positions` the frames in these, `bits` difference hashes (stored packed)
    and `thumbnails` 16x16 RGB. Plain pictures, which have no hash, are left out.
    """

    def __init__(self):
        self.owners, self.positions, self._bits, self._thumbnails = [], [], [], []

    def add(self, row: int, position: int, bits: np.ndarray | None, thumbnail: np.ndarray) -> None:
        """Store the fingerprint of a frame.

        Args:
            row: row of its story.
            position: number of the frame in the story, from 0.
            bits: its difference hash, `(512,)`, bool; `None`: nothing is stored.
            thumbnail: its thumbnail, `(16, 16, 3)`, uint8.
        """
        if bits is not None:
            self.owners.append(row)
            self.positions.append(position)
            self._bits.append(np.packbits(bits))
            self._thumbnails.append(thumbnail)

    @property
    def bits(self) -> np.ndarray:
        """`(pictures, 512)`, bool."""
        packed = np.stack(self._bits) if self._bits else np.zeros((0, HASH_SIDE * HASH_SIDE // 4), np.uint8)
        return np.unpackbits(packed, axis=1).astype(bool)

    @property
    def thumbnails(self) -> np.ndarray:
        """`(pictures, 16 * 16 * 3)`, int16."""
        rows = [thumbnail.reshape(-1) for thumbnail in self._thumbnails]
        return np.stack(rows).astype(np.int16) if rows else np.zeros((0, THUMBNAIL_SIDE * THUMBNAIL_SIDE * 3), np.int16)


@dataclass
class Survey:
    """What a survey records of a split.

    Numbers of pictures and captions are those of good stories; a row counts all stories.
    """

    names: list[str] = field(default_factory=list)  # of all stories
    frames: list[int] = field(default_factory=list)  # numbers of good stories, as is all that follows
    rows: list[int] = field(default_factory=list)
    captions: list[list[str | None]] = field(default_factory=list)
    sizes: Counter = field(default_factory=Counter)  # (width, height) of pictures
    modes: Counter = field(default_factory=Counter)
    ranges: dict[str, str] = field(default_factory=dict)  # of numbers, and the first story that has each
    repeated: list[tuple[int, int]] = field(default_factory=list)  # row, frame that looks like the one before
    bad: list[tuple[str, str]] = field(default_factory=list)  # name, problem
    unreadable_images: int = 0
    unequal: int = 0  # stories with more frames than captions, and the like
    duplicate_ids: Counter = field(default_factory=Counter)  # id: stories that have it
    fingerprints: PictureFingerprints = field(default_factory=PictureFingerprints)

    @property
    def num_stories(self) -> int:
        """All stories, good and bad."""
        return len(self.names)

    def add_range(self, numbers: str | None, story: str) -> None:
        """Record the range of a picture's numbers, from `range_of`."""
        if numbers is not None:
            self.ranges.setdefault(numbers, story)


def survey_split(stories: Dataset, name: str) -> Survey:
    """Read each of `stories` (schema of `read_stories`) once, with a progress bar that is called `name`.

    Whatever is wrong with a story goes to `bad`; nothing is raised.
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
    """Return the thumbnail by which an RGB picture is compared, `(16, 16, 3)`, uint8."""
    return np.asarray(picture.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX))


def distinctive_captions(captions: list[str | None]) -> set[str]:
    """Return the captions by which a story can be recognized, without case, punctuation and white space."""
    return {title_key(text) for text in captions if text and len(text.split()) >= MIN_DISTINCTIVE_WORDS}


def _read_story(survey: Survey, story: dict) -> None:
    row = survey.num_stories
    survey.names.append(story["story_id"])
    problem = story_problem(story)
    if problem is None:
        pictures, problem = _read_pictures(survey, story)
    if problem is not None:
        survey.unequal += _is_unequal(story)
        survey.bad.append((story["story_id"], problem))
        return
    survey.rows.append(row)
    survey.frames.append(len(pictures))
    survey.captions.append(story["captions"])
    before = None
    for position, (size, mode, bits, small) in enumerate(pictures):
        survey.sizes[size] += 1
        survey.modes[mode] += 1
        survey.fingerprints.add(row, position, bits, small)
        if before is not None and np.abs(small.astype(int) - before).max() <= MAX_THUMBNAIL_DIFFERENCE:
            survey.repeated.append((row, position))
        before = small


def _read_pictures(survey: Survey, story: dict) -> tuple[list[tuple], str | None]:
    """Return size, mode, hash and thumbnail of each frame, and the problems of all that cannot be read."""
    pictures, problems = [], []
    for index in range(len(story["frames"])):
        try:
            picture = decode_frame(story, index)
        except ValueError as error:
            survey.add_range(range_of(error), story["story_id"])
            survey.unreadable_images += 1
            problems.append(str(error))
            continue
        survey.add_range(range_of(picture), story["story_id"])
        pictures.append((picture.size, picture.info["mode"], picture_hash(picture), thumbnail(picture)))
    return pictures, "; ".join(problems) or None


def _is_unequal(story: dict) -> bool:
    lengths = {len(story[name]) for name in PER_FRAME_COLUMNS if isinstance(story.get(name), list)}
    return bool(story["frames"]) and bool(lengths - {len(story["frames"])})
