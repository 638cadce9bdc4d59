"""Read model configurations by name: those that come with StoryAttn, or a file of the user's."""

import json
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from storyattn import StoryAttnConfig

from ..common.loading import expecting, one_line_reason
from ..common.preset_files import PRESETS, preset_names


def load_preset(name_or_path: str, field: str = "preset") -> StoryAttnConfig:
    """Return the configuration of a preset, of a JSON file, or of a folder with `config.json`; errors name `field`.

    Raises:
        ValueError: for a name that is neither, for a file that is no JSON object with the `model_type` storyattn, and
            for unknown names, values of another type and values out of range in it.
    """
    names, path = preset_names(), Path(name_or_path).expanduser()
    if name_or_path in names:
        file = PRESETS.joinpath(f"{name_or_path}.json")
    else:
        file = path / "config.json" if path.is_dir() else path
        if not file.is_file():
            raise ValueError(f"{field}: got {name_or_path!r}, expected {', '.join(names)} or a JSON file")
    with expecting(field, name_or_path, "a JSON file", catch=ValueError):
        values = json.loads(file.read_text(encoding="utf-8"))
    model_type = values.get("model_type") if isinstance(values, dict) else None
    if model_type != "storyattn":
        raise ValueError(f"{field}: got model_type {model_type!r} in {name_or_path!r}, expected 'storyattn'")
    _check_names(values, name_or_path, field)
    try:
        return StoryAttnConfig(**{name: value for name, value in values.items() if name != "model_type"})
    except (TypeError, StrictDataclassError) as error:
        raise ValueError(f"{field}: {name_or_path!r}: {one_line_reason(error)}") from error


def _check_names(values: dict, source: str, field: str) -> None:
    """Refuse names that a configuration does not have: it would store them and do nothing with them."""
    field_names = {item.name for item in fields(StoryAttnConfig)} | set(StoryAttnConfig().to_dict())
    for name in values:
        if name not in field_names:
            near = get_close_matches(name, field_names, n=1)
            hint = f", perhaps {near[0]!r}" if near else ""
            raise ValueError(f"{field}: got {name!r} in {source!r}, expected a field of the configuration{hint}")
