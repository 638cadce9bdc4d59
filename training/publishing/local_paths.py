"""Paths of this machine in what is published: a reader can do nothing with them, and they may tell names."""

import json
import re
import shlex
from pathlib import Path

import yaml

from ..common.files import write_results
from .release_files import CARD, RECIPE, RESULTS

MEASURED = ("metrics", "test_unseen")  # of results; captions are no paths


def shorten_local_paths(files: dict[str, Path], scratch: Path) -> dict[str, str]:
    """
    Leaves of every absolute path that results or recipes name its last part alone, in them and in the card. The copies
    are put in `scratch`, and in `files` in place of what they are of. Returns the last part by path.

    Raises `ValueError` for a recipe that is none.
    """
    documents = {name: _read_recipe(path) for name, path in files.items() if RECIPE.fullmatch(name)}
    if RESULTS in files:
        documents[RESULTS] = json.loads(files[RESULTS].read_text("utf-8"))
    told = [{**document, **dict.fromkeys(MEASURED)} for document in documents.values()]
    short = {path: Path(path).name for path in _absolute_paths(told)}
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
        raise ValueError(f"{path}: found no YAML, expected a recipe: {error}") from error
    if not isinstance(recipe, dict):
        raise ValueError(f"{path}: found a {type(recipe).__name__}, expected a recipe: flags and their values")
    return recipe


def _absolute_paths(value) -> set[str]:
    """Those among the strings of a document, and among the words of command lines and the values of overrides."""
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


def _shortened(value, short: dict[str, str]):
    """`value` with every path of `short` in its strings replaced by what stands for it."""
    if isinstance(value, dict):
        return {name: _shortened(inner, short) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shortened(inner, short) for inner in value]
    if not isinstance(value, str) or not short:
        return value
    paths = "|".join(re.escape(path) for path in sorted(short, key=len, reverse=True))
    return re.sub(rf"(?<![\w.:/-])({paths})(?![\w/-])", lambda found: short[found[1]], value)
