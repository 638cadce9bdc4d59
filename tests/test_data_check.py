"""`storyattn data check`: numbers counted by hand, findings, exit status, the sheet."""

import io
import json
from collections import Counter
from collections.abc import Callable
from functools import cache

import pytest
from book_repositories import picture
from datasets import Dataset, Features, List, Value
from encoded_pictures import ENCODED_IMAGES, encode
from PIL import Image as PILImage
from storyattn.training import cli
from storyattn.training.inspection.inspect import duplicate_ids
from storyattn.training.models.tokenizer import train_tokenizer

SPLITS = {"train": 4, "validation": 1, "test": 1}  # stories


@cache
def encoded_picture(number: int, mode: str, size: tuple[int, int]) -> bytes:
    return encode(picture(number).resize(size).convert(mode), "JPEG" if mode == "CMYK" else "PNG")


def frame(number: int, mode: str = "RGB", size: tuple[int, int] = (96, 64)) -> dict:
    return {"bytes": encoded_picture(number, mode, size), "path": None}


def clean(split: str, index: int, num_frames: int = 3) -> dict:
    """Return a story with nothing to find."""
    first = 10 * list(SPLITS).index(split) * 5 + 5 * index
    return {
        "story_id": f"{split}-{index}",
        "frames": [frame(first + k) for k in range(num_frames)],
        "captions": [f"In {split} the story {index} has come to part {k}." for k in range(num_frames)],
        "license": "CC BY 4.0",
    }


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a clean set (4, 1 and 1 stories of three frames), changed by `change`."""

    def run(change: Callable[[dict], object] = lambda splits: None, only: tuple[str, ...] = tuple(SPLITS)) -> str:
        splits = {split: [clean(split, index) for index in range(count)] for split, count in SPLITS.items()}
        change(splits)
        folder = tmp_path / "set"
        folder.mkdir(exist_ok=True)
        for split in only:
            columns = {name: Value("string") for name in splits[split][0] if name not in ("frames", "captions")}
            features = Features({**columns, "frames": ENCODED_IMAGES, "captions": List(Value("string"))})
            Dataset.from_list(splits[split], features=features).to_parquet(folder / f"{split}.parquet")
        return str(folder)

    return run


@pytest.fixture
def check(write, tmp_path, capsys):
    """Return a function that writes such a set and checks it: exit status, printed text and `report.json`."""

    def run(change: Callable[[dict], object] = lambda splits: None, *flags: str, **options: tuple[str, ...]):
        status = ended(write(change, **options), "--num_frames=3", f"--output={tmp_path / 'out'}", *flags)
        out = capsys.readouterr().out
        return status, out, json.loads((tmp_path / "out" / "report.json").read_text())

    return run


def ended(*argv: str) -> int:
    """Run the command, and return its exit status."""
    try:
        cli.main(["data", "check", *argv])
    except SystemExit as end:
        return end.code
    return 0


def table_row(out: str, name: str) -> list[str]:
    (line,) = [line for line in out.splitlines() if line.startswith(name + "  ")]
    return line[len(name) :].split()


def findings(report: dict, severity: str) -> list[str]:
    return [finding["text"] for finding in report["findings"] if finding["severity"] == severity]


def test_a_clean_set_has_nothing_that_hurts(check, tmp_path):
    status, out, report = check()
    assert status == 0 and report["findings"] == [] and out.count("nothing that would hurt training") == 1
    assert table_row(out, "stories") == ["4", "1", "1"] and table_row(out, "frames") == ["12", "3", "3"]
    assert report["licences"] == {"CC BY 4.0": 6} and "licenses: CC BY 4.0 (6 stories)" in out
    train = report["splits"]["train"]
    assert train["frames_per_story"] == {"min": 3, "median": 3.0, "max": 3}
    assert train["picture_sizes"] == {"most_frequent": [96, 64], "min": [96, 64], "max": [96, 64]}
    assert train["modes"] == {"RGB": 12} and train["captions"] == train["captions_with_text"] == 12
    assert train["share_cut_off"] == train["cut_captions"] == train["empty_captions"] == 0
    assert (tmp_path / "out" / "stories.png").is_file()


def test_a_truncated_image_is_a_bad_story(check):
    def change(splits):
        splits["train"] = [clean("train", k) for k in range(21)]
        splits["train"][2]["frames"][1]["bytes"] = splits["train"][2]["frames"][1]["bytes"][:200]
        splits["validation"] = [{**clean("validation", 0), "frames": [frame(900 + k) for k in range(3)]}]
        splits["test"] = [{**clean("test", 0), "frames": [frame(800 + k) for k in range(3)]}]

    status, out, report = check(change)
    numbers = report["splits"]["train"]
    assert status == 0 and (numbers["bad_stories"], numbers["unreadable_images"]) == (1, 1)
    assert (numbers["stories"], numbers["frames"]) == (21, 60)
    (note,) = findings(report, "note")
    assert note.startswith("1 of 21 stories of train are bad: --on_bad_story skip") and "'train-2': frame 1: " in note


def test_more_than_a_twentieth_bad_hurts(check):
    def change(splits):
        for story in splits["train"][:2]:
            story["frames"][0] = None

    status, out, report = check(change)
    (hurt,) = findings(report, "hurts")
    assert status == 1 and hurt.startswith("2 of 4 stories of train are bad: more than 5%")
    assert table_row(out, "bad stories") == ["2", "0", "0"] and "nothing that would hurt" not in out


def test_unequal_numbers_hurt(check):
    status, out, report = check(lambda splits: splits["test"][0]["captions"].pop())
    assert status == 1 and table_row(out, "with unequal numbers") == ["0", "0", "1"]
    assert any("1 of 1 stories of test have unequal numbers" in text for text in findings(report, "hurts"))


@pytest.mark.parametrize(("number", "severity"), [(2, "note"), (3, "hurts")])
def test_cut_captions(check, tmp_path, number, severity):
    train_tokenizer(["x"], 259).save_pretrained(tmp_path / "bytes")  # each byte is a token

    def change(splits):
        for story in splits["train"][:number]:
            story["captions"][0] = "é" * 60

    status, out, report = check(change, "--max_caption_length=47", f"--tokenizer={tmp_path / 'bytes'}")
    train = report["splits"]["train"]
    # "In train the story 0 has come to part 0." has 40 letters; with start and end token 42.
    assert train["caption_tokens"] == {"median": 42.0, "95%": 122, "99%": 122, "max": 122}
    assert train["cut_captions"] == number and table_row(out, "cut captions") == [str(number), "0", "0"]
    (text,) = findings(report, severity)
    assert status == (severity == "hurts")
    assert text.startswith(f"{number} of 12 captions of train are cut at 47 tokens: --config_overrides")
    assert "max_caption_length=128,text_config.max_position_embeddings=128 keeps 99%" in text


def test_a_fifth_of_captions_cut_is_not_yet_too_many(check, tmp_path):
    train_tokenizer(["x"], 259).save_pretrained(tmp_path / "bytes")

    def change(splits):
        splits["train"] = [clean("train", k) for k in range(5)]
        for story in splits["train"][:3]:
            story["captions"][0] = "é" * 60

    status, _, report = check(change, f"--tokenizer={tmp_path / 'bytes'}")
    assert status == 0 and "3 of 15 captions of train are cut at 48 tokens" in findings(report, "note")[0]


def test_captions_that_a_tokenizer_does_not_know(check, tmp_path):
    train_tokenizer(["The fox walks into the dark forest."], 280).save_pretrained(tmp_path / "english")

    def change(splits):
        for story in splits["train"]:
            story["captions"] = ["狐狸走进黑暗的森林"] * 3

    status, out, report = check(change, f"--tokenizer={tmp_path / 'english'}")
    assert status == 1 and table_row(out, "spelled by letters or bytes") == ["100.0%", "0.0%", "0.0%"]
    assert findings(report, "hurts")[-1].startswith("324 of 324 tokens of train spell words by letters or bytes: ")


@pytest.mark.parametrize(("empty", "severity"), [(6, "note"), (7, "hurts")])
def test_empty_captions(check, empty, severity):
    def change(splits):
        places = [(story, k) for story in splits["train"] for k in range(3)][:empty]
        for number, (story, k) in enumerate(places):
            story["captions"][k] = (None, "", "  ")[number % 3]

    status, out, report = check(change)
    (text,) = findings(report, severity)
    assert status == (severity == "hurts") and text.startswith(f"{empty} of 12 captions of train are empty: ")
    assert table_row(out, "empty captions") == [str(empty), "0", "0"]
    assert report["splits"]["train"]["captions_with_text"] == 12 - empty


def test_a_set_without_any_caption_is_checked(check):
    def change(splits):
        for stories in splits.values():
            for story in stories:
                story["captions"] = [None] * 3

    status, out, report = check(change)
    assert status == 1 and table_row(out, "tokens, median/95%/99%/max") == ["-", "-", "-"]
    assert "12 of 12 captions of train" in findings(report, "hurts")[0]


def test_repeated_frames(check):
    def change(splits):
        again = encode(picture(0).resize((96, 64)), "JPEG")  # the same picture in another encoding
        splits["train"][0]["frames"][1] = {"bytes": again, "path": None}
        splits["train"][1]["frames"][2] = splits["train"][1]["frames"][0]  # not next to each other, which is no trouble

    status, out, report = check(change)
    (note,) = findings(report, "note")
    assert status == 0 and note.startswith("1 of 12 frames of train look like the frame before: ")
    assert table_row(out, "repeated frames") == ["1", "0", "0"]


def test_a_story_in_two_splits_hurts_and_is_named_and_shown(check, tmp_path):
    def change(splits):
        splits["train"][1]["title"] = splits["test"][0]["title"] = "The fox"
        for story in (*splits["train"], *splits["validation"]):
            story.setdefault("title", None)
        taken = splits["train"][1]["frames"][:2]  # two of three pictures, one of them re-encoded
        jpeg = encode(PILImage.open(io.BytesIO(taken[0]["bytes"])), "JPEG")
        splits["test"][0]["frames"][:2] = [{"bytes": jpeg, "path": None}, taken[1]]

    status, _, report = check(change)
    (hurt,) = findings(report, "hurts")
    assert status == 1 and "train and test have the same story (pairs: 1)" in hurt
    assert "'train-1' ('The fox') and 'test-0' ('The fox') (same pictures)" in hurt
    overlap = next(shared for shared in report["shared"] if shared["splits"] == ["train", "test"])
    assert overlap["shared_pictures"] == 2 and overlap["pairs"][0]["frames"] == [[0, 0], [1, 1]]
    plain = PILImage.open(tmp_path / "out" / "stories.png").height
    check()
    assert PILImage.open(tmp_path / "out" / "stories.png").height < plain


def test_a_single_shared_picture_is_a_note(check):
    status, _, report = check(
        lambda splits: splits["test"][0]["frames"].__setitem__(2, splits["train"][3]["frames"][0])
    )
    (note,) = findings(report, "note")
    assert status == 0 and "1 more pairs of stories of train and test share pictures" in note
    assert "1 of 3 pictures of test are in train" in note and "'train-3' and 'test-0'" in note


def test_a_story_with_the_same_captions_in_two_splits_hurts(check):
    def change(splits):
        first, second, _ = splits["train"][2]["captions"]
        splits["validation"][0]["captions"] = [first.upper(), second, "Another end of it."]

    status, _, report = check(change)
    (hurt,) = findings(report, "hurts")
    assert status == 1 and "'train-2' and 'validation-0' (same captions)" in hurt


def test_stories_of_one_frame(check):
    def change(splits):
        splits["train"][0] = clean("train", 0, 1)
        splits["train"][1] = clean("train", 1, 2)
        splits["test"][0] = clean("test", 0, 1)

    status, out, report = check(change)
    (hurt,) = findings(report, "hurts")
    assert status == 1 and hurt.startswith("no good story of test has two frames or more")
    assert table_row(out, "of one frame") == ["1", "0", "1"]
    assert table_row(out, "shorter than num_frames") == ["2", "0", "1"]
    assert report["splits"]["train"]["frames_per_story"] == {"min": 1, "median": 2.5, "max": 3}


def test_duplicate_ids(check):
    def change(splits):
        splits["train"][0]["story_id"] = splits["train"][3]["story_id"]

    status, out, report = check(change)
    (note,) = findings(report, "note")
    assert status == 0 and note.startswith("1 ids of train")
    assert "'train-3' (2 times)" in note and table_row(out, "duplicate ids") == ["1", "0", "0"]


def test_ids_that_only_look_numbered_are_no_duplicates():
    ids = Counter({"fox": 2, "fox-2": 1, "owl": 1, "owl-2": 1})
    assert duplicate_ids(["fox", "fox-3", "fox-2", "owl", "owl-2"], ids) == {"fox": 2}


def test_an_empty_split_hurts(check):
    status, _, report = check(lambda splits: splits.update(train=splits["train"][:1]), only=("train",))
    assert status == 1
    assert sorted(report["empty_splits"]) == ["test", "validation"] and list(report["splits"]) == ["train"]
    assert sum("expected at least 3 to derive" in text for text in findings(report, "hurts")) == 2


def test_derived_splits_are_checked(check):
    _, _, report = check(lambda splits: splits.update(train=[clean("train", k) for k in range(8)]), only=("train",))
    assert list(report["splits"]) == ["train", "validation", "test"]
    assert sum(numbers["stories"] for numbers in report["splits"].values()) == 8


def test_modes_and_sizes(check):
    def change(splits):
        splits["train"][0]["frames"] = [frame(0, "CMYK", (64, 64)), frame(1, "L"), frame(2, "RGBA", (192, 32))]

    status, out, report = check(change)
    numbers = report["splits"]["train"]
    assert status == 0 and numbers["modes"] == {"RGB": 9, "CMYK": 1, "L": 1, "RGBA": 1}
    assert numbers["picture_sizes"] == {"most_frequent": [96, 64], "min": [64, 64], "max": [192, 32]}
    assert numbers["smaller_than_image_size"] == 2
    assert any(text.startswith("1 CMYK, 1 RGBA pictures in train: ") for text in findings(report, "note"))


def test_cropping_is_a_note(check):
    status, _, report = check(lambda splits: None, "--image_size", "64", "48")
    (note,) = findings(report, "note")
    assert status == 0 and "cuts off 50% of one of train" in note and "image_size=[48,64]" in note


@pytest.mark.parametrize("where", ["licence", "card"])
def test_licenses(check, tmp_path, where):
    def change(splits):
        for stories in splits.values():
            for number, story in enumerate(stories):
                del story["license"]
                if where == "licence":
                    story["licence"] = "CC0" if number else "CC BY"

    if where == "card":
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Stories\n")
    _, _, report = check(change)
    expected = {"CC0": 3, "CC BY": 3} if where == "licence" else {"cc-by-4.0": 6}
    assert report["licences"] == expected and findings(report, "note") == []


def test_no_license_is_a_note(check):
    def change(splits):
        for stories in splits.values():
            for story in stories:
                del story["license"]

    status, out, report = check(change)
    assert status == 0 and "no license is known" in findings(report, "note")[0] and "licenses: none known" in out


def test_the_sheet_has_a_row_for_each_story_shown(check, monkeypatch):
    rows = []
    monkeypatch.setattr(
        "storyattn.training.inspection.report.story_sheet", lambda stories, path, **_: rows.extend(stories)
    )
    check(lambda splits: splits["test"][0].update(frames=splits["train"][0]["frames"]))
    names = [row["story_id"] for row in rows]
    assert [name.split(":")[0] for name in names] == [*["train"] * 3, "validation", "test", "in two splits, train"]
    assert names[-1] == "in two splits, train: train-0 and test: test-0"
    assert [text.split("]")[0] for text in rows[-1]["captions"][:2]] == ["[train, frame 1", "[test, frame 1"]


def test_the_first_stories_alone(check):
    _, out, report = check(lambda splits: None, "--max_stories=2")
    assert table_row(out, "stories") == ["2", "1", "1"]


def test_storyworld_is_checked(tmp_path):
    # A tokenizer of two stories cuts words into pieces.
    assert ended("storyworld", "--max_stories=2", "--max_caption_length=160", f"--output={tmp_path}") == 0
    report = json.loads((tmp_path / "report.json").read_text())
    splits = ("train", "validation", "test", "test_unseen", "test_words")
    assert {name: numbers["frames"] for name, numbers in report["splits"].items()} == dict.fromkeys(splits, 12)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["nowhere"], "dataset: got 'nowhere', expected storyworld, a folder"),
        (["storyworld", "--num_frames=1"], "num_frames: got 1, expected at least 2"),
        (["storyworld", "--max_stories=0"], "max_stories: got 0, expected at least 1"),
        (["storyworld", "--image_size", "0", "9"], "image_size: got [0, 9]"),
        (["storyworld", "--max_stories=1", "--tokenizer=nowhere"], "tokenizer_name: got 'nowhere'"),
    ],
)
def test_bad_input_ends_with_one_line_and_status_2(flags, message, tmp_path, capsys):
    assert ended(*flags, f"--output={tmp_path / 'out'}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("storyattn data check: ") and message in line


def test_a_missing_column_is_bad_input(write, tmp_path, capsys):
    assert ended(write(), "--captions_column=texts", f"--output={tmp_path / 'out'}") == 2
    assert "expected 'texts'; --captions_column names another" in capsys.readouterr().err.splitlines()[-1]


def test_all_bad_stories_are_listed(check):
    def change(splits):
        for number in range(8):
            splits["train"].append({**clean("train", 10 + number), "story_id": f"bad-{number}"})
            splits["train"][-1]["frames"] = [None, frame(3), None]

    _, out, report = check(change)
    bad = report["splits"]["train"]["bad"]
    assert [story for story, _ in bad] == [f"bad-{number}" for number in range(8)]
    assert all("frame 0: got none" in problem and "frame 2: got none" in problem for _, problem in bad)
    assert out.count("bad: train: story 'bad-") == 8
