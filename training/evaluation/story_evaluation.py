"""What is measured on the frames of whole stories: `retrieval`, `attention` and `grounding` of the results."""

import torch
from storyattn import StoryAttnModelOutput, StoryAttnProcessor

from ..common.captions import has_text
from .attention_metrics import AttentionMetrics
from .grounding import GroundingMetrics
from .retrieval import retrieval_metrics


class StoryEvaluation:
    """
    Measures retrieval over all captioned frames, and the spatial attention over all frames that have boxes.

    Args:
        processor: the processor of the model that is measured.
        image_size: height and width of its frames in pixels.
    """

    def __init__(self, processor: StoryAttnProcessor, image_size: tuple[int, int]):
        self.image_processor, self.image_size = processor.image_processor, image_size
        self.image_embeds: list[torch.Tensor] = []
        self.text_embeds: list[torch.Tensor] = []
        self.stories: list[torch.Tensor] = []
        self.of_boxes = {"attention": AttentionMetrics(), "grounding": GroundingMetrics()}

    def update(self, index: int, frames: dict[str, list], output: StoryAttnModelOutput) -> None:
        """
        Measure some frames of a story.

        Args:
            index: the index of the story.
            frames: their `frames`, `captions` and, where the story has them, `boxes`.
            output: what the model gives for them, its `image_embeds` included.
        """
        captioned = [position for position, text in enumerate(frames["captions"]) if has_text(text)]
        self.image_embeds.append(output.image_embeds[0, captioned].float().cpu())
        self.text_embeds.append(output.text_embeds[0, captioned].float().cpu())
        self.stories.append(torch.full((len(captioned),), index))
        if "boxes" in frames and output.spatial_attentions is not None:
            self._add_attention(output.spatial_attentions[0], frames["frames"], frames["boxes"])

    def compute(self) -> dict[str, dict]:
        """Return `retrieval`, and `attention` and `grounding` where a frame has boxes."""
        collected = [self.image_embeds, self.text_embeds, self.stories]
        pairs = map(torch.cat, collected) if self.stories else (torch.zeros(0, 1), torch.zeros(0, 1), torch.zeros(0))
        measured = {name: metrics.compute() for name, metrics in self.of_boxes.items()}
        measured = {name: numbers for name, numbers in measured.items() if numbers is not None}
        return {"retrieval": retrieval_metrics(*pairs), **measured}

    def _add_attention(self, maps: torch.Tensor, pictures: list, boxes: list[list[dict]]) -> None:
        for frame_maps, picture, entities in zip(maps, pictures, boxes):
            size = (picture.height, picture.width)
            resized = self.image_processor.transform_boxes([entity["box"] for entity in entities], size)
            for metrics in self.of_boxes.values():
                metrics.update(frame_maps, resized, *self.image_size)
