"""A causal language model of the size of StoryAttn's text decoder, which reads the captions so far and no picture."""

from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from storyattn import StoryAttnConfig, StoryAttnOutput
from storyattn.losses import caption_loss
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig
from transformers.utils import can_return_tuple
from typing_extensions import Unpack

from .base import BaselineConfig, BaselineModel, LossCounts, StoryInputs


@strict
class TextOnlyConfig(BaselineConfig):
    """Configuration whose `decoder_config` is that of the model it is compared with.

    It has positions for the captions of a whole window.
    """

    model_type = "storyattn_text_only"
    sub_configs = {"decoder_config": AutoConfig}
    LOSS_WEIGHTS = {"next_caption": 1.0}

    decoder_config: dict | PreTrainedConfig | None = None

    def __post_init__(self, **kwargs):
        if isinstance(self.decoder_config, dict):
            values = dict(self.decoder_config)
            self.decoder_config = AutoConfig.for_model(values.pop("model_type"), **values)
        super().__post_init__(**kwargs)

    @classmethod
    def from_model(cls, config: StoryAttnConfig) -> "TextOnlyConfig":
        """Return the configuration for the stories, the tokenizer and the text decoder of `config`."""
        decoder = config.decoder_config.to_dict()
        length = config.max_frames * config.max_caption_length
        decoder["max_position_embeddings"] = max(config.decoder_config.max_position_embeddings, length)
        return super().from_model(config, decoder_config=decoder)


class TextOnlyModel(BaselineModel):
    """Language model that reads the captions so far, each between its start and end token, and writes the next one.

    As in the model, one pass trains every caption of a window but the first.
    """

    config_class = TextOnlyConfig
    evaluation_notes = ("text_only reads no picture: loss_shuffled_frames is the loss",)

    def __init__(self, config: TextOnlyConfig):
        super().__init__(config)
        self.text_decoder = AutoModelForCausalLM.from_config(config.decoder_config)
        self.post_init()

    @can_return_tuple
    def forward(
        self, return_loss: bool = False, loss_counts: LossCounts | None = None, **inputs: Unpack[StoryInputs]
    ) -> StoryAttnOutput:
        """Predict every caption but the first from all tokens before it.

        Args:
            return_loss: compute the loss.
            loss_counts: number of tokens that it is divided by; default: those of the batch.
            inputs: stories.

        Returns:
            `next_caption_logits (B, T - 1, L, V)`, and with `return_loss` the `loss` and its parts.
        """
        input_ids, attention_mask = inputs["input_ids"], inputs["attention_mask"]
        mask = attention_mask.flatten(1)  # (B, T * L)
        logits = self.text_decoder(
            input_ids=input_ids.flatten(1),
            attention_mask=mask,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            use_cache=False,
        ).logits.unflatten(1, input_ids.shape[1:])  # (B, T, L, V)
        output = StoryAttnOutput(next_caption_logits=logits[:, 1:])
        if return_loss:
            counts = self.count(**inputs) if loss_counts is None else loss_counts
            captions = input_ids[:, 1:], attention_mask[:, 1:]
            loss = caption_loss(output.next_caption_logits, *captions, counts["next_caption"])
            output.loss_parts = {"next_caption": loss}
            output.loss = self.weighted(output.loss_parts)
        return output

    def count(self, **inputs: Unpack[StoryInputs]) -> LossCounts:
        """Return the number of tokens to predict."""
        return {"next_caption": inputs["attention_mask"][:, 1:, 1:].sum().float()}

    @torch.no_grad()
    def generate(
        self,
        pixel_values: torch.Tensor,
        frame_mask: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        task: str = "continue",
        **options: Any,
    ) -> torch.Tensor:
        """Write the caption after those of each story.

        Args:
            pixel_values: normalised frames `(B, T, 3, H, W)`.
            frame_mask: `(B, T)`, 1 where the story has a frame.
            input_ids: tokens of the captions `(B, T, L)`.
            attention_mask: `(B, T, L)`, 1 for a token, 0 for padding.
            task: "continue", which is all that it can.
            options: those of `generate` of transformers.

        Returns:
            Token ids `(B, n)`.

        Raises:
            ValueError: for another task.
        """
        if task != "continue":
            raise ValueError(f"task: got {task!r}, expected 'continue': text_only sees nothing to describe")
        mask, order = attention_mask.flatten(1).sort(dim=1, stable=True)  # padding comes first
        ids = input_ids.flatten(1).gather(1, order)
        prompt = torch.cat([ids, ids.new_full((len(ids), 1), self.config.bos_token_id)], dim=1)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        special = {name: getattr(self.config, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
        written = self.text_decoder.generate(input_ids=prompt, attention_mask=mask, **special, **options)
        return written[:, prompt.shape[1] :]
