"""
The two kinds of model that a run trains: StoryAttn, or a baseline in its place.

`train.py` chooses one by `model_kind`. Each says how its model is configured, built and exported.
"""

from pathlib import Path

from PIL import Image
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration, StoryAttnProcessor
from transformers import PreTrainedModel

from .arguments import DataArguments, ModelArguments
from .data.prepared_stories import PreparedStories
from .engine.alignment_fit import check_alignment
from .evaluation.familiarity import familiar_similarity
from .models.baselines import build_baseline, story_config, write_baseline
from .models.build import base_config, check_parts, load_weights
from .models.config_overrides import apply_overrides
from .models.finetune import tune_parts
from .models.provenance import part_fingerprints
from .publishing.card_facts import published_facts, write_example
from .publishing.export import write_hub_folder
from .publishing.story_strips import painted_example


class ModelKind:
    """StoryAttn itself: fresh, trained before, or with pretrained parts; exported as a folder for the Hub."""

    def __init__(self, args: ModelArguments):
        self.args = args

    def config(self, fit_alignment: bool = False) -> StoryAttnConfig:
        """
        Return the configuration by which stories are read and, for StoryAttn, the model is built.

        Raises `ValueError` for flags that give none, and for one that cannot be fitted with `fit_alignment`.
        """
        config = base_config(self.args)
        if self.args.config_overrides:
            apply_overrides(config, self.args.config_overrides)
            check_parts(config, self.args.config_overrides)
        if fit_alignment:
            check_alignment(config, self.args.baseline)
        return config

    def build(self, config: StoryAttnConfig) -> PreTrainedModel:
        """Return the model to train; `config` has been adapted to the tokenizers."""
        return load_weights(self.args, config)

    def describe(self, model: PreTrainedModel) -> dict:
        """Return what a checkpoint must share with the run that continues it, beside `describe_run`."""
        return {"parts": part_fingerprints(model, self.args)}

    def tune(self, model: PreTrainedModel) -> None:
        """Freeze or adapt pretrained parts of `model` as the flags say."""
        tune_parts(model, self.args)

    def merge(self, model: PreTrainedModel) -> None:
        """Merge the adapters of a trained `model` into its weights."""
        model.merge_adapters()

    def calibrate(
        self, model: StoryAttnForConditionalGeneration, processor: StoryAttnProcessor, stories: PreparedStories
    ) -> None:
        """Measure on stories of the validation below which similarity `model` warns of what it does not know."""
        model.config.familiar_similarity = familiar_similarity(model, processor, stories)

    def card_facts(self, data_args: DataArguments) -> dict:
        """Return what the model card says of parts and data, see `published_facts`; looked up before training."""
        return published_facts(self.args, data_args)

    def painted_example(
        self, model: StoryAttnForConditionalGeneration, processor: StoryAttnProcessor, frame: Image.Image
    ) -> dict | None:
        """Return the story of a card that shows none of the data: `frame` as the model paints it."""
        return painted_example(model, processor, frame)

    def export(
        self,
        model: StoryAttnForConditionalGeneration,
        processor: StoryAttnProcessor,
        output_dir: str | Path,
        results: dict,
        facts: dict,
        story: dict | None,
    ) -> None:
        """
        Write the folder that can go to the Hub.

        Args:
            model: the trained model.
            processor: its processor.
            output_dir: the folder of the run.
            results: the document of `results_document`.
            facts: those of `training_facts` and of `card_facts`.
            story: `frames` and `captions`, of which the first pages are the card's example; `None` for none.
        """
        if story is not None:
            most = model.config.max_frames - 1
            facts = {**facts, "example": write_example(story["frames"], story["captions"], Path(output_dir), most)}
        write_hub_folder(model, processor, output_dir, results, facts)


class BaselineKind(ModelKind):
    """A baseline, for the stories of a StoryAttn configuration; exported as a folder for `storyattn evaluate`."""

    def config(self, fit_alignment: bool = False) -> StoryAttnConfig:
        """Return the configuration by which stories are read for the baseline, which has none of `fit_alignment`."""
        return story_config(self.args.baseline, super().config(fit_alignment), self.args.baseline_vision)

    def build(self, config: StoryAttnConfig) -> PreTrainedModel:
        """Return the baseline with fresh weights; raises `ValueError` as `build_baseline`."""
        return build_baseline(self.args.baseline, config, self.args.baseline_vision, self.args.baseline_text)

    def describe(self, model: PreTrainedModel) -> dict:
        """Return the name of the baseline, and of the pretrained encoders it takes."""
        args = self.args
        return {"baseline": args.baseline, "vision": args.baseline_vision, "text": args.baseline_text}

    def tune(self, model: PreTrainedModel) -> None:
        """Leave `model` as it was built: a baseline freezes what it does not train."""

    def merge(self, model: PreTrainedModel) -> None:
        """Leave `model` as it was trained: a baseline has no adapters."""

    def calibrate(self, model: PreTrainedModel, processor: StoryAttnProcessor, stories: PreparedStories) -> None:
        """Leave `model` as it is: a baseline does not warn."""

    def card_facts(self, data_args: DataArguments) -> dict:
        """Return nothing: a baseline has no model card."""
        return {}

    def painted_example(self, model: PreTrainedModel, processor: StoryAttnProcessor, frame: Image.Image) -> None:
        """Return nothing: a baseline has no model card."""

    def export(
        self,
        model: PreTrainedModel,
        processor: StoryAttnProcessor,
        output_dir: str | Path,
        results: dict,
        facts: dict,
        story: dict | None,
    ) -> None:
        """Write weights, configuration, processor and results."""
        write_baseline(model, processor, output_dir, results)


def model_kind(args: ModelArguments) -> ModelKind:
    """Return the kind of model that the flags name."""
    return BaselineKind(args) if args.baseline else ModelKind(args)
