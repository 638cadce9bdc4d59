"""Write a data set into a folder that then is complete, or as it was before."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from textwrap import indent

import yaml
from datasets import Features

from .files import check_folder

CARD_FILE = "README.md"
# Sizes are in the head because `datasets` caches by folder name and head: with the names of the files alone, a data set
# built anew would be read as the old one.
HEAD = """\
---
pretty_name: {pretty_name}
language: en
license: {license}
task_categories: [image-to-text, text-to-image]
size_categories: [{size}]
configs:
- config_name: default
  data_files:
{data_files}
dataset_info:
  config_name: default
{features}  splits:
{sizes}
  download_size: {file_bytes}
  dataset_size: {num_bytes}
---
"""


def check_output(output: Path, overwrite: bool, mark: str, files: tuple[str, ...]) -> None:
    """Refuse a folder with anything in it, unless it is an earlier result that may be replaced.

    Args:
        output: the folder; it need not exist.
        overwrite: whether an earlier result may be replaced.
        mark: the line of the card by which a result of the same command is recognized.
        files: patterns of the names of the files that such a result consists of, beside the card.

    Raises:
        ValueError: for a file, for a folder of something else or that cannot be written, and for an earlier result
            without `overwrite`.
    """
    if output.exists() and not output.is_dir():
        raise ValueError(f"output: got the file {str(output)!r}, expected a folder")
    check_folder("output", output.absolute().parent)  # where `replaced_folder` writes
    names = sorted(path.name for path in output.iterdir()) if output.is_dir() else []
    if not names:
        return
    card = output / CARD_FILE
    expected = all(any(fnmatch(name, pattern) for pattern in (CARD_FILE, *files)) for name in names)
    if not (expected and card.is_file() and mark in _lines(card)):
        raise ValueError(f"output: got the folder {str(output)!r} with {names[0]!r}, expected none or an empty one")
    if not overwrite:
        raise ValueError(
            f"output: got the folder {str(output)!r} with an earlier result, expected none or an empty one; "
            "--overwrite replaces it"
        )


@contextmanager
def replaced_folder(output: Path) -> Iterator[Path]:
    """Give an empty folder beside `output` to write into; it takes the place of `output` unless an error occurs.

    After an error, `output` is as it was and nothing is left beside it.
    """
    output = output.resolve()
    beside = output.parent / f".{output.name}-{os.getpid()}"
    old = beside.with_name(f"{beside.name}-old")
    beside.mkdir(parents=True)
    try:
        yield beside
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


def card_head(
    pretty_name: str,
    license: str,
    num_stories: dict[str, int],
    num_bytes: dict[str, int],
    file_bytes: int,
    file_pattern: str = "{split}.parquet",
    features: Features | None = None,
) -> str:
    """
    Return the head of a data set's card.

    Args:
        pretty_name: the name of the data set.
        license: its license, as the Hub calls it.
        num_stories: the number of stories of each split that has any.
        num_bytes: what each of them takes in memory.
        file_bytes: the bytes of all Parquet files.
        file_pattern: the names of the Parquet files of a split.
        features: columns, which the Hub then shows without reading a file.

    Returns:
        The lines between and with `---`.
    """
    return HEAD.format(
        pretty_name=pretty_name,
        license=license,
        size="n<1K" if sum(num_stories.values()) < 1000 else "1K<n<10K",
        data_files="\n".join(
            f"  - {{split: {split}, path: {file_pattern.format(split=split)}}}" for split in num_stories
        ),
        sizes="\n".join(
            f"  - {{name: {split}, num_bytes: {num_bytes[split]}, num_examples: {count}}}"
            for split, count in num_stories.items()
        ),
        features=_features_lines(features) if features is not None else "",
        file_bytes=file_bytes,
        num_bytes=sum(num_bytes.values()),
    )


def _features_lines(features: Features) -> str:
    """Return the columns as lines of the head, which `datasets` reads back."""
    return indent(yaml.safe_dump({"features": features._to_yaml_list()}, sort_keys=False), "  ")


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()
