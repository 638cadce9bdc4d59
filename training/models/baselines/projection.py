"""Projections of the pooled features of frozen, pretrained encoders of pictures and texts into one space."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from storyattn import StoryAttnConfig, StoryAttnOutput
from storyattn.contrastive_loss import alignment_loss
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig
from transformers import initialization as init
from transformers.utils import can_return_tuple
from typing_extensions import Unpack

from ...common.loading import expecting
from .base import BaselineConfig, BaselineModel, LossCounts, StoryInputs

READ = ("pixel_values", "input_ids", "attention_mask")


@strict
class ProjectionConfig(BaselineConfig):
    """Configuration of two encoders and their projections.

    `vision_config` and `text_config` are those of the encoders, `vision_width` and `text_width` the widths of their
    features. `hidden_size` is the width within the projections, `projection_dim` that of the shared space, and
    `logit_scale_init_value` the logarithm of the inverse temperature that training starts from.
    """

    model_type = "storyattn_projection"
    sub_configs = {"vision_config": AutoConfig, "text_config": AutoConfig}
    LOSS_WEIGHTS = {"alignment": 1.0}

    vision_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    vision_width: int = 1
    text_width: int = 1
    hidden_size: int = 512
    projection_dim: int = 128
    logit_scale_init_value: float | int = 0.0

    def __post_init__(self, **kwargs):
        for name in self.sub_configs:
            value = getattr(self, name)
            if isinstance(value, dict):
                setattr(self, name, AutoConfig.for_model(**value))
        super().__post_init__(**kwargs)


class ProjectionModel(BaselineModel):
    """Model that aligns frames and captions as StoryAttn does, from features that it does not train.

    The features are means: over the positions of a picture, which is resized to what its encoder was trained on, and
    over the tokens of a caption.
    """

    config_class = ProjectionConfig

    def __init__(self, config: ProjectionConfig):
        super().__init__(config)
        self.vision_encoder = AutoModel.from_config(config.vision_config)
        self.text_encoder = AutoModel.from_config(config.text_config)
        self.image_projection = _two_layers(config.vision_width, config)
        self.text_projection = _two_layers(config.text_width, config)
        self.logit_scale = nn.Parameter(torch.empty(1))
        self.post_init()
        self._freeze()

    @classmethod
    def from_encoders(cls, config: StoryAttnConfig, vision: str, text: str) -> "ProjectionModel":
        """Return a model with pretrained encoders and fresh projections.

        Args:
            config: configuration by which stories are read.
            vision: folder or Hub id of the vision encoder.
            text: folder or Hub id of the text encoder.

        Raises:
            ValueError: naming the flag, for an encoder that cannot be loaded or gives no features of such inputs.
        """
        pixels, ids = torch.zeros(1, 3, *config.image_size), torch.zeros(1, config.max_caption_length, dtype=torch.long)
        vision_encoder, vision_width = _pretrained("vision", vision, picture_features, pixels)
        text_encoder, text_width = _pretrained("text", text, caption_features, ids, torch.ones_like(ids))
        num_embeddings = text_encoder.get_input_embeddings().num_embeddings
        if config.vocab_size > num_embeddings:
            size = f"{config.vocab_size} tokens in the tokenizer of {text!r}"
            raise ValueError(f"baseline_text: got {size}, expected at most its {num_embeddings} embeddings")
        projection_config = ProjectionConfig.from_model(
            config,
            vision_config=vision_encoder.config,
            text_config=text_encoder.config,
            vision_width=vision_width,
            text_width=text_width,
            projection_dim=config.projection_dim,
            logit_scale_init_value=config.logit_scale_init_value,
        )
        model = cls(projection_config)
        model.vision_encoder, model.text_encoder = vision_encoder, text_encoder
        model._freeze()
        return model

    def _freeze(self) -> None:
        for encoder in (self.vision_encoder, self.text_encoder):
            encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "ProjectionModel":
        """Set the mode of the projections; the encoders stay in evaluation mode, without dropout, and frozen."""
        super().train(mode)
        self._freeze()
        return self

    @can_return_tuple
    def forward(
        self, return_loss: bool = False, loss_counts: LossCounts | None = None, **inputs: Unpack[StoryInputs]
    ) -> StoryAttnOutput:
        """Project frames and captions into the shared space.

        Args:
            return_loss: compute the loss.
            loss_counts: number of pairs that it is divided by; default: those of the batch.
            inputs: stories.

        Returns:
            `image_embeds` and `text_embeds (B, T, P)` of unit length, `logit_scale`, and with `return_loss` the `loss`
            and its parts.
        """
        shape = inputs["frame_mask"].shape
        pixel_values, *captions = (inputs[name].flatten(0, 1) for name in READ)
        images = self.image_projection(picture_features(self.vision_encoder, pixel_values))
        texts = caption_features(self.text_encoder, *captions)
        output = StoryAttnOutput(
            image_embeds=F.normalize(images.float(), dim=-1).unflatten(0, shape),
            text_embeds=F.normalize(self.text_projection(texts).float(), dim=-1).unflatten(0, shape),
            logit_scale=self.logit_scale.exp().clamp(max=100.0).squeeze(0),
        )
        if return_loss:
            counts = self.count(**inputs) if loss_counts is None else loss_counts
            embeds = output.image_embeds, output.text_embeds, output.logit_scale
            captioned = _captioned(inputs)
            output.loss_parts = {"alignment": alignment_loss(*embeds, captioned, counts["captioned"], self.training)}
            output.loss = self.weighted(output.loss_parts)
        return output

    def count(self, **inputs: Unpack[StoryInputs]) -> LossCounts:
        """Return the number of pairs to align."""
        return {"captioned": _captioned(inputs).sum().float()}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ProjectionModel):
            init.constant_(module.logit_scale, self.config.logit_scale_init_value)


@torch.no_grad()
def picture_features(encoder: nn.Module, pixel_values: torch.Tensor) -> torch.Tensor:
    """Return the mean `(N, C)` of the last features of pictures `(N, 3, H, W)` over their positions.

    Pictures are resized to `encoder.config.image_size` where it has one.
    """
    size = getattr(encoder.config, "image_size", None)
    if size is not None:
        size = (size, size) if isinstance(size, int) else tuple(size)
        pixel_values = F.interpolate(pixel_values, size, mode="bilinear", antialias=True)
    features = encoder(pixel_values=pixel_values).last_hidden_state
    return features.mean((-2, -1)) if features.dim() == 4 else features.mean(1)  # (N, C, h, w) or (N, S, C)


@torch.no_grad()
def caption_features(encoder: nn.Module, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Return the mean `(N, C)` of the last features of texts over their tokens.

    Args:
        encoder: text encoder of transformers.
        input_ids: token ids `(N, L)`.
        attention_mask: `(N, L)`, 0 for padding; of an empty text the first token is read.
    """
    mask = attention_mask.bool().clone()
    mask[:, 0] |= ~mask.any(1)  # an encoder must have something to read
    states = encoder(input_ids=input_ids, attention_mask=mask.long()).last_hidden_state
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def _pretrained(
    name: str, source: str, features: Callable[..., torch.Tensor], *inputs: torch.Tensor
) -> tuple[nn.Module, int]:
    """Return a pretrained encoder and the width of the `features` that it gives of `inputs`."""
    with expecting(f"baseline_{name}", source, f"a folder or Hub id of a {name} encoder"):
        encoder = AutoModel.from_pretrained(source, dtype=torch.float32).eval()
        return encoder, features(encoder, *inputs).shape[-1]


def _two_layers(width: int, config: ProjectionConfig) -> nn.Sequential:
    hidden = config.hidden_size
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, config.projection_dim))


def _captioned(inputs: StoryInputs) -> torch.Tensor:
    """Return the mask `(B, T)` of frames that the story has and that have a caption."""
    return inputs["attention_mask"].any(-1) & inputs["frame_mask"].bool()
