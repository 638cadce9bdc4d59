"""A folder of images with a line of metadata for each frame: its stories, their order, and what is refused."""

import json
import os
import re
from pathlib import Path

import pytest
from datasets import Image, List
from PIL import Image as PILImage
from storyattn import StoryAttnImageProcessor
from storyattn.training.data.frame_cache import prepare_story
from storyattn.training.data.frame_folder import is_frame_folder, read_frame_folder
from storyattn.training.data.prepared_stories import prepare_stories
from storyattn.training.data.sources import read_stories
from storyattn.training.data.windows import StoryWindows

BOX = {"entity": "fox", "kind": "character", "box": [1, 2, 3.5, 4]}


def write(folder: Path, lines: list[dict | str]) -> str:
    """Write `metadata.jsonl` and six pictures whose red channel counts them; return the folder's name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pages").mkdir(exist_ok=True)
    for number in range(6):
        PILImage.new("RGB", (12, 8), (10 * number, 0, 0)).save(folder / "pages" / f"{number}.png")
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (folder / "metadata.jsonl").write_text(text + "\n", encoding="utf-8")
    return str(folder)


def line(number: int, story: object = "fox", **changes: object) -> dict:
    return {"file_name": f"pages/{number}.png", "story": story, "caption": f"Number {number}.", **changes}


def numbers(story: dict) -> list[int]:
    return [frame.getpixel((0, 0))[0] // 10 for frame in story["frames"]]


def test_stories_in_the_order_of_their_lines(tmp_path):
    lines = [
        line(3, "hare"),
        line(0),
        "",
        line(4, "hare", caption=None),
        line(2),
        {"file_name": "pages/1.png", "story": 7},
    ]
    stories = read_stories(write(tmp_path / "set", lines), "test")
    everything = [read_stories(str(tmp_path / "set"), split) for split in ("train", "validation", "test")]
    assert len(stories) == 1
    by_id = {row["story_id"]: (numbers(row), row["captions"]) for part in everything for row in part}
    assert by_id == {
        "hare": ([3, 4], ["Number 3.", None]),
        "fox": ([0, 2], ["Number 0.", "Number 2."]),
        "7": ([1], [None]),
    }
    assert list(read_frame_folder(tmp_path / "set")["train"]["story_id"]) == ["hare", "fox", "7"]


def test_positions_order_the_frames(tmp_path):
    lines = [line(0, position=2), line(1, position=-1), line(2, position=1.5), line(3, "hare"), line(4, "hare")]
    stories = read_stories(write(tmp_path / "set", lines), "train")
    assert [numbers(row) for row in stories] == [[1, 2, 0], [3, 4]]
    assert stories["captions"][0] == ["Number 1.", "Number 2.", "Number 0."]


def test_folders_in_it_are_splits(tmp_path):
    write(tmp_path / "set" / "train", [line(0), line(1)])
    name = write(tmp_path / "set" / "test", [line(2, "hare"), line(3, "hare")])
    assert name.endswith("test")
    (tmp_path / "set" / "notes").mkdir()
    assert list(read_frame_folder(tmp_path / "set")) == ["test", "train"]
    assert numbers(read_stories(str(tmp_path / "set"), "train")[0]) == [0, 1]
    assert read_stories(str(tmp_path / "set"), "test")["story_id"] == ["hare"]


def test_descriptions_and_boxes(tmp_path):
    lines = [line(0, description="A fox.", boxes=[BOX]), line(1), line(2, "hare", story_id="owl", boxes=None)]
    stories = read_stories(write(tmp_path / "set", lines), "train")
    assert stories["story_id"] == ["fox", "owl"]
    assert stories["descriptions"] == [["A fox.", None], [None]]
    assert stories["boxes"] == [[[BOX], []], [[]]]
    assert StoryWindows(stories, 2)[0]["boxes"] == [[BOX], []]
    plain = read_stories(write(tmp_path / "plain", [line(0, boxes=[]), line(1, description=None)]), "train")
    assert set(plain.column_names) == {"story_id", "frames", "captions"}


def test_pictures_are_stored_as_paths(tmp_path, monkeypatch):
    write(tmp_path / "set", [line(0)])
    monkeypatch.chdir(tmp_path)
    stories = read_frame_folder("set")["train"].cast_column("frames", [Image(decode=False)])
    path = str(tmp_path / "set" / "pages" / "0.png")
    assert stories[0]["frames"] == [{"bytes": None, "path": path}]


def test_links_and_names_within_the_folder(tmp_path):
    folder = Path(write(tmp_path / "set", [line(0, file_name="pages/../pages/./5.png"), line(0, file_name="link.png")]))
    os.symlink(tmp_path / "elsewhere.png", folder / "link.png")
    PILImage.new("RGB", (12, 8), (40, 0, 0)).save(tmp_path / "elsewhere.png")
    assert numbers(read_stories(str(folder), "train", allow_local_paths=True)[0]) == [5, 4]
    with pytest.raises(ValueError, match=r"story '\w+': frame 1: got the file '.*link.png' outside of the data set"):
        read_stories(str(folder), "train")


def test_a_folder_of_frames_is_recognized(tmp_path):
    assert is_frame_folder(write(tmp_path / "frames", ["no json", line(0)]))
    a_line_a_story = {"frames_file_names": ["pages/2.png", "pages/0.png"], "captions": ["Two.", "Zero."]}
    stories = write(tmp_path / "stories", [a_line_a_story])
    assert not is_frame_folder(stories) and numbers(read_stories(stories, "train")[0]) == [2, 0]
    assert not is_frame_folder(write(tmp_path / "others", ["[1]", "3"]))
    (tmp_path / "nothing").mkdir()
    assert not is_frame_folder(tmp_path / "nothing")


REFUSED = {
    "no json": (
        [line(0), "{file_name: 1}"],
        r"dataset: line 2 of '.*metadata.jsonl': got no JSON, expected an object: ",
    ),
    "no object": ([line(0), "[1, 2]"], r"line 2 of .*: got \[1, 2\], expected an object with file_name and story_id"),
    "no story": ([line(0), {"file_name": "pages/1.png"}], r"line 2 of .*: story_id: got nothing, expected the name"),
    "a blank story": ([line(0, " ")], r"line 1 of .*: story_id: got \" \", expected the name"),
    "a story that is a list": ([line(0, ["fox"])], r"line 1 of .*: story_id: got \[\"fox\"\], expected the name"),
    "half a letter": (['{"file_name": "pages/0.png", "story": "\\ud83d"}'], r"line 1 of .*: story_id: got .*ud83d"),
    "outside": (
        [line(0, file_name="pages/../../outside.png")],
        r"story 'fox': line 1 of .*: file_name: got 'pages/../../outside.png', expected a file in the folder",
    ),
    "outside by backslashes": (
        [line(0, file_name="..\\outside.png")],
        r"file_name: got .*, expected a file in the folder",
    ),
    "an absolute path": (
        [line(0, file_name="/etc/hostname")],
        r"story 'fox': line 1 of .*: file_name: got '/etc/hostname', expected a file in the folder",
    ),
}
BAD = {
    "no file name": ([line(0), {"story": "fox"}], r"line 2 of .*: file_name: got nothing, expected"),
    "a number as file name": ([line(0), line(0, file_name=3)], r"line 2 of .*: file_name: got 3, expected"),
    "no such file": ([line(0), line(9)], r"frame 1 \(.*9.png.*\): got no such file, expected an image"),
    "a folder": ([line(0, file_name="pages")], r"frame 0 \(.*pages.*\): "),
    "equal positions": (
        [line(0, position=1), line(2, position=1.0)],
        r"line 2 of .*: position: got 1.0, which is that of '0.png', expected another for each frame",
    ),
    "some positions": (
        [line(0, position=1), line(1), line(2, position=3)],
        r"line 2 of .*: position: got nothing, expected it in every line of a story or in none",
    ),
    "a word as position": ([line(0, position="1")], r"line 1 of .*: position: got \"1\", expected a number"),
    "no number as position": ([line(0, position=float("nan"))], r"line 1 of .*: position: got NaN, expected a number"),
    "a number as caption": ([line(0, caption=5)], r"line 1 of .*: caption: got 5, expected a string or null"),
    "a description that is a list": (
        [line(0, description=["A"])],
        r"line 1 of .*: description: got \[\"A\"\], expected",
    ),
    "boxes of numbers": ([line(0, boxes=[[1, 2, 3, 4]])], r"line 1 of .*: boxes: got \[1, 2, 3, 4\], expected entity"),
    "a box of three": ([line(0, boxes=[{**BOX, "box": [1, 2, 3]}])], r"line 1 of .*: boxes: got .*, expected entity"),
    "one box": ([line(0, boxes=BOX)], r"line 1 of .*: boxes: got .*, expected a list"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_line_is_refused(tmp_path, case):
    lines, message = REFUSED[case]
    (tmp_path / "outside.png").write_bytes(b"")
    with pytest.raises(ValueError, match=message) as error:
        read_stories(write(tmp_path / "set", lines), "train")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("case", BAD)
def test_a_bad_story_is_left_out_and_no_other(tmp_path, case):
    lines, message = BAD[case]
    stories = read_frame_folder(write(tmp_path / "set", [*lines, line(3, "hare"), line(4, "hare")]))["train"]
    stories = stories.cast_column("frames", List(Image(decode=False)))
    fox, hare = (prepare_story(story, StoryAttnImageProcessor()) for story in stories)
    assert hare["problem"] is None and re.match(message, fox["problem"]), fox["problem"]
    with pytest.raises(ValueError, match="got 1 bad of 2 stories, expected none: story 'fox': "):
        prepare_stories(
            stories, StoryAttnImageProcessor(), "the set", on_bad_story="raise", cache_dir=tmp_path / "frames"
        )


def test_backslashes_separate_folders(tmp_path):
    lines = [line(0, file_name="pages\\5.png"), line(0, file_name=".\\pages\\4.png")]
    assert numbers(read_stories(write(tmp_path / "set", lines), "train")[0]) == [5, 4]


def test_metadata_in_another_encoding_is_refused(tmp_path):
    name = write(tmp_path / "set", [line(0)])
    metadata = tmp_path / "set" / "metadata.jsonl"
    metadata.write_bytes(metadata.read_bytes() + b'{"file_name": "\xff"}\n')
    with pytest.raises(ValueError, match="got '.*metadata.jsonl', expected text in UTF-8"):
        read_stories(name, "train")


def test_metadata_in_the_folder_and_in_one_of_its_folders(tmp_path):
    write(tmp_path / "set", [line(0)])
    write(tmp_path / "set" / "test", [line(1)])
    with pytest.raises(ValueError, match="got metadata.jsonl in .* and in test in it, expected one or the other"):
        read_stories(str(tmp_path / "set"), "train")
