"""Model configurations by name: those that come with StoryAttn, or a file of one's own."""

import json
from importlib.resources import files
from pathlib import Path

from storyattn import StoryAttnConfig


def preset_names() -> list[str]:
    """The names of the configurations that come with StoryAttn."""
    return sorted(file.name[: -len(".json")] for file in _folder().iterdir() if file.name.endswith(".json"))


def load_preset(name_or_path: str) -> StoryAttnConfig:
    """
    The configuration of a preset, of a JSON file, or of a folder with `config.json`.

    Raises `ValueError` for a name that is neither, for a file that is no JSON object, and for values out of range.
    """
    names, path = preset_names(), Path(name_or_path).expanduser()
    if name_or_path in names:
        text = _folder().joinpath(f"{name_or_path}.json").read_text(encoding="utf-8")
    else:
        path = path / "config.json" if path.is_dir() else path
        if not path.is_file():
            raise ValueError(
                f"preset: found no preset and no file {name_or_path!r}, expected {', '.join(names)} or a JSON file"
            )
        text = path.read_text(encoding="utf-8")
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ValueError(f"preset: {name_or_path!r} is no JSON: {error}") from error
    model_type = values.pop("model_type", None) if isinstance(values, dict) else None
    if model_type != "storyattn":
        raise ValueError(f"preset: found model_type {model_type!r} in {name_or_path!r}, expected 'storyattn'")
    try:
        return StoryAttnConfig(**values)
    except TypeError as error:
        raise ValueError(f"preset: {name_or_path!r}: {error}") from error


def _folder():
    return files("storyattn.configuration")
