"""Trackers of a run: which of accelerate's there are, and what they are told of its flags."""

from dataclasses import fields

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers


def tracker_names(report_to: str | None) -> list[str] | None:
    """
    The trackers of a flag such as "tensorboard,wandb", each once; `None` for no text, and for "none".

    Raises `ValueError` for a name that accelerate does not know, and for one whose package is not installed.
    """
    names = list(dict.fromkeys(name.strip() for name in (report_to or "none").split(",")))
    if names == ["none"] or names == [""]:
        return None
    installed = {str(tracker) for tracker in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            known = ", ".join(sorted(LOGGER_TYPE_TO_CLASS))
            raise ValueError(f"report_to: found {name!r}, expected none, or some of {known}, comma separated")
        if name not in installed:
            raise ValueError(f"report_to: found {name!r}, expected its package to be installed; pip install {name}")
    return names


def start_trackers(accelerator, *groups) -> None:
    """
    Starts the trackers of an accelerator and tells them `tracker_config(*groups)`.

    Raises `ValueError` where one cannot start, such as a service to which nobody is logged in.
    """
    try:
        accelerator.init_trackers("storyattn", tracker_config(*groups))
    except Exception as error:  # each tracker raises kinds of its own
        names, reason = ", ".join(map(str, accelerator.log_with)), " ".join(str(error).split())[:300]
        raise ValueError(f"report_to: found {names}, expected trackers that start: {reason}") from error


def tracker_config(*groups) -> dict[str, bool | int | float | str]:
    """The flags of dataclasses that have a value: trackers take numbers, strings and booleans alone."""
    values = {field.name: getattr(group, field.name) for group in groups for field in fields(group)}
    return {name: value for name, value in values.items() if isinstance(value, (bool, int, float, str))}
