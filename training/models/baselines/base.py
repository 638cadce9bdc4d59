"""What the baselines that are no StoryAttn model share: configuration, pictures, and what losses are divided by."""

from collections.abc import Callable

import torch
from huggingface_hub.dataclasses import strict
from storyattn import StoryAttnForConditionalGeneration
from storyattn.supervision import COUNTED
from transformers import PreTrainedConfig, PreTrainedModel

SHARED = (
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
    """
    The fields of `StoryAttnConfig` that every baseline has, and `vocab_size`.

    `loss_weights` are those of `LOSS_WEIGHTS`, by the names that the parts have in the log. `perceptual_model` is a
    folder or Hub id of the network that measures the perceptual distance; a baseline has none of its own.
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
    def from_model(cls, config, **values):
        """The configuration of a baseline for the stories of a `StoryAttnConfig`."""
        return cls(**{name: getattr(config, name) for name in SHARED}, **values)


class BaselineModel(PreTrainedModel):
    """
    What training and evaluation ask of a model. A baseline's `forward` returns a `StoryAttnOutput` whose fields are
    `None` where it has nothing to give; its `count` gives those of `loss_counts` that its losses are divided by.

    `evaluation_notes` say, in the results, how its numbers are to be read.
    """

    main_input_name = "pixel_values"
    evaluation_notes: tuple[str, ...] = ()

    def __init__(self, config):
        super().__init__(config)
        self._perceptual = []  # filled at first use; a list, so that no module is registered

    unnormalize = StoryAttnForConditionalGeneration.unnormalize
    _perceptual_loss = StoryAttnForConditionalGeneration._perceptual_loss

    @property
    def perceptual_distance(self) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None:
        """As that of the model, by `config.perceptual_model`; `None` without one."""
        return None if self.config.perceptual_model is None else self._perceptual_loss().distances

    @torch.no_grad()
    def loss_counts(self, **batch) -> dict[str, torch.Tensor]:
        """As that of the model: how many frames, tokens or pairs of a batch the parts of the loss average over."""
        own, nothing = self.count(**batch), torch.zeros((), device=self.device)
        return {name: own.get(name, nothing) for name in COUNTED}

    def weighted(self, parts: dict[str, torch.Tensor]) -> torch.Tensor:
        """The loss: the sum of its parts with their weights."""
        return sum(self.config.loss_weights[name] * part for name, part in parts.items())

    @torch.no_grad()
    def _init_weights(self, module: torch.nn.Module) -> None:
        """As torch initialises its layers."""
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
