"""Draw the pictures at the top of a model card: the example story, continued by the model in several ways."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image

from ..common.evaluation_mode import evaluation_mode
from ..figures import save_picture

if TYPE_CHECKING:
    from storyattn import StoryAttnForConditionalGeneration, StoryAttnProcessor

STRIP_STEPS = 3  # pages that the model adds
SAMPLED_STRIPS = 2  # beside the one without sampling


def strip_path(folder: Path, number: int) -> Path:
    """Return the file of a strip, counted from 1, in a published folder."""
    return folder / "figures" / f"story_{number}.png"


@torch.no_grad()
def painted_example(
    model: StoryAttnForConditionalGeneration, processor: StoryAttnProcessor, frame: Image.Image
) -> dict[str, list]:
    """Return `frames` and `captions` of an example for a card whose data are not shown.

    It is one page without a caption: `frame` as the model reconstructs it. The model is left in the mode it had.
    """
    inputs = processor(frames=[[frame]], captions=[[None]], return_tensors="pt").to(model.device)
    with evaluation_mode(model):
        painted = model(**inputs).reconstructed_frames[0]
    return {"frames": processor.postprocess_frames(painted), "captions": [None]}


def draw_strips(
    model: StoryAttnForConditionalGeneration, processor: StoryAttnProcessor, folder: Path, captions: list[str | None]
) -> list[list[str]]:
    """Continue the example story of a published folder, and write `figures/story_1.png` and so on.

    The first strip has the captions that the model finds likeliest, the others are sampled with a fixed seed.

    Args:
        model: the model, which is left in the mode it had.
        processor: its processor.
        folder: published folder with `figures/example_1.png` and so on.
        captions: the captions of these pictures, `None` where one is missing.

    Returns:
        The captions that the model wrote, for each strip.
    """
    frames = []
    for number in range(1, len(captions) + 1):
        with Image.open(folder / "figures" / f"example_{number}.png") as picture:
            frames.append(picture.convert("RGB"))
    devices = [model.device] if model.device.type == "cuda" else []
    with evaluation_mode(model), torch.random.fork_rng(devices):
        torch.manual_seed(0)
        stories = [model.continue_story(processor, frames, captions, STRIP_STEPS, do_sample=False)]
        sampling = {"do_sample": True, "num_return_sequences": SAMPLED_STRIPS}
        stories += model.continue_story(processor, frames, captions, STRIP_STEPS, **sampling)
    for number, story in enumerate(stories, start=1):
        save_picture(story.strip(), strip_path(folder, number))
    return [[text or "" for text in story.continuation.captions] for story in stories]
