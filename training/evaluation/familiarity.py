"""Calibrate how alike pictures and captions are in the stories that a model knows."""

import numpy as np
from storyattn import StoryAttnForConditionalGeneration, StoryAttnProcessor
from storyattn.familiarity import story_similarities

from ..common.captions import has_text
from ..common.evaluation_mode import evaluation_mode
from ..data.prepared_stories import PreparedStories

SHARE = 0.01  # of the frames, which may have a lower similarity
FEWEST_FRAMES = 20  # captioned ones, for a share to mean something


def familiar_similarity(
    model: StoryAttnForConditionalGeneration, processor: StoryAttnProcessor, stories: PreparedStories, most: int = 100
) -> float | None:
    """Return the cosine in the shared space that 99 of 100 frames and their captions exceed.

    Args:
        model: the trained model, which is left in the mode it had.
        processor: its processor.
        stories: stories that it was not trained on.
        most: stories that are read at most, the first ones.

    Returns:
        The cosine, for `config.familiar_similarity`; `None` where too few frames have captions.
    """
    similarities = []
    with evaluation_mode(model):
        for index in range(min(most, len(stories))):
            story = stories[index]
            pairs = [([frame], [text]) for frame, text in zip(story["frames"], story["captions"]) if has_text(text)]
            if not pairs:
                continue
            frames, captions = map(list, zip(*pairs))
            inputs = processor(frames=frames, captions=captions, return_tensors="pt").to(model.device)
            output = model.base_model(**inputs)
            if output.image_embeds is None:
                return None
            similarities += story_similarities(output, inputs["attention_mask"])
    return float(np.quantile(similarities, SHARE)) if len(similarities) >= FEWEST_FRAMES else None
