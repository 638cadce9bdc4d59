"""Draw the stories of StoryWorld as a data set: by seeds, with a split of combinations that no other split has."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial

from datasets import Dataset, Features, Image, List, Value

from ..common.defaults import NUM_STORIES, WORDINGS
from .captions import FirstChoice, Narrator
from .characters import CHARACTERS
from .events import OPENING, Step
from .plots import PLOTS, open_stage, play
from .settings import ALL_SETTINGS
from .stage import Stage, draw_stage
from .states import PictureState

# Part of the cache key of the drawn stories: raise it with every change of frames, captions, boxes or events.
STORYWORLD_VERSION = 3
SPLITS = ("train", "validation", "test", "test_unseen", "test_words")
HELD_OUT = 10  # one in ten combinations of character, setting and plot is in `test_unseen` alone
# Pictures that are never in `train`: 15 in 100 for validation, as many for the two tests.
RESERVED = {"validation": range(15), **dict.fromkeys(("test", "test_unseen", "test_words"), range(15, 30))}
MIN_RESERVED = 3  # different pictures of a story of these splits that are such pictures; of a short story half of them
HELD_OUT_WORDS = "test_words"  # the split whose captions have words and constructions that no other split has

STORYWORLD_FEATURES = Features(
    {
        "story_id": Value("string"),
        "frames": List(Image()),
        "captions": List(Value("string")),
        "boxes": List(List({"entity": Value("string"), "kind": Value("string"), "box": List(Value("int32"))})),
        "events": List(
            {
                "kind": Value("string"),
                "entity": Value("string"),
                "characters": List(Value("string")),
                "places": List(Value("string")),
                "box": List(Value("int32")),
            }
        ),
        "states": List(Value("string")),
        "setting": Value("string"),
        "plot": Value("string"),
        "characters": List(Value("string")),
    }
)


@dataclass(frozen=True)
class Script:
    """What happens in a story, before it is told and drawn.

    Attributes:
        plot: one of `PLOTS`.
        cast: hero and friend.
        settings: settings to which the story may travel.
        opening: the first moment.
        steps: the events that follow.
    """

    plot: str
    cast: tuple[str, str]
    settings: list[str]
    opening: Stage
    steps: list[Step]

    @property
    def stages(self) -> list[Stage]:
        """Return the moments of the story, one a frame."""
        return [self.opening, *(step.stage for step in self.steps)]


@cache
def is_held_out(character: str, setting: str, plot: str) -> bool:
    """Return whether this combination is in `test_unseen` alone."""
    digest = hashlib.sha256(f"{character}/{setting}/{plot}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % HELD_OUT == 0


def generate_story(
    seed: int,
    split: str,
    *,
    image_size: tuple[int, int] = (64, 96),
    num_frames: int = 6,
    wordings: str = "varied",
) -> dict:
    """Draw one story.

    Args:
        seed: number of the story. With `split` and `num_frames` it determines the story; `image_size` does not change
            what happens.
        split: one of `SPLITS`.
        image_size: height and width of the frames, in pixels, at least 16.
        num_frames: number of frames, at least 2.
        wordings: "varied" captions, or "plain" ones, which have one wording for each kind of event.

    Returns:
        `story_id`, `frames` (list of RGB pictures), `captions`, `boxes` (per frame, of all that is visible: `entity`,
        `kind` "character" or "prop", `box` `[x1, y1, x2, y2]` in pixels, x2 and y2 exclusive), `events` (per frame:
        `kind`; `entity`, what the event moves, and `box`, where it shows: both empty where it moves nothing;
        `characters`, who acts and then the other one; `places`, the landmark and the setting where it happens: of two
        events those of both), `states` (per frame: all that it is drawn from, see `PictureState.to_json`), `setting`
        (of the opening), `plot` and `characters` (hero and friend). A story of `test_words` has `training_captions`,
        too: the same events in words of training.

    Raises:
        ValueError: for unknown splits and wordings, fewer than two frames, or a frame of less than 16 pixels a side.
    """
    check_options(split, image_size, num_frames, wordings)
    script = write_script(seed, split, num_frames)
    frames, boxes = zip(*(draw_stage(stage, image_size) for stage in script.stages))
    moments = [Step(script.opening, script.opening, OPENING), *script.steps]
    return {
        "story_id": f"{split}-{seed}",
        "frames": list(frames),
        "boxes": list(boxes),
        "events": [event_of(step, after, before) for step, after, before in zip(moments, boxes, [[], *boxes])],
        "states": [PictureState.of(stage).to_json() for stage in script.stages],
        "setting": script.opening.setting,
        "plot": script.plot,
        "characters": list(script.cast),
        **_captions(seed, split, script, wordings),
    }


def _captions(seed: int, split: str, script: Script, wordings: str) -> dict[str, list[str]]:
    """Return the captions of a story, of `test_words` those in words of training, too."""
    columns = {"captions": narrator_of(seed, split, script, wordings=wordings)}
    if split == HELD_OUT_WORDS:
        columns["training_captions"] = narrator_of(seed, split, script, training_words=True, wordings=wordings)
    return {name: tell_script(narrator, script) for name, narrator in columns.items()}


def write_script(seed: int, split: str, num_frames: int) -> Script:
    """Draw what happens in a story, see `generate_story`."""
    rng = random.Random(f"storyworld/{split}/{seed}")
    allowed = partial(may_show, split=split)
    while True:
        plot, setting, cast, settings = _choose(rng, split)
        stage = open_stage(plot, rng, setting, cast)
        steps = play(plot, rng, stage, num_frames - 1, settings, allowed) if allowed(stage) else None
        if steps is None:
            continue
        script = Script(plot, cast, settings, stage, steps)
        if _belongs(script.stages, split):
            return script


def narrator_of(
    seed: int, split: str, script: Script, training_words: bool = False, wordings: str = "varied"
) -> Narrator:
    """Return who tells a story.

    Args:
        seed: number of the story.
        split: its split; `test_words` is told in held-out words.
        script: what happens.
        training_words: tell it in words of training, whatever the split.
        wordings: one of `WORDINGS`.
    """
    held_out = split == HELD_OUT_WORDS and not training_words
    words = "training words" if training_words else "words"
    kind = FirstChoice if wordings == "plain" else random.Random
    return Narrator(kind(f"storyworld/{words}/{split}/{seed}"), script.cast, held_out)


def tell_script(narrator: Narrator, script: Script) -> list[str]:
    """Return the captions of a story, one a frame."""
    return [narrator.open(script.opening), *map(narrator.tell, script.steps)]


def load_storyworld(
    split: str,
    *,
    num_stories: int | None = None,
    num_frames: int | tuple[int, int] = 6,
    image_size: tuple[int, int] = (64, 96),
    wordings: str = "varied",
    seed: int = 0,
    cache_dir: str | None = None,
    num_proc: int | None = None,
) -> Dataset:
    """Return the stories of a split, drawn at the first call and then cached by `datasets`, frames as PNG.

    Args:
        split: one of `SPLITS`.
        num_stories: number of stories; by default 3500 for `train` and 200 for the others.
        num_frames: frames of a story, at least 2; or the least and the most, between which each story has its number.
        image_size: height and width of the frames, in pixels, at least 16.
        wordings: see `generate_story`.
        seed: another seed gives other stories of the same kind.
        cache_dir: folder of the cache; by default that of `datasets`.
        num_proc: processes that draw.

    Raises:
        ValueError: as `generate_story`, and for `num_stories` below 1.
    """
    lengths = num_frames if isinstance(num_frames, tuple) else (num_frames, num_frames)
    check_options(split, image_size, lengths[0], wordings)
    if len(lengths) != 2 or lengths[1] < lengths[0]:
        raise ValueError(f"num_frames: got {num_frames}, expected a number, or the least and the most")
    num_stories = NUM_STORIES[split] if num_stories is None else num_stories
    if num_stories < 1:
        raise ValueError(f"num_stories: got {num_stories}, expected at least 1")
    options = {"split": split, "image_size": tuple(image_size), "num_frames": lengths, "version": STORYWORLD_VERSION}
    options |= {} if wordings == "varied" else {"wordings": wordings}
    key = _digest(sorted(options.items()), seed, num_stories, repr(features_of(split)))
    return Dataset.from_generator(
        _stories,
        features=features_of(split),
        cache_dir=cache_dir,
        gen_kwargs={"seeds": [seed * 1_000_000 + number for number in range(num_stories)], **options},
        num_proc=num_proc,
        split=split,
        fingerprint=f"storyworld-{key}",
    )


def _digest(*described: object) -> str:
    return hashlib.sha256(repr(described).encode()).hexdigest()[:16]


def features_of(split: str) -> Features:
    """Return the columns of a split and their types."""
    if split != HELD_OUT_WORDS:
        return STORYWORLD_FEATURES
    return Features({**STORYWORLD_FEATURES, "training_captions": List(Value("string"))})


def length_of(seed: int, lengths: tuple[int, int]) -> int:
    """Return the number of frames of a story, between the least and the most."""
    return random.Random(f"storyworld/length/{seed}").randint(*lengths)


def _stories(
    seeds: list[int],
    split: str,
    image_size: tuple[int, int],
    num_frames: tuple[int, int],
    version: int,
    wordings: str = "varied",
) -> Iterator[dict]:
    """Draw stories for `Dataset.from_generator`; `version` is there for its cache key alone."""
    for seed in seeds:
        length = length_of(seed, num_frames)
        yield generate_story(seed, split, image_size=image_size, num_frames=length, wordings=wordings)


def check_options(split: str, image_size: tuple[int, int], num_frames: int, wordings: str = "varied") -> None:
    """Check the options of `generate_story`.

    Raises:
        ValueError: for unknown splits and wordings, fewer than two frames, or a frame of less than 16 pixels a side.
    """
    if split not in SPLITS:
        raise ValueError(f"split: got {split!r}, expected one of {', '.join(SPLITS)} in 'storyworld'")
    if wordings not in WORDINGS:
        raise ValueError(f"wordings: got {wordings!r}, expected one of {', '.join(WORDINGS)}")
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


def _mark(stage: Stage) -> int:
    """Return the number below 100 by which a picture is reserved for validation, for the tests, or for neither."""
    return int.from_bytes(hashlib.sha256(repr(stage.look()).encode()).digest()[:4], "big") % 100


def may_show(stage: Stage, split: str) -> bool:
    """Return whether a picture may be in a split: no picture that is reserved may be in `train`."""
    if split != "train":
        return True
    mark = _mark(stage)
    return not any(mark in marks for marks in RESERVED.values())


def _belongs(stages: list[Stage], split: str) -> bool:
    """Return whether a story may be in `split`: a world this small would repeat stories of `train` in a test.

    A story of `train` has no reserved picture, see `may_show`, and a story of another split at least `MIN_RESERVED`
    pictures that are reserved for it.
    """
    if split == "train":
        return True
    looks = {repr(stage.look()): stage for stage in stages}
    reserved = sum(_mark(stage) in RESERVED[split] for stage in looks.values())
    return reserved >= min(MIN_RESERVED, (len(looks) + 1) // 2)


def event_of(step: Step, boxes: list[dict], before: list[dict]) -> dict:
    """Return an event as stories have it.

    Args:
        step: the event.
        boxes: what is visible after it.
        before: what was visible before it.
    """
    parts = step.parts or (step,)
    if step.kind == OPENING:
        characters, landmarks = step.stage.where, map(step.stage.landmark, step.stage.where.values())
    else:
        characters = [who for part in parts for who in (part.who, part.other) if who]
        landmarks = map(_landmark, parts)
    return {
        "kind": step.kind,
        "entity": step.entity,
        "characters": list(dict.fromkeys(characters)),
        "places": list(dict.fromkeys([*landmarks, step.stage.setting])),
        "box": _event_box(step.entity, boxes, before),
    }


def _landmark(step: Step) -> str:
    """Return the landmark where an event happens, or happened where its character has left."""
    return (step.before if step.kind == "leave" else step.stage).landmark(step.place)


def _event_box(entity: str, boxes: list[dict], before: list[dict]) -> list[int]:
    """Return the entity's box in the frame; where it has left, that in the frame before; empty without either."""
    for frame_boxes in (boxes, before):
        for box in frame_boxes:
            if entity and box["entity"] == entity:
                return box["box"]
    return []
