"""Prepare the files of a data set with `datasets`: check which files they are, and name the file that fails."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import datasets
import yaml
from datasets import Dataset, DatasetBuilder, load_dataset_builder
from datasets.fingerprint import Hasher

from ..common.archives import STREAMS, ArchiveError, check_archive, refuse_unread
from ..common.excerpts import quoted
from ..common.loading import FullDiskError, expecting_room, is_full_disk, one_line_reason, reason_for
from .file_faults import fault_of_files, joined_features
from .frame_access import AccessError, FrameAccess

MORE_ROOM = "the environment variable HF_DATASETS_CACHE names another place"
CARDS = ("README.md", ".huggingface.yaml")
ARCHIVE_SUFFIXES = (".zip", ".tar", *STREAMS)
REFUSALS = (AccessError, ArchiveError, FullDiskError)  # errors whose message says all


class FaultyFiles(ValueError):
    """Says which file of a data set cannot be read, and why."""


@contextmanager
def naming_causes(name: str) -> Iterator[None]:
    """Turn what fails on the way, when the data set `name` is read, into one line with its cause.

    Raises:
        FullDiskError: for the disk of the library's cache.
        FaultyFiles: for text in another encoding, which the library notices only when it is used.
    """
    with expecting_room("dataset", datasets.config.HF_DATASETS_CACHE, MORE_ROOM):
        try:
            yield
        except UnicodeDecodeError as error:
            files = sorted(str(path) for path in Path(name).expanduser().rglob("*") if path.is_file())
            fault = fault_of_files(files) or one_line_reason(error)
            raise FaultyFiles(f"dataset: {quoted(name)}: {fault}") from error


@contextmanager
def naming_source(name: str, hint: str = "") -> Iterator[None]:
    """Turn an error of loading a data set into one line that names it; refusals pass.

    Args:
        name: the data set.
        hint: end of the line.
    """
    try:
        with naming_causes(name):
            yield
    except REFUSALS:
        raise
    except IndexError as error:  # raised by `load_from_disk` for a data set without rows
        raise ValueError(f"dataset: got no story in a split of {name!r}, expected at least one") from error
    except Exception as error:  # the libraries raise a dozen kinds, down to those of pyarrow
        reason = str(error) if isinstance(error, FaultyFiles) else reason_for(name, error)
        message = f"dataset: {quoted(name)} could not be read from a folder or the Hub: {reason}{hint}"
        raise ValueError(message) from error


def load_splits(source: str, access: FrameAccess, *, state: str | None = None, **options: object) -> dict[str, Dataset]:
    """Load a data set as `load_dataset` does; a split without rows, for which that raises, is an empty data set.

    Args:
        source: folder or Hub id, or the name of a builder.
        access: which files may be read.
        state: digest of the files of a builder; that of a folder is found.
        options: options of `load_dataset_builder`, such as the `data_files` of a builder.

    Raises:
        FaultyFiles: naming the file, where one is at fault.
        Exception: of a dozen kinds, as the libraries raise them.
    """
    state = state_of_files(Path(source)) if state is None else state
    if state:
        # The library recognizes some folders by their name alone, and would return their earlier content.
        options["cache_dir"] = str(Path(datasets.config.HF_DATASETS_CACHE, "storyattn-folders", state))
    builder = open_builder(source, access, **options)
    try:
        builder.download_and_prepare()
    except Exception as error:
        if is_full_disk(error):
            raise
        files = local_files(builder)
        features = joined_features(files)
        if features is None:
            fault = fault_of_files(files)
            if fault is None:
                raise
            raise FaultyFiles(fault) from error
        builder = open_builder(source, access, **{**options, "features": features})
        builder.download_and_prepare()
    splits = {}
    for split, info in builder.info.splits.items():
        splits[split] = builder.as_dataset(split) if info.num_examples else Dataset.from_dict({})
        splits[split]._fingerprint = Hasher.hash([splits[split]._fingerprint, state])
    return splits


def open_builder(source: str, access: FrameAccess, *, download: bool = True, **options) -> DatasetBuilder:
    """Return the builder of a data set, whose files are found and checked, but not read.

    Args:
        source: folder or Hub id.
        access: which files may be read.
        download: download archives of the Hub to check them; otherwise those on this machine are checked alone.
        options: options of `load_dataset_builder`.

    Raises:
        AccessError: for a file that may not be read.
        ArchiveError: for an archive that unpacks to too much, and for one that is not read.
    """
    _print_no_raised_errors()
    for card in CARDS:
        _check_card(Path(source, card), access)
    builder = load_dataset_builder(source, **options)
    for file in _data_files(builder):
        reason = access.refusal(file)
        if reason is not None:
            raise AccessError(f"dataset: files of {quoted(source)}: got {reason}")
        refuse_unread(file)
    for file in local_files(builder, ARCHIVE_SUFFIXES, download=download):
        check_archive(file)
    return builder


def check_saved(folder: Path, access: FrameAccess) -> None:
    """Refuse a folder of `save_to_disk` that names files outside of it.

    Raises:
        AccessError: naming the first such file.
    """
    listing = folder / "dataset_dict.json"
    splits = json.loads(listing.read_text(encoding="utf-8"))["splits"] if listing.is_file() else [""]
    for split in splits:
        part = folder / split
        for file in json.loads((part / "state.json").read_text(encoding="utf-8"))["_data_files"]:
            reason = access.refusal(str(part / file["filename"]))
            if reason is not None:
                raise AccessError(f"dataset: files of {quoted(folder)}: got {reason}")


def local_files(builder: DatasetBuilder, suffixes: tuple[str, ...] = (), download: bool = True) -> list[str]:
    """Return the paths of a data set's files, in order; those on the Hub come from the library's cache of downloads.

    Args:
        builder: builder of the data set.
        suffixes: how the names of the files end; by default all files.
        download: whether files on the Hub are wanted, too.
    """
    files = [file for file in _data_files(builder) if file.lower().endswith(suffixes or "")]
    local = [file for file in files if os.path.exists(file)]
    if len(local) == len(files) or not download:
        return local
    manager = datasets.DownloadManager(dataset_name=builder.dataset_name, download_config=datasets.DownloadConfig())
    return manager.download(files)


def state_of_files(folder: Path) -> str:
    """Return a digest of the names, sizes and times of all files in a folder; empty where it does not exist."""
    if not folder.is_dir():
        return ""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    states = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return Hasher.hash(states)


def names_files_of_splits(folder: Path) -> bool:
    """Return whether the card of a data set says which files belong to which split."""
    return any(True for _ in _patterns(_metadata(folder / "README.md")))


def _data_files(builder: DatasetBuilder) -> list[str]:
    return [str(file) for files in (builder.config.data_files or {}).values() for file in files]


def _check_card(card: Path, access: FrameAccess) -> None:
    """Refuse a card whose lists of files lead out of its folder: the library would follow them.

    Raises:
        AccessError: naming the card and the first such pattern.
    """
    for pattern in _patterns(_metadata(card)):
        outside = os.path.isabs(pattern) or ".." in pattern.split("/")
        allowed = access.allow_remote_frames if "://" in pattern else access.allow_local_paths
        if ("://" in pattern or outside) and not allowed:
            flag = "allow_remote_frames" if "://" in pattern else "allow_local_paths"
            raise AccessError(
                f"dataset: {quoted(card)}: data_files: got {quoted(pattern)}, expected files in its folder; "
                f"--{flag} reads others"
            )


def _metadata(card: Path) -> object:
    """Return the metadata of a card as `datasets` reads it, `None` where there is none."""
    if not card.is_file():
        return None
    text = card.read_text(encoding="utf-8", errors="replace")
    if card.suffix == ".md":
        parts = text.split("---", 2)
        text = parts[1] if len(parts) == 3 and not parts[0].strip("\ufeff \n") else ""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _patterns(metadata: object) -> Iterator[str]:
    """Yield every string below `configs`: names of configurations and splits are strings without slashes."""
    values = [metadata.get("configs")] if isinstance(metadata, dict) else []
    while values:
        value = values.pop()
        if isinstance(value, (dict, list)):
            values.extend(value.values() if isinstance(value, dict) else value)
        elif isinstance(value, str):
            yield value


def _print_no_raised_errors() -> None:
    """Keep `datasets` from printing the errors that it raises: they are reported once, in one line."""
    for handler in logging.getLogger("datasets").handlers:
        if _is_no_error not in handler.filters:
            handler.addFilter(_is_no_error)


def _is_no_error(record: logging.LogRecord) -> bool:
    return record.levelno != logging.ERROR
