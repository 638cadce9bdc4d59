"""Say which pretrained parts a model has: for the checkpoints of a run, and for the model card."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from storyattn import StoryAttnForConditionalGeneration
from storyattn.part_tokenizers import PART_KINDS
from torch import nn
from transformers.utils import cached_file

from ..common.hub_ids import is_hub_id
from .build import pretrained_parts, pretrained_sources

if TYPE_CHECKING:
    from ..arguments import ModelArguments

# Of the facts that a card says of a training: how long it took, and the trainings of the model that it starts from.
TRAINING_TIME, TIME_BEFORE = "time of training and its evaluations", "time of the trainings before it"


def part_fingerprints(model: StoryAttnForConditionalGeneration, args: ModelArguments) -> dict[str, dict]:
    """Return what a resumed run must share of each pretrained part: the SHA-256 of its weights, and how it is tuned."""
    trained = args.model_name_or_path is not None
    fingerprints = {"model": {"sha256": _weights_sha256(model)}} if trained else {}
    for part in pretrained_parts(args):
        tuning = getattr(args, f"{part}_tuning")
        lora = {"lora_rank": args.lora_rank, "lora_alpha": args.lora_alpha} if tuning == "lora" else {}
        fingerprints[part] = {"sha256": _weights_sha256(model.parts[part]), "tuning": tuning, **lora}
    return fingerprints


def _weights_sha256(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode("utf-8"))
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def part_summaries(args: ModelArguments, earlier: dict) -> dict[str, str]:
    """Return what the model card says of each pretrained part: its Hub id or folder's name, and how it was tuned.

    Args:
        args: flags of the model.
        earlier: `earlier_facts` of the model that the training starts from.
    """
    summaries = dict(earlier.get("pretrained", {}))
    sources = pretrained_sources(args)
    if args.model_name_or_path is not None:
        summaries["all"] = f"{source_name(args.model_name_or_path)}, trained before"
        untuned = {part: args.model_name_or_path for part in PART_KINDS if getattr(args, f"{part}_tuning") != "tuned"}
        sources = untuned | sources
    for part, source in sources.items():
        tuning, kind = getattr(args, f"{part}_tuning"), PART_KINDS[part].split(" ", 1)[1]  # without its article
        how = f"LoRA of rank {args.lora_rank}, merged" if tuning == "lora" else tuning
        earlier = f", there {summaries[kind]}" if kind in summaries else ""
        summaries[kind] = f"{source_name(source)}, {how}{earlier}"
    return summaries


def earlier_facts(name: str | None) -> dict:
    """Return the `facts` in the results of the model that a training starts from; nothing where it has none."""
    if name is None:
        return {}
    path = cached_file(name, "results.json", _raise_exceptions_for_missing_entries=False)
    return json.loads(Path(path).read_text(encoding="utf-8")).get("facts", {}) if path else {}


def seconds_of(training: dict) -> float:
    """Return how long the training took, by the facts that a card says of it, with the trainings before it."""
    return sum(float(training.get(key, "0 s").removesuffix(" s")) for key in (TRAINING_TIME, TIME_BEFORE))


def source_name(source: str) -> str:
    """Return what a card calls a model: its Hub id, or the name of its folder."""
    return source if is_hub_id(source) else Path(source).expanduser().resolve().name
