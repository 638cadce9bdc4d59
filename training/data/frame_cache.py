"""Cache frames that are decoded and resized once: 8-bit numbers in files that are memory-mapped.

An entry is a folder of `cache_dir`. Its name is a fingerprint of the stories, of the size of the frames, and of how
pictures are brought to that size. Its files are written under another name and then renamed. A manifest has the size,
time and sum of each, by which a damaged entry is recognized and made anew. When the cache outgrows its limit, the
entries that were used longest ago are removed.
"""

import hashlib
import os
import shutil
import signal
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import datasets
import pyarrow as pa
from datasets import Dataset, Features, List, Value
from storyattn import StoryAttnImageProcessor
from transformers.utils import logging

from ..common.defaults import CACHE_LIMIT_GB
from ..common.errors import keeping_control_c
from ..common.files import check_folder
from ..common.loading import expecting_room
from .frame_access import paths_of_frames
from .frame_manifest import remove_damaged_frames, write_manifest
from .number_ranges import range_of
from .validation import decode_frame, story_problem

logger = logging.get_logger(__name__)

FRAMES_VERSION = 2  # part of the fingerprint: raise it when the same pictures would give other frames
FRAMES_FILE = "frames.arrow"
STORIES_AT_ONCE = 16  # in one batch of the file
PARALLEL_FROM = 2000  # frames from which on several processes decode
MAX_PROCESSES = 8
IN_USE: set[Path] = set()  # entries that this process has mapped

CACHE_FEATURES = Features(
    {
        "pixels": Value("large_binary"),
        "sizes": List(List(Value("int32"))),
        "problem": Value("string"),
        "ranges": List(Value("string")),
    }
)


def default_cache_dir() -> Path:
    """Return `storyattn-frames` in the folder of the files of `datasets` (`HF_DATASETS_CACHE`)."""
    return Path(datasets.config.HF_DATASETS_CACHE, "storyattn-frames")


def cached_frames(
    stories: Dataset,
    image_processor: StoryAttnImageProcessor,
    *,
    cache_dir: str | Path | None = None,
    limit_gb: float = CACHE_LIMIT_GB,
) -> Dataset:
    """Return the frames of stories from the cache; at the first call decode and resize them, with a progress bar.

    An entry that is damaged is named in a warning and made anew.

    Args:
        stories: stories in the schema of `read_stories`.
        image_processor: brings pictures to the size of the frames.
        cache_dir: folder of the cache; by default `default_cache_dir()`.
        limit_gb: size below which the cache is kept, in gigabytes.

    Returns:
        A memory-mapped data set with a row for each story: `pixels` (the bytes of its frames `(n, height, width, 3)`,
        uint8), `sizes` (`[height, width]` of the pictures before resizing), `problem` (why the story is bad, or
        `None`) and `ranges` (see `NumberRanges`). A bad story has no pixels.

    Raises:
        ValueError: where the disk has no room for the frames, and where `cache_dir` cannot be written.
    """
    cache_dir = Path(cache_dir) if cache_dir else default_cache_dir()
    key = fingerprint(stories, image_processor)
    folder = cache_dir / key
    _make_entry(folder)
    IN_USE.add(folder)
    num_frames = sum(len(captions or []) for captions in stories["captions"])
    remove_damaged_frames(folder)
    is_new = not any(folder.glob("*.arrow"))
    if is_new:
        check_folder("cache_dir", folder)
        height, width = image_processor.size["height"], image_processor.size["width"]
        _expect_room(folder, num_frames * height * width * 3)
    with suppress(OSError):  # a complete entry may be on a disk that is read-only
        os.utime(folder)
    with expecting_room("cache_dir", cache_dir, "--cache_dir names another place"):
        frames = _decode_stories(stories, image_processor, folder / FRAMES_FILE, key, num_frames)
    if is_new:
        write_manifest(folder)
        bound_cache(cache_dir, limit_gb, keep=IN_USE)
    return frames.with_format(None)


def _decode_stories(
    stories: Dataset, image_processor: StoryAttnImageProcessor, file: Path, key: str, num_frames: int
) -> Dataset:
    """Return the rows that `cached_frames` returns, from `file`, which is written where it is lacking."""
    processes = min(os.cpu_count() or 1, MAX_PROCESSES, len(stories))
    with keeping_control_c():
        return stories.with_format("arrow").map(
            _prepare_batch,
            fn_kwargs={"image_processor": image_processor, "parent": os.getpid()},
            batched=True,
            batch_size=STORIES_AT_ONCE,
            writer_batch_size=STORIES_AT_ONCE,
            remove_columns=stories.column_names,
            features=CACHE_FEATURES,
            cache_file_name=str(file),
            load_from_cache_file=True,
            new_fingerprint=key,
            num_proc=processes if processes > 1 and num_frames >= PARALLEL_FROM else None,
            desc="decoding and resizing frames",
        )


def fingerprint(stories: Dataset, image_processor: StoryAttnImageProcessor) -> str:
    """Return the name of the cache entry for the frames of `stories`, 32 hexadecimal digits."""
    how = {name: getattr(image_processor, name) for name in ("do_resize", "do_center_crop", "resample")}
    size = image_processor.size["height"], image_processor.size["width"]
    parts = (FRAMES_VERSION, stories._fingerprint, len(stories), size, sorted(how.items()), _states_of_files(stories))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def bound_cache(cache_dir: str | Path, limit_gb: float, keep: Collection[Path] = ()) -> list[Path]:
    """Remove the cache entries that were used longest ago until the rest fits the limit.

    Args:
        cache_dir: folder of the cache.
        limit_gb: size of all entries together, in gigabytes. A warning says where those of `keep` take more.
        keep: entries that stay.

    Returns:
        The removed entries.
    """
    entries = [path for path in Path(cache_dir).iterdir() if path.is_dir()]
    sizes = {path: sum(file.stat().st_size for file in path.glob("*")) for path in entries}
    total, removed = sum(sizes.values()), []
    for path in sorted(entries, key=lambda path: path.stat().st_mtime):
        if total <= limit_gb * 1e9:
            break
        if path not in keep:
            shutil.rmtree(path, ignore_errors=True)  # a process that has it mapped can still read it
            total -= sizes[path]
            removed.append(path)
    if total > limit_gb * 1e9:
        logger.warning(
            f"cache_limit_gb: the frames of this run take {total / 1e9:.2g} GB, over the limit of {limit_gb:g}"
        )
    return removed


def prepare_story(story: dict, image_processor: StoryAttnImageProcessor) -> dict:
    """Return a story, its pictures encoded as `datasets` stores them, as a row of `cached_frames`.

    Whatever is wrong with the story goes to `problem`; nothing is raised.
    """
    problem, pixels, sizes, ranges = story_problem(story), [], [], set()
    try:
        for index in range(len(story["frames"]) if problem is None else 0):
            picture = decode_frame(story, index)
            ranges.add(range_of(picture))
            pixels.append(image_processor.to_frame(picture).tobytes())
            sizes.append([picture.height, picture.width])
    except ValueError as error:
        problem = str(error)
        ranges.add(range_of(error))
    facts = {"problem": problem, "ranges": sorted(ranges - {None})}
    if problem is not None:
        return {"pixels": b"", "sizes": [], **facts}
    return {"pixels": b"".join(pixels), "sizes": sizes, **facts}


def _prepare_batch(table: pa.Table, image_processor: StoryAttnImageProcessor, parent: int) -> dict[str, list]:
    if os.getpid() != parent:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # control-C in a terminal: the parent ends all
    rows = [prepare_story(row, image_processor) for row in table.to_pylist()]
    return {name: [row[name] for row in rows] for name in CACHE_FEATURES}


def _states_of_files(stories: Dataset) -> list[tuple[str, int, int]]:
    """Return path, size and time of every picture that is a file on the disk.

    They are part of the fingerprint, so that another picture in its place gives another entry.
    """
    states = []
    for _, _, path in paths_of_frames(stories):
        if os.path.isfile(path):
            status = os.stat(path)
            states.append((path, status.st_size, status.st_mtime_ns))
    return states


def _make_entry(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"cache_dir: got {str(folder.parent)!r}, expected a folder that can be written ({error.strerror}); "
            "--cache_dir names another place"
        ) from error


def _expect_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ValueError(
            f"cache_dir: got {free / 1e9:.1f} GB free at {str(folder.parent)!r}, expected {needed / 1e9:.1f} GB for "
            "the resized frames; --cache_dir names another place"
        )
