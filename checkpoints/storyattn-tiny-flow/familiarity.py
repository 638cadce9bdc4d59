"""Say once where pictures and captions are far from those that a model was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers.utils import logging

if TYPE_CHECKING:
    from .generation_storyattn import GenerationStoryAttnMixin
    from .outputs import StoryAttnModelOutput

logger = logging.get_logger(__name__)


def warn_if_unfamiliar(
    model: GenerationStoryAttnMixin, output: StoryAttnModelOutput, attention_mask: torch.Tensor | None
) -> None:
    """Warn, once for a model, where a story is unlike those of its training.

    The similarity of a story is the mean cosine of its frames and their captions in the shared space. It is held
    against `config.familiar_similarity`.

    Args:
        model: the model that has read the stories.
        output: what it gave for them.
        attention_mask (`(B, T, L)`, *optional*): of their captions; a frame without a caption does not count.
    """
    least = model.config.familiar_similarity
    missing = least is None or attention_mask is None or output.image_embeds is None or output.text_embeds is None
    if missing or getattr(model, "has_warned_of_unfamiliar_stories", False):
        return
    similarities = story_similarities(output, attention_mask)
    lowest = min(similarities, default=least)
    if lowest < least:
        model.has_warned_of_unfamiliar_stories = True
        logger.warning(
            f"continue_story: a story is unlike those that this model was trained on: its pictures and captions have a "
            f"similarity of {lowest:.2f}, in training nearly all have at least {least:.2f}. What follows may be "
            f"nonsense; fine-tune the model on such stories, for example by `storyattn finetune`."
        )


def story_similarities(output: StoryAttnModelOutput, attention_mask: torch.Tensor) -> list[float]:
    """Return the mean cosine of frames and captions in the shared space, of each story that has a caption."""
    cosines = (output.image_embeds.float() * output.text_embeds.float()).sum(-1)  # (B, T)
    has_caption = attention_mask.sum(-1) > 0
    return [float(values[mask].mean()) for values, mask in zip(cosines, has_caption) if mask.any()]
