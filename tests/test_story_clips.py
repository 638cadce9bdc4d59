"""Stories with several captions a frame, and stories that are videos or animations."""

from pathlib import Path

import pytest
from datasets import Dataset, Features, Image, List, Value
from encoded_pictures import encode, plain_picture
from story_form_files import content, number_of, numbered, write_csv, write_lines, write_pictures
from storyattn.training.common.columns import TableColumns
from storyattn.training.data.forms import clips
from storyattn.training.data.sources import open_source, read_stories
from storyattn.training.data.stream_source import open_stream

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


@pytest.mark.parametrize("cell", ['["One.", "Uno."]', "['One.', 'Uno.']", '["One.", null, "Uno."]'])
def test_captions_of_a_frame_in_a_list_in_a_cell(folder, cell):
    """JSON, and what pandas writes into CSV files."""
    write_pictures(folder, 1, 2, 3)
    others = ["[A fox] says: [no]", "['A' 'b']"]
    lines = [{"image": f"{k}.png", "story": "fox", "caption": text} for k, text in enumerate([cell, *others], start=1)]
    write_csv(folder / "stories.csv", lines)
    (story,) = read_stories(str(folder), "train")
    assert story["captions"] == ["One.", *others]
    assert story["references"] == [["One.", "Uno."], *([text] for text in others)]


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


@pytest.mark.parametrize("form", ["table", "numbered columns", "text files", "clips of one row a frame"])
def test_a_clip_outside_of_the_data_set_is_not_opened(folder, tmp_path, form, monkeypatch):
    opened, open_image = [], clips.Image.open
    monkeypatch.setattr(clips.Image, "open", lambda file: opened.append(file) or open_image(file))
    outside = str(tmp_path / animate(tmp_path / "outside.gif", 1, 2, 3))
    if form == "text files":
        (folder / "fox.txt").write_text("A.")
        (folder / "fox.gif").symlink_to(outside)
    rows = {"table": [{"video": outside, "caption": "A."}]}
    rows["numbered columns"] = [{"image_0": outside, "image_1": outside, "caption_0": "A."}]
    rows["clips of one row a frame"] = [{"story": "a", "image": outside, "caption": "A."}]
    if form in rows:
        write_lines(folder / "stories.jsonl", rows[form])
    columns = TableColumns(frames_per_video=2)
    with pytest.raises(ValueError, match="frame 0: got the file '.*' outside of the data set"):
        read_stories(str(folder), "train", table_columns=columns)
    assert not opened
    if form in rows:
        assert content(folder, allow_local_paths=True, frames_per_video=2) and opened
