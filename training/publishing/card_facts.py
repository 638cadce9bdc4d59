"""What a model card tells beside the results: data and parts with their licences, an example, how it was trained."""

import re
from pathlib import Path

from datasets import Dataset
from huggingface_hub import ModelCard

from ..arguments import parse_arguments
from ..common.hub_ids import is_hub_id
from ..data.licenses import known_licences, licence_of_card
from ..data.sources import STORYWORLD, open_source
from ..models.build import pretrained_sources
from ..models.provenance import name_of, tell_parts
from ..storyworld import VERSION, generate_story

RECIPE = "recipe.yaml"  # the flags of the run, in its folder
EXAMPLE_FRAMES = 3
AUTHORS = ("text_by", "images_by")
REVISION = re.compile(r"hf://datasets/[^@]+@([0-9a-f]{40})/")  # in the names of files that `datasets` has loaded
# Models from before the version was kept with the results are of stories of this one.
FIRST_STORYWORLD = 2
TABLE_OF_FACTS = re.compile(r"^\| Fact \| Value \|\n\| --- \| --- \|\n((?:\|.*\|\n)+)", re.MULTILINE)


def published_facts(model_args, data_args) -> dict:
    """
    Of a training what its card needs beside the table of `training_facts`: `license` of the weights, `pretrained` (see
    `tell_parts`), `base_models` (the licence that each of them states, by its Hub id or the name of its folder)
    and `data` (see `data_facts`).
    """
    sources = list(pretrained_sources(model_args).values())
    if model_args.model_name_or_path is not None:
        sources.append(model_args.model_name_or_path)
    named = {name_of(source): source for source in sources}
    return {
        "license": model_args.license,
        "pretrained": tell_parts(model_args),
        "base_models": {name: licence_of_card(source, ModelCard) for name, source in named.items()},
        "data": data_facts(data_args.dataset, streaming=data_args.streaming),
    }


def data_facts(name: str, *, streaming: bool = False) -> dict:
    """
    What is known of a data set: its `revision` (of StoryWorld the version, of a folder none), `licences` and `sources`
    (stories by each), and `credits`, a line for each story that names its authors.

    What would have to be downloaded is not looked at with `streaming`. Raises `ValueError` as `open_source`.
    """
    if name == STORYWORLD:
        return {"revision": str(VERSION), "licences": {}, "sources": {}, "credits": []}
    if streaming and not Path(name).expanduser().is_dir():
        return {"revision": None, "licences": known_licences(name, {}), "sources": {}, "credits": []}
    splits = open_source(name)
    return {
        "revision": revision_of(splits) if is_hub_id(name) else None,
        "licences": known_licences(name, splits),
        "sources": _sources(splits),
        "credits": list(dict.fromkeys(line for rows in splits.values() for line in credit_lines(rows))),
    }


def revision_of(splits: dict[str, Dataset]) -> str | None:
    """The commit of the Hub that the files of a data set were loaded from; `None` where they do not tell."""
    for rows in splits.values():
        for file in (rows.info and rows.info.download_checksums) or {}:
            if found := REVISION.match(file):
                return found.group(1)
    return None


def credit_lines(rows: Dataset) -> list[str]:
    """Title, authors, source and licence of each story, where the columns of picture books are there."""
    if not set(AUTHORS) <= set(rows.column_names):
        return []
    known = [name for name in ("title", *AUTHORS, "source", "license") if name in rows.column_names]
    columns = {name: rows[name][:] for name in known}
    return [_credit(dict(zip(known, values))) for values in zip(*columns.values())]


def write_example(frames: list, captions: list[str | None], folder: Path, most: int) -> dict:
    """
    Writes the first pictures of a story, at most three and `most`, as `figures/example_1.png` and so on into a
    published folder, for its card's quick start. Returns what the card needs of them: `captions`.
    """
    number = min(EXAMPLE_FRAMES, most, len(frames))
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for position, frame in enumerate(frames[:number], start=1):
        frame.save(folder / "figures" / f"example_{position}.png")
    return {"captions": list(captions[:number])}


def recovered_facts(folder: Path, results: dict, config) -> dict:
    """
    The facts of a folder from before they were kept in `results.json`, from its recipe and its card as far as these
    have them; of StoryWorld with an example, which is drawn anew. Raises `ValueError` for a recipe that is none.
    """
    recipe = [str(folder / RECIPE)] if (folder / RECIPE).is_file() else []
    model_args, data_args, _ = parse_arguments(recipe)
    data_args.dataset = results["dataset"]
    facts = {"dataset": results["dataset"], "split": results["split"], "command": results["command"]}
    data_args.streaming = True  # nothing is downloaded for it
    facts |= published_facts(model_args, data_args)
    if data_args.dataset == STORYWORLD:
        facts["data"]["revision"] = str(FIRST_STORYWORLD)
        story = generate_story(0, results["split"], image_size=tuple(config.image_size))
        facts["example"] = write_example(story["frames"], story["captions"], folder, config.max_frames - 1)
    return {**facts, "training": _table_of_facts(folder)}


def _table_of_facts(folder: Path) -> dict[str, str]:
    """The table of an earlier card that tells how the model was trained."""
    card = folder / "README.md"
    found = TABLE_OF_FACTS.search(card.read_text(encoding="utf-8")) if card.is_file() else None
    lines = found.group(1).splitlines() if found else []
    return dict(line.strip("| ").split(" | ", 1) for line in lines)


def _sources(splits: dict[str, Dataset]) -> dict[str, int]:
    """How many stories come from each source, where there is a column of that name."""
    named = [name for rows in splits.values() if "source" in rows.column_names for name in rows["source"][:] if name]
    return {name: named.count(name) for name in dict.fromkeys(named)}


def _credit(story: dict) -> str:
    text, pictures = (story[name] or "unknown" for name in AUTHORS)
    authors = f"by {text}" if text == pictures else f"text by {text}, pictures by {pictures}"
    rights = ", ".join(filter(None, (story.get("source"), story.get("license"))))
    return f"{story.get('title') or 'untitled'}, {authors}{f' ({rights})' if rights else ''}"
