"""The data set of CoDraw, made from small archives in the layout of the public one."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from codraw_archive import BOY, GIRL, SUN, write_dialogues, write_source
from conftest import refused_line
from datasets import load_dataset
from faulty_server import FaultyServer
from storyattn.training.cli import codraw as command
from storyattn.training.codraw import source as sources
from storyattn.training.codraw.build import STORIES_IN_FILE, BuildOptions, build_dataset
from storyattn.training.codraw.renderer import CanvasRenderer
from storyattn.training.codraw.scene import parse_scene
from storyattn.training.common import downloads
from storyattn.training.data.licenses import count_licenses
from storyattn.training.data.sources import open_source, read_stories
from storyattn.training.publishing.card_facts import data_facts

FILES = ["ATTRIBUTION", "LICENSE", "README.md", "test-00.parquet", "train-00.parquet", "validation-00.parquet"]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return write_source(tmp_path_factory.mktemp("codraw") / "CoDrawDatasetViz-1234")


@pytest.fixture(scope="module")
def built(source, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("built") / "codraw"
    build_dataset(BuildOptions(output=output, source=str(source)))
    return output


def zipped(source: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as members:
        for file in sorted(source.rglob("*.*")):
            members.write(file, f"{source.name}/{file.relative_to(source)}")
    return path


def failure(*flags) -> str:
    """The one line with which the command ends."""
    message = refused_line(command.main, [str(flag) for flag in flags])
    assert message.startswith("storyattn data codraw: ")
    return message


def test_stories_are_the_steps_of_dialogues(built):
    stories = {row["story_id"]: row for row in read_stories(str(built), "train")}
    assert {name: row["captions"] for name, row in stories.items()} == {
        "train_00001": [None, "a big sun on the right.", "a boy is kicking"],
        "train_00002": [None, "a girl", "and a boy, left"],
    }
    assert {split: len(rows) for split, rows in load_dataset(str(built)).items()} == {
        "train": 2,
        "validation": 1,
        "test": 1,
    }
    (story,) = read_stories(str(built), "validation")
    assert story["captions"] == [None, None, "a boy"]  # the Drawer alone spoke of the sun


def test_frames_boxes_and_objects_are_those_of_the_canvases(built, source):
    (story,) = read_stories(str(built), "test")
    renderer = CanvasRenderer(source / "Pngs")
    canvases = [[], [GIRL], [GIRL, BOY], [GIRL, BOY, SUN]]
    for objects, frame, boxes in zip(canvases, story["frames"], story["boxes"]):
        text = ",".join([str(len(objects)), *(_fields(*entry) for entry in objects)])
        clip_art = parse_scene(text, "here")
        assert (np.asarray(frame) == renderer.draw(clip_art)).all()
        seen = renderer.look(clip_art)
        assert [box["box"] for box in boxes] == [sighting.box for sighting in seen]
        assert [box["entity"] for box in boxes] == [sighting.clip_art.name for sighting in seen]
    girl, boy, sun = story["clip_art"][3]
    assert boy["pose"] == "kicking" and boy["face"] == "smiling" and sun["pose"] is None and sun["name"] == "sun"
    place = {name: girl[name] for name in ("class_id", "x", "y", "depth", "flip", "face")}
    assert place == {"class_id": 19, "x": 300, "y": 250.5, "depth": 1, "flip": True, "face": "surprised"}
    assert all(0.99 < entry["visible"] <= 1.01 for entry in story["clip_art"][3])


def _fields(name: str, x: float, y: float, depth: int, flip: int) -> str:
    group, number = name.split("_")
    kind = {"s": 0, "hb0": 2, "hb1": 3}[group]
    return f"{name}s.png,0,{number},{kind},{x},{y},{depth},{flip}"


def test_what_is_covered_has_no_box(tmp_path, source):
    folder = tmp_path / "source"
    shutil.copytree(source / "Pngs", folder / "Pngs")
    ball, slide = ("t_3", 250, 200, 2, 0), ("p_1", 250, 200, 0, 0)
    write_dialogues(folder / "output", {"train_00001": [("a ball behind a slide", "ok", [ball, slide])]})
    build_dataset(BuildOptions(output=tmp_path / "out", source=str(folder)))
    (story,) = read_stories(str(tmp_path / "out"), "train")
    assert [box["entity"] for box in story["boxes"][1]] == ["slide"]
    assert [(entry["name"], entry["visible"]) for entry in story["clip_art"][1]] == [("basketball", 0), ("slide", 1)]


def test_the_folder_says_whom_to_credit_and_what_may_be_done(built):
    assert sorted(path.name for path in built.iterdir()) == FILES
    attribution = (built / "ATTRIBUTION").read_text()
    assert all(text in attribution for text in ("Jin-Hwa Kim", "C. Lawrence Zitnick", "CC BY-NC 4.0", sources.COMMIT))
    assert count_licenses(str(built), open_source(str(built))) == {"cc-by-nc-4.0": 4}
    facts = data_facts(str(built))
    assert len(facts["credits"]) == 1 and "Zitnick" in facts["credits"][0] and "cc-by-nc-4.0" in facts["credits"][0]
    assert "license: cc-by-nc-4.0" in (built / "README.md").read_text().splitlines()


def test_the_command_counts_and_takes_size_and_captions(source, tmp_path, capsys):
    archive = zipped(source, tmp_path / "copy.zip")
    flags = ["--source", archive, "--output", tmp_path / "out", "--image_size", 64, 80, "--captions", "dialogue"]
    command.main([str(flag) for flag in flags])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:6] == ["split", "stories", "frames", "captions", "turns", "changes"]
    assert lines[1].split() == ["train", "2", "6", "4", "7", "4", "7,989"]
    assert "turns in all: 12; published: 77,502" in lines and "changes in all: 9; published: 56,896" in lines
    story = read_stories(str(tmp_path / "out"), "train")[0]
    assert story["frames"][0].size == (80, 64)
    assert story["captions"][2] == "<drawer> ok what else? <teller> a boy is kicking"


def test_a_tar_archive_without_a_top_folder_is_read(source, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "copy"), "xztar", source)
    build_dataset(BuildOptions(output=tmp_path / "out", source=archive))
    assert len(read_stories(str(tmp_path / "out"), "test")) == 1


def test_many_stories_are_several_files(source, tmp_path, monkeypatch):
    monkeypatch.setattr("storyattn.training.codraw.build.STORIES_IN_FILE", 1)
    assert STORIES_IN_FILE > 1000
    build_dataset(BuildOptions(output=tmp_path / "out", source=str(source)))
    assert len(list((tmp_path / "out").glob("train-*.parquet"))) == 2
    assert [row["story_id"] for row in read_stories(str(tmp_path / "out"), "train")] == ["train_00001", "train_00002"]


def test_the_archive_is_downloaded_through_faults_checked_and_kept(source, tmp_path, monkeypatch):
    content = zipped(source, tmp_path / "copy.zip").read_bytes()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(downloads.time, "sleep", lambda _: None)
    monkeypatch.setattr(sources, "CONTENT", sources.content_digest(source))
    options = {"download_dir": str(tmp_path / "cache")}
    with FaultyServer({"codraw": content}, ("drop", 500)) as server:
        monkeypatch.setattr(sources, "ARCHIVE", f"{server.url}/codraw")
        build_dataset(BuildOptions(output=tmp_path / "out", **options))
        assert len(server.requests) == 3
        build_dataset(BuildOptions(output=tmp_path / "again", **options))
        assert len(server.requests) == 3
    picture = next((tmp_path / "cache").rglob("background.png"))
    picture.write_bytes(picture.read_bytes() + b"1")
    message = failure("--output", tmp_path / "other", "--download_dir", tmp_path / "cache")
    assert "got content of SHA-256" in message and not (tmp_path / "other").exists()


def test_the_published_commit_is_fetched():
    assert sources.ARCHIVE == (
        "https://codeload.github.com/parthrangarajan/CoDrawDatasetViz/zip/972d7538e2863b2caca00aa0d4305327f3900af8"
    )


def test_mistakes_end_with_one_line_and_leave_the_output_alone(source, built, tmp_path):
    output = ("--output", tmp_path / "out")
    assert "image_size: got 8 x 120" in failure(*output, "--source", source, "--image_size", 8, 120)
    assert "expected a folder or an archive that exists" in failure(*output, "--source", tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert "without output/ and Pngs/" in failure(*output, "--source", tmp_path / "empty")
    (tmp_path / "broken.zip").write_text("<html>")
    assert "broken.zip cannot be unpacked" in failure(*output, "--source", tmp_path / "broken.zip")
    assert "download_dir: got one together" in failure(*output, "--source", source, "--download_dir", tmp_path)
    assert not (tmp_path / "out").exists()
    before = {path.name: path.read_bytes() for path in built.iterdir()}
    assert "--overwrite replaces it" in failure("--output", built, "--source", source)
    assert "got no dialogue" in _without_dialogues(built, source, tmp_path)
    assert {path.name: path.read_bytes() for path in built.iterdir()} == before
    assert "expected none or an empty one" in failure("--output", source, "--source", source)


def _without_dialogues(output: Path, source: Path, folder: Path) -> str:
    shutil.copytree(source / "Pngs", folder / "half" / "Pngs")
    (folder / "half" / "output").mkdir()
    return failure("--output", output, "--source", folder / "half", "--overwrite")
