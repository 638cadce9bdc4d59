"""Read VIST: annotation files of stories in sequence, whose photos lie in a folder by their ids (Huang et al. 2016)."""

import json
import mmap
from pathlib import Path

from datasets import Dataset, Features, Image, List, Value

from ...common.excerpts import quoted
from ...common.loading import one_line_reason
from .text_files import pictures_in

MARKS = (b"photo_flickr_id", b"story_id")
SPLITS = {"train": "train", "val": "validation", "validation": "validation", "dev": "validation", "test": "test"}
FEATURES = Features(
    {
        "story_id": Value("string"),
        "frames": List(Image()),
        "captions": List(Value("string")),
        "album_id": Value("string"),
    }
)


def vist_files(folder: Path, *patterns: str) -> list[Path]:
    """Return the annotation files of stories in a folder; those of single photos are left out."""
    files = sorted(file for pattern in patterns or ("*.json", "*/*.json") for file in folder.glob(pattern))
    return [file for file in files if file.is_file() and _is_vist(file)]


def read_vist(files: list[Path], folder: Path) -> dict[str, Dataset]:
    """Read stories of VIST, in the order of the files.

    A caption is the `original_text` of a sentence, else its `text`. A story one of whose photos is not in the folder is
    a bad story.

    Args:
        files: annotation files; the name of each begins with that of its split.
        folder: folder in which the photos are, in folders of any names, as `<photo_flickr_id>.jpg` or another image.

    Returns:
        Stories by split: `story_id`, `frames` (paths), `captions` and `album_id`.

    Raises:
        ValueError: for a file that is no JSON of this form.
    """
    photos = {file.stem: str(file.absolute()) for file in pictures_in(folder)}
    splits = {}
    for file in files:
        split = SPLITS.get(file.name.split(".")[0].split("-")[0].split("_")[0].lower(), "train")
        splits.setdefault(split, []).extend(_stories(file, photos, folder))
    return {split: Dataset.from_list(stories, features=FEATURES) for split, stories in splits.items()}


def _is_vist(file: Path) -> bool:
    if not file.stat().st_size or "description-in-isolation" in file.name or ".dii" in file.name:
        return False
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return all(text.find(mark) >= 0 for mark in MARKS)


def _stories(file: Path, photos: dict[str, str], folder: Path) -> list[dict]:
    """Return the stories of a file in the order of their first sentences."""
    stories: dict[str, list[dict]] = {}
    try:
        for annotation in json.loads(file.read_text(encoding="utf-8"))["annotations"]:
            for sentence in annotation if isinstance(annotation, list) else [annotation]:
                stories.setdefault(str(sentence["story_id"]), []).append(sentence)
        rows = [_story(story_id, sentences, photos, folder) for story_id, sentences in stories.items()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {one_line_reason(error)}"
        raise ValueError(f"dataset: got {quoted(file)}, expected annotations of VIST: {reason}") from error
    return rows


def _story(story_id: str, sentences: list[dict], photos: dict[str, str], folder: Path) -> dict:
    ordered = sorted(sentences, key=lambda sentence: int(sentence.get("worker_arranged_photo_order") or 0))
    ids = [str(sentence["photo_flickr_id"]) for sentence in ordered]
    captions = [sentence.get("original_text") or sentence.get("text") for sentence in ordered]
    frames = [photos.get(photo, str(folder.absolute() / f"{photo}.jpg")) for photo in ids]
    return {"story_id": story_id, "frames": frames, "captions": captions, "album_id": str(ordered[0].get("album_id"))}
