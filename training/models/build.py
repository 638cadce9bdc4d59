"""Build the model of a training by its flags: its configuration, its tokenizers, then its weights.

A part (vision model, text encoder or text decoder) is fresh, is pretrained (`--pretrained_vision` and so on), or is
that of a trained model (`--model_name_or_path`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

import torch
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration, StoryAttnProcessor
from storyattn.part_tokenizers import PART_KINDS, part_tokenizers
from storyattn.pretrained_parts import config_with_parts

from ..common.loading import expecting
from .baselines import BaselineModel
from .load import model_source
from .presets import load_preset
from .tokenizer import load_tokenizer, train_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ..arguments import ModelArguments

Loadable = TypeVar("Loadable", StoryAttnConfig, StoryAttnForConditionalGeneration, StoryAttnProcessor)

# Layers that read other features where `align_encoder_features` changes.
PROJECTIONS = ("model.image_projection.", "model.text_projection.")


def pretrained_sources(args: ModelArguments) -> dict[str, str]:
    """Return the Hub id or folder of each part that the flags name one for, by `vision`, `text` and `decoder`."""
    return {part: source for part in PART_KINDS if (source := getattr(args, f"pretrained_{part}")) is not None}


def pretrained_parts(args: ModelArguments) -> tuple[str, ...]:
    """Return the parts that keep the configuration, vocabulary and special tokens that they were trained with."""
    return tuple(PART_KINDS if args.model_name_or_path is not None else pretrained_sources(args))


def base_config(args: ModelArguments) -> StoryAttnConfig:
    """Return the configuration that `--config_overrides` changes.

    It is that of a trained model, of a preset or of a file, with the configurations of the pretrained parts.

    Raises:
        FileNotFoundError: where there is no such trained model.
        ValueError: where a configuration cannot be loaded.
    """
    trained = args.model_name_or_path is not None
    config = _load_trained(StoryAttnConfig, args) if trained else load_config(args)
    return config_with_parts(config, **pretrained_sources(args))


def load_config(args: ModelArguments) -> StoryAttnConfig:
    """Return the configuration that `--config` or `--preset` names; raise `ValueError` as `load_preset`."""
    return load_preset(args.preset) if args.config is None else load_preset(args.config, "config")


def check_parts(config: StoryAttnConfig, overrides: str) -> None:
    """Try to build the model of a configuration, without weights.

    Args:
        config: the configuration.
        overrides: what `--config_overrides` has changed in it, for the error.

    Raises:
        ValueError: where a part cannot be built.
    """
    with expecting("config_overrides", overrides, "a model that can be built"), torch.device("meta"):
        StoryAttnForConditionalGeneration(copy.deepcopy(config))


def build_tokenizers(
    args: ModelArguments, captions: Iterable[list[str | None]], config: StoryAttnConfig
) -> tuple[PreTrainedTokenizerBase, ...]:
    """Return the tokenizer and, where the text decoder has one of its own, that of the decoder.

    A pretrained part brings its tokenizer, and so does a trained model. Other parts share the one that a flag names, or
    one that is trained here.

    Args:
        args: flags of the model.
        captions: captions of each training story, `None` where one is missing; a new tokenizer is trained on them.
        config: configuration with the size of a new vocabulary.

    Raises:
        ValueError: where a tokenizer cannot be loaded, or one is named and every part has its own.
    """
    sources = pretrained_sources(args)
    if args.model_name_or_path is not None:
        tokenizers = tuple(_load_trained(StoryAttnProcessor, args).tokenizers.values())
        if "decoder" in sources:
            return part_tokenizers(decoder=sources["decoder"], tokenizer=tokenizers[0])
        return tokenizers
    fresh = [part for part in ("text", "decoder") if part not in sources]
    if args.tokenizer_name and not fresh:
        given = f"{args.tokenizer_name!r} with --pretrained_text and --pretrained_decoder"
        raise ValueError(f"tokenizer_name: got {given}, expected none: each has its own")
    tokenizer = None
    if name := args.baseline_text or args.tokenizer_name:
        tokenizer = load_tokenizer(name)
    elif fresh:
        vocab_size = getattr(config, f"{fresh[-1]}_config").vocab_size
        tokenizer = train_tokenizer([caption for story in captions for caption in story if caption], vocab_size)
    return part_tokenizers(sources.get("text"), sources.get("decoder"), tokenizer)


def load_weights(args: ModelArguments, config: StoryAttnConfig) -> StoryAttnForConditionalGeneration:
    """Return a model of `config` with the weights that the flags name; all others are fresh.

    Raises:
        FileNotFoundError: where there is no such trained model.
        ValueError: where weights cannot be loaded, or do not fit `config`.
    """
    if args.model_name_or_path is not None:
        return _load_trained_weights(args, config).freeze_statistics()
    return StoryAttnForConditionalGeneration(config).load_parts(**pretrained_sources(args))


def check_perceptual_model(model: StoryAttnForConditionalGeneration | BaselineModel) -> None:
    """Try the network of the perceptual loss, where the configuration names one.

    Raises:
        ValueError: where it cannot be loaded, or gives no feature maps.
    """
    if model.config.perceptual_model is None:
        return
    with expecting("perceptual_model", model.config.perceptual_model, "a vision model, a folder or a Hub id"):
        picture = torch.zeros(1, 3, *model.config.image_size)
        model.perceptual_distance(picture, picture)


def _load_trained_weights(args: ModelArguments, config: StoryAttnConfig) -> StoryAttnForConditionalGeneration:
    """Return the trained model; layers that the flags exchange, and those whose shape or input changes, are fresh."""
    sources, trained_config = pretrained_sources(args), _load_trained(StoryAttnConfig, args)
    stored_config = copy.deepcopy(config)  # `config` but for what must be as the stored weights are
    stored_config.align_encoder_features = trained_config.align_encoder_features
    if "decoder" in sources:
        stored_config.decoder_config = trained_config.decoder_config
        stored_config.decoder_tokenizer = trained_config.decoder_tokenizer
    trained = _load_trained(StoryAttnForConditionalGeneration, args, config=stored_config)
    fresh = ("text_decoder.",) if "decoder" in sources else ()
    if trained_config.align_encoder_features != config.align_encoder_features:
        fresh += PROJECTIONS
    if not fresh:
        return trained
    model = StoryAttnForConditionalGeneration(config)
    if model.prefix.weight.shape != trained.prefix.weight.shape:  # a decoder of another width
        fresh += ("prefix.",)
    weights = {name: weight for name, weight in trained.state_dict().items() if not name.startswith(fresh)}
    model.load_state_dict(weights, strict=False)
    return model.load_parts(**sources)


def _load_trained(kind: type[Loadable], args: ModelArguments, **options: StoryAttnConfig) -> Loadable:
    """Return the `kind` (configuration, model or processor) of the trained model."""
    name = args.model_name_or_path
    source = model_source("model_name_or_path", name)
    expected = "a trained model that can be loaded from a folder or the Hub"
    with expecting("model_name_or_path", name, expected, catch=(OSError, ValueError, RuntimeError)):
        return kind.from_pretrained(source, **options)
