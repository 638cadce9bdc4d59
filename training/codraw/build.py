"""
Make a data set of picture stories from CoDraw:

    storyattn data codraw --output codraw
    storyattn data codraw --output codraw --source CoDrawDatasetViz --captions dialogue

The folder then reads as any other: `storyattn train --dataset codraw`.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from datasets import Dataset
from tqdm.auto import tqdm

from ..common.dataset_folder import check_output, replaced_folder
from .card import FILES, MARK, write_card
from .dialogues import CAPTIONS, SPLITS, find_dialogues, merge_turns, read_dialogue
from .renderer import MIN_SIDE, CanvasRenderer
from .source import DIALOGUES, PICTURES, open_source
from .stories import FEATURES, story_row

STORIES_IN_FILE = 2000  # at most; about 50 MB
ROWS_IN_GROUP = 100  # stories that a reader has to load at once
COUNTED = ("stories", "frames", "captions", "turns", "changes")
# Kim et al. 2019 (arXiv 1712.05558); they give turns and changes for all splits together.
PUBLISHED = {"train": 7989, "validation": 1002, "test": 1002, "turns": 77502, "changes": 56896}


@dataclass
class BuildOptions:
    """
    What to make.

    Args:
        output: folder for the data set.
        source: folder or archive that has the dialogues and the pictures; `None`: downloaded.
        download_dir: where downloads are kept; `None`: the default.
        image_size: height and width of the frames in pixels.
        captions: "teller" or "dialogue".
        overwrite: whether an earlier result in `output` may be replaced.
    """

    output: Path
    source: str | None = None
    download_dir: str | None = None
    image_size: tuple[int, int] = (96, 120)
    captions: str = "teller"
    overwrite: bool = False


def build_dataset(options: BuildOptions) -> dict[str, Counter]:
    """
    Write the data set and return how much of what (`COUNTED`) each split has.

    Raises `ValueError` for options that mean nothing and for a source that is not as expected, `OSError` where the
    download fails.
    """
    check_options(options)
    counts = {split: Counter() for split in SPLITS.values()}
    with open_source(options.source, options.download_dir) as root:
        renderer = CanvasRenderer(root / PICTURES, options.image_size)
        files = find_dialogues(root / DIALOGUES)
        with replaced_folder(options.output) as folder:
            writer = _SplitWriter(folder)
            for split, row in _rows(files, renderer, options.captions, counts):
                writer.add(split, row)
            writer.close()
            write_card(folder, counts, writer.num_bytes, options.image_size, options.captions)
    return counts


def check_options(options: BuildOptions) -> None:
    """Refuse options that mean nothing, and an output folder of something else; raises `ValueError`."""
    if options.captions not in CAPTIONS:
        raise ValueError(f"captions: got {options.captions!r}, expected {' or '.join(CAPTIONS)}")
    if len(options.image_size) != 2 or min(options.image_size) < MIN_SIDE:
        size = " x ".join(map(str, options.image_size))
        raise ValueError(f"image_size: got {size}, expected height and width of at least {MIN_SIDE} pixels")
    if options.source is not None and options.download_dir is not None:
        raise ValueError("download_dir: got one together with a source, expected one of them")
    check_output(options.output, options.overwrite, MARK, FILES)


def count_lines(counts: dict[str, Counter]) -> list[str]:
    """Return a table of the counts, with the published ones beside them."""
    lines = [f"{'split':<12}" + "".join(f"{name:>10}" for name in COUNTED) + f"{'published stories':>20}"]
    for split, count in counts.items():
        numbers = "".join(f"{count[name]:>10,}" for name in COUNTED)
        lines.append(f"{split:<12}{numbers}{PUBLISHED[split]:>20,}")
    total = sum(counts.values(), Counter())
    return lines + [f"{name} in all: {total[name]:,}; published: {PUBLISHED[name]:,}" for name in ("turns", "changes")]


def _rows(
    files: list[Path], renderer: CanvasRenderer, captions: str, counts: dict[str, Counter]
) -> Iterator[tuple[str, dict]]:
    """Yield the split and the row of every dialogue that has a step; count what is in them."""
    for path in tqdm(files, desc="drawing stories", unit="story", disable=None):
        dialogue = read_dialogue(path)
        steps = merge_turns(dialogue.turns)
        counts[dialogue.split].update(turns=len(dialogue.turns), changes=dialogue.num_changes)
        if not steps:
            continue
        row = story_row(dialogue, steps, captions, renderer)
        num_captions = sum(caption is not None for caption in row["captions"])
        counts[dialogue.split].update(stories=1, frames=len(row["frames"]), captions=num_captions)
        yield dialogue.split, row


class _SplitWriter:
    """Writes rows into Parquet files of up to `STORIES_IN_FILE`, named by split and number."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.num_bytes: Counter = Counter()
        self._waiting: dict[str, list[dict]] = {}
        self._num_files: Counter = Counter()

    def add(self, split: str, row: dict) -> None:
        """Add a row to a split."""
        rows = self._waiting.setdefault(split, [])
        rows.append(row)
        if len(rows) == STORIES_IN_FILE:
            self._write(split)

    def close(self) -> None:
        """Write what is left."""
        for split in [split for split, rows in self._waiting.items() if rows]:
            self._write(split)

    def _write(self, split: str) -> None:
        table = Dataset.from_list(self._waiting.pop(split), features=FEATURES).data.table
        path = self.folder / f"{split}-{self._num_files[split]:02}.parquet"
        pq.write_table(table, path, row_group_size=ROWS_IN_GROUP)
        self._num_files[split] += 1
        self.num_bytes[split] += table.nbytes
