"""Check a data set before training: what it holds, what is wrong with it, and what to do about that.

    storyattn data check storyworld
    storyattn data check FOLDER_OR_HUB_ID --max_caption_length 64 --image_size 96 96 --output data-check

The command prints a table and findings, and writes `report.json` and a sheet of pictures, `stories.png`. Its exit
status is 1 where something would hurt training or what is measured after it, and 2 for an error in its input.
"""

import argparse
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..common.access_flags import access_of
from ..common.captions import has_text
from ..common.columns import columns_of
from ..common.excerpts import MAX_PROBLEM, excerpt, listed
from ..common.files import check_file
from ..data.licenses import count_licenses
from ..data.sources import STORYWORLD, open_source, read_stories
from ..data.splits import splits_to_derive
from ..data.validation import name_problem
from ..models.presets import load_preset
from ..models.tokenizer import load_tokenizer, train_tokenizer
from .findings import HURTS, Finding, judge
from .overlap import shared_stories
from .report import draw_sheet, format_table, overlap_numbers, split_numbers
from .survey import Survey, survey_split
from .token_coverage import TokenNumbers, count_tokens

SPLIT_ORDER = ("train", "validation", "test")


@dataclass
class Source:
    """The data set that is checked: the stories of each split, and what it says beside them."""

    stories: dict[str, Dataset] = field(default_factory=dict)
    empty: dict[str, str] = field(default_factory=dict)  # split: why it has no stories
    ids: dict[str, Counter] = field(default_factory=dict)  # split: how many stories have each id
    titles: dict[str, dict[str, str]] = field(default_factory=dict)  # split: title by id
    licenses: dict[str, int] = field(default_factory=dict)  # license: stories


def check_dataset(arguments: argparse.Namespace) -> list[Finding]:
    """Check a data set, print and write the report, and return the findings.

    Raises:
        ValueError: for flags out of range and for a data set or tokenizer that cannot be read.
        OSError: where nothing can be written.
    """
    _check(arguments)
    output = Path(arguments.output).expanduser()
    for file in ("report.json", "stories.png"):
        check_file("output", output / file)
    output.mkdir(parents=True, exist_ok=True)
    tokenizer = load_tokenizer(arguments.tokenizer) if arguments.tokenizer else None
    source = read_source(arguments)
    surveys = {split: survey_split(stories, split) for split, stories in source.stories.items()}
    for split, survey in surveys.items():
        survey.duplicate_ids = duplicate_ids(survey.names, source.ids.get(split, Counter()))
    tokens = token_numbers(surveys, tokenizer)
    splits = {split: split_numbers(survey, tokens[split], arguments) for split, survey in surveys.items()}
    pairs = {two: shared_stories(*two, surveys) for two in combinations(surveys, 2)}
    shared = [overlap_numbers(*two, stories, surveys, source.titles) for two, stories in pairs.items()]
    findings = judge(splits, source.empty, shared, source.licenses, arguments)
    report = {"dataset": arguments.dataset, "options": vars(arguments), "splits": splits, "empty_splits": source.empty}
    report.update(shared=shared, licences=source.licenses, findings=[asdict(finding) for finding in findings])
    text = json.dumps(report, indent=2, ensure_ascii=False)
    (output / "report.json").write_text(text + "\n", encoding="utf-8")
    num_rows = draw_sheet(source.stories, surveys, sum(pairs.values(), []), output / "stories.png")
    _print(splits, source, findings)
    print(f"\nwritten to {output}: report.json" + (", stories.png" if num_rows else "; no story can be shown"))
    return findings


def read_source(arguments: argparse.Namespace) -> Source:
    """Read all splits of a data set, those that it has and those that training would derive.

    Raises:
        ValueError: where the data set or one of its splits cannot be read.
    """
    options = {**columns_of(arguments), **access_of(arguments), "max_stories": arguments.max_stories}
    name, source = arguments.dataset, Source()
    if name == STORYWORLD:
        from ..storyworld.dataset import SPLITS

        source.stories = {split: read_stories(name, split, **options) for split in SPLITS}
        source.licenses = {"drawn by the program": sum(map(len, source.stories.values()))}
        return source
    existing = open_source(name, **columns_of(arguments), **access_of(arguments))
    derived = splits_to_derive(existing)
    for split in sorted((*existing, *derived), key=_split_position):
        if split in existing and not len(existing[split]):
            source.empty[split] = f"split {split!r} has no story"
            continue
        try:
            source.stories[split] = read_stories(name, split, splits=existing, **options)
        except ValueError as error:
            if split in existing:
                raise
            source.empty[split] = f"split {split!r} cannot be derived: {error}"
    limit = None if derived else arguments.max_stories  # counted after the division where splits are derived
    for split in source.stories:
        _read_beside(source, split, existing["train" if split in derived else split], limit)
    source.licenses = count_licenses(name, existing)
    return source


def duplicate_ids(names: list[str], ids: Counter) -> Counter:
    """Return the ids that stand for several stories, with the number of these stories.

    Args:
        names: `story_id` of each story from `read_stories`, which puts a number behind an id that an earlier story has.
        ids: how often each id is in the data set.
    """
    counts = Counter(names)
    for name in names:
        original = name.rpartition("-")[0]
        if name not in ids and ids[original] > 1:
            counts[original] += 1
    return Counter({name: count for name, count in counts.items() if count > 1})


def token_numbers(
    surveys: dict[str, Survey], tokenizer: PreTrainedTokenizerBase | None = None
) -> dict[str, TokenNumbers]:
    """Return what a tokenizer makes of the captions of each split that are not empty.

    Without `tokenizer`, one of the tiny preset's size is trained on the captions of `train`, or of the first split that
    has any.
    """
    captions = {
        split: [text for captions in survey.captions for text in captions if has_text(text)]
        for split, survey in surveys.items()
    }
    if tokenizer is None:
        texts = captions.get("train") or next(filter(None, captions.values()), None)
        if texts is None:
            return {split: TokenNumbers() for split in captions}
        tokenizer = train_tokenizer(texts, load_preset("tiny").text_config.vocab_size)
    return {split: count_tokens(texts, tokenizer) for split, texts in captions.items()}


def _split_position(split: str) -> int:
    return SPLIT_ORDER.index(split) if split in SPLIT_ORDER else len(SPLIT_ORDER)


def _read_beside(source: Source, split: str, rows: Dataset, limit: int | None) -> None:
    """Read ids and titles of a split from the rows of the data set that have its stories."""
    number = len(rows) if limit is None else min(limit, len(rows))
    if "story_id" not in rows.column_names:
        return
    ids = [None if name is None else str(name) for name in rows["story_id"][:number]]
    source.ids[split] = Counter(filter(None, ids))
    if "title" in rows.column_names:
        source.titles[split] = {name: title for name, title in zip(ids, rows["title"][:number]) if name and title}


def _print(splits: dict[str, dict], source: Source, findings: list[Finding]) -> None:
    print(format_table(splits))
    licenses = listed(f"{excerpt(license)} ({count} stories)" for license, count in source.licenses.items())
    print(f"\nlicenses: {licenses or 'none known'}\n")
    for split, numbers in splits.items():
        for story, problem in numbers["bad"]:
            print(f"bad: {split}: {excerpt(name_problem(story, problem), MAX_PROBLEM)}")
    for finding in findings:
        print(f"{finding.severity}: {finding.text}")
    if not any(finding.severity == HURTS for finding in findings):
        print("nothing that would hurt training")


def _check(arguments: argparse.Namespace) -> None:
    """Refuse flags out of range.

    Raises:
        ValueError: for the first one.
    """
    minimum = {"max_caption_length": 3, "num_frames": 2, "max_stories": 1}
    for name, least in minimum.items():
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise ValueError(f"{name}: got {value}, expected at least {least}")
    if min(arguments.image_size) < 1:
        raise ValueError(f"image_size: got {list(arguments.image_size)}, expected height and width in pixels")
