"""Stories of two animals, written in the forms in which people have them."""

import csv
import io
import json
import tarfile
import zipfile
from functools import partial
from pathlib import Path

from datasets import Dataset
from encoded_pictures import encode, plain_picture
from PIL import Image as PILImage
from storyattn.training.common.columns import TableColumns
from storyattn.training.data.sources import open_source

FRAMES = [("fox", 2, "F two."), ("hare", 10, "H ten."), ("fox", 1, "F one."), ("hare", 9, "H nine.")]
STORIES = {"fox": ([1, 2], ["F one.", "F two."]), "hare": ([9, 10], ["H nine.", "H ten."])}


def numbered(number: int) -> PILImage.Image:
    """Return a picture whose red channel is ten times `number`."""
    return plain_picture((10 * number, 0, 0), (12, 8))


def write_pictures(folder: Path, *numbers: int, prefix: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        numbered(number).save(folder / f"{prefix}{number}.png")


def write_csv(path: Path, rows: list[dict], delimiter: str = ",") -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def rows(image: str, names: tuple[str, str, str, str] = ("story_id", "position", "image", "caption")) -> list[dict]:
    """Return a row a frame, with the picture's path by the pattern `image`."""
    return [dict(zip(names, (story, position, image.format(position), caption))) for story, position, caption in FRAMES]


def content(source: object, split: str = "train", allow_local_paths: bool = False, **columns: object) -> dict:
    """Return the stories of all of a data set by id: numbers of the pictures, and captions."""
    table = TableColumns(**columns)
    dataset = open_source(str(source), table_columns=table, allow_local_paths=allow_local_paths)[split]
    return {
        story["story_id"]: ([number_of(frame) for frame in story["frames"]], story["captions"]) for story in dataset
    }


def number_of(frame: PILImage.Image) -> int:
    return round(frame.convert("RGB").getpixel((0, 0))[0] / 10)


def write_metadata_csv(folder: Path) -> Path:
    write_pictures(folder / "pages", 1, 2, 9, 10)
    write_csv(folder / "metadata.csv", rows("pages/{}.png", ("story", "position", "file_name", "text")))
    return folder


def write_metadata_lines(folder: Path) -> Path:
    write_pictures(folder / "pages", 1, 2, 9, 10)
    write_lines(folder / "metadata.jsonl", rows("pages\\{}.png", ("book", "page", "file_name", "text")))
    return folder


def write_semicolons(folder: Path) -> Path:
    write_pictures(folder / "images", 1, 2, 9, 10)
    write_csv(folder / "stories.csv", rows("images/{}.png", ("Story ID", "Frame", "Image path", "Sentence")), ";")
    return folder


def write_parquet(folder: Path) -> Path:
    columns = [
        {"album_id": story, "order": position, "image": encode(numbered(position)), "text": caption}
        for story, position, caption in FRAMES
    ]
    Dataset.from_list(columns).to_parquet(folder / "train.parquet")
    return folder


def write_one_parquet(folder: Path) -> Path:
    write_parquet(folder)
    return folder / "train.parquet"


def write_json_lines(folder: Path) -> Path:
    write_pictures(folder / "img", 1, 2, 9, 10)
    write_lines(folder / "all.jsonl", rows("img/{}.png", ("sequence", "index", "img", "narration")))
    return folder / "all.jsonl"


def write_web_dataset(folder: Path) -> Path:
    with tarfile.open(folder / "shard-000.tar", "w") as tar:
        for story, position, caption in FRAMES:
            add(tar, f"{story}/{position:03d}.png", encode(numbered(position)))
            add(tar, f"{story}/{position:03d}.txt", caption.encode())
    return folder


def write_web_dataset_of_json(folder: Path) -> Path:
    with tarfile.open(folder / "shard-000.tar", "w") as tar:
        for number, (story, position, caption) in enumerate(FRAMES):
            fields = {"story": story, "position": position, "caption": caption}
            add(tar, f"{number:06d}.jpg", encode(numbered(position)))
            add(tar, f"{number:06d}.json", json.dumps(fields).encode())
    return folder / "shard-000.tar"


def write_zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "stories.zip", "w") as archive:
        lines = rows("{}.png", ("story", "position", "file_name", "caption"))
        archive.writestr("set/metadata.jsonl", "\n".join(json.dumps(row) for row in lines))
        for _, position, _ in FRAMES:
            archive.writestr(f"set/{position}.png", encode(numbered(position)))
    return folder / "stories.zip"


def write_tar(folder: Path, suffix: str = ".tar") -> Path:
    """Write the stories as `metadata.jsonl` and pictures into an archive that is compressed as its suffix says."""
    path, compression = folder / f"stories{suffix}", suffix.removeprefix(".tar").removeprefix(".")
    with tarfile.open(path, f"w:{compression}") as tar:
        lines = rows("{}.png", ("story", "position", "file_name", "text"))
        add(tar, "metadata.jsonl", "\n".join(json.dumps(row) for row in lines).encode())
        for _, position, _ in FRAMES:
            add(tar, f"{position}.png", encode(numbered(position)))
    return path


def write_zip_beside(folder: Path) -> Path:
    write_lines(folder / "metadata.jsonl", rows("images/{}.png", ("story", "position", "file_name", "caption")))
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for _, position, _ in FRAMES:
            archive.writestr(f"{position}.png", encode(numbered(position)))
    return folder


def write_text_files(folder: Path) -> Path:
    for story, position, caption in FRAMES:
        write_pictures(folder / story, position)
        (folder / story / f"{position}.txt").write_text(f"{caption}\n")
    return folder


def write_json_files(folder: Path) -> Path:
    for story, position, caption in FRAMES:
        write_pictures(folder / story, position)
        (folder / story / f"{position}.json").write_text(json.dumps({"width": 12, "text": caption}))
    return folder


def write_json_files_of_stories(folder: Path) -> Path:
    for number, (story, position, caption) in enumerate(FRAMES):
        numbered(position).save(folder / f"{number:06d}.png")
        fields = {"story": story, "position": position, "captions": [caption], "tags": {"a": 1}}
        (folder / f"{number:06d}.json").write_text(json.dumps(fields))
    return folder


def write_vist(folder: Path) -> Path:
    photos = {f"{story}-{position}": 40000 + position for story, position, _ in FRAMES}
    for story, position, _ in FRAMES:
        (folder / "images" / "train").mkdir(parents=True, exist_ok=True)
        numbered(position).save(folder / "images" / "train" / f"{photos[f'{story}-{position}']}.png")
    annotations = [
        [
            {"story_id": story, "album_id": "7", "photo_flickr_id": str(photos[f"{story}-{position}"])}
            | {"worker_arranged_photo_order": position, "text": caption.lower(), "original_text": caption}
        ]
        for story, position, caption in FRAMES
    ]
    document = {"images": [], "albums": [], "annotations": annotations, "type": "story-in-sequence"}
    (folder / "train.story-in-sequence.json").write_text(json.dumps(document))
    return folder


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


FORMS = {
    "metadata.csv": write_metadata_csv,
    "metadata.jsonl with other names and backslashes": write_metadata_lines,
    "a table beside the images": write_semicolons,
    "Parquet": write_parquet,
    "one Parquet file": write_one_parquet,
    "one JSON lines file": write_json_lines,
    "WebDataset": write_web_dataset,
    "WebDataset with JSON": write_web_dataset_of_json,
    "a ZIP file": write_zip,
    "a ZIP of images beside metadata.jsonl": write_zip_beside,
    "a TAR file": write_tar,
    "a compressed TAR file": partial(write_tar, suffix=".tar.xz"),
    "text files": write_text_files,
    "JSON files": write_json_files,
    "JSON files that name stories": write_json_files_of_stories,
    "VIST": write_vist,
}
