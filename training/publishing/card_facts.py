"""Collect what a model card says beside the results: data and parts with their licenses, an example, the training."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from datasets import Dataset
from huggingface_hub import ModelCard

from ..arguments import parse_arguments
from ..common.access_flags import access_of
from ..common.columns import columns_of
from ..common.hub_ids import is_hub_id
from ..data.licenses import count_licenses, license_of_card
from ..data.sources import STORYWORLD, open_source
from ..models.build import pretrained_sources
from ..models.provenance import earlier_facts, part_summaries, source_name
from ..storyworld import STORYWORLD_VERSION, generate_story
from .release_files import CARD

if TYPE_CHECKING:
    from PIL import Image
    from storyattn import StoryAttnConfig

    from ..arguments import DataArguments, ModelArguments

RECIPE_FILE = "recipe.yaml"  # the flags of the run, in its folder
EXAMPLE_FRAMES = 3
AUTHORS = ("text_by", "images_by")
REVISION = re.compile(r"hf://datasets/[^@]+@([0-9a-f]{40})/")  # in the names of files that `datasets` has loaded
# The version of StoryWorld that models were trained on whose results do not name one.
UNNAMED_STORYWORLD = 2
FACTS_TABLE = re.compile(r"^\| Fact \| Value \|\n\| --- \| --- \|\n((?:\|.*\|\n)+)", re.MULTILINE)


def published_facts(model_args: ModelArguments, data_args: DataArguments) -> dict:
    """Return what the card of a training needs beside the table of `training_facts`.

    That is the `license` of the weights, `pretrained` (see `part_summaries`), `fine_tuned_from` (the name of the model
    that the training started from, or `None`), `base_models` (the license that each of them states, and each of those
    that they came from, by its Hub id or the name of its folder) and `data` (see `data_facts`).
    """
    sources = list(pretrained_sources(model_args).values())
    if model_args.model_name_or_path is not None:
        sources.append(model_args.model_name_or_path)
    named, earlier = {source_name(source): source for source in sources}, earlier_facts(model_args.model_name_or_path)
    return {
        "license": model_args.license,
        "pretrained": part_summaries(model_args, earlier),
        "fine_tuned_from": model_args.model_name_or_path and source_name(model_args.model_name_or_path),
        "base_models": {
            **earlier.get("base_models", {}),
            **{name: license_of_card(source, ModelCard) for name, source in named.items()},
        },
        "data": data_facts(
            data_args.dataset, streaming=data_args.streaming, columns={**columns_of(data_args), **access_of(data_args)}
        ),
    }


def data_facts(name: str, *, streaming: bool = False, columns: dict | None = None) -> dict:
    """Return what a card says of a data set.

    Args:
        name: storyworld, a folder or a Hub id.
        streaming: do not read a data set that would have to be downloaded.
        columns: those of `columns_of`, and `access_of`; by default the usual ones.

    Returns:
        Its `revision` (the version of StoryWorld; `None` for a folder), `licences` and `sources` (the number of stories
        of each), and `credits`, a line for each story that names its authors.

    Raises:
        ValueError: as `open_source` does.
    """
    if name == STORYWORLD:
        return {"revision": str(STORYWORLD_VERSION), "licences": {}, "sources": {}, "credits": []}
    if streaming and not Path(name).expanduser().is_dir():
        return {"revision": None, "licences": count_licenses(name, {}), "sources": {}, "credits": []}
    splits = open_source(name, **(columns or {}))
    return {
        "revision": revision_of(splits) if is_hub_id(name) else None,
        "licences": count_licenses(name, splits),
        "sources": _sources(splits),
        "credits": list(dict.fromkeys(line for rows in splits.values() for line in credit_lines(rows))),
    }


def revision_of(splits: dict[str, Dataset]) -> str | None:
    """Return the commit of the Hub that the files of a data set were loaded from; `None` where they do not say it."""
    for rows in splits.values():
        for file in (rows.info and rows.info.download_checksums) or {}:
            if match := REVISION.match(file):
                return match.group(1)
    return None


def credit_lines(rows: Dataset) -> list[str]:
    """Return title, authors, source and license of each story of picture books; none without columns of authors."""
    if not set(AUTHORS) <= set(rows.column_names):
        return []
    names = [name for name in ("title", *AUTHORS, "source", "license") if name in rows.column_names]
    columns = [rows[name][:] for name in names]
    return [_credit(dict(zip(names, values))) for values in zip(*columns)]


def write_example(frames: list[Image.Image], captions: list[str | None], folder: Path, most: int) -> dict:
    """Write the first pictures of a story into a published folder, for the quick start of its card.

    Args:
        frames: pictures of the story.
        captions: its captions, `None` where one is missing.
        folder: published folder; the pictures become `figures/example_1.png` and so on.
        most: number of pictures that the model reads at most; no more than three are written.

    Returns:
        What the card needs of them: `captions`.
    """
    number = min(EXAMPLE_FRAMES, most, len(frames))
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for position, frame in enumerate(frames[:number], start=1):
        frame.save(folder / "figures" / f"example_{position}.png")
    return {"captions": list(captions[:number])}


def recovered_facts(folder: Path, results: dict, config: StoryAttnConfig) -> dict:
    """Return the facts of a folder from before they were stored in `results.json`.

    Args:
        folder: published folder; its recipe and its card are read, as far as they have the facts.
        results: document of its `results.json`.
        config: its configuration.

    Returns:
        Its facts, on StoryWorld with an example, whose pictures are drawn and written again.

    Raises:
        ValueError: for a recipe that cannot be read.
    """
    recipe = [str(folder / RECIPE_FILE)] if (folder / RECIPE_FILE).is_file() else []
    model_args, data_args, _ = parse_arguments(recipe)
    data_args.dataset = results["dataset"]
    facts = {"dataset": results["dataset"], "split": results["split"], "command": results["command"]}
    data_args.streaming = True  # then nothing is downloaded
    facts |= published_facts(model_args, data_args)
    if data_args.dataset == STORYWORLD:
        facts["data"]["revision"] = str(UNNAMED_STORYWORLD)
        story = generate_story(0, results["split"], image_size=tuple(config.image_size))
        facts["example"] = write_example(story["frames"], story["captions"], folder, config.max_frames - 1)
    return {**facts, "training": _table_of_facts(folder)}


def _table_of_facts(folder: Path) -> dict[str, str]:
    """Return the table of the training in an earlier card."""
    card = folder / CARD
    match = FACTS_TABLE.search(card.read_text(encoding="utf-8")) if card.is_file() else None
    lines = match.group(1).splitlines() if match else []
    return dict(line.strip("| ").split(" | ", 1) for line in lines)


def _sources(splits: dict[str, Dataset]) -> dict[str, int]:
    """Return how many stories come from each source, where there is a column of that name."""
    columns = (rows["source"][:] for rows in splits.values() if "source" in rows.column_names)
    return dict(Counter(name for column in columns for name in column if name))


def _credit(story: dict) -> str:
    text, pictures = (story[name] or "unknown" for name in AUTHORS)
    authors = f"by {text}" if text == pictures else f"text by {text}, pictures by {pictures}"
    rights = ", ".join(filter(None, (story.get("source"), story.get("license"))))
    return f"{story.get('title') or 'untitled'}, {authors}{f' ({rights})' if rights else ''}"
