"""The configurations of models that come with StoryAttn."""

from importlib.resources import files

PRESETS = files("storyattn.configuration")


def preset_names() -> list[str]:
    """Return the names of the configurations that come with StoryAttn."""
    return sorted(file.name[: -len(".json")] for file in PRESETS.iterdir() if file.name.endswith(".json"))
