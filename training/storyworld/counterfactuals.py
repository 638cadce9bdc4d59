"""Draw what might have happened instead: the same frames so far, another event, its caption and its frame.

>>> from storyattn.training.storyworld import draw_counterfactual
>>> other = draw_counterfactual("train-0", 3)
>>> other["caption"], other["frame"].size
"""

import random
from dataclasses import replace

from .dataset import check_options, event_of, may_show, narrator_of, tell_script, write_script
from .events import EVENTS, Step, draw_event
from .stage import draw_stage


def draw_counterfactual(
    story_id: str,
    position: int,
    *,
    number: int = 0,
    image_size: tuple[int, int] = (64, 96),
    num_frames: int = 6,
) -> dict:
    """Draw another event at a position of a story, whose frame differs from the true one.

    Args:
        story_id: the story, such as "train-12", as `generate_story` names it.
        position: number of the frame that is replaced, 1 to `num_frames` - 1; the frames and captions before it stay.
        number: with the story and the position it determines the event; two numbers may give the same one.
        image_size: height and width of the frame, in pixels.
        num_frames: number of frames of the story.

    Returns:
        `caption` of the event, in the words of the story's split, `frame` (RGB picture), `boxes` (of all that is
        visible) and `event` (`kind`, `entity`, `box`), as in a story. A story of `train` gets no picture that is
        reserved for other splits.

    Raises:
        ValueError: for an unknown story, a position out of range, and options that `generate_story` refuses.
    """
    split, _, seed = story_id.rpartition("-")
    if not seed.isdecimal():
        raise ValueError(f"story_id: got {story_id!r}, expected a split and a number, such as train-12")
    check_options(split, image_size, num_frames)
    if not 1 <= position < num_frames:
        raise ValueError(f"position: got {position}, expected 1 to {num_frames - 1}")
    script = write_script(int(seed), split, num_frames)
    rng = random.Random(f"storyworld/counterfactual/{story_id}/{position}/{number}")
    step = _other_step(rng, script.steps[position - 1], script.settings, split)
    narrator = narrator_of(int(seed), split, script)
    tell_script(narrator, replace(script, steps=script.steps[: position - 1]))
    narrator.rng = rng
    _, boxes_before = draw_stage(step.before, image_size)
    frame, boxes = draw_stage(step.stage, image_size)
    return {
        "caption": narrator.tell(step),
        "frame": frame,
        "boxes": boxes,
        "event": event_of(step, boxes, boxes_before),
    }


def _other_step(rng: random.Random, true: Step, settings: list[str], split: str) -> Step:
    """Draw an event on the stage before the true one, after which the picture differs from that after the true one."""
    while True:
        step = draw_event(rng, true.before, rng.choice(list(EVENTS)), settings)
        if step is not None and step.stage.look() != true.stage.look() and may_show(step.stage, split):
            return step
