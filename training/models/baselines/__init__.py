"""The baselines: what StoryAttn has to beat, trained and measured by the same commands, on the same stories.

Examples:
    accelerate launch train.py --baseline NAME --output_dir runs/NAME
    storyattn evaluate --model runs/NAME --dataset storyworld --output results.json
"""

import copy
from pathlib import Path

from storyattn import StoryAttnConfig, StoryAttnProcessor
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
    """Return the configuration by which stories are read for a baseline.

    Args:
        name: one of `BASELINES`.
        config: configuration of the model that the baseline is compared with.
        vision: folder or Hub id of the pretrained vision model of `projection`, whose normalisation is taken over.

    Raises:
        ValueError: for a configuration that the baseline cannot have.
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


def build_baseline(
    name: str, config: StoryAttnConfig, vision: str | None = None, text: str | None = None
) -> BaselineModel | NoContextModel:
    """Return a baseline with fresh weights.

    Args:
        name: one of `BASELINES`.
        config: configuration of `story_config`, adapted to the tokenizer.
        vision: folder or Hub id of the pretrained vision encoder of `projection`.
        text: folder or Hub id of its pretrained text encoder.

    Raises:
        ValueError: for an encoder that cannot be loaded or is something else.
    """
    if name == "projection":
        return ProjectionModel.from_encoders(config, vision, text)
    model_class = BASELINES[name]
    return model_class(config if name == "no_context" else model_class.config_class.from_model(config))


def baseline_class(model_type: str | None) -> type[BaselineModel | NoContextModel] | None:
    """Return the class of the baseline whose `config.json` has this `model_type`; `None` where it is no baseline's."""
    classes = {model_class.config_class.model_type: model_class for model_class in BASELINES.values()}
    return classes.get(model_type)


def write_baseline(
    model: BaselineModel | NoContextModel, processor: StoryAttnProcessor, output_dir: str | Path, results: dict
) -> None:
    """Write weights, configuration, processor and `results.json` into a folder that `storyattn evaluate` reads.

    The language model of `text_only` is also written by itself, into the folder `decoder`, which
    `--pretrained_decoder` takes.

    Args:
        model: the trained baseline.
        processor: processor that it was trained with.
        output_dir: folder to write to.
        results: document of `results_document`.
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
