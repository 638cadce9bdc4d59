"""Stories in the forms in which people have them: each is read into frames and captions."""

import csv
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
from datasets import Dataset, Features, Image, List, Value
from encoded_pictures import encode, plain_picture
from PIL import Image as PILImage
from storyattn.training.common.columns import TableColumns
from storyattn.training.data.sources import open_source, read_stories
from storyattn.training.data.stream_source import open_stream

FRAMES = [("fox", 2, "F two."), ("hare", 10, "H ten."), ("fox", 1, "F one."), ("hare", 9, "H nine.")]
STORIES = {"fox": ([1, 2], ["F one.", "F two."]), "hare": ([9, 10], ["H nine.", "H ten."])}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "set").mkdir()
    return tmp_path / "set"


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


def content(source: object, split: str = "train", **columns: object) -> dict:
    """Return the stories of all of a data set by id: numbers of the pictures, and captions."""
    table = TableColumns(**columns)
    dataset = open_source(str(source), table_columns=table)[split]
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
    "text files": write_text_files,
    "VIST": write_vist,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_with_a_frame_each(folder, form):
    assert content(FORMS[form](folder)) == STORIES


@pytest.mark.parametrize("form", ["metadata.jsonl with other names and backslashes", "Parquet", "WebDataset", "VIST"])
def test_a_stream_of_a_form(folder, form):
    stream = open_stream(str(FORMS[form](folder)), "train")
    captions = {story["story_id"]: story["captions"] for story in stream}
    assert captions == {story: texts for story, (_, texts) in STORIES.items()}


# Columns


def test_columns_that_flags_name(folder):
    write_csv(folder / "all.csv", rows("{}.png", ("who", "when", "what", "says")))
    write_pictures(folder, 1, 2, 9, 10)
    flags = {"story_column": "who", "position_column": "when", "image_column": "what", "caption_column": "says"}
    assert content(folder, **flags) == STORIES
    with pytest.raises(ValueError, match="story_column: got 'whom', expected one of the columns who, when, what, says"):
        content(folder, **{**flags, "story_column": "whom"})


def test_the_rows_order_without_positions_and_texts_as_positions(folder):
    Dataset.from_dict(
        {"story": ["a", "b", "a"], "image": [encode(numbered(k)) for k in (3, 1, 2)], "text": ["x", None, " "]}
    ).to_parquet(folder / "train.parquet")
    assert content(folder) == {"a": ([3, 2], ["x", None]), "b": ([1], [None])}
    Dataset.from_dict(
        {
            "story": [7, 7],
            "page": ["page 10", "page 9"],
            "image": [encode(numbered(k)) for k in (1, 2)],
            "text": ["x", "y"],
        }
    ).to_parquet(folder / "train.parquet")
    assert content(folder) == {"7": ([2, 1], ["y", "x"])}


@pytest.mark.parametrize(
    "names",
    [("image_{}", "caption_{}"), ("Image {}", "Text {}"), ("panel{}_image", "panel{}_text"), ("{}.png", "{}.txt")],
)
def test_numbered_columns(folder, names):
    image, text = names
    features = {"id": Value("string"), "story_id": Value("string")}
    features |= {image.format(k): Image() for k in range(3)} | {text.format(k): Value("string") for k in range(3)}
    row = {"id": "9", "story_id": "fox", image.format(2): None, text.format(2): None}
    row |= {image.format(k): {"bytes": encode(numbered(k + 1)), "path": None} for k in range(2)}
    row |= {text.format(k): f"{k}." for k in range(2)}
    Dataset.from_list([row], features=Features(features)).to_parquet(folder / "train.parquet")
    assert content(folder) == {"fox": ([1, 2], ["0.", "1."])}


def test_stories_whose_paths_are_relative_to_their_folder(folder):
    write_pictures(folder / "pages", 1, 2)
    lines = [{"frames": ["pages\\1.png", "pages/2.png"], "captions": ["A.", "B."], "story_id": "fox"}]
    write_lines(folder / "stories.jsonl", lines)
    for name in (folder, folder / "stories.jsonl"):
        (story,) = read_stories(str(name), "train")
        assert [number_of(frame) for frame in story["frames"]] == [1, 2]
        (streamed,) = open_stream(str(name), "train")
        assert [Path(frame["path"]).name for frame in streamed["frames"]] == ["1.png", "2.png"]


# Several captions


def test_captions_of_a_frame_in_a_list_or_in_rows(folder):
    write_pictures(folder, 1, 2)
    lines = [
        {"file_name": "1.png", "story": "fox", "position": 1, "caption": ["One.", " ", "Uno."]},
        {"file_name": "2.png", "story": "fox", "position": 2, "caption": []},
    ]
    write_lines(folder / "metadata.jsonl", lines)
    (story,) = read_stories(str(folder), "train")
    assert story["captions"] == ["One.", None] and story["references"] == [["One.", "Uno."], []]
    copies = [{**lines[0], "caption": text} for text in ("One.", "Uno.")] + [{**lines[1], "caption": "Two."}]
    write_csv(folder / "metadata.csv", copies)
    (folder / "metadata.jsonl").unlink()
    (story,) = read_stories(str(folder), "train")
    assert story["captions"] == ["One.", "Two."] and story["references"] == [["One.", "Uno."], ["Two."]]


def test_lists_of_captions_of_stories(folder):
    features = {"frames": List(Image()), "captions": List(List(Value("string")))}
    frames = [{"bytes": encode(numbered(k)), "path": None} for k in (1, 2)]
    Dataset.from_list([{"frames": frames, "captions": [["a", "b"], ["c"]]}], features=Features(features)).to_parquet(
        folder / "train.parquet"
    )
    (story,) = read_stories(str(folder), "train")
    assert story["captions"] == ["a", "c"] and story["references"] == [["a", "b"], ["c"]]
    (streamed,) = open_stream(str(folder), "train")
    assert streamed["captions"] == ["a", "c"] and streamed["references"] == [["a", "b"], ["c"]]


# Clips


def animate(path: Path, *numbers: int) -> str:
    first, *others = map(numbered, numbers)
    path.parent.mkdir(parents=True, exist_ok=True)
    first.save(
        path,
        save_all=True,
        append_images=others,
        duration=100,
        **({"lossless": True} if path.suffix == ".webp" else {}),
    )
    return path.name


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_an_animation_is_a_story(folder, suffix):
    name = animate(folder / f"fox{suffix}", *range(1, 10))
    write_lines(folder / "metadata.jsonl", [{"file_name": name, "story_id": "fox", "captions": ["A.", "B.", "C."]}])
    assert content(folder) == {"fox": ([1, 5, 9], ["A.", "B.", "C."])}
    write_lines(folder / "metadata.jsonl", [{"file_name": name, "caption": "It grows."}])
    dataset = open_source(str(folder), table_columns=TableColumns(frames_per_video=2))["train"]
    assert [number_of(frame) for frame in dataset[0]["frames"]] == [1, 9]
    assert dataset[0]["captions"] == ["It grows."] * 2


def test_animations_in_a_table_and_beside_text_files(folder):
    name = animate(folder / "clips" / "fox.gif", 1, 2, 3)
    (folder / "clips" / "fox.txt").write_text("A.\nB.\nC.\n")
    assert content(folder / "clips") == {"fox": ([1, 2, 3], ["A.", "B.", "C."])}
    animation = {"bytes": (folder / "clips" / name).read_bytes(), "path": None}
    columns = {"story_id": Value("string"), "frames": Image(), "captions": List(Value("string"))}
    row = {"story_id": "fox", "frames": animation, "captions": ["A.", "B."]}
    (folder / "clips" / "fox.txt").unlink()
    Dataset.from_list([row], features=Features(columns)).to_parquet(folder / "train.parquet")
    assert content(folder / "train.parquet") == {"fox": ([1, 3], ["A.", "B."])}


def test_a_wrong_number_of_captions_and_a_broken_animation_are_bad_stories(folder):
    good, broken = animate(folder / "fox.gif", 1, 2, 3), animate(folder / "owl.gif", 4, 5)
    (folder / broken).write_bytes((folder / broken).read_bytes()[:40])
    lines = [
        {"video": good, "captions": ["A.", "B."], "story_id": "fox"},
        {"video": "hare.gif", "captions": ["A.", "B."]},
    ]
    lines += [{"video": broken, "captions": ["A.", "B."], "story_id": "owl"}]
    write_lines(folder / "stories.jsonl", lines)
    stories = open_source(str(folder), table_columns=TableColumns(frames_per_video=3))["train"]
    few, missing, cut = stories["read_problem"]
    assert few.startswith("captions: got 2 for the 3 frames of '") and few.endswith("sets the number of frames")
    assert "hare.gif', expected a video" in missing and missing.startswith("frames: got no such file")
    assert cut.startswith("frames: got '") and "owl.gif', expected a video or an animation: " in cut


def test_a_video_needs_a_package_that_reads_it(folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (folder / "fox.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    write_lines(folder / "stories.jsonl", [{"video": "fox.mp4", "caption": "A."}])
    (problem,) = open_source(str(folder))["train"]["read_problem"]
    assert problem.endswith("fox.mp4', expected the package av (or torchcodec) to read it: pip install av")


def test_frames_of_a_video(folder):
    av = pytest.importorskip("av", reason="the package av is not installed")
    with av.open(str(folder / "fox.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(1, 12):
            picture = plain_picture((20 * number, 0, 0), (64, 48))
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    write_lines(folder / "stories.jsonl", [{"video": "fox.mp4", "captions": ["A.", "B.", "C."], "story": "fox"}])
    frames, captions = content(folder)["fox"]
    assert captions == ["A.", "B.", "C."]
    assert [abs(number - true) <= 1 for number, true in zip(frames, (2, 12, 22))] == [True] * 3


# What is wrong


def test_bad_rows_make_bad_stories_and_no_others(folder):
    write_pictures(folder, 1, 2)
    names = ("story", "position", "image", "caption")
    values = [("fox", 1, "1.png", "A."), ("fox", 2, "2.png", "B."), ("", 1, "1.png", "C."), ("owl", 1, "1.png", "D.")]
    values += [
        ("owl", 1, "2.png", "E."),
        ("hare", 1, "1.png", "F."),
        ("hare", "", "2.png", "G."),
        ("elk", 1, "../x.png", ""),
    ]
    write_csv(folder / "stories.csv", [dict(zip(names, row)) for row in values])
    stories = open_source(str(folder))["train"].remove_columns("frames")
    problems = dict(zip(stories["story_id"], stories["read_problem"]))
    assert list(problems) == ["fox", "row 3", "owl", "hare", "elk"] and problems["fox"] is None
    assert problems["row 3"] == "story: got None, expected the name of a story"
    assert problems["owl"].startswith("position: got 1.0 in rows 4 and 5, which have other pictures")
    assert problems["hare"].startswith("position: got nothing in row 7, expected it in every row")
    assert problems["elk"] == "image: got '../x.png', expected a file in the folder of the data set"


def test_an_archive_that_leads_out_or_grows_too_large_is_refused(folder, monkeypatch):
    with zipfile.ZipFile(folder / "out.zip", "w") as archive:
        archive.writestr("../metadata.jsonl", "{}")
    with pytest.raises(ValueError, match="archive '.*out.zip': got the name '../metadata.jsonl', expected one within"):
        open_source(str(folder / "out.zip"))
    write_zip(folder)
    monkeypatch.setattr("storyattn.training.data.forms.archives.MAX_GIGABYTES", 1e-7)
    with pytest.raises(ValueError, match="stories.zip': got more than 0.0 GB or .* expected an archive of pictures"):
        open_source(str(folder / "stories.zip"))
    (folder / "broken.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match="dataset: archive '.*broken.zip': "):
        open_source(str(folder / "broken.zip"))


def test_a_form_that_is_not_read_shows_the_metadata_that_would_be(folder):
    write_pictures(folder, 1, 2)
    with pytest.raises(ValueError) as error:
        read_stories(str(folder), "train")
    assert "\n" not in str(error.value)
    hint = str(error.value).partition("with a line a frame: ")[2]
    first, second = (json.loads(f"{{{text}") for text in hint.split("{")[1:])
    assert (first["file_name"], second["file_name"]) == ("1.png", "2.png")
    write_lines(folder / "metadata.jsonl", [first, second])
    assert content(folder) == {"fox": ([1, 2], [first["caption"], second["caption"]])}
