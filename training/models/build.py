"""Pretrained parts of a training: which ones, their tokenizers, and what of them is trained."""

import copy
from pathlib import Path

import torch
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration, StoryAttnProcessor
from storyattn.pretrained_parts import PARTS, config_with_parts, part_tokenizers

from ..common.hub_ids import is_hub_id
from .baselines import build_baseline
from .presets import load_preset
from .tokenizer import load_tokenizer, train_tokenizer

TRAINED = "model_name_or_path"
# What reads something else with `align_encoder_features`.
PROJECTIONS = ("model.image_projection.", "model.text_projection.")


def pretrained_sources(args) -> dict[str, str]:
    """Id or folder of each part that a training takes from elsewhere, by `vision`, `text` and `decoder`."""
    return {part: source for part in PARTS if (source := getattr(args, f"pretrained_{part}")) is not None}


def base_config(args) -> StoryAttnConfig:
    """
    The configuration that the flags change: a trained model's, a preset's or a file's, with that of the pretrained
    parts. Raises `ValueError` where one cannot be loaded.
    """
    trained = args.model_name_or_path is not None
    config = _trained_config(args) if trained else load_preset(args.config or args.preset)
    return config_with_parts(config, **pretrained_sources(args))


def load_weights(args, config) -> StoryAttnForConditionalGeneration:
    """
    A model of `config`: with the weights of a trained one, or fresh ones, but for those of the pretrained parts. Of a
    trained model that gets another text decoder the projection into it is new where its width is another.
    """
    sources = pretrained_sources(args)
    if args.model_name_or_path is None:
        return StoryAttnForConditionalGeneration(config).load_parts(**sources)
    trained_config = _trained_config(args)
    was = copy.deepcopy(config)
    was.align_encoder_features = trained_config.align_encoder_features
    if "decoder" in sources:
        was.decoder_config, was.decoder_tokenizer = trained_config.decoder_config, trained_config.decoder_tokenizer
    model = _load_trained(StoryAttnForConditionalGeneration, args.model_name_or_path, config=was)
    renewed = ("text_decoder.",) if "decoder" in sources else ()
    if was.align_encoder_features != config.align_encoder_features:  # the projections then read something else
        renewed += PROJECTIONS
    if renewed:
        trained, model = model, StoryAttnForConditionalGeneration(config)
        if model.prefix.weight.shape != trained.prefix.weight.shape:
            renewed += ("prefix.",)
        kept = {name: weight for name, weight in trained.state_dict().items() if not name.startswith(renewed)}
        model.load_state_dict(kept, strict=False)
        model.load_parts(**sources)
    return model.freeze_statistics()


def _trained_config(args) -> StoryAttnConfig:
    config = _load_trained(StoryAttnConfig, args.model_name_or_path)
    if config.model_type != StoryAttnConfig.model_type:
        raise ValueError(f"{TRAINED}: found model_type {config.model_type!r}, expected {StoryAttnConfig.model_type!r}")
    return config


def _load_trained(kind, name: str, **kwargs):
    path = Path(name).expanduser()
    if not path.is_dir() and not is_hub_id(name):
        raise ValueError(f"{TRAINED}: found no folder {name!r}, expected a folder that training wrote, or owner/name")
    try:
        return kind.from_pretrained(path if path.is_dir() else name, **kwargs)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{TRAINED}: {name!r} could not be loaded from a folder or the Hub: {reason}") from error


def build_tokenizers(args, captions, config) -> tuple:
    """
    The tokenizer, and a second one where the text decoder has another: those of pretrained parts, for the others those
    of a trained model, the one that was named, or one trained on `captions`. Raises `ValueError` where one cannot be
    loaded.
    """
    sources = pretrained_sources(args)
    if args.model_name_or_path is not None:
        known = tuple(_load_trained(StoryAttnProcessor, args.model_name_or_path).tokenizers.values())
        return part_tokenizers(decoder=sources["decoder"], tokenizer=known[0]) if "decoder" in sources else known
    fresh = [part for part in ("text", "decoder") if part not in sources]
    tokenizer = None
    if args.tokenizer_name and not fresh:
        found = f"{args.tokenizer_name!r} with --pretrained_text and --pretrained_decoder"
        raise ValueError(f"tokenizer_name: found {found}, expected none: each has its own")
    if name := args.baseline_text or args.tokenizer_name:
        tokenizer = load_tokenizer(name)
    elif fresh:
        vocab_size = getattr(config, f"{fresh[-1]}_config").vocab_size
        tokenizer = train_tokenizer([caption for told in captions for caption in told if caption], vocab_size)
    return part_tokenizers(sources.get("text"), sources.get("decoder"), tokenizer)


def kept_parts(args) -> tuple[str, ...]:
    """Parts whose configuration, vocabulary and special tokens stay as they were trained."""
    return tuple(PARTS if args.model_name_or_path is not None else pretrained_sources(args))


def build_model(args, config):
    """The model or the baseline that the flags name. Raises `ValueError` as `build_baseline` and `load_weights` do."""
    if args.baseline:
        return build_baseline(args.baseline, config, args.baseline_vision, args.baseline_text)
    return load_weights(args, config)


def check_perceptual_model(model) -> None:
    """Raises `ValueError` where the network of the perceptual loss cannot be loaded, or gives no maps."""
    if model.config.perceptual_model is None:
        return
    try:
        picture = torch.zeros(1, 3, *model.config.image_size)
        model.perceptual_distance(picture, picture)
    except Exception as error:  # whatever a folder of something else makes the libraries raise
        name, reason = model.config.perceptual_model, " ".join(str(error).split())[:300]
        raise ValueError(
            f"perceptual_model: found {name!r}, expected a vision model, a folder or a Hub id: {reason}"
        ) from error
