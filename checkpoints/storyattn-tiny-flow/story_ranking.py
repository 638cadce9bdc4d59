"""Ranking of stories: which of several futures is likeliest, or fits its pictures best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import ProcessorMixin

from .layers import select_last
from .story import Stories
from .story_memory import read_pages

if TYPE_CHECKING:
    from .outputs import EncodedStories
    from .story import Story
    from .story_continuation import StoryContinuationMixin

RANKINGS = ("likelihood", "similarity")


def ranked(
    model: StoryContinuationMixin,
    processor: ProcessorMixin,
    given: list[Story],
    stories: list[Story],
    rank_by: str | None,
) -> Stories:
    """Put the futures of each story in order, the best first; with `rank_by` of None they stay as they are.

    Args:
        model: the model that told them.
        processor: its processor.
        given: the stories that were given.
        stories: their futures, those of each in a row, all longer by the same number of pages.
        rank_by: one of `RANKINGS`, or None.

    Returns:
        the stories in order, with their scores, see `story_scores`.
    """
    if rank_by is None:
        return Stories(stories)
    scores = story_scores(model, processor, stories, len(stories[0]) - len(given[0]), rank_by)
    number = len(stories) // len(given)
    order = sorted(range(len(stories)), key=lambda index: (index // number, -scores[index]))
    return Stories([stories[index] for index in order], [scores[index] for index in order])


@torch.no_grad()
def story_scores(
    model: StoryContinuationMixin, processor: ProcessorMixin, stories: list[Story], num_steps: int, rank_by: str
) -> list[float]:
    """Score the last `num_steps` pages of stories.

    `"likelihood"`: the mean logarithm of the probability of a token of their captions, in nats, given the story before
    each. `"similarity"`: the mean cosine of their pictures and captions in the shared space.
    """
    sums = torch.zeros(len(stories), 2)  # of values, and of what they are divided by
    for step in range(num_steps):
        ends = [len(story) - num_steps + step + 1 for story in stories]
        limits = model.config.max_frames, model.config.num_memory_frames
        pages = [read_pages(story[:end], *limits) for story, end in zip(stories, ends)]
        frames, captions = [part.frames for part in pages], [part.captions for part in pages]
        inputs = processor(frames=frames, captions=captions, return_tensors="pt").to(model.device, model.dtype)
        read = inputs["input_ids"], inputs["attention_mask"]
        encoded = model.model.encode(inputs["pixel_values"], inputs["frame_mask"], *read)
        written = model.decoder_captions(*read, inputs.get("decoder_input_ids"), inputs.get("decoder_attention_mask"))
        score = _likelihoods(model, encoded, *written) if rank_by == "likelihood" else _similarities(encoded)
        sums += score.cpu()
    return (sums[:, 0] / sums[:, 1].clamp(min=1)).tolist()


def _likelihoods(
    model: StoryContinuationMixin, encoded: EncodedStories, input_ids: torch.Tensor, attention_mask: torch.Tensor
) -> torch.Tensor:
    """Return of the last caption of each story the logarithm of its probability and its number of tokens: `(B, 2)`."""
    logits = model._all_caption_logits(encoded.output, input_ids, attention_mask, None)["next_caption_logits"]
    last, mask = encoded.frame_mask[:, 1:], attention_mask[:, 1:, 1:].float()
    chances = select_last(logits, last).float().log_softmax(-1)[:, :-1]  # (B, L - 1, V)
    tokens, counts = select_last(input_ids[:, 1:, 1:], last), select_last(mask, last)
    values = chances.gather(-1, tokens[..., None])[..., 0] * counts
    return torch.stack([values.sum(1), counts.sum(1)], dim=1)


def _similarities(encoded: EncodedStories) -> torch.Tensor:
    """Return of the last page of each story the cosine of picture and caption, and 1: `(B, 2)`."""
    cosines = (encoded.output.image_embeds.float() * encoded.output.text_embeds.float()).sum(-1)  # (B, T)
    values = select_last(cosines, encoded.frame_mask)
    return torch.stack([values, torch.ones_like(values)], dim=1)
