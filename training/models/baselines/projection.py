"""Projections of the pooled features of frozen, pretrained encoders of pictures and texts into one space."""

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from storyattn import StoryAttnConfig, StoryAttnOutput
from storyattn.losses import alignment_loss
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig
from transformers import initialization as init
from transformers.utils import can_return_tuple

from .base import BaselineConfig, BaselineModel


@strict
class ProjectionConfig(BaselineConfig):
    """
    `vision_config` and `text_config` of the encoders, whose features are `vision_width` and `text_width` wide;
    `hidden_size` within the projections, `projection_dim` of the shared space, and the logarithm of the inverse
    temperature that training starts from.
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
    """
    Aligns frames and captions as the model does, from features that nothing here has trained: means over the places of
    a picture, which is resized to what its encoder was trained on, and over the tokens of a caption.
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
        """
        Encoders from folders or Hub ids, projections with fresh weights. `config` is what stories are read by.

        Raises `ValueError`, naming the flag, for an encoder that cannot be loaded or gives no features of such inputs.
        """
        pixels, ids = torch.zeros(1, 3, *config.image_size), torch.zeros(1, config.max_caption_length, dtype=torch.long)
        vision_encoder, vision_width = _pretrained("vision", vision, picture_features, pixels)
        text_encoder, text_width = _pretrained("text", text, caption_features, ids, torch.ones_like(ids))
        known = text_encoder.get_input_embeddings().num_embeddings
        if config.vocab_size > known:
            found = f"{config.vocab_size} tokens in the tokenizer of {text!r}"
            raise ValueError(f"baseline_text: found {found}, expected at most its {known} embeddings")
        own = ProjectionConfig.from_model(
            config,
            vision_config=vision_encoder.config,
            text_config=text_encoder.config,
            vision_width=vision_width,
            text_width=text_width,
            projection_dim=config.projection_dim,
            logit_scale_init_value=config.logit_scale_init_value,
        )
        model = cls(own)
        model.vision_encoder, model.text_encoder = vision_encoder, text_encoder
        model._freeze()
        return model

    def _freeze(self) -> None:
        for encoder in (self.vision_encoder, self.text_encoder):
            encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True):
        """As torch's; the encoders stay as they are, without dropout and with the statistics they came with."""
        super().train(mode)
        self._freeze()
        return self

    @can_return_tuple
    def forward(
        self, pixel_values, frame_mask, input_ids, attention_mask, return_loss=False, loss_counts=None, **_
    ) -> StoryAttnOutput:
        """
        `image_embeds` and `text_embeds (B, T, P)` of unit length, and with `return_loss` the `loss`. Arguments as those
        of the model.
        """
        shape = pixel_values.shape[:2]
        images = self.image_projection(picture_features(self.vision_encoder, pixel_values.flatten(0, 1)))
        texts = caption_features(self.text_encoder, input_ids.flatten(0, 1), attention_mask.flatten(0, 1))
        output = StoryAttnOutput(
            image_embeds=F.normalize(images.float(), dim=-1).unflatten(0, shape),
            text_embeds=F.normalize(self.text_projection(texts).float(), dim=-1).unflatten(0, shape),
            logit_scale=self.logit_scale.exp().clamp(max=100.0).squeeze(0),
        )
        if return_loss:
            counts = self.count(frame_mask, attention_mask) if loss_counts is None else loss_counts
            embeds = output.image_embeds, output.text_embeds, output.logit_scale
            told = _captioned(frame_mask, attention_mask), counts["captioned"]
            output.loss_parts = {"alignment": alignment_loss(*embeds, *told, self.training)}
            output.loss = self.weighted(output.loss_parts)
        return output

    def count(self, frame_mask, attention_mask, **batch) -> dict[str, torch.Tensor]:
        """Pairs to align."""
        return {"captioned": _captioned(frame_mask, attention_mask).sum().float()}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ProjectionModel):
            init.constant_(module.logit_scale, self.config.logit_scale_init_value)


@torch.no_grad()
def picture_features(encoder: nn.Module, pixel_values: torch.Tensor) -> torch.Tensor:
    """
    The mean of the last features of pictures `(N, 3, H, W)` over their places: `(N, C)`. They are resized to
    `encoder.config.image_size` where it has one.
    """
    size = getattr(encoder.config, "image_size", None)
    if size is not None:
        size = (size, size) if isinstance(size, int) else tuple(size)
        pixel_values = F.interpolate(pixel_values, size, mode="bilinear", antialias=True)
    features = encoder(pixel_values=pixel_values).last_hidden_state
    return features.mean((-2, -1)) if features.dim() == 4 else features.mean(1)  # (N, C, h, w) or (N, S, C)


@torch.no_grad()
def caption_features(encoder: nn.Module, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """The mean of the last features of texts `(N, L)` over their tokens: `(N, C)`."""
    mask = attention_mask.bool().clone()
    mask[:, 0] |= ~mask.any(1)  # an encoder must have something to read
    states = encoder(input_ids=input_ids, attention_mask=mask.long()).last_hidden_state
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def _pretrained(name: str, source: str, features, *inputs: torch.Tensor) -> tuple[nn.Module, int]:
    """A pretrained encoder and the width of the `features` that it gives of `inputs`."""
    try:
        encoder = AutoModel.from_pretrained(source, dtype=torch.float32).eval()
        return encoder, features(encoder, *inputs).shape[-1]
    except Exception as error:  # whatever a folder of something else makes the libraries raise
        expected, reason = f"a folder or Hub id of a {name} encoder", " ".join(str(error).split())[:300]
        raise ValueError(f"baseline_{name}: found {source!r}, expected {expected}: {reason}") from error


def _two_layers(width: int, config: ProjectionConfig) -> nn.Sequential:
    hidden = config.hidden_size
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, config.projection_dim))


def _captioned(frame_mask: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """`(B, T)`: frames that are there and have a caption."""
    return attention_mask.any(-1) & frame_mask.bool()
