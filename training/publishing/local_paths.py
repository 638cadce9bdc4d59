"""Shorten paths of this machine in what is published: no reader can use them, and they may contain names of people."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from ..common.files import write_results
from ..evaluation.comparison import BEFORE
from .release_files import CARD, RECIPE_NAME, RESULTS

METRICS_KEYS = ("metrics", "test_unseen", BEFORE)  # of the results; their captions are no paths


def shorten_local_paths(files: dict[str, Path], scratch: Path) -> dict[str, str]:
    """Replace every absolute path that results or recipes name by its last part, in them and in the card.

    Args:
        files: path on this machine of each published file, by its name; a changed file is replaced by its copy.
        scratch: folder for the changed copies.

    Returns:
        The last part of each path.

    Raises:
        ValueError: for a recipe that is no mapping of flags to values.
    """
    documents = {name: _read_recipe(path) for name, path in files.items() if RECIPE_NAME.fullmatch(name)}
    if RESULTS in files:
        documents[RESULTS] = json.loads(files[RESULTS].read_text("utf-8"))
    unmeasured = [{**document, **dict.fromkeys(METRICS_KEYS)} for document in documents.values()]
    short = {path: Path(path).name for path in _absolute_paths(unmeasured)}
    documents[CARD] = files[CARD].read_text("utf-8")
    for name, document in documents.items():
        changed = _shortened(document, short)
        if changed == document:
            continue
        files[name] = scratch / name
        if name == RESULTS:
            write_results(changed, files[name])
        else:
            text = changed if name == CARD else yaml.safe_dump(changed, sort_keys=False)
            files[name].write_text(text, encoding="utf-8")
    return short


def _read_recipe(path: Path) -> dict:
    try:
        recipe = yaml.safe_load(path.read_text("utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: got no YAML, expected a recipe: {error}") from error
    if not isinstance(recipe, dict):
        raise ValueError(f"{path}: got a {type(recipe).__name__}, expected a recipe: flags and their values")
    return recipe


def _absolute_paths(value: Any) -> set[str]:
    """Return the absolute paths in the strings of a document, in words of command lines and in values of overrides."""
    if isinstance(value, (dict, list)):
        return set().union(*map(_absolute_paths, value.values() if isinstance(value, dict) else value))
    if not isinstance(value, str):
        return set()
    if Path(value).is_absolute():
        return {value} if Path(value).name else set()
    try:
        words = shlex.split(value)
    except ValueError:  # a caption with an apostrophe
        words = value.split()
    parts = [part for word in words for part in re.split("[=,]", word)]
    return {part for part in parts if Path(part).is_absolute() and Path(part).name}


def _shortened(value: Any, short: dict[str, str]) -> Any:
    """Return a copy of `value` in whose strings every path of `short` is replaced by its last part."""
    if isinstance(value, dict):
        return {name: _shortened(inner, short) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shortened(inner, short) for inner in value]
    if not isinstance(value, str) or not short:
        return value
    paths = "|".join(re.escape(path) for path in sorted(short, key=len, reverse=True))
    return re.sub(rf"(?<![\w.:/-])({paths})(?![\w/-])", lambda match: short[match[1]], value)
