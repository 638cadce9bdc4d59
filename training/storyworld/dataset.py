"""Draw the stories of StoryWorld as a data set: by seeds, with a split of combinations that no other split has."""

import hashlib
import random
from collections.abc import Iterator

from datasets import Dataset, Features, Image, List, Value

from ..common.defaults import NUM_STORIES
from .captions import opening_caption
from .characters import CHARACTERS
from .events import Step
from .plots import PLOTS, open_stage, play
from .settings import ALL_SETTINGS
from .stage import Stage, draw_stage
from .states import PictureState

# Part of the cache key of the drawn stories: raise it with every change of frames, captions, boxes or events.
STORYWORLD_VERSION = 2
SPLITS = ("train", "validation", "test", "test_unseen")
HELD_OUT = 10  # one in ten combinations of character, setting and plot is in `test_unseen` alone
# Pictures that are never in `train`: 15 in 100 for validation, as many for the two tests.
RESERVED = {"validation": range(15), "test": range(15, 30), "test_unseen": range(15, 30)}
MIN_RESERVED = 3  # frames of a story of these splits that are such pictures; of a short story half of them

STORYWORLD_FEATURES = Features(
    {
        "story_id": Value("string"),
        "frames": List(Image()),
        "captions": List(Value("string")),
        "boxes": List(List({"entity": Value("string"), "kind": Value("string"), "box": List(Value("int32"))})),
        "events": List({"kind": Value("string"), "entity": Value("string"), "box": List(Value("int32"))}),
        "states": List(Value("string")),
        "setting": Value("string"),
        "plot": Value("string"),
        "characters": List(Value("string")),
    }
)


def is_held_out(character: str, setting: str, plot: str) -> bool:
    """Return whether this combination is in `test_unseen` alone."""
    digest = hashlib.sha256(f"{character}/{setting}/{plot}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % HELD_OUT == 0


def generate_story(seed: int, split: str, *, image_size: tuple[int, int] = (64, 96), num_frames: int = 6) -> dict:
    """Draw one story.

    Args:
        seed: number of the story. With `split` and `num_frames` it determines the story; `image_size` does not change
            what happens.
        split: one of `SPLITS`.
        image_size: height and width of the frames, in pixels, at least 16.
        num_frames: number of frames, at least 2.

    Returns:
        `story_id`, `frames` (list of RGB pictures), `captions`, `boxes` (per frame, of all that is visible: `entity`,
        `kind` "character" or "prop", `box` `[x1, y1, x2, y2]` in pixels, x2 and y2 exclusive), `events` (per frame:
        `kind`, `entity`, `box`: where the event shows, empty for weather, time, travel, celebrations and the opening),
        `states` (per frame: all that it is drawn from, see `PictureState.to_json`), `setting` (of the opening), `plot`
        and `characters` (hero and friend).

    Raises:
        ValueError: for an unknown split, fewer than two frames, or a frame of less than 16 pixels a side.
    """
    _check(split, image_size, num_frames)
    rng = random.Random(f"storyworld/{split}/{seed}")
    while True:
        plot, setting, cast, settings = _choose(rng, split)
        stage = open_stage(plot, rng, setting, cast)
        opening = Step(stage, "opening", "", opening_caption(rng, stage))
        steps = [opening, *play(plot, rng, stage, num_frames - 1, settings)]
        if _belongs([step.stage for step in steps], split):
            break
    drawn = [draw_stage(step.stage, image_size) for step in steps]
    return {
        "story_id": f"{split}-{seed}",
        "frames": [picture for picture, _ in drawn],
        "captions": [step.caption for step in steps],
        "boxes": [boxes for _, boxes in drawn],
        "events": [
            {"kind": step.kind, "entity": step.entity, "box": _event_box(step.entity, boxes, before)}
            for step, (_, boxes), before in zip(steps, drawn, [[], *(boxes for _, boxes in drawn)])
        ],
        "states": [PictureState.of(step.stage).to_json() for step in steps],
        "setting": setting,
        "plot": plot,
        "characters": list(cast),
    }


def load_storyworld(
    split: str,
    *,
    num_stories: int | None = None,
    num_frames: int = 6,
    image_size: tuple[int, int] = (64, 96),
    seed: int = 0,
    cache_dir: str | None = None,
    num_proc: int | None = None,
) -> Dataset:
    """Return the stories of a split, drawn at the first call and then cached by `datasets`, frames as PNG.

    Args:
        split: one of `SPLITS`.
        num_stories: number of stories; by default 3500 for `train` and 200 for the others.
        num_frames: frames of a story, at least 2.
        image_size: height and width of the frames, in pixels, at least 16.
        seed: another seed gives other stories of the same kind.
        cache_dir: folder of the cache; by default that of `datasets`.
        num_proc: processes that draw.

    Raises:
        ValueError: as `generate_story`, and for `num_stories` below 1.
    """
    _check(split, image_size, num_frames)
    num_stories = NUM_STORIES[split] if num_stories is None else num_stories
    if num_stories < 1:
        raise ValueError(f"num_stories: got {num_stories}, expected at least 1")
    seeds = [seed * 1_000_000 + number for number in range(num_stories)]
    options = {"split": split, "image_size": tuple(image_size), "num_frames": num_frames, "version": STORYWORLD_VERSION}
    described = sorted(options.items()), seed, num_stories, sorted(STORYWORLD_FEATURES)
    key = hashlib.sha256(repr(described).encode()).hexdigest()[:16]
    return Dataset.from_generator(
        _stories,
        features=STORYWORLD_FEATURES,
        cache_dir=cache_dir,
        gen_kwargs={"seeds": seeds, **options},
        num_proc=num_proc,
        split=split,
        fingerprint=f"storyworld-{key}",
    )


def _stories(
    seeds: list[int], split: str, image_size: tuple[int, int], num_frames: int, version: int
) -> Iterator[dict]:
    """Draw stories for `Dataset.from_generator`; `version` is there for its cache key alone."""
    for seed in seeds:
        yield generate_story(seed, split, image_size=image_size, num_frames=num_frames)


def _check(split: str, image_size: tuple[int, int], num_frames: int) -> None:
    if split not in SPLITS:
        raise ValueError(f"split: got {split!r}, expected one of {', '.join(SPLITS)} in 'storyworld'")
    if num_frames < 2:
        raise ValueError(f"num_frames: got {num_frames}, expected at least 2")
    if len(image_size) != 2 or min(image_size) < 16:
        raise ValueError(f"image_size: got {image_size}, expected (height, width) of at least 16 pixels")


def _choose(rng: random.Random, split: str) -> tuple[str, str, tuple[str, str], list[str]]:
    """Draw plot, setting, hero and friend of a story of `split`, and the settings to which it may travel."""
    while True:
        plot, setting = rng.choice(list(PLOTS)), rng.choice(ALL_SETTINGS)
        cast = tuple(rng.sample(list(CHARACTERS), 2))
        if split == "test_unseen":
            if is_held_out(cast[0], setting, plot):
                return plot, setting, cast, list(ALL_SETTINGS)
            continue
        allowed = [place for place in ALL_SETTINGS if not any(is_held_out(who, place, plot) for who in cast)]
        if setting in allowed:
            return plot, setting, cast, allowed


def _belongs(stages: list[Stage], split: str) -> bool:
    """Return whether a story may be in `split`: a world this small would repeat stories of `train` in a test.

    By the hash of its look a picture is reserved for validation, for the tests, or for neither. A story of `train` has
    no reserved picture, and a story of another split at least `MIN_RESERVED` pictures that are reserved for it.
    """
    digests = [hashlib.sha256(repr(stage.look()).encode()).digest() for stage in stages]
    marks = [int.from_bytes(digest[:4], "big") % 100 for digest in digests]
    if split == "train":
        return not any(mark in marks_of for marks_of in RESERVED.values() for mark in marks)
    return sum(mark in RESERVED[split] for mark in marks) >= min(MIN_RESERVED, (len(stages) + 1) // 2)


def _event_box(entity: str, boxes: list[dict], before: list[dict]) -> list[int]:
    """Return the entity's box in the frame; where it has left, that in the frame before; empty without either."""
    for frame_boxes in (boxes, before):
        for box in frame_boxes:
            if entity and box["entity"] == entity:
                return box["box"]
    return []
