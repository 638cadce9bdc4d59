"""Trackers of a run: which of accelerate's are installed, and which flags they record."""

from dataclasses import fields

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

from ..arguments import DataArguments, ModelArguments, TrainingArguments


def tracker_names(report_to: str | None) -> list[str] | None:
    """
    Return the trackers of a flag such as "tensorboard,wandb", each once; `None` for no text and for "none".

    Raises `ValueError` for a name that accelerate does not have, and for one whose package is not installed.
    """
    names = list(dict.fromkeys(name.strip() for name in (report_to or "none").split(",")))
    if names == ["none"] or names == [""]:
        return None
    installed = {str(tracker) for tracker in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            supported = ", ".join(sorted(LOGGER_TYPE_TO_CLASS))
            raise ValueError(f"report_to: got {name!r}, expected none, or some of {supported}, comma separated")
        if name not in installed:
            raise ValueError(f"report_to: got {name!r}, expected its package to be installed; pip install {name}")
    return names


def start_trackers(accelerator: Accelerator, *groups: ModelArguments | DataArguments | TrainingArguments) -> None:
    """
    Start the trackers of an accelerator; they record `tracker_config(*groups)`.

    Raises `ValueError` where one cannot start, such as a service to which nobody is logged in.
    """
    try:
        accelerator.init_trackers("storyattn", tracker_config(*groups))
    except Exception as error:  # each tracker raises kinds of its own
        names, reason = ", ".join(map(str, accelerator.log_with)), " ".join(str(error).split())[:300]
        raise ValueError(f"report_to: got {names}, expected trackers that start: {reason}") from error


def tracker_config(*groups: object) -> dict[str, bool | int | float | str]:
    """Return the flags of dataclasses that have a value: trackers take numbers, strings and booleans alone."""
    values = {field.name: getattr(group, field.name) for group in groups for field in fields(group)}
    return {name: value for name, value in values.items() if isinstance(value, (bool, int, float, str))}
