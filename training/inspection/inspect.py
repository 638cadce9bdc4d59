"""
Looks at a data set before it is trained on: what is in it, what is wrong with it, and what to do about that.

    storyattn data check storyworld
    storyattn data check FOLDER_OR_HUB_ID --max_caption_length 64 --image_size 96 96 --output data-check

Prints a table and findings; writes `report.json` and a sheet of pictures, `stories.png`. Exit status 1: something would
hurt training or what is measured after it; 2: a mistake in what it was given.
"""

import argparse
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path

from datasets import Dataset

from ..data.licenses import known_licences
from ..data.sources import STORYWORLD, open_source, read_stories
from ..data.splits import splits_to_make
from ..models.presets import load_preset
from ..models.tokenizer import load_tokenizer, train_tokenizer
from .findings import HURTS, Finding, judge
from .overlap import shared_stories
from .report import draw_sheet, format_table, overlap_numbers, split_numbers
from .survey import Survey, survey_split

NUM_ENDS = 2  # the start and end token, which count as tokens of a caption
ORDER = ("train", "validation", "test")


@dataclass
class Source:
    """What is looked at: the stories of each split, and what the data set says beside them."""

    stories: dict[str, Dataset] = field(default_factory=dict)
    empty: dict[str, str] = field(default_factory=dict)  # split: why it has no stories
    ids: dict[str, Counter] = field(default_factory=dict)  # split: how often each id is there
    titles: dict[str, dict[str, str]] = field(default_factory=dict)  # split: title by id
    licences: dict[str, int] = field(default_factory=dict)  # licence: stories


def check_dataset(arguments: argparse.Namespace) -> list[Finding]:
    """
    Prints and writes what is found.

    Raises `ValueError` for options out of range and for a data set or tokenizer that cannot be read, `OSError` where
    nothing can be written.
    """
    _check(arguments)
    output = Path(arguments.output).expanduser()
    output.mkdir(parents=True, exist_ok=True)
    tokenizer = load_tokenizer(arguments.tokenizer) if arguments.tokenizer else None
    source = read_source(arguments)
    surveys = {split: survey_split(stories, split) for split, stories in source.stories.items()}
    for split, survey in surveys.items():
        survey.duplicate_ids = duplicate_ids(survey.names, source.ids.get(split, Counter()))
    tokens = count_tokens(surveys, tokenizer)
    splits = {split: split_numbers(survey, tokens[split], arguments) for split, survey in surveys.items()}
    pairs = {two: shared_stories(*two, surveys) for two in combinations(surveys, 2)}
    shared = [overlap_numbers(*two, found, surveys, source.titles) for two, found in pairs.items()]
    findings = judge(splits, source.empty, shared, source.licences, arguments)
    report = {"dataset": arguments.dataset, "options": vars(arguments), "splits": splits, "empty_splits": source.empty}
    report.update(shared=shared, licences=source.licences, findings=[asdict(finding) for finding in findings])
    text = json.dumps(report, indent=2, ensure_ascii=False)
    (output / "report.json").write_text(text + "\n", encoding="utf-8")
    num_rows = draw_sheet(source.stories, surveys, sum(pairs.values(), []), output / "stories.png")
    _print(splits, source, findings)
    print(f"\nwritten to {output}: report.json" + (", stories.png" if num_rows else "; no story can be shown"))
    return findings


def read_source(arguments: argparse.Namespace) -> Source:
    """All splits of the data set, those that are there and those that training would make; raises `ValueError`."""
    options = {name: getattr(arguments, name) for name in ("frames_column", "captions_column", "max_stories")}
    name, source = arguments.dataset, Source()
    if name == STORYWORLD:
        from ..storyworld.dataset import SPLITS

        source.stories = {split: read_stories(name, split, **options) for split in SPLITS}
        source.licences = {"drawn by the program": sum(map(len, source.stories.values()))}
        return source
    existing = open_source(name)
    made = splits_to_make(existing)
    for split in sorted((*existing, *made), key=lambda split: ORDER.index(split) if split in ORDER else len(ORDER)):
        if split in existing and not len(existing[split]):
            source.empty[split] = f"split {split!r} has no story"
            continue
        try:
            source.stories[split] = read_stories(name, split, **options)
        except ValueError as error:
            if split in existing:
                raise
            source.empty[split] = f"split {split!r} cannot be made: {error}"
    limit = None if made else arguments.max_stories  # of a split that is made it counts after the division
    for split in source.stories:
        _read_beside(source, split, existing["train" if split in made else split], limit)
    source.licences = known_licences(name, existing)
    return source


def duplicate_ids(names: list[str], known: Counter) -> Counter:
    """
    Which of the ids that a data set has (`known`: how often) stand for several stories among those called `names` by
    `read_stories`, and for how many: it puts a number behind those of all but the first.
    """
    found = Counter(names)
    for name in names:
        original = name.rpartition("-")[0]
        if name not in known and known[original] > 1:
            found[original] += 1
    return Counter({name: count for name, count in found.items() if count > 1})


def count_tokens(surveys: dict[str, Survey], tokenizer=None) -> dict[str, list[int]]:
    """
    The lengths of the captions of each split, start and end token included, empty ones left out.

    Where no tokenizer is given, one of the tiny preset's size is trained on the captions of `train`, or of the first
    split that has any.
    """
    told = {
        split: [text for captions in survey.captions for text in captions if text and text.strip()]
        for split, survey in surveys.items()
    }
    if tokenizer is None:
        texts = told.get("train") or next(filter(None, told.values()), None)
        if texts is None:
            return {split: [] for split in told}
        tokenizer = train_tokenizer(texts, load_preset("tiny").text_config.vocab_size)
    options = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
    return {
        split: [len(ids) + NUM_ENDS for ids in tokenizer(texts, **options)["input_ids"]] if texts else []
        for split, texts in told.items()
    }


def _read_beside(source: Source, split: str, rows: Dataset, limit: int | None) -> None:
    """Ids and titles of a split, from the rows of the data set that have its stories."""
    number = len(rows) if limit is None else min(limit, len(rows))
    if "story_id" not in rows.column_names:
        return
    ids = [None if name is None else str(name) for name in rows["story_id"][:number]]
    source.ids[split] = Counter(filter(None, ids))
    if "title" in rows.column_names:
        source.titles[split] = {name: title for name, title in zip(ids, rows["title"][:number]) if name and title}


def _print(splits: dict[str, dict], source: Source, findings: list[Finding]) -> None:
    print(format_table(splits))
    licences = ", ".join(f"{licence} ({count} stories)" for licence, count in source.licences.items())
    print(f"\nlicences: {licences or 'none known'}\n")
    for finding in findings:
        print(f"{finding.severity}: {finding.text}")
    if not any(finding.severity == HURTS for finding in findings):
        print("nothing that would hurt training")


def _check(arguments: argparse.Namespace) -> None:
    """Refuses values that mean nothing; raises `ValueError`."""
    smallest = {"max_caption_length": 3, "num_frames": 2, "max_stories": 1}
    for name, least in smallest.items():
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise ValueError(f"{name}: found {value}, expected at least {least}")
    if min(arguments.image_size) < 1:
        raise ValueError(f"image_size: found {list(arguments.image_size)}, expected height and width in pixels")
