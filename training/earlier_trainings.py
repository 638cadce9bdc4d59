"""The trainings of the model that a training goes on from: those whose models are not there yet run first."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from accelerate import PartialState

from .arguments import DataArguments, ModelArguments, TrainingArguments, parse_arguments
from .engine.accelerator import forget_accelerator
from .engine.checkpoints import list_checkpoints
from .publishing.release_files import WEIGHTS

Flags = tuple[ModelArguments, DataArguments, TrainingArguments]


def train_after_earlier(train: Callable[..., dict], flags: Flags, command: str) -> dict:
    """
    Train, before it the model that the training goes on from where `earlier_trainings` has such trainings.

    Args:
        train: `storyattn.training.train.train`.
        flags: its three groups of flags.
        command: the command line, for the results.

    Returns:
        What `train` does.
    """
    model_args, data_args, args = flags
    earlier = earlier_trainings(flags)
    for recipe, before in earlier.items():
        train(*before, command=shlex.join(["train.py", recipe]))
        PartialState().wait_for_everyone()  # the main process still measures and writes the model
        forget_accelerator()
    if earlier:  # there is nothing yet to resume
        args = replace(args, resume_from_checkpoint=None)
    return train(model_args, data_args, args, command=command)


def earlier_trainings(flags: Flags) -> dict[str, Flags]:
    """
    Return the flags of the trainings to run before that of `flags` by their recipes, the first one first.

    It goes from `--model_recipe` to that recipe's own, up to a folder that has a model. A training that was broken off
    goes on at its latest checkpoint. The cache is that of `flags`.

    Raises:
        ValueError: for a recipe that does not exist or has wrong flags, that writes another folder than the one of
            `--model_name_or_path`, and for recipes that lead back to one another.
    """
    earlier = {}
    while (recipe := flags[0].model_recipe) is not None and not _has_model(flags[0].model_name_or_path):
        if recipe in earlier:
            raise ValueError(f"model_recipe: got {recipe!r} twice, expected recipes that end with one from nothing")
        model_args, data_args, args = parse_arguments([recipe])
        if Path(args.output_dir) != Path(flags[0].model_name_or_path):
            raise ValueError(
                f"model_recipe: got {recipe!r}, whose output_dir is {args.output_dir!r}, expected that of "
                f"--model_name_or_path, {flags[0].model_name_or_path!r}"
            )
        resume = "latest" if list_checkpoints(args.output_dir) else None
        data_args, args = replace(data_args, cache_dir=flags[1].cache_dir), replace(args, resume_from_checkpoint=resume)
        earlier[recipe] = flags = model_args, data_args, args
    return dict(reversed(earlier.items()))


def _has_model(folder: str) -> bool:
    return Path(folder, WEIGHTS).is_file()
