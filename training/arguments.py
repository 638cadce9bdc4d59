"""The flags of training, as dataclasses; a YAML recipe may give some of them, flags override it."""

import difflib
import json
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, get_args

import yaml
from transformers import HfArgumentParser

PRECISIONS = ("no", "fp16", "bf16")
# Those of transformers that need nothing but the numbers of steps.
Schedule = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
]


def _flag(default, text: str):
    return field(default=default, metadata={"help": text})


@dataclass
class ModelArguments:
    """What is trained."""

    preset: str = _flag("tiny", "size of the model: a preset (tiny, small, base)")
    config: str | None = _flag(None, "JSON file with the model's configuration, in place of a preset")
    config_overrides: str | None = _flag(None, "changes to it, such as 'dropout=0.1,loss_weights.alignment=0'")
    tokenizer_name: str | None = _flag(None, "folder or Hub id of a tokenizer; default: one trained on the captions")


@dataclass
class DataArguments:
    """What it is trained and measured on."""

    dataset: str = _flag("storyworld", "storyworld, a folder, or a Hub id, with frames and captions")
    frames_column: str = _flag("frames", "column that holds the frames: a list of images")
    captions_column: str = _flag("captions", "column that holds the captions: a list of strings")
    train_split: str = _flag("train", "split to train on")
    eval_split: str = _flag("validation", "split for the evaluations during training")
    test_split: str = _flag("test", "split for the evaluation at the end")
    max_train_stories: int | None = _flag(None, "train on this many stories, the first ones; default: all")
    max_eval_windows: int = _flag(64, "windows that an evaluation during training measures")
    max_test_windows: int | None = _flag(None, "windows that the evaluation at the end measures; default: all")
    dataloader_num_workers: int = _flag(0, "processes that load stories; 0: the training process does")

    def __post_init__(self):
        for name in ("max_train_stories", "max_eval_windows", "max_test_windows"):
            _expect(self, name, _at_least(getattr(self, name), 1), "at least 1")
        _expect(self, "dataloader_num_workers", self.dataloader_num_workers >= 0, "at least 0")


@dataclass
class TrainingArguments:
    """How it is trained."""

    output_dir: str = _flag("runs/storyattn", "folder for checkpoints, logs, figures and the published model")
    max_train_steps: int | None = _flag(None, "optimizer steps; default: as many as num_train_epochs has")
    num_train_epochs: float = _flag(3.0, "passes over the training stories where max_train_steps is not given")
    train_batch_size: int = _flag(16, "stories in a batch of one process")
    eval_batch_size: int = _flag(16, "windows in a batch of an evaluation")
    gradient_accumulation_steps: int = _flag(1, "batches whose gradients make one optimizer step")
    learning_rate: float = _flag(1e-3, "highest learning rate of AdamW")
    weight_decay: float = _flag(0.01, "decay of weights with more than one dimension")
    adam_beta1: float = _flag(0.9, "AdamW's decay of the gradient's mean")
    adam_beta2: float = _flag(0.95, "AdamW's decay of the gradient's square")
    max_grad_norm: float = _flag(1.0, "norm that gradients are clipped to")
    lr_scheduler_type: Schedule = _flag("cosine", "schedule of the learning rate")
    warmup_steps: int = _flag(50, "steps over which the learning rate rises")
    use_ema: bool = _flag(True, "evaluate and publish a moving average of the weights")
    ema_decay: float = _flag(0.995, "decay of the moving average")
    eval_steps: int = _flag(200, "steps between evaluations; 0: at the end alone")
    save_steps: int = _flag(200, "steps between checkpoints; 0: at the end alone")
    save_total_limit: int | None = _flag(2, "checkpoints that are kept, the latest ones; default: all")
    logging_steps: int = _flag(10, "steps between lines of the log")
    seed: int = _flag(0, "of the weights, of dropout, and of the order of the data")
    mixed_precision: str | None = _flag(None, "no, fp16 or bf16; default: as accelerate is configured")
    gradient_checkpointing: bool = _flag(False, "compute activations twice to save memory")
    resume_from_checkpoint: str | None = _flag(None, "latest, or the folder of a checkpoint")
    report_to: str | None = _flag(None, "trackers of accelerate, such as tensorboard or wandb; default: none")

    def __post_init__(self):
        for name in ("train_batch_size", "eval_batch_size", "gradient_accumulation_steps", "logging_steps"):
            _expect(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("max_train_steps", "save_total_limit"):
            _expect(self, name, _at_least(getattr(self, name), 1), "at least 1")
        for name in ("warmup_steps", "eval_steps", "save_steps", "weight_decay"):
            _expect(self, name, getattr(self, name) >= 0, "at least 0")
        for name in ("num_train_epochs", "learning_rate", "max_grad_norm"):
            _expect(self, name, getattr(self, name) > 0, "above 0")
        for name in ("adam_beta1", "adam_beta2", "ema_decay"):
            _expect(self, name, 0 <= getattr(self, name) < 1, "in [0, 1)")
        known = self.mixed_precision is None or self.mixed_precision in PRECISIONS
        _expect(self, "mixed_precision", known, f"one of {', '.join(PRECISIONS)}")


GROUPS = (ModelArguments, DataArguments, TrainingArguments)


def parse_arguments(argv: list[str]) -> tuple[ModelArguments, DataArguments, TrainingArguments]:
    """
    `[recipe.yaml] [--flags]` as three groups; the recipe's keys are the names of flags, which override it.

    Raises `ValueError` for a recipe that is not there or no mapping, for a key that is no flag, and for values out of
    range. Unknown flags and `--help` end the program, as with any argparse.
    """
    parser = HfArgumentParser(
        GROUPS, prog="train.py", description="[recipe.yaml] [--flags]; flags override the recipe."
    )
    recipe = {}
    if argv and not argv[0].startswith("-"):
        recipe, argv = read_recipe(argv[0]), argv[1:]
    parser.set_defaults(**recipe)
    groups = parser.parse_args_into_dataclasses(args=argv)
    return tuple(groups)


def read_recipe(path: str) -> dict:
    """The flags that a YAML file gives; raises `ValueError` where it is none, and for keys that are no flags."""
    if not Path(path).is_file():
        raise ValueError(f"recipe: found no file {path!r}, expected a YAML file of flags")
    try:
        recipe = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"recipe: {path!r} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(recipe, dict):
        raise ValueError(f"recipe: {path!r} holds a {type(recipe).__name__}, expected a mapping of flags to values")
    types = {item.name: item.type for group in GROUPS for item in fields(group)}
    for name, value in recipe.items():
        if name not in types:
            raise ValueError(f"recipe: {path!r} has the key {name!r}, expected a flag{_near(name, types)}")
        recipe[name] = _as_type(path, name, value, types[name])
    return recipe


def apply_overrides(config, text: str) -> None:
    """
    Changes a `StoryAttnConfig` by `"dropout=0.1,loss_weights.alignment=0,vision_config.depths=[1,1,1]"`: dotted names,
    JSON values (anything else is taken as a string).

    Raises `ValueError` for names that the configuration does not have and for values out of range.
    """
    for change in re.split(r",(?=\s*[\w.]+\s*=)", text):
        path, found, value = change.partition("=")
        if not found:
            raise ValueError(f"config_overrides: found {change!r}, expected name=value")
        *parents, name = path.strip().split(".")
        holder = config
        for parent in parents:
            holder = _member(holder, parent, path)
        _member(holder, name, path)
        try:
            value = json.loads(value)
        except ValueError:
            value = value.strip()
        try:
            if isinstance(holder, dict):
                holder[name] = value
            else:
                setattr(holder, name, value)
        except Exception as error:  # strict configurations raise an error of their own
            reason = " ".join(str(error).split())
            raise ValueError(f"config_overrides: {path.strip()}={value!r} is not possible: {reason}") from error
    config.check()


def _member(holder, name: str, path: str):
    members = holder if isinstance(holder, dict) else vars(holder)
    if name not in members:
        raise ValueError(f"config_overrides: found {path.strip()!r}, expected a name of it{_near(name, members)}")
    return members[name]


def _as_type(path: str, name: str, value, expected):
    """A recipe's value as its flag's type; YAML reads 1e-3 as a string."""
    try:
        if expected in (float, int) and not isinstance(value, bool):
            number = expected(value)
            if expected is float or number == float(value):
                return number
        elif expected not in (bool, Schedule) or value in (get_args(expected) or (True, False)):
            return value
    except (TypeError, ValueError):
        pass
    raise ValueError(
        f"recipe: {path!r} gives {name} as {value!r}, expected {getattr(expected, '__name__', get_args(expected))}"
    )


def _near(name: str, names) -> str:
    close = difflib.get_close_matches(name, list(names), n=3)
    return f", such as {', '.join(close)}" if close else ""


def _at_least(value: int | None, smallest: int) -> bool:
    return value is None or value >= smallest


def _expect(arguments, name: str, holds: bool, expected: str) -> None:
    if not holds:
        raise ValueError(f"{name}: found {getattr(arguments, name)}, expected {expected}")
