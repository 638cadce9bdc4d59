"""Stories of any source in one schema, the data sets that are refused, and windows of stories."""

import json
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import draw_story
from datasets import Dataset, DatasetDict, Features, Image, LargeList, List, Value
from encoded_pictures import encode, encoded_frame, plain_picture
from storyattn.training.arguments import DataArguments
from storyattn.training.data.loaders import source_options
from storyattn.training.data.sources import read_stories
from storyattn.training.data.windows import StoryTransitions, StoryWindows
from storyattn.training.storyworld import generate_story

BOOKS = Path(__file__).resolve().parents[2] / "shared" / "data" / "picture-books"
FEATURES = {"frames": List(Image()), "captions": List(Value("string"))}


def png(number: int) -> bytes:
    """Return a picture whose red channel counts."""
    return encode(plain_picture((10 * number, 0, 0), (12, 8)))


def story(count: int = 3, **changes: object) -> dict:
    """Return a story of `count` frames whose red channel counts them."""
    frames = [encoded_frame(plain_picture((10 * number, 0, 0), (12, 8))) for number in range(count)]
    return {"frames": frames, "captions": [f"Number {number}." for number in range(count)], **changes}


def red(item: dict) -> list[int]:
    """Return the numbers of an item's frames."""
    return [frame.getpixel((0, 0))[0] // 10 for frame in item["frames"]]


def write(folder: Path, stories: list[dict], split: str = "train", **features: object) -> str:
    """Write a Parquet file of the split into a folder, and return the folder's name."""
    dataset = Dataset.from_list(stories, features=Features({**FEATURES, **features}))
    folder.mkdir(exist_ok=True)
    dataset.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return str(folder)


def test_a_folder_of_parquet_files(tmp_path):
    write(tmp_path / "set", [story(title="A"), story(2, title="B")], title=Value("string"))
    name = write(tmp_path / "set", [story(4, title="C")], "test", title=Value("string"))
    stories = read_stories(name, "train")
    assert stories.column_names == ["frames", "captions", "story_id"]
    assert stories["story_id"] == ["train-0", "train-1"]
    assert stories[1]["captions"] == ["Number 0.", "Number 1."]
    assert [frame.getpixel((0, 0)) for frame in stories[1]["frames"]] == [(0, 0, 0), (10, 0, 0)]
    assert len(read_stories(name, "test")[0]["frames"]) == 4
    assert read_stories(name, "train", max_stories=1)["story_id"] == ["train-0"]


def test_other_columns_ids_and_descriptions(tmp_path):
    changes = {"story_id": "fox-7", "descriptions": ["a", None, "c"]}
    renamed = {"images": "frames", "texts": "captions"}
    dataset = Dataset.from_list(
        [story(**changes)],
        features=Features({**FEATURES, "story_id": Value("string"), "descriptions": List(Value("string"))}),
    ).rename_columns({old: new for new, old in renamed.items()})
    (tmp_path / "set").mkdir()
    dataset.to_parquet(tmp_path / "set" / "train.parquet")
    stories = read_stories(str(tmp_path / "set"), "train", frames_column="images", captions_column="texts")
    assert stories[0]["story_id"] == "fox-7" and stories[0]["descriptions"] == ["a", None, "c"]
    assert stories[0]["captions"] == ["Number 0.", "Number 1.", "Number 2."]


def test_a_folder_of_save_to_disk(tmp_path):
    dataset = Dataset.from_list([story()], features=Features(FEATURES))
    DatasetDict({"train": dataset, "dev": dataset}).save_to_disk(tmp_path / "set")
    assert len(read_stories(str(tmp_path / "set"), "dev")[0]["frames"]) == 3
    dataset.save_to_disk(tmp_path / "single")
    assert len(read_stories(str(tmp_path / "single"), "train")) == 1


def test_a_folder_of_pictures_with_metadata(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    row = {"frames_file_names": ["2.png", "0.png"], "captions": ["Two.", "Zero."]}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row))
    stories = read_stories(str(tmp_path), "train")
    assert red(stories[0]) == [2, 0] and stories[0]["captions"] == ["Two.", "Zero."]


def test_blank_captions_and_missing_ids(tmp_path):
    rows = [story(captions=["One.", "", None], story_id="fox"), story(captions=[" \n", "b", "c"], story_id=None)]
    stories = read_stories(write(tmp_path / "set", rows, story_id=Value("string")), "train")
    assert list(stories["captions"]) == [["One.", None, None], [None, "b", "c"]]
    assert stories["story_id"] == ["fox", "train-1"]
    assert red(stories[1]) == [0, 1, 2]


def test_storyworld_by_its_name():
    options = {"num_stories": 2, "num_frames": 3, "image_size": (32, 48)}
    stories = read_stories("storyworld", "validation", storyworld_options=options)
    expected = generate_story(1, "validation", num_frames=3, image_size=(32, 48))
    assert len(stories) == 2 and stories[1]["captions"] == expected["captions"]
    assert stories[1]["boxes"] == expected["boxes"] and stories[1]["events"] == expected["events"]
    first = read_stories("storyworld", "validation", max_stories=1, storyworld_options=options)
    assert first["captions"] == [stories[0]["captions"]]


@pytest.mark.parametrize(("flags", "lengths"), [({}, {6}), ({"story_frames": 3, "max_story_frames": 4}, {3, 4})])
def test_training_reads_storyworld_of_the_length_that_flags_name(flags, lengths, tmp_path):
    args = DataArguments(**flags)
    options = source_options(args, SimpleNamespace(image_size=(16, 24)))
    options["storyworld_options"].update(num_stories=6, cache_dir=str(tmp_path))
    stories = read_stories("storyworld", "validation", **options)
    assert {len(captions) for captions in stories["captions"]} == lengths


def test_storyworld_draws_more_stories_to_train_on_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("storyattn.training.storyworld.dataset.NUM_STORIES", {"train": 2, "validation": 2})
    options = {"cache_dir": str(tmp_path), "num_frames": 2}
    counts = {
        split: len(read_stories("storyworld", split, max_stories=3, storyworld_options=options))
        for split in ("train", "validation")
    }
    assert counts == {"train": 3, "validation": 2}


def test_an_unknown_source_is_refused(tmp_path):
    name = write(tmp_path / "set", [story()])
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "train.parquet").write_text("no parquet")
    cases = {
        (str(tmp_path / "nowhere"), "train"): "dataset: got '.*nowhere', expected storyworld, a folder that exists, or",
        ("owner/no-such-stories", "train"): "'owner/no-such-stories' could not be read from a folder or the Hub",
        (str(tmp_path / "empty"), "train"): "got the empty folder '.*empty', expected",
        (str(tmp_path / "text"), "train"): "text' could not be read",
        (name, "dev"): "split: got 'dev', expected one of train",
        ("storyworld", "dev"): "split: got 'dev', expected one of train, validation, test, test_unseen",
    }
    for arguments, message in cases.items():
        with pytest.raises(ValueError, match=message) as error:
            read_stories(*arguments)
        assert "\n" not in str(error.value)


def test_missing_and_wrong_columns_are_refused(tmp_path):
    name = write(tmp_path / "set", [story(title="Foxes")], title=Value("string"))
    with pytest.raises(
        ValueError, match="got the columns frames, captions, title in .*, expected 'pages'; --frames_column"
    ):
        read_stories(name, "train", frames_column="pages")
    with pytest.raises(ValueError, match="column 'title'.*expected a list"):
        read_stories(name, "train", captions_column="title")
    with pytest.raises(ValueError, match="frames_column: got 'captions', .*expected two columns"):
        read_stories(name, "train", frames_column="captions")
    with pytest.raises(ValueError, match="column 'frames'.*expected strings"):
        read_stories(name, "train", captions_column="frames", frames_column="captions")
    numbers = Dataset.from_dict({"frames": [[1, 2]], "captions": [["a", "b"]]})
    numbers.save_to_disk(tmp_path / "numbers")
    with pytest.raises(ValueError, match="column 'frames'.*expected images"):
        read_stories(str(tmp_path / "numbers"), "train")


def test_columns_of_neighbouring_types(tmp_path):
    """Images as paths, bytes or both, captions in large strings or absent, ids as numbers."""
    (tmp_path / "a.png").write_bytes(png(4))
    path, data = str(tmp_path / "a.png"), png(4)
    frames = {
        "paths": (path, Value("string")),
        "large paths": (path, Value("large_string")),
        "bytes": (data, Value("binary")),
        "large bytes": (data, Value("large_binary")),
        "both": ({"path": None, "bytes": data}, {"path": Value("string"), "bytes": Value("binary")}),
        "not decoded": ({"path": path, "bytes": None}, Image(decode=False)),
    }
    for case, (frame, feature) in frames.items():
        features = {"frames": List(feature), "captions": LargeList(Value("large_string")), "story_id": Value("int64")}
        rows = [{"frames": [frame, frame], "captions": ["One.", None], "story_id": 12}]
        Dataset.from_list(rows, features=Features(features)).save_to_disk(tmp_path / case)
        stories = read_stories(str(tmp_path / case), "train", allow_local_paths=True)
        assert red(stories[0]) == [4, 4] and stories[0]["captions"] == ["One.", None]
        assert stories["story_id"] == ["12"] and stories.features["captions"] == List(Value("string"))


def test_stories_without_any_captions(tmp_path):
    rows = [story(captions=None), story(2, captions=None)]
    for case, feature in (("no type", Value("null")), ("lists of no type", List(Value("null")))):
        if case == "lists of no type":
            rows = [{**row, "captions": [None] * len(row["frames"])} for row in rows]
        stories = read_stories(write(tmp_path / case, rows, captions=feature), "train")
        assert stories["captions"] == [[None, None, None], [None, None]]
        assert stories.features["captions"] == List(Value("string")) and red(stories[1]) == [0, 1]


WRONG_TYPES = {
    "a single image": ({"frames": Image()}, story(1)["frames"][0], "column 'frames' of .* got Image.*expected a list"),
    "numbers as captions": (
        {"captions": List(Value("int64"))},
        [1, 2, 3],
        "column 'captions' of .* got a list of Value.*int64.*expected strings",
    ),
    "a single caption": ({"captions": Value("string")}, "One.", "column 'captions' of .* got Value.*expected a list"),
    "lists of numbers": (
        {"captions": List(List(Value("int64")))},
        [[1], [2], [3]],
        "column 'captions' of .* got a list of List.*expected strings",
    ),
    "one description": (
        {"descriptions": Value("string")},
        "A fox.",
        "column 'descriptions' of .* got Value.*expected a list of strings",
    ),
    "bare boxes": (
        {"boxes": List(List(Value("int32")))},
        [[1, 2, 3, 4]] * 3,
        "column 'boxes' of .* got List.*expected for each frame a list of entity, kind and box",
    ),
    "boxes of other fields": (
        {"boxes": List(List({"label": Value("string"), "box": List(Value("int32"))}))},
        [[{"label": "fox", "box": [1, 2, 3, 4]}]] * 3,
        "column 'boxes' of .* got List.*label.*expected for each frame a list of entity, kind and box",
    ),
    "events of words": (
        {"events": List(Value("string"))},
        ["enter"] * 3,
        "column 'events' of .* got List.*expected for each frame entity, kind and box",
    ),
}


@pytest.mark.parametrize("case", WRONG_TYPES)
def test_a_column_of_another_type_is_refused(tmp_path, case):
    features, value, message = WRONG_TYPES[case]
    (column,) = features
    name = write(tmp_path / "set", [story(**{column: value})], **features)
    with pytest.raises(ValueError, match=message) as error:
        read_stories(name, "train")
    assert "\n" not in str(error.value)


def test_a_data_set_without_stories_is_refused(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "metadata.jsonl").write_text("")
    nothing = Dataset.from_dict({"frames": [], "captions": []}, features=Features(FEATURES))
    nothing.to_parquet(tmp_path / "train.parquet")
    (tmp_path / "train.parquet").rename(tmp_path / "set" / "train.parquet")
    with pytest.raises(ValueError, match="set'"):
        read_stories(str(tmp_path / "set"), "train")


@pytest.fixture
def six_and_two(tmp_path) -> Dataset:
    for split in ("validation", "test"):  # or they would be cut out of the training split
        write(tmp_path / "set", [story()], split)
    return read_stories(write(tmp_path / "set", [story(6), story(2), story(3, captions=["a", " ", None])]), "train")


def test_all_windows_in_order(six_and_two):
    windows = StoryWindows(six_and_two, 4)
    items = [windows[number] for number in range(len(windows))]
    assert [(item["story_id"], item["start"], red(item)) for item in items] == [
        ("train-0", 0, [0, 1, 2, 3]),
        ("train-0", 1, [1, 2, 3, 4]),
        ("train-0", 2, [2, 3, 4, 5]),
        ("train-1", 0, [0, 1]),
        ("train-2", 0, [0, 1, 2]),
    ]
    assert windows[2]["captions"] == ["Number 2.", "Number 3.", "Number 4.", "Number 5."]
    assert windows[4]["captions"] == ["a", None, None]


def test_every_transition_ends_a_window(six_and_two):
    windows = StoryTransitions(six_and_two, 4)
    items = [windows[number] for number in range(len(windows))]
    assert [(item["story_id"], item["start"], red(item)) for item in items] == [
        ("train-0", 0, [0, 1]),
        ("train-0", 0, [0, 1, 2]),
        ("train-0", 0, [0, 1, 2, 3]),
        ("train-0", 1, [1, 2, 3, 4]),
        ("train-0", 2, [2, 3, 4, 5]),
        ("train-1", 0, [0, 1]),
        ("train-2", 0, [0, 1]),
        ("train-2", 0, [0, 1, 2]),
    ]
    assert windows[4]["captions"] == ["Number 2.", "Number 3.", "Number 4.", "Number 5."]
    assert windows[7]["captions"] == ["a", None, None]


def test_what_a_frame_has_is_cut_with_the_frames():
    options = {"num_stories": 1, "image_size": (32, 48)}
    stories = read_stories("storyworld", "test", storyworld_options=options)
    item = StoryWindows(stories, 4)[2]
    assert all(item[name] == stories[0][name][2:] for name in ("boxes", "events", "states"))
    assert np.array_equal(np.asarray(item["frames"][0]), np.asarray(stories[0]["frames"][2]))


def test_windows_of_one_frame_are_refused(six_and_two):
    with pytest.raises(ValueError, match="num_frames: got 1"):
        StoryWindows(six_and_two, 1)


def test_the_folder_of_drawn_stories(stories_folder):
    stories = read_stories(str(stories_folder), "train")
    seed = random.Random(0).randrange(24)
    assert stories[seed]["captions"] == draw_story(seed)["captions"]


@pytest.mark.shared
@pytest.mark.skipif(not BOOKS.is_dir(), reason="the picture books are not beside this checkout")
def test_picture_books():
    stories = read_stories(str(BOOKS), "test")
    assert len(stories) == 29 and sum(map(len, stories["captions"])) == 321
    assert {"story_id", "frames", "captions", "descriptions"} == set(stories.column_names)
    item = StoryWindows(stories, 5)[0]
    assert len(item["frames"]) == 5 and max(item["frames"][0].size) <= 256


def test_a_folder_that_is_written_again_is_read_again(tmp_path):
    """A card that names the files would make the library take the folder for the old one."""
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - {split: train, path: train-*.parquet}\n---\n"
    for number in (2, 3):
        name = write(tmp_path / "set", [story(number, story_id=f"of {number}")], story_id=Value("string"))
        write(tmp_path / "set", [story()], "test")
        write(tmp_path / "set", [story()], "validation")
        (tmp_path / "set" / "README.md").write_text(card)
        stories = read_stories(name, "train")
        assert stories["story_id"] == [f"of {number}"] and len(stories[0]["frames"]) == number
