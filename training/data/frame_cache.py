"""Frames decoded and resized once: kept as 8-bit numbers in files that are memory-mapped and found again.

An entry is a folder of `cache_dir`, named by a fingerprint of the stories, the size of the frames and how pictures are
brought to it. Its files are written aside and renamed; entries that were not used for longest go when the cache
outgrows its limit.
"""

import hashlib
import os
import shutil
from collections.abc import Collection
from pathlib import Path

import datasets
import pyarrow as pa
from datasets import Dataset, Features, List, Value
from transformers.utils import logging

from .validation import decode_frame, story_problem

logger = logging.get_logger(__name__)

VERSION = 2  # goes into the fingerprint: raise it when the same pictures would give other frames
FILE = "frames.arrow"
STORIES_AT_ONCE = 16  # in one batch of the file
PARALLEL_FROM = 2000  # frames for which more than one process is started
MAX_PROCESSES = 8
DEFAULT_LIMIT_GB = 20.0
IN_USE: set[Path] = set()  # entries that this process has mapped

FEATURES = Features({"pixels": Value("large_binary"), "sizes": List(List(Value("int32"))), "problem": Value("string")})


def default_cache_dir() -> Path:
    """`storyattn-frames` in the folder where `datasets` keeps its own files (`HF_DATASETS_CACHE`)."""
    return Path(datasets.config.HF_DATASETS_CACHE, "storyattn-frames")


def cached_frames(
    stories: Dataset, image_processor, *, cache_dir: str | Path | None = None, limit_gb: float = DEFAULT_LIMIT_GB
) -> Dataset:
    """
    For each of `stories` (schema of `read_stories`): `pixels` (bytes of its frames, `(n, height, width, 3)` uint8),
    `sizes` (`[height, width]` of its pictures as they came) and `problem` (what is wrong with it; then no pixels).

    Made at the first call, with a progress bar; then memory-mapped from `cache_dir`, which is kept below `limit_gb`.
    Raises `ValueError` where there is no room on the disk, and where `cache_dir` cannot be written.
    """
    cache_dir = Path(cache_dir) if cache_dir else default_cache_dir()
    key = fingerprint(stories, image_processor)
    folder = cache_dir / key
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        found = f"{str(cache_dir)!r}, which cannot be written: {error.strerror}"
        raise ValueError(f"cache_dir: found {found}; --cache_dir names another place") from error
    IN_USE.add(folder)
    num_frames = sum(len(captions or []) for captions in stories["captions"])
    new = not any(folder.glob("*.arrow"))
    if new:
        height, width = image_processor.size["height"], image_processor.size["width"]
        _expect_room(folder, num_frames * height * width * 3)
    os.utime(folder)
    processes = min(os.cpu_count() or 1, MAX_PROCESSES, len(stories))
    frames = stories.with_format("arrow").map(
        _prepare_batch,
        fn_kwargs={"image_processor": image_processor},
        batched=True,
        batch_size=STORIES_AT_ONCE,
        writer_batch_size=STORIES_AT_ONCE,
        remove_columns=stories.column_names,
        features=FEATURES,
        cache_file_name=str(folder / FILE),
        load_from_cache_file=True,
        new_fingerprint=key,
        num_proc=processes if processes > 1 and num_frames >= PARALLEL_FROM else None,
        desc="decoding and resizing frames",
    )
    if new:
        bound_cache(cache_dir, limit_gb, keep=IN_USE)
    return frames.with_format(None)


def fingerprint(stories: Dataset, image_processor) -> str:
    """What the cached frames of `stories` are found again by, 32 hexadecimal digits."""
    how = {name: getattr(image_processor, name) for name in ("do_resize", "do_center_crop", "resample")}
    size = image_processor.size["height"], image_processor.size["width"]
    parts = (VERSION, stories._fingerprint, len(stories), size, sorted(how.items()), _changes_of_files(stories))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def bound_cache(cache_dir: str | Path, limit_gb: float, keep: Collection[Path] = ()) -> list[Path]:
    """
    Removes the entries that were used longest ago, but none of `keep`, until the rest has at most `limit_gb`; warns
    where it has more all the same. Returns what was removed.
    """
    entries = [path for path in Path(cache_dir).iterdir() if path.is_dir()]
    sizes = {path: sum(file.stat().st_size for file in path.glob("*")) for path in entries}
    total, removed = sum(sizes.values()), []
    for path in sorted(entries, key=lambda path: path.stat().st_mtime):
        if total <= limit_gb * 1e9:
            break
        if path not in keep:
            shutil.rmtree(path, ignore_errors=True)  # whoever has it mapped keeps reading it
            total -= sizes[path]
            removed.append(path)
    if total > limit_gb * 1e9:
        logger.warning(
            f"cache_limit_gb: the frames of this run take {total / 1e9:.2g} GB, over the limit of {limit_gb:g}"
        )
    return removed


def prepare_story(story: dict, image_processor) -> dict:
    """
    A row of the schema, its pictures encoded as `datasets` keeps them, as a row of `cached_frames`.

    Whatever is wrong with the story is told in `problem`, nothing is raised.
    """
    problem, pixels, sizes = story_problem(story), [], []
    try:
        for index in range(len(story["frames"]) if problem is None else 0):
            picture = decode_frame(story, index)
            pixels.append(image_processor.to_frame(picture).tobytes())
            sizes.append([picture.height, picture.width])
    except ValueError as error:
        problem = str(error)
    if problem is not None:
        return {"pixels": b"", "sizes": [], "problem": problem}
    return {"pixels": b"".join(pixels), "sizes": sizes, "problem": None}


def _prepare_batch(table: pa.Table, image_processor) -> dict[str, list]:
    rows = [prepare_story(row, image_processor) for row in table.to_pylist()]
    return {name: [row[name] for row in rows] for name in FEATURES}


def _changes_of_files(stories: Dataset) -> list:
    """Size and time of every picture that is a file of its own: another picture in its place gives another entry."""
    frames = stories.with_format("arrow")
    found = []
    for start in range(0, len(stories), 1000):
        column = frames[start : start + 1000].column("frames").combine_chunks()
        pictures = column.flatten() if hasattr(column, "flatten") else column
        if not pa.types.is_struct(pictures.type) or not pictures.field("bytes").null_count:
            continue
        for content, path in zip(pictures.field("bytes").is_valid().to_pylist(), pictures.field("path").to_pylist()):
            if not content and path and os.path.isfile(path):
                status = os.stat(path)
                found.append((path, status.st_size, status.st_mtime_ns))
    return found


def _expect_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ValueError(
            f"cache_dir: found {free / 1e9:.1f} GB free at {str(folder.parent)!r}, expected {needed / 1e9:.1f} GB for "
            "the resized frames; --cache_dir names another place"
        )
