"""Paint whole stories frame by frame, each from the frames before it: the true ones, or the model's own paintings."""

import torch
from PIL import Image
from storyattn import StoryAttnProcessor
from storyattn.story_memory import pages_to_read

from ..data.windows import memory_frames
from .windows import Model, frames_shown


def paint_stories(
    model: Model, processor: StoryAttnProcessor, stories: list[dict], *, closed: bool, context_frames: int | None = None
) -> list[list[Image.Image]]:
    """
    Return the paintings of all frames of each story but the first, which is given.

    Args:
        model: paints with `predict_next_frame`; the caption of the frame to paint is given where there is one.
        processor: the model's.
        stories: `frames` (pictures) and `captions` of each.
        closed: whether the model sees its own paintings in place of the true frames, all but the first.
        context_frames: the most frames that it is shown; by default as many as it reads. They are the latest, and
            `num_memory_frames` early ones where its configuration has this.

    Returns:
        for each story one picture less than it has frames.
    """
    shown = frames_shown(model.config, context_frames)
    histories = [list(story["frames"][:1]) for story in stories]
    paintings: list[list[Image.Image]] = [[] for _ in stories]
    for position in range(1, max(len(story["frames"]) for story in stories)):
        rows = [row for row, story in enumerate(stories) if len(story["frames"]) > position]
        read = pages_to_read(position, shown, memory_frames(model.config))
        frames = [[histories[row][page] for page in read] for row in rows]
        captions = [[stories[row]["captions"][page] for page in read] for row in rows]
        following = [stories[row]["captions"][position] for row in rows]
        painted = _paint(model, processor, frames, captions, following)
        for row, picture in zip(rows, painted):
            paintings[row].append(picture)
            histories[row].append(picture if closed else stories[row]["frames"][position])
    return paintings


@torch.no_grad()
def _paint(
    model: Model,
    processor: StoryAttnProcessor,
    frames: list[list[Image.Image]],
    captions: list[list[str | None]],
    following: list[str | None],
) -> list[Image.Image]:
    """Return the frame after the last one of each story, which has the caption `following` where this is not `None`."""
    inputs = processor(frames=frames, captions=captions, return_tensors="pt").to(model.device)
    encoded = processor.tokenize_captions([[caption] for caption in following]).to(model.device)
    painted = model.predict_next_frame(
        **inputs, next_input_ids=encoded["input_ids"][:, 0], next_attention_mask=encoded["attention_mask"][:, 0]
    )
    return processor.postprocess_frames(painted)
