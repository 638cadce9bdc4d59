"""Say in one line what a published model knows, from the files beside its weights."""

import json
import re
from pathlib import Path

from transformers.utils import cached_file

COUNTS = re.compile(r"(\d+) characters, (\d+) props, and (\d+) settings")  # in the card of a StoryWorld model
TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
OTHERS = "for other pictures, fine-tune it."


def model_line(name: str) -> str:
    """Return the line for a model by its folder or Hub id; what its files do not say is left out."""
    card, results = _text(name, "README.md"), _text(name, "results.json")
    title, counts = TITLE.search(card), COUNTS.search(card)
    if json.loads(results or "{}").get("dataset") == "storyworld":
        world = "This model knows StoryWorld"
        if counts:
            characters, props, settings = counts.groups()
            world += f": {characters} drawn characters, {settings} places, {props} things"
        return f"{world}; {OTHERS}"
    title = title.group(1).strip() if title else Path(name).name
    return f"This model is {title}. It knows pictures like those it was trained on; {OTHERS}"


def _text(name: str, file: str) -> str:
    """Return the text of a file of the model, an empty one where it has none."""
    quiet = {f"_raise_exceptions_for_{case}": False for case in ("gated_repo", "missing_entries", "connection_errors")}
    path = cached_file(name, file, **quiet)
    return Path(path).read_text(encoding="utf-8") if path else ""
