"""Pretrained parts of StoryAttn: a vision model, a text encoder and a causal language model, by Hub id or folder."""

import copy
import os
from dataclasses import fields
from os import PathLike

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.image_processing_base import ImageProcessingMixin

from .configuration_storyattn import StoryAttnConfig
from .part_tokenizers import naming_part, part_tokenizers
from .vision_encoder import probe_feature_maps

# What a part may lack: it is not used, or is the identity where it is new.
MAY_LACK = ("pooler.", "hidden_states_norms.")


class PretrainedPartsMixin:
    """`from_pretrained_parts` of [`StoryAttnForConditionalGeneration`], and parts that are frozen or have adapters.

    A part none of whose weights is trained (`model.parts["text"].requires_grad_(False)`) stays in evaluation mode: it
    has no dropout. So does a BatchNorm, such as those of a pretrained vision model, which keeps its statistics.
    """

    @classmethod
    def from_pretrained_parts(
        cls,
        vision: str | None = None,
        text: str | None = None,
        decoder: str | None = None,
        *,
        config: StoryAttnConfig | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        **changes,
    ):
        """Build a model of pretrained parts of transformers, the rest with fresh weights.

        Frames are normalised as the vision model's `preprocessor_config.json` says, where it has one.

        Args:
            vision, text, decoder (*optional*): Hub id or folder of a vision model, a text encoder and a causal language
                model; the configuration describes what is left out.
            config (*optional*): the default one if left out.
            tokenizer (*optional*): of the text encoder or decoder that is not pretrained; by default it shares the
                other one's.
            changes: fields of the configuration.

        Returns:
            the model in evaluation mode, in 32 bits.

        Raises:
            ValueError: for a part that cannot be loaded or is something else, naming it.
        """
        sources = _named(vision, text, decoder)
        config = config_with_parts(_changed(config, changes), **sources)
        tokenizers = part_tokenizers(text, decoder, tokenizer)
        if tokenizers:
            config.adapt_to_tokenizer(*tokenizers, pretrained=tuple(sources))
        return cls(config).load_parts(**sources).eval()

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The vision model, the text encoder and the text decoder."""
        return {
            "vision": self.model.vision_encoder.backbone,
            "text": self.model.text_encoder,
            "decoder": self.text_decoder,
        }

    def load_parts(
        self, vision: str | None = None, text: str | None = None, decoder: str | None = None
    ) -> "PretrainedPartsMixin":
        """Load the weights of parts, given by Hub id or folder, as `config_with_parts` configures them.

        Args:
            vision, text, decoder (*optional*): as in `from_pretrained_parts`.

        Returns:
            the model.

        Raises:
            ValueError: for a part that cannot be loaded or is something else, naming it.
        """
        for part, source in _named(vision, text, decoder).items():
            if part == "decoder":
                _check_positions(source, self.config)
            with naming_part(part, source):
                _load(self.parts[part], source, part)
        return self if vision is None else self.freeze_statistics()

    def freeze_statistics(self) -> "PretrainedPartsMixin":
        """Leave batch normalisations of the vision model as they were trained; return the model."""
        for module in self.parts["vision"].modules():
            if isinstance(module, _BatchNorm):
                module.requires_grad_(False)
        return self

    def train(self, mode: bool = True) -> "PretrainedPartsMixin":
        """Set training mode as torch does, but leave what is not trained in evaluation mode: see the class."""
        super().train(mode)
        norms = (module for module in self.modules() if isinstance(module, _BatchNorm))
        for module in (*self.parts.values(), *norms):
            weights = list(module.parameters())
            if weights and not any(weight.requires_grad for weight in weights):
                module.eval()
        return self

    def merge_adapters(self) -> "PretrainedPartsMixin":
        """Add adapters of PEFT (LoRA) to the weights that they adapt and remove them, in place; return the model."""
        for name, module in _adapted(self):
            module.merge()
            self.set_submodule(name, module.get_base_layer())
        return self

    def save_pretrained(self, save_directory: str | PathLike, state_dict: dict | None = None, **kwargs) -> None:
        """Save as the library does, with adapters merged into the saved weights, which load without PEFT.

        Adapters of `add_adapter` and `load_adapter` are not merged: the library saves the adapter alone.

        Args:
            save_directory: the folder.
            state_dict (*optional*): weights in place of the model's.
            kwargs: as of the library.
        """
        if not _adapted(self) or getattr(self, "_hf_peft_config_loaded", False):
            super().save_pretrained(save_directory, state_dict=state_dict, **kwargs)
            return
        merged = copy.deepcopy(self)
        if state_dict is not None:
            merged.load_state_dict(state_dict)
        merged.merge_adapters().save_pretrained(save_directory, **kwargs)


def config_with_parts(
    config: StoryAttnConfig, vision: str | None = None, text: str | None = None, decoder: str | None = None
) -> StoryAttnConfig:
    """Copy a configuration, with those of pretrained parts and the normalisation of the vision model.

    Vocabularies and special tokens are left to `adapt_to_tokenizer`.

    Args:
        config: what is copied.
        vision, text, decoder (*optional*): as in `from_pretrained_parts`.

    Returns:
        the copy.

    Raises:
        ValueError: for a part that cannot be loaded or is something else, naming it.
    """
    config = copy.deepcopy(config)
    for part, source in _named(vision, text, decoder).items():
        with naming_part(part, source):
            part_config = _part_config(part, source)
            _check_kind(part, part_config, config.image_size)
            setattr(config, f"{part}_config", part_config)
            if part == "vision":
                for name, values in normalization(source).items():
                    setattr(config, name, values)
    config.check()
    return config


def _named(vision: str | None, text: str | None, decoder: str | None) -> dict[str, str]:
    sources = {"vision": vision, "text": text, "decoder": decoder}
    return {part: source for part, source in sources.items() if source is not None}


def _changed(config: StoryAttnConfig | None, changes: dict) -> StoryAttnConfig:
    unknown = sorted(set(changes) - {field.name for field in fields(StoryAttnConfig)})
    if unknown:
        raise ValueError(
            f"from_pretrained_parts: got {unknown}, expected vision, text, decoder or configuration fields"
        )
    if config is None:
        return StoryAttnConfig(**changes)
    config = copy.deepcopy(config)
    for name, value in changes.items():
        setattr(config, name, value)
    return config


def _part_config(part: str, source: str) -> PreTrainedConfig:
    if str(source).startswith((".", "/", "~")) and not os.path.isdir(source):
        raise FileNotFoundError("there is no such folder")
    config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    config = getattr(config, f"{part}_config", config)  # of models of pictures and texts, such as CLIP
    config.dtype, config.name_or_path = None, ""
    stages = getattr(config, "stage_names", None)
    if part == "vision" and stages and config.out_features == stages[-1:]:  # a backbone's default: the last one alone
        config.out_features = stages[1:]
    return config


def _check_kind(part: str, config: PreTrainedConfig, image_size: list[int]) -> None:
    """Run a model of the configuration without weights, the way that StoryAttn does."""
    if part == "vision":
        probe_feature_maps(config, image_size)
        return
    with torch.device("meta"), torch.no_grad():
        if part == "decoder":
            AutoModelForCausalLM.from_config(config)
        elif "last_hidden_state" not in AutoModel.from_config(config).eval()(torch.zeros(1, 2, dtype=torch.long)):
            raise ValueError("it gives no states of its tokens")


def _check_positions(source: str, config: StoryAttnConfig) -> None:
    """Refuse a decoder that was made for fewer tokens than it is to read; `config.check` does so for a text encoder."""
    length, captions = config.max_caption_length, config.decoder_context_captions + 1
    states = config.num_visual_tokens + config.num_text_tokens
    needed = captions * length + states
    positions = getattr(config.decoder_config, "max_position_embeddings", None) or needed
    if positions < needed:
        message = f"decoder: got {str(source)!r}, which has {positions} positions, expected at least {needed}"
        read = f"(decoder_context_captions {captions - 1} + the one it writes) of max_caption_length {length}"
        raise ValueError(f"{message}: captions {read} and {states} states of the story")


def _load(module: nn.Module, source: str, part: str) -> None:
    options = {"config": copy.deepcopy(module.config), "dtype": torch.float32, "output_loading_info": True}
    loaded, loading_info = type(module).from_pretrained(source, **options)
    module.load_state_dict(loaded.state_dict(), strict=False)  # it may have a pooler that the part has not
    lacking = sorted(name for name in loading_info["missing_keys"] if not name.startswith(MAY_LACK))
    if lacking:
        raise ValueError(f"it has no weights {', '.join(lacking[:3])} ({len(lacking)} are missing)")
    if part == "decoder":
        _check_causal(module.eval())


@torch.no_grad()
def _check_causal(decoder: nn.Module) -> None:
    tokens = decoder.get_input_embeddings().weight[:3][None]  # (1, 3, E)
    positions = torch.arange(2)[None]
    first, second = (
        decoder(inputs_embeds=embeds, position_ids=positions, use_cache=False, logits_to_keep=2).logits[:, 0]
        for embeds in (tokens[:, :2], tokens[:, [0, 2]])
    )
    if not torch.allclose(first, second, atol=1e-4):
        raise ValueError("it reads words that come later")


def normalization(source: str) -> dict[str, list[float]]:
    """Read `image_mean` and `image_std` of a vision model; `{}` where its folder does not say."""
    try:
        values, _ = ImageProcessingMixin.get_image_processor_dict(source)
    except (OSError, ValueError):
        return {}
    if values.get("do_normalize") is False:
        return {"image_mean": [0.0, 0.0, 0.0], "image_std": [1.0, 1.0, 1.0]}
    return {name: list(values[name]) for name in ("image_mean", "image_std") if values.get(name) is not None}


def _adapted(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in model.named_modules() if hasattr(module, "get_base_layer")]
