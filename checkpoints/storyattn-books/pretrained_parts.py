"""Pretrained parts of StoryAttn: a vision model, a text encoder and a causal language model, by Hub id or folder."""

import copy
from contextlib import contextmanager
from dataclasses import fields

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer
from transformers.image_processing_base import ImageProcessingMixin

from .configuration_storyattn import StoryAttnConfig
from .vision_encoder import probe_feature_maps

PARTS = {"vision": "a vision model", "text": "a text encoder", "decoder": "a causal language model"}
# What a part may lack: it is not used, or is the identity where it is new.
MAY_LACK = ("pooler.", "hidden_states_norms.")


class PretrainedPartsMixin:
    """`from_pretrained_parts` of [`StoryAttnForConditionalGeneration`], and parts that are frozen or have adapters.

    What is not trained stands still: in training mode, too, a part none of whose weights is trained
    (`model.parts["text"].requires_grad_(False)`) has no dropout, and a BatchNorm such as those of a pretrained vision
    model keeps its statistics.
    """

    @classmethod
    def from_pretrained_parts(cls, vision=None, text=None, decoder=None, *, config=None, tokenizer=None, **changes):
        """A model of pretrained parts of transformers, the rest with fresh weights; in evaluation mode, in 32 bits.

        Args:
            vision, text, decoder (`str`, *optional*): Hub id or folder of a vision model, a text encoder and a causal
                language model; what is left out is what the configuration says.
            config (`StoryAttnConfig`, *optional*): the default one if left out.
            tokenizer (*optional*): of the text encoder or decoder that is not pretrained; by default it shares the
                other one's.
            changes: fields of the configuration.

        Frames are normalised as the vision model's `preprocessor_config.json` says, where it has one. Raises
        `ValueError`, naming the part, for what cannot be loaded or is something else.
        """
        named = {"vision": vision, "text": text, "decoder": decoder}
        sources = {part: source for part, source in named.items() if source is not None}
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

    def load_parts(self, vision=None, text=None, decoder=None):
        """Loads the weights of parts as `config_with_parts` has configured them; returns the model."""
        for part, source in (("vision", vision), ("text", text), ("decoder", decoder)):
            if source is not None:
                if part == "decoder":
                    _check_positions(source, self.config)
                with _naming(part, source):
                    _load(self.parts[part], source, part)
        return self if vision is None else self.freeze_statistics()

    def freeze_statistics(self):
        """Leaves batch normalisations of the vision model as they were trained; returns the model."""
        for module in self.parts["vision"].modules():
            if isinstance(module, _BatchNorm):
                module.requires_grad_(False)
        return self

    def train(self, mode: bool = True):
        """As torch's, but what is not trained stays in evaluation mode: see the class."""
        super().train(mode)
        norms = (module for module in self.modules() if isinstance(module, _BatchNorm))
        for module in (*self.parts.values(), *norms):
            weights = list(module.parameters())
            if weights and not any(weight.requires_grad for weight in weights):
                module.eval()
        return self

    def merge_adapters(self):
        """Adds adapters of PEFT (LoRA) to the weights that they adapt and removes them, in place; returns the model."""
        for name, module in _adapted(self):
            module.merge()
            self.set_submodule(name, module.get_base_layer())
        return self

    def save_pretrained(self, save_directory, state_dict: dict | None = None, **kwargs):
        """As the library's; adapters are merged into what is saved, which loads without PEFT.

        Those of `add_adapter` and `load_adapter` are not: of them the library saves the adapter alone.
        """
        if not _adapted(self) or getattr(self, "_hf_peft_config_loaded", False):
            return super().save_pretrained(save_directory, state_dict=state_dict, **kwargs)
        merged = copy.deepcopy(self)
        if state_dict is not None:
            merged.load_state_dict(state_dict)
        return merged.merge_adapters().save_pretrained(save_directory, **kwargs)


def config_with_parts(config: StoryAttnConfig, vision=None, text=None, decoder=None) -> StoryAttnConfig:
    """A copy of `config` with the configurations of pretrained parts, and the normalisation of the vision model.

    Arguments and errors as in `from_pretrained_parts`. Vocabularies and special tokens are left to
    `adapt_to_tokenizer`.
    """
    config = copy.deepcopy(config)
    for part, source in (("vision", vision), ("text", text), ("decoder", decoder)):
        if source is None:
            continue
        with _naming(part, source):
            own = _part_config(part, source)
            _check_kind(part, own, config.image_size)
            setattr(config, f"{part}_config", own)
            if part == "vision":
                for name, values in normalization(source).items():
                    setattr(config, name, values)
    config.check()
    return config


def part_tokenizers(text=None, decoder=None, tokenizer=None) -> tuple:
    """The tokenizer of the text encoder and, where it is another one, that of the text decoder; `()` for none at all.

    Arguments as in `from_pretrained_parts`. Special tokens that a tokenizer lacks are taken from others that it has:
    no embedding is added. Raises `ValueError`, naming the part, where there is no tokenizer.
    """
    read = tokenizer if text is None else _load_tokenizer("text", text)
    written = tokenizer if decoder is None else _load_tokenizer("decoder", decoder)
    read, written = (written if read is None else read), (read if written is None else written)
    if read is None:
        return ()
    return (read,) if _same(read, written) else (read, written)


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


@contextmanager
def _naming(part: str, source):
    """Makes one `ValueError` that names the part of whatever a folder of something else makes the libraries raise."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        found = f"{part}: found {str(source)!r}, expected {PARTS[part]}, a folder or a Hub id"
        raise ValueError(f"{found}: {reason}") from error


def _part_config(part: str, source):
    config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    config = getattr(config, f"{part}_config", config)  # of models of pictures and texts, such as CLIP
    config.dtype, config.name_or_path = None, ""
    stages = getattr(config, "stage_names", None)
    if part == "vision" and stages and config.out_features == stages[-1:]:  # a backbone's default: the last one alone
        config.out_features = stages[1:]
    return config


def _check_kind(part: str, config, image_size) -> None:
    """Runs an empty model of the configuration the way that StoryAttn does."""
    if part == "vision":
        probe_feature_maps(config, image_size)
        return
    with torch.device("meta"), torch.no_grad():
        if part == "decoder":
            AutoModelForCausalLM.from_config(config)
        elif "last_hidden_state" not in AutoModel.from_config(config).eval()(torch.zeros(1, 2, dtype=torch.long)):
            raise ValueError("it gives no states of its tokens")


def _check_positions(source, config: StoryAttnConfig) -> None:
    """Refuses a decoder that was made for fewer tokens than it is to read; `config.check` does a text encoder."""
    length, captions = config.max_caption_length, config.decoder_context_captions + 1
    states = config.num_visual_tokens + config.num_text_tokens
    needed = captions * length + states
    positions = getattr(config.decoder_config, "max_position_embeddings", None) or needed
    if positions < needed:
        told = f"decoder: found {str(source)!r}, which has {positions} positions, expected at least {needed}"
        own = f"(decoder_context_captions {captions - 1} + the one it writes) of max_caption_length {length}"
        raise ValueError(f"{told}: captions {own} and {states} states of the story")


def _load(module: nn.Module, source, part: str) -> None:
    options = {"config": copy.deepcopy(module.config), "dtype": torch.float32, "output_loading_info": True}
    loaded, told = type(module).from_pretrained(source, **options)
    module.load_state_dict(loaded.state_dict(), strict=False)  # it may have a pooler that the part has not
    lacking = sorted(name for name in told["missing_keys"] if not name.startswith(MAY_LACK))
    if lacking:
        raise ValueError(f"it has no weights {', '.join(lacking[:3])} ({len(lacking)} are missing)")
    if part == "decoder":
        _check_causal(module.eval())


@torch.no_grad()
def _check_causal(decoder: nn.Module) -> None:
    words = decoder.get_input_embeddings().weight[:3][None]  # (1, 3, E)
    places = torch.arange(2)[None]
    first, second = (
        decoder(inputs_embeds=embeds, position_ids=places, use_cache=False, logits_to_keep=2).logits[:, 0]
        for embeds in (words[:, :2], words[:, [0, 2]])
    )
    if not torch.allclose(first, second, atol=1e-4):
        raise ValueError("it reads words that come later")


def normalization(source) -> dict[str, list[float]]:
    """`image_mean` and `image_std` of a vision model that tells them."""
    try:
        values, _ = ImageProcessingMixin.get_image_processor_dict(source)
    except (OSError, ValueError):
        return {}
    if values.get("do_normalize") is False:
        return {"image_mean": [0.0, 0.0, 0.0], "image_std": [1.0, 1.0, 1.0]}
    return {name: list(values[name]) for name in ("image_mean", "image_std") if values.get(name) is not None}


def _load_tokenizer(part: str, source):
    with _naming(part, source):
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        for role, others in (
            ("bos_token", ("cls_token", "eos_token")),
            ("eos_token", ("sep_token", "bos_token")),
            ("pad_token", ("eos_token",)),
        ):
            substitutes = [token for token in (getattr(tokenizer, other) for other in others) if token is not None]
            if getattr(tokenizer, role) is None:
                if not substitutes:
                    raise ValueError(f"its tokenizer has no {role}, and no {' or '.join(others)}")
                setattr(tokenizer, role, substitutes[0])
    return tokenizer


def _same(one, other) -> bool:
    ids = ("pad_token_id", "bos_token_id", "eos_token_id")
    return one is other or (
        all(getattr(one, name) == getattr(other, name) for name in ids) and one.get_vocab() == other.get_vocab()
    )


def _adapted(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in model.named_modules() if hasattr(module, "get_base_layer")]
