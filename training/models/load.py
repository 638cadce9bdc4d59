"""Loads a published model and its processor for the command line."""

from pathlib import Path

import torch
from storyattn import StoryAttnForConditionalGeneration, StoryAttnProcessor
from transformers import PreTrainedConfig

from ..common.hub_ids import is_hub_id
from .baselines import BaselineModel, baseline_class


def load_model(
    name: str, device: str | None = None
) -> tuple[StoryAttnForConditionalGeneration | BaselineModel, StoryAttnProcessor]:
    """
    Model or baseline (in evaluation mode, on `device`, by default a GPU where there is one) and processor from a folder
    or a Hub id.

    Raises `FileNotFoundError` where `name` is neither, `ValueError` for a folder of something else or an unknown
    device.
    """
    path = Path(name).expanduser()
    if not path.is_dir() and not is_hub_id(name):
        raise FileNotFoundError(f"model: found no folder {name!r}, expected a folder with config.json or owner/name")
    if path.is_dir() and not (path / "config.json").is_file():
        raise ValueError(f"model: found no config.json in {name!r}, expected a folder that training wrote")
    source = str(path) if path.is_dir() else name
    try:
        found, _ = PreTrainedConfig.get_config_dict(source)
        model_class = baseline_class(found.get("model_type")) or StoryAttnForConditionalGeneration
        model = model_class.from_pretrained(source)
        processor = StoryAttnProcessor.from_pretrained(source)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise FileNotFoundError(f"model: {name!r} could not be loaded from a folder or the Hub: {reason}") from error
    try:
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        model.to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device: found {str(device)!r}, expected one that torch can use here: {reason}") from error
    return model.eval(), processor
