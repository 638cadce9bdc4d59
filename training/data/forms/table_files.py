"""Find the tables in a folder and load them by `datasets`: CSV, JSON, Parquet, Arrow, WebDataset."""

import csv
import re
from collections.abc import Iterable
from pathlib import Path

import datasets
from datasets import Dataset, Features, Value
from datasets.fingerprint import Hasher

from ...common.excerpts import quoted
from ..frame_access import FrameAccess
from ..source_files import FaultyFiles, load_splits, naming_source
from .text_files import pictures_in, split_named

BUILDERS = {  # the likeliest first, where a folder has several kinds
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".json": "json",
    ".tar": "webdataset",
}
METADATA = "metadata"  # a table of this name comes before all others


def find_tables(folder: Path) -> list[Path]:
    """Return the tables in a folder, and in the folders in it, that are of the likeliest kind.

    Archives are none, nor is a JSON file beside a picture of its name.
    """
    files = [path for pattern in ("*", "*/*", "*/*/*") for path in sorted(folder.glob(pattern)) if path.is_file()]
    tables = [path for path in files if path.suffix.lower() in BUILDERS and path.suffix.lower() != ".tar"]
    tables = [path for path in tables if not path.name.startswith((".", "dataset_info"))]
    if any(path.suffix.lower() == ".json" for path in tables):
        pictures = {picture.with_suffix("") for picture in pictures_in(folder)}
        tables = [path for path in tables if path.suffix.lower() != ".json" or path.with_suffix("") not in pictures]
    named = [path for path in tables if path.stem.lower() == METADATA]
    tables = named or tables
    kinds = [path.suffix.lower() for path in tables]
    return [path for path in tables if path.suffix.lower() == min(kinds, key=list(BUILDERS).index)]


def load_tables(files: Iterable[Path], folder: Path, access: FrameAccess) -> dict[str, Dataset]:
    """Load tables of one kind by split: that which a word of a file's name or folder says, else `train`.

    Args:
        files: the tables.
        folder: folder in which they are.
        access: which files may be read.

    Raises:
        ValueError: where one cannot be read.
    """
    files = list(files)
    by_split: dict[str, list[str]] = {}
    for file in files:
        by_split.setdefault(_split_of(file.relative_to(folder)), []).append(str(file))
    builder, options = BUILDERS[files[0].suffix.lower()], {}
    state = Hasher.hash([(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files])
    options["cache_dir"] = str(Path(datasets.config.HF_DATASETS_CACHE, "storyattn-folders", state))
    with naming_source(str(files[0] if len(files) == 1 else folder)):
        options |= _csv_options(files) if builder == "csv" else {}
        return load_splits(builder, access, state=state, data_files=by_split, **options)


def _split_of(file: Path) -> str:
    words = [word for part in file.with_suffix("").parts for word in re.split(r"[^A-Za-z]+", part)]
    return next(filter(None, map(split_named, words)), "train")


def _csv_options(files: list[Path]) -> dict:
    """Return how CSV files are read: every column as text, so that 007 stays another story than 7."""
    separator = _separator(files[0])
    options = {"sep": separator, "keep_default_na": False, "na_values": [""], "encoding": "utf-8-sig"}
    headers = [_header(file, separator) for file in files]
    if headers[0] and all(header == headers[0] for header in headers) and len(set(headers[0])) == len(headers[0]):
        options["features"] = Features({name: Value("string") for name in headers[0]})
    return {**options, "skipinitialspace": True}


def _separator(file: Path) -> str:
    """Return the separator of a CSV file: the likeliest one in its first line."""
    with file.open(encoding="utf-8-sig", errors="replace") as opened:
        head = opened.readline()
    return max("\t;|,", key=head.count) if file.suffix.lower() != ".tsv" else "\t"


def _header(file: Path, separator: str) -> list[str]:
    """Return the names of the columns of a CSV file, as `datasets` names them.

    Raises:
        FaultyFiles: where the first row has more cells, of which pandas would take the first ones for its index.
    """
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as opened:
        rows = csv.reader(opened, delimiter=separator, skipinitialspace=True)
        names, first = next(rows, []), next(rows, [])
    if names and len(first) > len(names):
        expected = f"expected {len(names)} as in its header; a text with {separator!r} in it needs quotes"
        raise FaultyFiles(f"file {quoted(file)}: first row: got {len(first)} cells, {expected}")
    return [name or f"Unnamed: {number}" for number, name in enumerate(names)]
