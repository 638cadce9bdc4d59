"""Write picture books as a folder that `datasets.load_dataset` reads: Parquet files, a card, and credits."""

import csv
import os
import shutil
from pathlib import Path

from datasets import Dataset, Features, Image, List, Value

from .repositories import Story

BOOK_FEATURES = Features(
    {
        **dict.fromkeys(("story_id", "title", "source", "license", "text_by", "images_by"), Value("string")),
        "frames": List(Image()),
        "captions": List(Value("string")),
        "descriptions": List(Value("string")),
    }
)
ATTRIBUTION_COLUMNS = ("split", "story_id", "title", "text_by", "images_by", "source", "license")
MARK = "Made by `storyattn data picture-books`."  # a line of the card, by which an earlier result is recognized
# The head of the card has sizes because `datasets` caches by folder name and head: with the names of the files alone,
# a new data set would be read as the old one.
CARD = """\
---
pretty_name: Picture books
language: en
license: cc-by-4.0
task_categories: [image-to-text, text-to-image]
size_categories: [{size}]
configs:
- config_name: default
  data_files:
{data_files}
dataset_info:
  config_name: default
  splits:
{sizes}
  download_size: {file_bytes}
  dataset_size: {num_bytes}
---
# Picture books: illustrated stories, page by page

{mark}

{num_stories} children's picture books by African authors and illustrators: each story is a sequence of page images with
the text of each page.

| split | stories | pages |
| --- | --- | --- |
{counts}

Columns: `story_id`, `title`, `source`, `license`, `text_by`, `images_by`, `frames` (list of images, longest side at
most {max_side} pixels, JPEG), `captions` (list of the page's story text, one per frame; of a page without text what the
picture shows), `descriptions` (list: what the picture shows, for pages of Book Dash; null elsewhere).

- Sources: [Book Dash](https://github.com/bookdash/bookdash-books) (CC BY 4.0) and African Storybook
  ([texts](https://github.com/global-asp/asp-source), [images](https://github.com/global-asp/asp-imagebank), CC BY).
- Changed: images resized and re-encoded, markup taken out, text joined to one line per page, covers left out.
- Whoever uses or redistributes them, or a figure that shows them, credits the authors: `ATTRIBUTION.csv` has them by
  story.
- Stories with the same title or a near-identical picture are in the same split.
"""


def check_output(output: Path, overwrite: bool) -> None:
    """Refuse an output folder with anything in it, except for an earlier result with `overwrite`.

    Raises:
        ValueError: for a file or such a folder.
    """
    if output.exists() and not output.is_dir():
        raise ValueError(f"output: got the file {str(output)!r}, expected a folder")
    names = sorted(path.name for path in output.iterdir()) if output.is_dir() else []
    if not names:
        return
    card = output / "README.md"
    written = {card.name, "ATTRIBUTION.csv", "train.parquet", "validation.parquet", "test.parquet"}
    is_earlier_result = (
        set(names) <= written
        and card.is_file()
        and MARK in card.read_text(encoding="utf-8", errors="replace").splitlines()
    )
    if not is_earlier_result:
        raise ValueError(f"output: got the folder {str(output)!r} with {names[0]!r}, expected none or an empty one")
    if not overwrite:
        raise ValueError(
            f"output: got the folder {str(output)!r} with an earlier result, expected none or an empty one; "
            "--overwrite replaces it"
        )


def write_books(
    output: Path,
    stories: list[Story],
    frames: list[list[bytes]],
    splits: dict[str, list[int]],
    max_side: int,
    overwrite: bool = False,
) -> None:
    """Write the data set into `output`, completely or not at all: it is written beside it and renamed.

    Args:
        output: folder of the data set.
        stories: the stories.
        frames: image files of each story, one per page.
        splits: numbers of the stories of each split; a split without stories has no file.
        max_side: longest side of an image in pixels, for the card.
        overwrite: replace an earlier result.

    Raises:
        ValueError: as `check_output`.
    """
    check_output(output, overwrite)
    output = output.resolve()
    beside = output.parent / f".{output.name}-{os.getpid()}"
    old = beside.with_name(f"{beside.name}-old")
    beside.mkdir(parents=True)
    try:
        num_bytes = {}
        for split, chosen in splits.items():
            if chosen:
                rows = [_row(stories[index], frames[index]) for index in chosen]
                dataset = Dataset.from_list(rows, features=BOOK_FEATURES)
                dataset.to_parquet(str(beside / f"{split}.parquet"))
                num_bytes[split] = dataset.data.nbytes
        file_bytes = sum(path.stat().st_size for path in beside.iterdir())
        _write_attribution(beside / "ATTRIBUTION.csv", stories, splits)
        card = _card(stories, splits, max_side, num_bytes, file_bytes)
        (beside / "README.md").write_text(card, encoding="utf-8")
        if output.is_dir():
            output.rename(old)
        beside.rename(output)
    except BaseException:
        if old.is_dir() and not output.exists():
            old.rename(output)
        raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _row(story: Story, frames: list[bytes]) -> dict:
    return {
        **{name: getattr(story, name) for name in ("story_id", "title", "source", "license", "text_by", "images_by")},
        "frames": [{"bytes": file, "path": None} for file in frames],
        "captions": [page.caption for page in story.pages],
        "descriptions": [page.description for page in story.pages],
    }


def _write_attribution(path: Path, stories: list[Story], splits: dict[str, list[int]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(ATTRIBUTION_COLUMNS)
        for split, chosen in splits.items():
            for index in chosen:
                writer.writerow([split, *(getattr(stories[index], name) for name in ATTRIBUTION_COLUMNS[1:])])


def _card(
    stories: list[Story], splits: dict[str, list[int]], max_side: int, num_bytes: dict[str, int], file_bytes: int
) -> str:
    """Return the card. `num_bytes` counts bytes in memory by split with stories, `file_bytes` those of all files."""
    counts, sizes = [], []
    for split, size in num_bytes.items():
        chosen = splits[split]
        pages = sum(len(stories[index].pages) for index in chosen)
        counts.append(f"| {split} | {len(chosen):,} | {pages:,} |")
        sizes.append(f"  - {{name: {split}, num_bytes: {size}, num_examples: {len(chosen)}}}")
    return CARD.format(
        size="n<1K" if len(stories) < 1000 else "1K<n<10K",
        data_files="\n".join(f"  - {{split: {split}, path: {split}.parquet}}" for split in num_bytes),
        sizes="\n".join(sizes),
        file_bytes=file_bytes,
        num_bytes=sum(num_bytes.values()),
        mark=MARK,
        num_stories=len(stories),
        counts="\n".join(counts),
        max_side=max_side,
    )
