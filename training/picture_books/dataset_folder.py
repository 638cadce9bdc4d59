"""Write picture books as a folder that `datasets.load_dataset` reads: Parquet files, a card, and credits."""

import csv
from pathlib import Path

from datasets import Dataset, Features, Image, List, Value

from ..common.dataset_folder import CARD_FILE, card_head, check_output, replaced_folder
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
ATTRIBUTION_FILE = "ATTRIBUTION.csv"
MARK = "Made by `storyattn data picture-books`."  # a line of the card, by which an earlier result is recognized
FILES = (ATTRIBUTION_FILE, "train.parquet", "validation.parquet", "test.parquet")  # of a result, beside the card
CARD = """\
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
    check_output(output, overwrite, MARK, FILES)
    with replaced_folder(output) as folder:
        num_bytes = _write_stories(folder, stories, frames, splits)
        file_bytes = sum(path.stat().st_size for path in folder.iterdir())
        _write_attribution(folder / ATTRIBUTION_FILE, stories, splits)
        card = _card(stories, splits, max_side, num_bytes, file_bytes)
        (folder / CARD_FILE).write_text(card, encoding="utf-8")


def _write_stories(
    folder: Path, stories: list[Story], frames: list[list[bytes]], splits: dict[str, list[int]]
) -> dict[str, int]:
    """Write a Parquet file for each split with stories; return their bytes in memory by split."""
    num_bytes = {}
    for split, chosen in splits.items():
        if chosen:
            rows = [_row(stories[index], frames[index]) for index in chosen]
            dataset = Dataset.from_list(rows, features=BOOK_FEATURES)
            dataset.to_parquet(str(folder / f"{split}.parquet"))
            num_bytes[split] = dataset.data.nbytes
    return num_bytes


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
    num_stories = {split: len(splits[split]) for split in num_bytes}
    counts = []
    for split, number in num_stories.items():
        pages = sum(len(stories[index].pages) for index in splits[split])
        counts.append(f"| {split} | {number:,} | {pages:,} |")
    head = card_head("Picture books", "cc-by-4.0", num_stories, num_bytes, file_bytes)
    return head + CARD.format(mark=MARK, num_stories=len(stories), counts="\n".join(counts), max_side=max_side)
