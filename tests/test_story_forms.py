"""Stories in the forms in which people have them: each is read into frames and captions."""

import gzip
import json
import zipfile
from pathlib import Path

import pytest
from datasets import Dataset, Features, Image, Value
from encoded_pictures import encode
from story_form_files import (
    FORMS,
    STORIES,
    content,
    number_of,
    numbered,
    rows,
    write_csv,
    write_lines,
    write_pictures,
    write_tar,
    write_zip,
)
from storyattn.training.data.forms import local
from storyattn.training.data.sources import open_source, read_stories
from storyattn.training.data.stream_source import open_stream


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
            "story": [7.0, 7.0],
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


@pytest.mark.parametrize("form", ["metadata.csv", "text files"])
def test_a_stream_opens_a_folder_once(folder, form, monkeypatch):
    opened = []
    for name in ("load_tables", "read_text_files"):
        function = getattr(local, name)
        monkeypatch.setattr(local, name, lambda *options, of=function: opened.append(of) or of(*options))
    open_stream(str(FORMS[form](folder)), "train")
    assert len(opened) == 1


def test_stories_whose_paths_are_relative_to_their_folder(folder):
    write_pictures(folder / "pages", 1, 2)
    lines = [{"frames": ["pages\\1.png", "pages/2.png"], "captions": ["A.", "B."], "story_id": "fox"}]
    write_lines(folder / "stories.jsonl", lines)
    for name in (folder, folder / "stories.jsonl"):
        (story,) = read_stories(str(name), "train")
        assert [number_of(frame) for frame in story["frames"]] == [1, 2]
        (streamed,) = open_stream(str(name), "train")
        assert [Path(frame["path"]).name for frame in streamed["frames"]] == ["1.png", "2.png"]


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
    assert problems["owl"].startswith("position: got '1' in rows 4 and 5, which have other pictures")
    assert problems["hare"].startswith("position: got nothing in row 7, expected it in every row")
    assert problems["elk"] == "image: got '../x.png', expected a file in the folder of the data set"


def test_json_files_beside_pictures(folder):
    write_pictures(folder, 1, 2, 3, 4)
    for number, text in {1: '{"caption": ["a", "b"]}', 2: '{"tags": 1}', 3: '{"caption": null, "alt_text": 7}'}.items():
        (folder / f"{number}.json").write_text(text)
    (story,) = read_stories(str(folder), "train")
    assert story["captions"] == ["a", None, "7", None] and story["references"] == [["a", "b"], [], ["7"], []]
    for text, reason in {
        "{": "expected JSON",
        "[1]": "with a list",
        '{"caption": {"en": "a"}}': "got an object",
    }.items():
        (folder / "2.json").write_text(text)
        (problem,) = open_source(str(folder))["train"]["read_problem"]
        assert problem.startswith("captions: got ") and reason in problem and "2.json" in problem


def test_an_archive_that_leads_out_or_grows_too_large_is_refused(folder, monkeypatch):
    with zipfile.ZipFile(folder / "out.zip", "w") as archive:
        archive.writestr("../metadata.jsonl", "{}")
    with pytest.raises(ValueError, match="archive '.*out.zip': got the name '../metadata.jsonl', expected one within"):
        open_source(str(folder / "out.zip"))
    write_zip(folder)
    monkeypatch.setattr("storyattn.training.common.archives.SMALL_BYTES", 0)
    monkeypatch.setattr("storyattn.training.common.archives.MAX_GROWTH", 0.01)
    with pytest.raises(ValueError, match="dataset: got the archive '.*stories.zip' .* which unpacks to more than"):
        open_source(str(folder / "stories.zip"))
    for suffix in (".tar", ".tar.gz", ".tar.bz2", ".tar.xz"):
        file = write_tar(folder, suffix)
        with pytest.raises(ValueError, match=f"dataset: got the archive '.*stories{suffix}' .* unpacks to more than"):
            open_source(str(file))
    (folder / "broken.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match="dataset: archive '.*broken.zip': "):
        open_source(str(folder / "broken.zip"))


def test_a_compressed_table_that_grows_too_large_is_refused(folder, monkeypatch):
    lines = "".join(f"{json.dumps({'frames': ['1.png'], 'captions': ['A.']})}\n" for _ in range(99))
    (folder / "train.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    monkeypatch.setattr("storyattn.training.common.archives.SMALL_BYTES", 0)
    monkeypatch.setattr("storyattn.training.common.archives.MAX_GROWTH", 2)
    for read in (open_source, lambda name: open_stream(name, "train")):
        with pytest.raises(ValueError, match="dataset: got the archive '.*train.jsonl.gz' .* unpacks to more than"):
            read(str(folder))


@pytest.mark.parametrize("name", ["stories.7z", "stories.rar", "stories.tar.zst"])
@pytest.mark.parametrize("place", ["file", "alone in a folder", "beside metadata"])
def test_an_archive_that_is_not_read_is_refused_by_name(folder, name, place):
    (folder / name).write_bytes(b"7z")
    if place == "beside metadata":
        write_lines(folder / "metadata.jsonl", rows("{}.png", ("story", "position", "file_name", "caption")))
    with pytest.raises(ValueError, match=f"^dataset: got the archive '.*{name}', expected .zip, .tar, .*; unpack it"):
        open_source(str(folder / name if place == "file" else folder))
    write_pictures(folder, 1, 2, 9, 10)
    if place == "beside metadata":
        assert content(folder) == STORIES


def test_files_that_hold_no_story_are_refused(folder):
    (folder / "notes.docx").write_bytes(b"PK")
    with pytest.raises(ValueError, match="^dataset: got the file '.*notes.docx', expected a folder or a file .csv, "):
        open_source(str(folder / "notes.docx"))
    with pytest.raises(ValueError, match="^dataset: '.*' could not be read .* with a line a frame: "):
        open_source(str(folder))
    with zipfile.ZipFile(folder / "pictures.zip", "w") as archive:
        archive.writestr("1.png", encode(numbered(1)))
    with pytest.raises(ValueError, match="^dataset: got no story in the archive '.*pictures.zip'; .* a line a frame: "):
        open_source(str(folder / "pictures.zip"))


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
