"""Parse the flags of training into dataclasses; a YAML recipe may give some of them, and flags override it."""

import argparse
import re
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NoReturn

import yaml

from .common.access_flags import ACCESS_FLAGS
from .common.columns import COLUMN_FLAGS, TABLE_FLAGS
from .common.command_line import CommandParser, add_fields, suggest
from .common.defaults import CACHE_LIMIT_GB
from .common.files import write_text
from .common.preset_files import preset_names

# The schedules of transformers that need only the numbers of steps.
Schedule = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "warmup_stable_decay",
]
SaveDtype = Literal["float32", "float16", "bfloat16"]
OptimizerName = Literal["adamw", "muon"]
Precision = Literal["no", "fp16", "bf16"]
BadStory = Literal["skip", "raise"]
Wordings = Literal["varied", "plain"]
Baseline = Literal["notebook", "no_context", "text_only", "projection"]
Tuning = Literal["tuned", "frozen", "lora"]
LICENSE_NAME = re.compile(r"[a-z0-9]+([.+-][a-z0-9]+)*")  # the form of the Hub's names of licenses
EMPTY_VALUES = ("", "~", "null")  # in YAML
# A path of this machine, and where a run was interrupted: the command that makes a run again leaves them out.
FLAGS_OF_ONE_MACHINE = ("cache_dir", "resume_from_checkpoint")
# These, and where a run writes and publishes: a written recipe leaves them out.
FLAGS_OF_ONE_RUN = ("output_dir", *FLAGS_OF_ONE_MACHINE, "push_to_hub", "hub_model_id", "hub_private_repo")
# Headings of the help, in this order. A flag belongs to the topic of the flag before it where it names none.
TOPICS = (
    "model",
    "pretrained parts",
    "baselines",
    "data",
    "columns of the data",
    "length of the training",
    "optimizer",
    "augmentation",
    "evaluation",
    "checkpoints and output",
    "speed and memory",
    "publishing",
)


def _flag(default: Any, text: str, topic: str | None = None) -> Any:
    return field(default=default, metadata={"help": text, "topic": topic})


@dataclass
class ModelArguments:
    """Flags of the model: what is trained."""

    preset: str = _flag("tiny", f"size of the model: {', '.join(preset_names())}", "model")
    model_name_or_path: str | None = _flag(
        None, "folder or Hub id of a trained model to go on from, with its tokenizers"
    )
    model_recipe: str | None = _flag(
        None, "recipe that trains the model of --model_name_or_path; it runs first where that folder has no model yet"
    )
    config: str | None = _flag(None, "JSON file with the model's configuration, in place of a preset")
    config_overrides: str | None = _flag(
        None, "changes to the configuration, such as 'dropout=0.1,loss_weights.alignment=0'"
    )
    baseline: Baseline | None = _flag(
        None, "train this in place of the model, for the stories of its configuration", "baselines"
    )
    baseline_vision: str | None = _flag(None, "folder or Hub id of the frozen vision model of --baseline projection")
    baseline_text: str | None = _flag(None, "folder or Hub id of its frozen text encoder, whose tokenizer is used")
    tokenizer_name: str | None = _flag(
        None,
        "folder or Hub id of a tokenizer for fresh parts; default: one trained on the captions",
        "pretrained parts",
    )
    pretrained_vision: str | None = _flag(None, "folder or Hub id of a vision model; default: the preset's, fresh")
    pretrained_text: str | None = _flag(
        None, "folder or Hub id of a text encoder, with its tokenizer; default: the preset's, fresh"
    )
    pretrained_decoder: str | None = _flag(
        None, "folder or Hub id of a causal language model, with its tokenizer; replaces a trained model's, too"
    )
    vision_tuning: Tuning = _flag("tuned", "train the pretrained vision model, leave it frozen, or train LoRA adapters")
    text_tuning: Tuning = _flag("tuned", "the same for the text encoder")
    decoder_tuning: Tuning = _flag("tuned", "the same for the text decoder")
    trained_parts: str | None = _flag(
        None, "parts to train, such as frame_decoder, with commas between them; all others are frozen"
    )
    lora_rank: int = _flag(8, "rank of LoRA adapters, which are merged into the published weights; needs PEFT")
    lora_alpha: float = _flag(16.0, "factor of LoRA adapters, times the rank")
    license: str = _flag(
        "mit", "license of the published weights, as the Hub calls it, such as cc-by-4.0", "publishing"
    )

    def __post_init__(self):
        projection = self.baseline == "projection"
        expected = "a folder or Hub id for" if projection else "none without"
        for name in ("baseline_vision", "baseline_text"):
            _expect(self, name, (getattr(self, name) is not None) == projection, f"{expected} --baseline projection")
        _expect(self, "tokenizer_name", not (projection and self.tokenizer_name), "that of --baseline_text")
        trained = self.model_name_or_path is not None
        for name in ("config", "baseline", "tokenizer_name"):
            _expect(self, name, not (trained and getattr(self, name)), "none with --model_name_or_path")
        _expect(self, "model_recipe", trained or self.model_recipe is None, "none without --model_name_or_path")
        for part in ("vision", "text", "decoder"):
            pretrained = getattr(self, f"pretrained_{part}") is not None
            exchanged = pretrained and trained and part != "decoder"
            _expect(self, f"pretrained_{part}", not exchanged, "none with --model_name_or_path")
            pretrained = pretrained or trained
            _expect(self, f"pretrained_{part}", not (pretrained and self.baseline), "none with --baseline")
            tuned = getattr(self, f"{part}_tuning") == "tuned"
            _expect(self, f"{part}_tuning", pretrained or tuned, "a pretrained part or --model_name_or_path")
        _expect(self, "trained_parts", not (self.trained_parts and self.baseline), "none with --baseline")
        for name in ("lora_rank", "lora_alpha"):
            _expect(self, name, getattr(self, name) > 0, "above 0")
        _expect(self, "license", LICENSE_NAME.fullmatch(self.license), "a name such as mit, apache-2.0 or cc-by-4.0")


@dataclass
class DataArguments:
    """Flags of the data: what the model is trained and measured on."""

    dataset: str = _flag("storyworld", "storyworld, a folder, or a Hub id, with frames and captions", "data")
    frames_column: str = _flag(
        COLUMN_FLAGS["frames_column"][0], "column that holds the frames: a list of images", "columns of the data"
    )
    captions_column: str = _flag(
        COLUMN_FLAGS["captions_column"][0], "column that holds the captions: a list of strings"
    )
    story_column: str | None = _flag(None, TABLE_FLAGS["story_column"])
    position_column: str | None = _flag(None, TABLE_FLAGS["position_column"])
    image_column: str | None = _flag(None, TABLE_FLAGS["image_column"])
    caption_column: str | None = _flag(None, TABLE_FLAGS["caption_column"])
    frames_per_video: int | None = _flag(None, TABLE_FLAGS["frames_per_video"])
    train_split: str = _flag("train", "split to train on", "data")
    eval_split: str = _flag("validation", "split for the evaluations during training")
    test_split: str = _flag("test", "split for the evaluation at the end")
    max_train_stories: int | None = _flag(
        None, "train on the first stories, this many; default: all, of storyworld 3500 (it draws more where asked)"
    )
    story_frames: int = _flag(6, "frames of a story that storyworld draws, the fewest with --max_story_frames")
    max_story_frames: int | None = _flag(
        None, "most frames of a story, such as 10: each story has its number; default: all the same"
    )
    wordings: Wordings = _flag("varied", "captions of storyworld: varied, or plain, with one wording for each event")
    max_eval_windows: int = _flag(64, "windows that an evaluation during training measures", "evaluation")
    max_test_windows: int | None = _flag(None, "windows that the evaluation at the end measures; default: all")
    codraw_detector: str | None = _flag(None, "folder of a CoDraw detector, with which the end measures objects")
    publish_stories: bool = _flag(
        True, "show test stories in the published folder; without, only what the model made", "publishing"
    )
    dataloader_num_workers: int = _flag(0, "processes that load stories; 0: the training process does", "data")
    on_bad_story: BadStory = _flag("skip", "skip stories that are broken (no more than one in 20), or raise an error")
    cache_dir: str | None = _flag(None, "folder of resized frames; default: beside the data sets")
    cache_limit_gb: float = _flag(
        CACHE_LIMIT_GB, "size in GB that the folder may have at most; entries used longest ago go first"
    )
    allow_remote_frames: bool = _flag(False, ACCESS_FLAGS["allow_remote_frames"])
    allow_local_paths: bool = _flag(False, ACCESS_FLAGS["allow_local_paths"])
    streaming: bool = _flag(False, "read the training stories as they come, and store none but a sample")
    shuffle_buffer: int = _flag(100, "stories of a stream that are shuffled together")

    def __post_init__(self):
        numbers = ("max_train_stories", "max_eval_windows", "max_test_windows", "shuffle_buffer", "frames_per_video")
        for name in numbers:
            _expect(self, name, _at_least(getattr(self, name), 1), "at least 1")
        _expect(self, "story_frames", self.story_frames >= 2, "at least 2")
        _expect(self, "max_story_frames", _at_least(self.max_story_frames, self.story_frames), "at least story_frames")
        _expect(self, "cache_limit_gb", self.cache_limit_gb > 0, "above 0")
        _expect(self, "dataloader_num_workers", self.dataloader_num_workers >= 0, "at least 0")


@dataclass
class TrainingArguments:
    """Flags of the training: how the model is trained."""

    output_dir: str = _flag(
        "runs/storyattn", "folder for checkpoints, logs, figures and the published model", "checkpoints and output"
    )
    max_train_steps: int | None = _flag(
        None, "optimizer steps; default: as many as num_train_epochs has", "length of the training"
    )
    num_train_epochs: float = _flag(3.0, "passes over the training stories where max_train_steps is not given")
    train_batch_size: int = _flag(16, "stories in a batch of one process")
    eval_batch_size: int = _flag(16, "windows in a batch of an evaluation")
    gradient_accumulation_steps: int = _flag(1, "batches whose gradients make one optimizer step")
    optimizer: OptimizerName = _flag(
        "adamw", "optimizer of the weights; muon is for the matrices of the model, with adamw for the rest", "optimizer"
    )
    learning_rate: float = _flag(1e-3, "highest learning rate")
    muon_learning_rate: float | None = _flag(None, "highest learning rate of Muon's matrices; default: the same")
    vision_learning_rate: float | None = _flag(None, "highest learning rate of the vision model; default: the same")
    text_learning_rate: float | None = _flag(None, "highest learning rate of the text encoder; default: the same")
    decoder_learning_rate: float | None = _flag(None, "highest learning rate of the text decoder; default: the same")
    weight_decay: float = _flag(0.01, "decay of weights with more than one dimension")
    adam_beta1: float = _flag(0.9, "AdamW's decay of the gradient's mean")
    adam_beta2: float = _flag(0.95, "AdamW's decay of the gradient's square")
    max_grad_norm: float = _flag(1.0, "norm that gradients are clipped to")
    lr_scheduler_type: Schedule = _flag("cosine", "schedule of the learning rate")
    warmup_steps: int = _flag(50, "steps over which the learning rate rises")
    decay_steps: int | None = _flag(
        None, "last steps, over which the rate falls to 0 with --lr_scheduler_type warmup_stable_decay; default: none"
    )
    use_ema: bool = _flag(
        True, "evaluate and publish a moving average of the weights; with --no_use_ema the last weights"
    )
    ema_decay: float = _flag(0.995, "decay of the moving average")
    eval_steps: int = _flag(200, "steps between evaluations; 0: at the end alone", "evaluation")
    save_steps: int = _flag(200, "steps between checkpoints; 0: at the end alone", "checkpoints and output")
    save_total_limit: int | None = _flag(2, "checkpoints that are kept, the latest ones")
    augment_crop: float = _flag(
        0.0, "largest share of its sides that a window's frames lose, all at the same place", "augmentation"
    )
    augment_colour: float = _flag(0.0, "how far a window's brightness, contrast and saturation go from 1")
    augment_flip: bool = _flag(False, "mirror half of the windows, and exchange left and right in their captions")
    caption_dropout: float = _flag(0.0, "share of captions that are not read with the story, but still to be written")
    metric_for_best_model: str = _flag(
        "loss", "metric of the evaluations during training by which models are compared; lower is better", "evaluation"
    )
    early_stopping_patience: int | None = _flag(None, "evaluations in a row without a better one that end the training")
    load_best_model_at_end: bool = _flag(False, "measure and publish the best of the evaluated models, not the last")
    compare_with_start: bool = _flag(
        False, "at the end, measure and draw the model of --model_name_or_path as well, beside the trained one"
    )
    max_bad_steps: int = _flag(
        20, "steps in a row without a finite loss and gradient that end the run", "length of the training"
    )
    logging_steps: int = _flag(10, "steps between lines of the log", "checkpoints and output")
    seed: int = _flag(0, "seed of the weights, of dropout, and of the order of the data", "length of the training")
    mixed_precision: Precision | None = _flag(
        None, "precision of the computation; default: as accelerate is configured", "speed and memory"
    )
    fit_alignment: bool = _flag(
        False,
        "at the end, fit the shared space in closed form; needs align_encoder_features in the configuration",
        "optimizer",
    )
    gradient_checkpointing: bool = _flag(False, "compute activations twice to save memory", "speed and memory")
    compile: bool = _flag(False, "compile the model by torch.compile; needs a C++ compiler on a CPU")
    resume_from_checkpoint: str | None = _flag(
        None, "continue a run: latest, or the folder of a checkpoint", "checkpoints and output"
    )
    report_to: str | None = _flag(None, "trackers of accelerate, such as tensorboard,wandb; default: none")
    save_dtype: SaveDtype = _flag(
        "float32", "precision in which published weights are stored; they are computed in float32", "publishing"
    )
    push_to_hub: bool = _flag(False, "publish the model on the Hub at the end")
    hub_model_id: str | None = _flag(
        None, "user/name of the repository; default: the name of the folder, for the user of the token"
    )
    hub_private_repo: bool = _flag(False, "publish the model in a private repository")

    def __post_init__(self):
        for name in ("hub_model_id", "hub_private_repo"):
            _expect(self, name, self.push_to_hub or not getattr(self, name), "none without push_to_hub")
        for name in ("train_batch_size", "eval_batch_size", "gradient_accumulation_steps"):
            _expect(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("logging_steps", "max_bad_steps"):
            _expect(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("max_train_steps", "decay_steps", "save_total_limit", "early_stopping_patience"):
            _expect(self, name, _at_least(getattr(self, name), 1), "at least 1")
        for name in ("warmup_steps", "eval_steps", "save_steps", "weight_decay"):
            _expect(self, name, getattr(self, name) >= 0, "at least 0")
        for name in ("num_train_epochs", "learning_rate", "max_grad_norm"):
            _expect(self, name, 0 < getattr(self, name) < float("inf"), "above 0")
        if self.lr_scheduler_type == "warmup_stable_decay":
            _expect(self, "decay_steps", self.decay_steps is not None, "a number with warmup_stable_decay")
        else:
            _expect(self, "decay_steps", self.decay_steps is None, "none without warmup_stable_decay")
        _expect(self, "seed", 0 <= self.seed < 2**32, f"from 0 to {2**32 - 1}")
        is_muon = self.optimizer == "muon"
        _expect(self, "muon_learning_rate", is_muon or self.muon_learning_rate is None, "none without optimizer muon")
        for name in ("muon_learning_rate", "vision_learning_rate", "text_learning_rate", "decoder_learning_rate"):
            _expect(self, name, getattr(self, name) is None or getattr(self, name) > 0, "above 0")
        for name in ("adam_beta1", "adam_beta2", "ema_decay", "augment_crop", "augment_colour", "caption_dropout"):
            _expect(self, name, 0 <= getattr(self, name) < 1, "in [0, 1)")
        stops = self.early_stopping_patience is not None
        _expect(self, "eval_steps", self.eval_steps > 0 or not stops, "at least 1 with early_stopping_patience")


GROUPS = (ModelArguments, DataArguments, TrainingArguments)


class Parser(CommandParser):
    """The parser of `storyattn train`. It raises a `ValueError` of one line where argparse would end the program."""

    def __init__(self):
        text = "Train a model. Flags override those of the recipe, a YAML file of flags and values."
        example = "storyattn train configuration/recipes/storyworld_tiny.yaml --output_dir runs/tiny"
        super().__init__("storyattn train", text, example)
        self.usage = "%(prog)s [recipe.yaml] [flags]"
        add_training_flags(self)

    def error(self, message: str) -> NoReturn:
        """Raise the message as a `ValueError`."""
        raise ValueError(self.one_line(message))


def add_training_flags(parser: CommandParser, without: Collection[str] = ()) -> None:
    """Add the flags of a training to the parser of a command, but for those named in `without`."""
    for title in TOPICS:
        parser.add_topic(title)
    for group in GROUPS:
        add_fields(parser, group, without)


def parse_arguments(argv: list[str]) -> tuple[ModelArguments, DataArguments, TrainingArguments]:
    """Parse `[recipe.yaml] [--flags]`; the recipe's keys are names of flags, and flags override it.

    `--help` ends the program.

    Returns:
        The flags in three groups.

    Raises:
        ValueError: for a recipe that does not exist or is no mapping, for keys and arguments that are no flags, and for
            values of another type or out of range.
    """
    parser = Parser()
    recipe = []
    if argv and not argv[0].startswith("-"):
        path, *argv = argv
        recipe = read_recipe(path)
        try:
            parser.parse_known_args(recipe)
        except ValueError as error:
            raise ValueError(f"recipe: {path!r}: {error}") from error
    values, _ = parser.parse_known_args([*recipe, *argv])
    return training_arguments(values)


def training_arguments(values: argparse.Namespace) -> tuple[ModelArguments, DataArguments, TrainingArguments]:
    """Return the flags of a training in three groups; raise `ValueError` for values out of range."""
    return tuple(group(**{item.name: getattr(values, item.name) for item in fields(group)}) for group in GROUPS)


def read_recipe(path: str) -> list[str]:
    """Return the flags that a YAML file gives, as arguments; an empty value or `null` leaves the default.

    Raises:
        ValueError: where it is no such file, and for keys that are no flags.
    """
    if not Path(path).is_file():
        raise ValueError(f"recipe: got {path!r}, expected a YAML file of flags that exists")
    try:
        # Every value stays the text of the file: YAML itself would read 1e-3 as a string and no as a boolean.
        recipe = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=yaml.BaseLoader) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"recipe: got {path!r}, expected YAML: {error}") from error
    if not isinstance(recipe, dict):
        raise ValueError(f"recipe: got a {type(recipe).__name__} in {path!r}, expected a mapping of flags to values")
    names = _flag_names()
    for name, value in recipe.items():
        if name not in names:
            raise ValueError(
                f"recipe: got the key {name!r} in {path!r}, expected the name of a flag{suggest(name, names)}"
            )
        if not isinstance(value, str):
            raise ValueError(f"recipe: {name}: got a {type(value).__name__} in {path!r}, expected a single value")
    return [f"--{name}={value}" for name, value in recipe.items() if value not in EMPTY_VALUES]


def write_recipe(groups: tuple[ModelArguments, DataArguments, TrainingArguments], path: str | Path) -> None:
    """Write a recipe of the flags whose values are not the defaults, but for `FLAGS_OF_ONE_RUN`."""
    flags = {
        item.name: getattr(group, item.name)
        for group in groups
        for item in fields(group)
        if item.name not in FLAGS_OF_ONE_RUN and getattr(group, item.name) != item.default
    }
    write_text(yaml.safe_dump(flags, sort_keys=False), path)


def _flag_names() -> list[str]:
    return [item.name for group in GROUPS for item in fields(group)]


def _at_least(value: int | None, minimum: int) -> bool:
    return value is None or value >= minimum


def _expect(arguments: Any, name: str, holds: bool, expected: str) -> None:
    if not holds:
        raise ValueError(f"{name}: got {getattr(arguments, name)}, expected {expected}")
