"""Pretrained parts of a training: which ones, their tokenizers, and what of them is trained."""

import copy
import hashlib
import re
from pathlib import Path

import torch
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration, StoryAttnProcessor
from storyattn.part_tokenizers import PART_KINDS, part_tokenizers
from storyattn.pretrained_parts import config_with_parts
from torch import nn
from transformers.pytorch_utils import Conv1D

from .hub import is_hub_id
from .presets import load_preset
from .tokenizer import load_tokenizer, train_tokenizer

TRAINED = "model_name_or_path"
# What reads something else with `align_encoder_features`.
PROJECTIONS = ("model.image_projection.", "model.text_projection.")


def pretrained_sources(args) -> dict[str, str]:
    """Id or folder of each part that a training takes from elsewhere, by `vision`, `text` and `decoder`."""
    return {part: source for part in PART_KINDS if (source := getattr(args, f"pretrained_{part}")) is not None}


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
    return tuple(PART_KINDS if args.model_name_or_path is not None else pretrained_sources(args))


def describe_parts(model, args) -> dict[str, dict]:
    """Of each pretrained part what a run that goes on must share: the sum of its weights, and how it is trained."""
    trained = args.model_name_or_path is not None
    described = {"model": {"sha256": _sum_of(model)}} if trained else {}
    for part in kept_parts(args):
        tuning = getattr(args, f"{part}_tuning")
        lora = {"lora_rank": args.lora_rank, "lora_alpha": args.lora_alpha} if tuning == "lora" else {}
        described[part] = {"sha256": _sum_of(model.parts[part]), "tuning": tuning, **lora}
    return described


def _sum_of(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode("utf-8"))
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def tune_parts(model, args) -> None:
    """
    Freezes parts or gives them adapters, as `vision_tuning`, `text_tuning` and `decoder_tuning` say.

    Raises `ValueError` where there is no PEFT, or nothing in a part that it can adapt.
    """
    for part, module in model.parts.items():
        tuning = getattr(args, f"{part}_tuning")
        if tuning == "frozen":
            module.requires_grad_(False)
        elif tuning == "lora":
            add_adapters(part, module, args.lora_rank, args.lora_alpha)


def add_adapters(part: str, module: nn.Module, rank: int, alpha: float) -> None:
    """
    Gives every linear and ungrouped convolutional layer but the output layer a LoRA adapter (Hu et al. 2022), which
    alone is trained from then on. Errors as of `tune_parts`.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ValueError(f"{part}_tuning: found 'lora' without PEFT, expected it; pip install peft") from error
    output = module.get_output_embeddings()
    layers = {name: layer for name, layer in module.named_modules() if _can_adapt(layer) and layer is not output}
    if not layers:
        raise ValueError(f"{part}_tuning: found no linear or convolutional layer in {type(module).__name__} for lora")
    options = {"target_modules": "|".join(map(re.escape, layers))}
    options["fan_in_fan_out"] = any(isinstance(layer, Conv1D) for layer in layers.values())
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, **options), module)


def tell_parts(args) -> dict[str, str]:
    """What the model card says of each pretrained part: an id or the name of a folder, and how it was trained."""
    told = {}
    sources = pretrained_sources(args)
    if args.model_name_or_path is not None:
        told["all"] = f"{name_of(args.model_name_or_path)}, trained before"
        kept = {part: args.model_name_or_path for part in PART_KINDS if getattr(args, f"{part}_tuning") != "tuned"}
        sources = kept | sources
    for part, source in sources.items():
        tuning = getattr(args, f"{part}_tuning")
        name = name_of(source)
        how = f"LoRA of rank {args.lora_rank}, merged" if tuning == "lora" else tuning
        told[PART_KINDS[part].split(" ", 1)[1]] = f"{name}, {how}"
    return told


def name_of(source: str) -> str:
    """What a card calls a model: its Hub id, or the name of its folder."""
    return source if is_hub_id(source) else Path(source).expanduser().resolve().name


def _can_adapt(layer: nn.Module) -> bool:
    return isinstance(layer, (nn.Linear, Conv1D)) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
