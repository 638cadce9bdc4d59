"""Change a configuration by a text of names and values."""

import contextlib
import json
import re
from typing import Any

from storyattn import StoryAttnConfig

from ..common.command_line import suggest
from ..common.loading import one_line_reason


def apply_overrides(config: StoryAttnConfig, text: str) -> None:
    """Change a configuration by a text such as "dropout=0.1,loss_weights.alignment=0,vision_config.depths=[1,1,1]".

    Names are dotted, values are JSON; anything else is taken as a string.

    Raises:
        ValueError: for names that the configuration does not have and for values out of range.
    """
    for change in re.split(r",(?=\s*[\w.]+\s*=)", text):
        path, equals, value = (part.strip() for part in change.partition("="))
        if not equals:
            raise ValueError(f"config_overrides: got {change!r}, expected name=value")
        with contextlib.suppress(ValueError):  # a value that is no JSON stays a string
            value = json.loads(value)
        *parents, name = path.split(".")
        holder = config
        for parent in parents:
            holder = _member(holder, parent, path)
        _assign(holder, name, value, path)
    try:
        config.check()
    except TypeError as error:
        raise ValueError(f"config_overrides: got {text!r}, expected values of other types: {error}") from error


def _assign(holder: Any, name: str, value: Any, path: str) -> None:
    """Set a value; a dictionary sets each of its values in the dictionary or configuration of that name."""
    current = _member(holder, name, path)
    if isinstance(current, dict) or hasattr(current, "to_dict"):
        if not isinstance(value, dict):
            expected = f"names and values, or {path}.NAME=VALUE"
            raise ValueError(f"config_overrides: {path}: got {value!r}, expected {expected}")
        for key, inner in value.items():
            _assign(current, key, inner, f"{path}.{key}")
    elif isinstance(holder, dict):
        holder[name] = value
    else:
        try:
            setattr(holder, name, value)
        except Exception as error:  # strict configurations raise an error of another type
            raise ValueError(
                f"config_overrides: {path}: got {value!r}, expected another value: {one_line_reason(error)}"
            ) from error


def _member(holder: Any, name: str, path: str) -> Any:
    """Return a value of a dictionary or configuration; `path` is the whole dotted name, for the error."""
    members = holder if isinstance(holder, dict) else vars(holder) if hasattr(holder, "to_dict") else {}
    if name not in members:
        raise ValueError(
            f"config_overrides: got {path!r}, expected a name of the configuration{suggest(name, members)}"
        )
    return members[name]
