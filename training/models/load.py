"""Load a published model and its processor for the command line."""

from pathlib import Path

import torch
from storyattn import StoryAttnForConditionalGeneration, StoryAttnProcessor
from transformers import PreTrainedConfig, PreTrainedModel

from ..common.hub_ids import is_hub_id
from ..common.loading import expecting
from .baselines import BaselineModel, baseline_class


def model_source(field: str, name: str) -> str:
    """Return `name` as `from_pretrained` takes it: the path of a folder, or a Hub id as it is.

    Raises:
        FileNotFoundError: naming `field`, where `name` is neither.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return str(path)
    if not is_hub_id(name):
        raise FileNotFoundError(f"{field}: got {name!r}, expected a folder that training wrote, or owner/name")
    return name


def load_model(
    name: str, device: str | None = None
) -> tuple[StoryAttnForConditionalGeneration | BaselineModel, StoryAttnProcessor]:
    """Return the model or baseline of a folder or a Hub id, in evaluation mode on `device`, and its processor.

    Args:
        name: folder or Hub id.
        device: as torch names it; by default a GPU where there is one, else the CPU.

    Raises:
        FileNotFoundError: where `name` is neither a folder nor a Hub id, or cannot be reached.
        ValueError: for a folder of something else, or an unknown device.
    """
    source = model_source("model", name)
    if Path(source).is_dir() and not Path(source, "config.json").is_file():
        raise ValueError(f"model: got {name!r} without config.json, expected a folder that training wrote")
    expected = "a model that can be loaded from a folder or the Hub"
    with expecting("model", name, expected, catch=OSError, raises=FileNotFoundError):
        values, _ = PreTrainedConfig.get_config_dict(source)
    model_type = values.get("model_type")
    model_class = baseline_class(model_type) or StoryAttnForConditionalGeneration
    if model_type != model_class.config_class.model_type:
        raise ValueError(f"model: got one of type {model_type!r} in {name!r}, expected 'storyattn' or a baseline of it")
    with expecting("model", name, expected, catch=OSError, raises=FileNotFoundError):
        model = model_class.from_pretrained(source)
        processor = StoryAttnProcessor.from_pretrained(source)
    return move_model(model, device).eval(), processor


def move_model(model: PreTrainedModel, device: str | None) -> PreTrainedModel:
    """Return a model on a device.

    Args:
        model: is moved.
        device: as torch names it; by default a GPU where there is one, else the CPU.

    Raises:
        ValueError: for a device that this machine does not have.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return model.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        backends = {"cuda": torch.cuda, "mps": torch.mps, "xpu": torch.xpu}
        usable = ["cpu", *(name for name, backend in backends.items() if backend.is_available())]
        raise ValueError(
            f"device: got {device!r}, expected one that PyTorch can use here: {', '.join(usable)}"
        ) from error
