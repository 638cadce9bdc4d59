"""A causal language model of the size of StoryAttn's text decoder that reads the captions so far, and no picture."""

import torch
from huggingface_hub.dataclasses import strict
from storyattn import StoryAttnConfig, StoryAttnOutput
from storyattn.losses import caption_loss
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig
from transformers.utils import can_return_tuple

from .base import BaselineConfig, BaselineModel


@strict
class TextOnlyConfig(BaselineConfig):
    """`decoder_config`: that of the model it stands beside, with room for the captions of a whole window."""

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
        """The configuration for the stories, the tokenizer and the text decoder of `config`."""
        decoder = config.decoder_config.to_dict()
        length = config.max_frames * config.max_caption_length
        decoder["max_position_embeddings"] = max(config.decoder_config.max_position_embeddings, length)
        return super().from_model(config, decoder_config=decoder)


class TextOnlyModel(BaselineModel):
    """
    Reads the captions so far verbatim, one after the other with their start and end tokens, and writes the next.

    One pass trains every caption but the first of a window, as the model's does.
    """

    config_class = TextOnlyConfig
    evaluation_notes = ("text_only reads no picture: loss_shuffled_frames is the loss",)

    def __init__(self, config: TextOnlyConfig):
        super().__init__(config)
        self.text_decoder = AutoModelForCausalLM.from_config(config.decoder_config)
        self.post_init()

    @can_return_tuple
    def forward(
        self, pixel_values, frame_mask, input_ids, attention_mask, return_loss=False, loss_counts=None, **_
    ) -> StoryAttnOutput:
        """
        `next_caption_logits (B, T - 1, L, V)` of captions `input_ids (B, T, L)`, each from all that comes before it,
        and with `return_loss` the `loss`. Arguments as those of the model.
        """
        mask = attention_mask.flatten(1)  # (B, T * L)
        logits = self.text_decoder(
            input_ids=input_ids.flatten(1),
            attention_mask=mask,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            use_cache=False,
        ).logits.unflatten(1, input_ids.shape[1:])  # (B, T, L, V)
        output = StoryAttnOutput(next_caption_logits=logits[:, 1:])
        if return_loss:
            counts = self.count(attention_mask=attention_mask) if loss_counts is None else loss_counts
            told = output.next_caption_logits, input_ids[:, 1:], attention_mask[:, 1:]
            output.loss_parts = {"next_caption": caption_loss(*told, counts["next_caption"])}
            output.loss = self.weighted(output.loss_parts)
        return output

    def count(self, attention_mask, **batch) -> dict[str, torch.Tensor]:
        """Tokens to predict."""
        return {"next_caption": attention_mask[:, 1:, 1:].sum().float()}

    @torch.no_grad()
    def generate(self, pixel_values, frame_mask, input_ids, attention_mask, task="continue", **options) -> torch.Tensor:
        """
        Ids `(B, n)` of the caption after those of each story; `options` as those of `generate` of transformers.

        Raises `ValueError` for another task than "continue".
        """
        if task != "continue":
            raise ValueError(f"task: got {task!r}, expected 'continue': text_only sees nothing to describe")
        mask, order = attention_mask.flatten(1).sort(dim=1, stable=True)  # what is masked comes first
        ids = input_ids.flatten(1).gather(1, order)
        prompt = torch.cat([ids, ids.new_full((len(ids), 1), self.config.bos_token_id)], dim=1)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        special = {name: getattr(self.config, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
        written = self.text_decoder.generate(input_ids=prompt, attention_mask=mask, **special, **options)
        return written[:, prompt.shape[1] :]
