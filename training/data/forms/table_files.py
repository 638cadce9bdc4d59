"""Find the tables in a folder and load them by `datasets`: CSV, JSON, Parquet, Arrow, WebDataset."""

import re
from collections.abc import Iterable
from pathlib import Path

import datasets
from datasets import Dataset, load_dataset_builder
from datasets.fingerprint import Hasher

from ...common.loading import one_line_reason
from .text_files import split_named

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
    """Return the tables in a folder, and in the folders in it, that are of the likeliest kind; archives are none."""
    files = [path for pattern in ("*", "*/*", "*/*/*") for path in sorted(folder.glob(pattern)) if path.is_file()]
    tables = [path for path in files if path.suffix.lower() in BUILDERS and path.suffix.lower() != ".tar"]
    tables = [path for path in tables if not path.name.startswith((".", "dataset_info"))]
    named = [path for path in tables if path.stem.lower() == METADATA]
    tables = named or tables
    kinds = [path.suffix.lower() for path in tables]
    return [path for path in tables if path.suffix.lower() == min(kinds, key=list(BUILDERS).index)]


def load_tables(files: Iterable[Path], folder: Path) -> dict[str, Dataset]:
    """Load tables of one kind by split: that which a word of a file's name or folder says, else `train`.

    Args:
        files: the tables.
        folder: folder in which they are.

    Raises:
        ValueError: where one cannot be read.
    """
    files = list(files)
    by_split: dict[str, list[str]] = {}
    for file in files:
        by_split.setdefault(_split_of(file.relative_to(folder)), []).append(str(file))
    builder, options = BUILDERS[files[0].suffix.lower()], {}
    if builder == "csv":
        options = {"sep": _separator(files[0]), "keep_default_na": False, "na_values": [""], "encoding": "utf-8-sig"}
    state = Hasher.hash([(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files])
    try:
        loaded = load_dataset_builder(builder, data_files=by_split, cache_dir=_cache_dir(state), **options)
        loaded.download_and_prepare()
    except Exception as error:  # the libraries raise a dozen kinds, down to those of pyarrow
        cause = error.__cause__ or error
        names = ", ".join(file.name for file in files[:5])
        reason = f"{type(cause).__name__}: {one_line_reason(cause)}"
        raise ValueError(f"dataset: could not read {names} in {str(folder)!r}: {reason}") from error
    splits = {}
    for split, info in loaded.info.splits.items():
        splits[split] = loaded.as_dataset(split) if info.num_examples else Dataset.from_dict({})
        splits[split]._fingerprint = Hasher.hash([splits[split]._fingerprint, state])
    return splits


def _cache_dir(state: str) -> str:
    return str(Path(datasets.config.HF_DATASETS_CACHE, "storyattn-folders", state))


def _split_of(file: Path) -> str:
    words = [word for part in file.with_suffix("").parts for word in re.split(r"[^A-Za-z]+", part)]
    return next(filter(None, map(split_named, words)), "train")


def _separator(file: Path) -> str:
    """Return the separator of a CSV file: the likeliest one in its first line."""
    with file.open(encoding="utf-8-sig", errors="replace") as opened:
        head = opened.readline()
    return max("\t;,", key=head.count) if file.suffix.lower() != ".tsv" else "\t"
