"""Say which pretrained parts a model has."""

import hashlib
from pathlib import Path

import torch
from storyattn.pretrained_parts import PARTS
from torch import nn

from ..common.hub_ids import is_hub_id
from .build import kept_parts, pretrained_sources


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


def tell_parts(args) -> dict[str, str]:
    """What the model card says of each pretrained part: an id or the name of a folder, and how it was trained."""
    told = {}
    sources = pretrained_sources(args)
    if args.model_name_or_path is not None:
        told["all"] = f"{name_of(args.model_name_or_path)}, trained before"
        kept = {part: args.model_name_or_path for part in PARTS if getattr(args, f"{part}_tuning") != "tuned"}
        sources = kept | sources
    for part, source in sources.items():
        tuning = getattr(args, f"{part}_tuning")
        name = name_of(source)
        how = f"LoRA of rank {args.lora_rank}, merged" if tuning == "lora" else tuning
        told[PARTS[part].split(" ", 1)[1]] = f"{name}, {how}"
    return told


def name_of(source: str) -> str:
    """What a card calls a model: its Hub id, or the name of its folder."""
    return source if is_hub_id(source) else Path(source).expanduser().resolve().name
