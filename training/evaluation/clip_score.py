"""How well frames fit their captions, in the space of a CLIP model."""

from collections import defaultdict

import torch
from transformers import CLIPModel, CLIPProcessor

from ..common.captions import has_text
from ..common.loading import expecting
from ..models.load import model_source
from .frame_metrics import ratio


class ClipScore:
    """
    Collects the CLIP score (Hessel et al. 2021, as torchmetrics has it): `max(100 cos(picture, caption), 0)`.

    Args:
        name: folder or Hub id of the CLIP model, which results name.

    Raises:
        FileNotFoundError: where `name` is neither a folder nor a Hub id.
        ValueError: where it cannot be loaded as a CLIP model.
    """

    def __init__(self, name: str):
        self.name, source = name, model_source("clip_model", name)
        with expecting("clip_model", name, "a CLIP model that can be loaded"):
            self.model = CLIPModel.from_pretrained(source).eval().requires_grad_(False)
            self.processor = CLIPProcessor.from_pretrained(source)
        self.sums, self.count = defaultdict(float), 0

    @torch.no_grad()
    def update(self, frames: dict[str, torch.Tensor], captions: list[str | None]) -> None:
        """
        Add frames that have a caption; a caption that CLIP cannot read whole is cut.

        Args:
            frames: by the name of their row, `(N, 3, H, W)` in [0, 1].
            captions: the caption of each.
        """
        rows = [row for row, text in enumerate(captions) if has_text(text)]
        if not rows:
            return
        length = self.model.config.text_config.max_position_embeddings
        options = {"return_tensors": "pt", "padding": True, "truncation": True, "max_length": length}
        inputs = self.processor(text=[captions[row] for row in rows], **options)
        texts = self.model.text_projection(self.model.text_model(**inputs).pooler_output)
        self.count += len(rows)
        for name, pictures in frames.items():
            chosen = list(pictures[rows].float().cpu().clamp(0, 1))
            pixels = self.processor(images=chosen, do_rescale=False, return_tensors="pt")["pixel_values"]
            images = self.model.visual_projection(self.model.vision_model(pixels).pooler_output)
            self.sums[name] += (100 * torch.cosine_similarity(images, texts)).clamp(min=0).sum().item()

    def compute(self) -> dict[str, float | int | str | None]:
        """Return the mean score of each row, the number of captions as `count`, and `clip_model`."""
        means = {name: ratio(total, self.count) for name, total in self.sums.items()}
        return {**means, "count": self.count, "clip_model": self.name}
