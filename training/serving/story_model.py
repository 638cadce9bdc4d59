"""What a served model does with a batch of requests."""

from dataclasses import dataclass
from itertools import count

import torch
from PIL import Image
from storyattn import StoryAttnForConditionalGeneration, StoryAttnProcessor
from transformers import set_seed

from ..telling import describe_stories

_numbers = count()


@dataclass(frozen=True)
class Operation:
    """
    What is done with the items of a batch; items of equal operations are read together.

    Args:
        name: "continue", "describe" or "search".
        num_steps: captions and frames to add, for "continue".
        options: names and values of options of `generate`.
        seed: of drawn captions; None where the likeliest are taken.
        number: unlike for operations that run alone, as those that draw.
    """

    name: str
    num_steps: int = 0
    options: tuple[tuple[str, object], ...] = ()
    seed: int | None = None
    number: int = 0

    @classmethod
    def drawing(cls, *values: object, seed: int) -> "Operation":
        """Return an operation that draws captions by a seed, and so runs alone: `values` are name, steps, options."""
        return cls(*values, seed=seed, number=next(_numbers) + 1)


@dataclass
class Story:
    """A story of a request: RGB pictures, and a caption or None for each."""

    frames: list[Image.Image]
    captions: list[str | None] | None = None


@dataclass
class Search:
    """Pictures and texts to compare, at least one of both."""

    pictures: list[Image.Image]
    texts: list[str]


class StoryModel:
    """A model with its processor; `run` gives each item what the model alone would give it."""

    def __init__(self, model: StoryAttnForConditionalGeneration, processor: StoryAttnProcessor):
        self.model, self.processor = model.eval(), processor

    def run(self, operation: Operation, items: list[Story] | list[Search]) -> list:
        """
        Run a batch.

        Args:
            operation: what is done.
            items: stories, or for "search" pictures and texts.

        Returns:
            For each item: captions and frames that continue the story, a caption for each frame, or the similarities
            `(pictures, texts)`.

        Raises:
            ValueError: for what the processor or `generate` refuses.
        """
        if operation.seed is not None:
            set_seed(operation.seed)
        options = dict(operation.options)
        with torch.inference_mode():
            if operation.name == "continue":
                return self._continue(items, operation.num_steps, options)
            if operation.name == "describe":
                return describe_stories(self.model, self.processor, [story.frames for story in items], **options)
            return self._compare(items)

    def _continue(self, stories: list[Story], num_steps: int, options: dict) -> list[tuple[list[str], list]]:
        frames = [story.frames for story in stories]
        captions = [story.captions or [None] * len(story.frames) for story in stories]
        continued = self.model.continue_story(self.processor, frames, captions, num_steps, **options)
        added = [story.continuation for story in continued]
        return [([text.strip() for text in story.captions], story.frames) for story in added]

    def _compare(self, searches: list[Search]) -> list[torch.Tensor]:
        """Return the cosines of pictures and texts in the shared space, of all searches in one pass."""
        rows = [  # a row has a picture and a text of one search; the shorter list ends in ones that are not compared
            (search.pictures[min(i, len(search.pictures) - 1)], search.texts[i] if i < len(search.texts) else None)
            for search in searches
            for i in range(max(len(search.pictures), len(search.texts)))
        ]
        frames, captions = ([[row[i]] for row in rows] for i in range(2))
        inputs = self.processor(frames=frames, captions=captions, return_tensors="pt")
        output = self.model.base_model(**inputs.to(self.model.device))
        results, start = [], 0
        for search in searches:
            image_embeds = output.image_embeds[start : start + len(search.pictures), 0].float()
            text_embeds = output.text_embeds[start : start + len(search.texts), 0].float()
            results.append((image_embeds @ text_embeds.T).cpu())
            start += max(len(search.pictures), len(search.texts))
        return results
