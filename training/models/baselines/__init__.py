"""
What StoryAttn has to beat, trained and measured by the same commands, on the same stories:

    accelerate launch train.py --baseline NAME --output_dir runs/NAME
    storyattn evaluate --model runs/NAME --dataset storyworld --output results.json
"""

import copy
from pathlib import Path

from storyattn import StoryAttnConfig
from storyattn.pretrained_parts import normalization

from ...common.files import write_results
from .base import BaselineConfig, BaselineModel
from .no_context import NoContextConfig, NoContextModel
from .notebook import NotebookConfig, NotebookModel
from .projection import ProjectionConfig, ProjectionModel
from .text_only import TextOnlyConfig, TextOnlyModel

BASELINES = {
    "notebook": NotebookModel,
    "no_context": NoContextModel,
    "text_only": TextOnlyModel,
    "projection": ProjectionModel,
}


def story_config(name: str, config: StoryAttnConfig, vision: str | None = None) -> StoryAttnConfig:
    """
    The configuration by which stories are read for a baseline, from that of the model it stands beside.

    `vision` is the pretrained vision model of `projection`, whose normalisation is taken over. Raises `ValueError` for
    a configuration that the baseline cannot have.
    """
    if name == "no_context":
        return NoContextConfig.from_model(config)
    if name == "notebook":
        NotebookConfig.from_model(config)  # refuses sizes that it cannot have, before the stories are read
    config = copy.deepcopy(config)
    if vision is not None:
        for field, values in normalization(vision).items():
            setattr(config, field, values)
        config.check()
    return config


def build_baseline(name: str, config: StoryAttnConfig, vision: str | None = None, text: str | None = None):
    """
    A baseline with fresh weights for stories that are read by `config`, which knows the tokenizer; `vision` and `text`
    are folders or Hub ids of the pretrained encoders of `projection`.

    Raises `ValueError` for an encoder that cannot be loaded or is something else.
    """
    if name == "projection":
        return ProjectionModel.from_encoders(config, vision, text)
    model_class = BASELINES[name]
    return model_class(config if name == "no_context" else model_class.config_class.from_model(config))


def baseline_class(model_type: str | None) -> type | None:
    """The class of the baseline whose `config.json` has this `model_type`; `None` where it is none."""
    return next((found for found in BASELINES.values() if found.config_class.model_type == model_type), None)


def write_baseline(model, processor, output_dir: str | Path, results: dict) -> None:
    """
    Writes weights, configuration, processor and `results.json` into a folder that `storyattn evaluate` reads. The
    language model of `text_only` is written once more by itself, as `--pretrained_decoder` takes it: into `decoder`.
    """
    model.save_pretrained(output_dir)
    processor.save_pretrained(output_dir)
    if isinstance(model, TextOnlyModel):
        decoder = Path(output_dir, "decoder")
        model.text_decoder.save_pretrained(decoder)
        processor.tokenizer.save_pretrained(decoder)
    write_results(results, Path(output_dir, "results.json"))


__all__ = [
    "BASELINES",
    "BaselineConfig",
    "BaselineModel",
    "NoContextConfig",
    "NoContextModel",
    "NotebookConfig",
    "NotebookModel",
    "ProjectionConfig",
    "ProjectionModel",
    "TextOnlyConfig",
    "TextOnlyModel",
    "baseline_class",
    "build_baseline",
    "story_config",
    "write_baseline",
]
