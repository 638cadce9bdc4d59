"""Base classes of the baselines that are no StoryAttn model: configuration and model."""

from collections.abc import Callable
from typing import Any, TypedDict, TypeVar

import torch
from huggingface_hub.dataclasses import strict
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration
from storyattn.story_loss import COUNTED
from transformers import PreTrainedConfig, PreTrainedModel
from typing_extensions import Unpack

Config = TypeVar("Config", bound="BaselineConfig")
LossCounts = dict[str, torch.Tensor]  # what the parts of the loss average over: frames, tokens or pairs, by name

SHARED_FIELDS = (
    "image_size",
    "image_mean",
    "image_std",
    "max_frames",
    "max_caption_length",
    "vocab_size",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "perceptual_model",
)


@strict
class BaselineConfig(PreTrainedConfig):
    """Configuration with the fields of `StoryAttnConfig` that every baseline has, and `vocab_size`.

    `loss_weights` has the keys of `LOSS_WEIGHTS`, which are the names of the parts of the loss in the log.
    `perceptual_model` is a folder or Hub id of the network that measures the perceptual distance; the vision encoder of
    a baseline does not.
    """

    LOSS_WEIGHTS = {}

    image_size: list[int] | tuple[int, ...] = (64, 96)
    image_mean: list[float] | tuple[float, ...] = (0.5, 0.5, 0.5)
    image_std: list[float] | tuple[float, ...] = (0.5, 0.5, 0.5)
    max_frames: int = 5
    max_caption_length: int = 64
    vocab_size: int = 4096
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | None = 2
    perceptual_model: str | None = None
    loss_weights: dict | None = None

    def __post_init__(self, **kwargs):
        for name in ("image_size", "image_mean", "image_std"):
            setattr(self, name, list(getattr(self, name)))
        self.loss_weights = {**self.LOSS_WEIGHTS, **(self.loss_weights or {})}
        super().__post_init__(**kwargs)

    @classmethod
    def from_model(cls: type[Config], config: StoryAttnConfig, **values: Any) -> Config:
        """Return the configuration of a baseline for the stories of `config`; `values` are its other fields."""
        return cls(**{name: getattr(config, name) for name in SHARED_FIELDS}, **values)


class StoryInputs(TypedDict, total=False):
    """What a baseline reads of the model's inputs; it takes the others, too, and ignores them."""

    pixel_values: torch.Tensor  # (B, T, 3, H, W), normalised
    frame_mask: torch.Tensor  # (B, T), 1 where the story has a frame
    input_ids: torch.Tensor  # (B, T, L), the captions
    attention_mask: torch.Tensor  # (B, T, L), 1 for a token, 0 for padding


class BaselineModel(PreTrainedModel):
    """Model with what training and evaluation ask of one.

    `forward` takes `StoryInputs`, `return_loss`, and `loss_counts`, which losses are divided by. It returns a
    `StoryAttnOutput`, in which all that the baseline does not predict is `None`. `count` takes `StoryInputs` and
    returns those of `loss_counts` that the losses of the baseline need.

    `evaluation_notes` say in the results how to read the numbers of the baseline.
    """

    main_input_name = "pixel_values"
    evaluation_notes: tuple[str, ...] = ()

    def __init__(self, config: BaselineConfig):
        super().__init__(config)
        self._perceptual = []  # filled at first use; a list, so that no module is registered

    unnormalize = StoryAttnForConditionalGeneration.unnormalize
    _perceptual_loss = StoryAttnForConditionalGeneration._perceptual_loss

    @property
    def perceptual_distance(self) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None:
        """Return the distance of the model by `config.perceptual_model`; `None` without one."""
        return None if self.config.perceptual_model is None else self._perceptual_loss().distances

    @torch.no_grad()
    def loss_counts(self, **inputs: Unpack[StoryInputs]) -> LossCounts:
        """Return how many frames, tokens or pairs of a batch the parts of the loss average over, as the model does."""
        counts, zero = self.count(**inputs), torch.zeros((), device=self.device)
        return {name: counts.get(name, zero) for name in COUNTED}

    def weighted(self, parts: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the loss: the weighted sum of its parts."""
        return sum(self.config.loss_weights[name] * part for name, part in parts.items())

    @torch.no_grad()
    def _init_weights(self, module: torch.nn.Module) -> None:
        """Initialise a module as torch does."""
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
