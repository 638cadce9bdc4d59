"""Errors of data sets: they name the file and the line at fault, stay short, and say what was mistyped."""

import errno
import json
import os
from pathlib import Path

import pytest
from conftest import refused_line
from datasets import Dataset, Features, Image, List, Value
from datasets.arrow_writer import ArrowWriter
from encoded_pictures import encode
from PIL import Image as PILImage
from story_reasoning_rows import row, write
from storyattn.training.cli import evaluate as evaluate_command
from storyattn.training.cli import main
from storyattn.training.common.errors import one_line
from storyattn.training.data.frame_cache import cached_frames
from storyattn.training.data.sources import read_stories
from storyattn.training.data.stream_source import first_stories, open_stream
from storyattn.training.data.validation import judge_bad_stories
from storyattn.training.evaluation import command as evaluation

PICTURE = PILImage.new("RGB", (12, 8), (40, 0, 0))
FRAMES = {"frames": List(Image())}
TEXT = Value("string")


def write_parquet(file: Path, captions: list, feature: object, **more: object) -> None:
    """Write a story of two frames for each item of `captions`."""
    columns = {"frames": [[PICTURE, PICTURE]] * len(captions), "captions": captions}
    columns.update({name: [value] * len(captions) for name, value in more.items()})
    features = Features({**FRAMES, "captions": feature, **dict.fromkeys(more, TEXT)})
    file.parent.mkdir(exist_ok=True)
    Dataset.from_dict(columns, features=features).to_parquet(file)


def write_lines(file: Path, captions: list) -> None:
    """Write a line a story, its pictures beside the file."""
    file.parent.mkdir(exist_ok=True)
    (file.parent / "a.png").write_bytes(encode(PICTURE))
    frames = [str(file.parent / "a.png")] * 2
    file.write_text("".join(json.dumps({"frames": frames, "captions": texts}) + "\n" for texts in captions))


def broken_line(folder: Path) -> str:
    write_lines(folder / "train-0.jsonl", [["One.", "Two."]] * 3)
    write_lines(folder / "train-1.jsonl", [["One.", "Two."]] * 6)
    lines = (folder / "train-1.jsonl").read_text().split("\n")
    lines[4] = lines[4][:-3]
    (folder / "train-1.jsonl").write_text("\n".join(lines))
    return r"train-1.jsonl': line 5: got no JSON, expected a story: "


def broken_list(folder: Path) -> str:
    write_lines(folder / "other.txt", [])
    (folder / "train.json").write_text('[\n{"captions": ["One."]},\n{"captions": ["One.",]}\n]')
    return r"train.json': line 3: got no JSON"


def wrong_encoding(folder: Path) -> str:
    write_lines(folder / "train.jsonl", [["One.", "Two."]] * 2)
    with (folder / "train.jsonl").open("ab") as file:
        file.write('{"frames": [], "captions": ["Köln"]}\n'.encode("latin-1"))
    return r"train.jsonl': line 3: got other text, expected UTF-8"


def another_column(folder: Path) -> str:
    write_parquet(folder / "train-0.parquet", [["One.", "Two."]] * 3, List(TEXT))
    write_parquet(folder / "train-1.parquet", [["One.", "Two."]] * 3, List(TEXT), mood="sad")
    return r"train-1.parquet': got columns more: mood; expected those of 'train-0.parquet'"


def another_type(folder: Path) -> str:
    write_parquet(folder / "train-0.parquet", [["One.", "Two."]] * 3, List(TEXT))
    write_parquet(folder / "train-1.parquet", ["One."] * 3, TEXT)
    return r"train-1.parquet': column 'captions': got '?string'?, expected .*as in 'train-0.parquet'"


def half_a_file(folder: Path) -> str:
    write_parquet(folder / "train-0.parquet", [["One.", "Two."]] * 3, List(TEXT))
    write_parquet(folder / "train-1.parquet", [["One.", "Two."]] * 3, List(TEXT))
    data = (folder / "train-1.parquet").read_bytes()
    (folder / "train-1.parquet").write_bytes(data[: len(data) // 2])
    return r"train-1.parquet': Parquet magic bytes not found"


def odd_table(folder: Path) -> str:
    folder.mkdir()
    (folder / "train.csv").write_text("frames,captions\na,b\na,b,c\n")
    return r"train.csv': .*Expected 2 fields in line 3, saw 3"


FAULTS = (broken_line, broken_list, wrong_encoding, another_column, another_type, half_a_file, odd_table)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_file_that_cannot_be_read_is_named(fault, tmp_path, capfd):
    message, name = fault(tmp_path / "set"), str(tmp_path / "set")
    with pytest.raises(ValueError, match=f"^dataset: .*{message}") as error:
        read_stories(name, "train")
    assert "\n" not in str(error.value) and len(str(error.value)) < 600
    with pytest.raises(ValueError, match=f"^dataset: .*{message}"):
        first_stories(open_stream(name, "train"), 100, "the stream")
    assert "Failed to" not in capfd.readouterr().err


@pytest.mark.parametrize("feature", [Value("null"), List(Value("null"))], ids=["no lists", "lists of nothing"])
@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_first_file_without_captions_loads(kind, feature, tmp_path):
    empty = None if isinstance(feature, Value) else [None, None]
    splits = {
        "train-0": [empty] * 3,
        "train-1": [["One.", "Two."]] * 3,
        "test": [["One.", "Two."]],
        "validation": [["One.", "Two."]],
    }
    for name, captions in splits.items():
        file = tmp_path / "set" / f"{name}.{kind}"
        if kind == "jsonl":
            write_lines(file, captions)
        else:
            write_parquet(file, captions, feature if name == "train-0" else List(TEXT))
    name = str(tmp_path / "set")
    expected = [empty] * 3 + [["One.", "Two."]] * 3
    assert read_stories(name, "train")["captions"][:] == expected
    assert first_stories(open_stream(name, "train"), 100, "the stream")["captions"][:] == expected


def test_a_full_disk_is_named_with_its_folder(tmp_path, monkeypatch, small_processor):
    write_parquet(tmp_path / "set" / "train.parquet", [["One.", "Two."]] * 3, List(TEXT))
    stories = read_stories(str(tmp_path / "set"), "train")

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "set" / "train.parquet").touch()
    for method in ("write_table", "write_batch", "write_row", "write"):
        monkeypatch.setattr(ArrowWriter, method, full)
    with pytest.raises(ValueError, match=r"^dataset: got a full disk .* HF_DATASETS_CACHE names another place"):
        read_stories(str(tmp_path / "set"), "train")
    with pytest.raises(ValueError, match=r"^cache_dir: got a full disk \(.* GB free at '.*frames'\).* --cache_dir"):
        cached_frames(stories, small_processor.image_processor, cache_dir=tmp_path / "frames")


@pytest.mark.parametrize("name", ["sotries/mine", "nowhere/at/all", "/nowhere/set", "mine", "sotries/mine.parquet"])
def test_a_mistyped_name_is_no_folder_and_no_id(name, tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    for line in (refused(dataset=name), refused(dataset=name, streaming=True, max_train_steps=2)):
        assert name in line and "connect" not in line
        assert (
            "no such folder or file, and the Hub cannot be reached" in line or "expected storyworld, a folder" in line
        )


def test_a_mistyped_model_is_no_folder_and_no_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = ["evaluate", "--model", "rnus/tiny", "--dataset", "storyworld"]
    line = refused_line(main, argv)
    assert "model: got 'rnus/tiny'" in line and "no such folder or file, and the Hub cannot be reached" in line


# Messages hold little of a user's data

LONG = "x" * 100_000
MANY_BAD = [f"story {k}: frame 0 (/home/of/another/machine/{LONG}/{k}.png): got no such file" for k in range(4000)]


@pytest.mark.parametrize("policy", ["skip", "raise"])
def test_many_bad_stories_make_a_short_message(policy):
    with pytest.raises(ValueError, match="story 4: .*; and 3995 more") as error:
        judge_bad_stories(MANY_BAD, 4000, "the stories", policy, lambda line: None)
    assert len(str(error.value)) < 1500 and "story 5" not in str(error.value)


def base64_frames(rows: int) -> dict:
    return {"frames": [[LONG, LONG]] * rows, "captions": [["One.", "Two."]] * rows}


LARGE = {
    "base64 frames": (base64_frames(20), "train"),
    "long ids": ({**base64_frames(20), "story_id": [f"{LONG}{k}" for k in range(20)]}, "train"),
    "many columns": ({f"column_{k}": ["a"] for k in range(300)}, "train"),
    "a long split": (base64_frames(2), LONG),
    "a large type": ({"frames": [{f"key_{k}": 1 for k in range(300)}], "captions": ["a"]}, "train"),
}


@pytest.mark.parametrize("case", LARGE)
def test_large_values_make_a_short_message(case, refused, tmp_path):
    columns, split = LARGE[case]
    Dataset.from_dict(columns).to_parquet(tmp_path / "set" / "train.parquet")
    line = refused(dataset=tmp_path / "set", train_split=split)
    assert len(line) < 1500


def test_a_command_never_prints_a_long_line(capsys):
    with pytest.raises(SystemExit), one_line("storyattn"):
        raise ValueError(f"captions: got {LONG}\n, expected none")
    line = capsys.readouterr().err
    assert line.startswith("storyattn: captions: got x") and line.endswith("x , expected none\n") and len(line) < 2100


# Columns that a data set does not have


@pytest.mark.parametrize("flag", ["frames_column", "captions_column"])
def test_a_column_that_story_reasoning_does_not_have_is_refused(flag, tmp_path):
    folder = write(tmp_path / "set", "train", [row(name) for name in "abcdef"])
    for read in (read_stories, open_stream):
        with pytest.raises(ValueError, match=f"^{flag}: got 'pictures', expected .* in the format of StoryReasoning"):
            read(folder, "train", **{flag: "pictures"})
    assert len(read_stories(folder, "train", frames_column="images")) > 0


def test_columns_are_refused_for_storyworld():
    with pytest.raises(ValueError, match="^frames_column: got 'pictures', expected none with storyworld"):
        read_stories("storyworld", "test", frames_column="pictures", max_stories=1)


# What `evaluate` needs


def evaluate_flags(model: Path, folder: Path, output: Path) -> list[str]:
    return [f"--model={model}", f"--dataset={folder}", f"--output={output}", "--max_windows=2", "--batch_size=2"]


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "_measure", lambda arguments: pytest.fail("measured"))
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    for output in (tmp_path, tmp_path / "file" / "results.json", tmp_path / "dangling" / "results.json"):
        line = refused_line(evaluate_command.main, evaluate_flags(tmp_path, tmp_path, output))
        assert line.startswith("storyattn evaluate: output: got ")
    assert sorted(os.listdir(tmp_path)) == ["dangling", "file"]


def test_a_data_set_without_train_is_evaluated_and_the_floors_are_named(small_model, small_processor, tmp_path, capsys):
    small_model.save_pretrained(tmp_path / "model")
    small_processor.save_pretrained(tmp_path / "model")
    write_parquet(tmp_path / "set" / "test.parquet", [["One.", "Two."]] * 3, List(TEXT))
    flags = evaluate_flags(tmp_path / "model", tmp_path / "set", tmp_path / "results.json")
    evaluate_command.main(flags)
    results = json.loads((tmp_path / "results.json").read_text())
    assert "train_median" not in results["metrics"]["next_frame"]["floors"]
    (note,) = [note for note in results["metrics"]["notes"] if "training" in note]
    assert "train_median, random_train_caption, unigram" in note and note in capsys.readouterr().out
    line = refused_line(evaluate_command.main, [*flags, "--train_split=trian"])
    assert "split: got 'trian', expected one of" in line


def test_an_empty_train_gives_no_floors(tmp_path):
    write_parquet(tmp_path / "set" / "test.parquet", [["One.", "Two."]] * 3, List(TEXT))
    write_parquet(tmp_path / "set" / "train.parquet", [], List(TEXT))
    flags = evaluate_command.build_parser().parse_args(
        evaluate_flags(tmp_path, tmp_path / "set", tmp_path / "results.json")
    )
    assert list(evaluation._read_splits(flags)) == ["stories"]
