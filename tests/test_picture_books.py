"""Picture books from repositories laid out as the public ones, with their irregularities."""

import csv
import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from book_repositories import picture, save, shown, write_repositories
from conftest import refused_line
from datasets import load_dataset
from faulty_server import FaultyServer
from PIL import Image as PILImage
from storyattn.training.cli.picture_books import main
from storyattn.training.common.files import sha256_of_file
from storyattn.training.data.sources import read_stories
from storyattn.training.picture_books import build, dataset_folder, downloads

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
SOURCES, BOOKS = SHARED / "picture-books-sources", SHARED / "picture-books"


@pytest.fixture
def repositories(tmp_path) -> Path:
    return write_repositories(tmp_path / "repositories")


def run(capsys: pytest.CaptureFixture, *flags: object) -> str:
    """Run the command, and return what it prints."""
    main([str(flag) for flag in flags])
    return capsys.readouterr().out


def failure(*flags: object) -> str:
    """Return the one line with which the command ends."""
    message = refused_line(main, [str(flag) for flag in flags])
    assert message.startswith("storyattn data picture-books: ")
    return message


def rows_of(folder: Path) -> dict[str, dict]:
    """Return the stories of all splits, by name, each with its `split`."""
    dataset = load_dataset(str(folder))
    return {row["story_id"]: {**row, "split": split} for split, rows in dataset.items() for row in rows}


def test_every_story_that_may_be_published_is_kept_with_its_pictures(repositories, tmp_path, capsys):
    printed = run(capsys, "--source", repositories, "--output", tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    pictures = {name: [shown(frame) for frame in row["frames"]] for name, row in rows.items()}
    assert pictures == {
        "bookdash/the-long-rain": [1, 2, 5, 7],
        "asp/0001": [51, 52, 53],
        "asp/0006": [62, 63, 64],
        "asp/0007": [67, 52, 68],
        "asp/0008": [71, 72, 73],
        "asp/0010": [77, -1, 78],
        "asp/0011": [81, -1, 82],
    }
    lines = printed.splitlines()
    reasons = {
        "bookdash/not-for-sale": "NonCommercial",
        "bookdash/not-in-meta": "got no entry in _data/meta.yml",
        "asp/0002": "license '[CC-BY-NC]' in 0002_text-not-free.md, expected CC BY",
        "asp/0003": "license 'CC BY-NC' in the table of images, expected CC BY",
        "asp/0004": "got 3 images for 3 pages of text, expected one or two images more",
        "asp/0005": "got no row in the table of images",
        "asp/0009": "got 1 pages with a readable image, expected at least 2",
        "page 3 of bookdash/the-long-rain": "03.jpg: got 1x1 pixels",
        "page 6 of bookdash/the-long-rain": "got neither text nor description",
        "page 8 of bookdash/the-long-rain": "got no file 08.jpg",
        "page 2 of asp/0009": "03.jpg: got 1x1 pixels",
        "page 3 of asp/0009": "04.jpg: got 1x1 pixels",
        "page 4 of asp/0010": "got neither text nor description",
    }
    for what, reason in reasons.items():
        (line,) = [line for line in lines if line.startswith(f"left out {what}: ")]
        assert reason in line
    assert sum(line.startswith("left out ") for line in lines) == len(reasons)
    notes = [line for line in lines if line.startswith("note on ")]
    assert len(notes) == 2 and "skip 04" in notes[0] and "asp/0006: its images skip 01" in notes[1]
    assert "kept 7 stories with 22 pages; left out 7 whole stories and 6 single pages" in lines


def test_captions_are_single_lines_of_story_text(repositories, tmp_path, capsys):
    run(capsys, "--source", repositories, "--output", tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    book = rows["bookdash/the-long-rain"]
    assert book["captions"] == [
        "One special day the clouds came. “Look!” said Thandi & Sipho.",
        "Rain on a roof.",
        "A heading of this page",
        "The sun came out.",
    ]
    assert book["descriptions"] == ["Clouds over a hill.", "Rain on a roof.", None, "The sun."]
    credit = {name: book[name] for name in ("title", "source", "license", "text_by", "images_by")}
    people = "Thandi Dube, Sipho Ndlovu"
    assert list(credit.values()) == ["The Long Rain", "Book Dash", "CC BY 4.0", people, people]
    story = rows["asp/0001"]
    assert story["captions"] == ["First page.", "Second page.", "Third page."] and story["descriptions"] == [None] * 3
    credit = [story[name] for name in ("title", "source", "license", "text_by", "images_by")]
    assert credit == ["Plain", "African Storybook", "CC BY", "Writer 0001", "Painter 0001"]


def test_the_folder_is_a_data_set_with_card_and_credits(repositories, tmp_path, capsys):
    output = tmp_path / "deep" / "out"
    run(capsys, "--source", repositories, "--output", output)
    assert sorted(path.name for path in output.parent.iterdir()) == ["out"]
    names = ["ATTRIBUTION.csv", "README.md", "test.parquet", "train.parquet", "validation.parquet"]
    assert sorted(path.name for path in output.iterdir()) == names
    rows = rows_of(output)
    with (output / "ATTRIBUTION.csv").open(encoding="utf-8", newline="") as file:
        credits = {row["story_id"]: row for row in csv.DictReader(file)}
    assert set(credits) == set(rows)
    for name, credit in credits.items():
        assert {key: rows[name][key] for key in credit} == credit
    assert read_stories(str(output), "test").column_names
    frames = [frame for row in rows.values() for frame in row["frames"]]
    assert {(frame.format, frame.mode) for frame in frames} == {("JPEG", "RGB")}
    assert max(max(frame.size) for frame in frames) == 256


def test_images_are_turned_flattened_and_scaled_down(tmp_path):
    exif = PILImage.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    save(tmp_path / "turned.jpg", picture(1), exif=exif)
    save(tmp_path / "clear.png", PILImage.new("RGBA", (40, 20), (0, 0, 0, 0)))
    turned = build.read_image(tmp_path / "turned.jpg", 64)
    assert turned.size == (48, 64) and shown(turned.rotate(90, expand=True)) == 1
    clear = build.read_image(tmp_path / "clear.png", 64)
    assert clear.size == (40, 20) and clear.mode == "RGB" and clear.getpixel((3, 3)) == (255, 255, 255)
    content = (tmp_path / "turned.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "page.jpg").write_text("<html>")
    for name in ("cut.jpg", "page.jpg"):
        with pytest.raises(ValueError, match=f"{name}: got no image that Pillow can read"):
            build.read_image(tmp_path / name, 64)


def test_stories_with_a_title_or_picture_in_common_share_a_split(repositories, tmp_path, capsys):
    for seed in range(4):
        flags = ["--source", repositories, "--output", tmp_path / f"{seed}", "--seed", seed]
        printed = run(capsys, *flags, "--validation_share", 0.3, "--test_share", 0.3)
        assert "2 groups of stories share a title or a picture, the largest 2 stories" in printed
        split = {name: row["split"] for name, row in rows_of(tmp_path / f"{seed}").items()}
        assert split["asp/0008"] == split["bookdash/the-long-rain"] and split["asp/0007"] == split["asp/0001"]
        assert set(split.values()) == {"train", "validation", "test"}


def test_the_seed_draws_the_splits(repositories, tmp_path, capsys):
    drawn = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1), ("d", 2), ("e", 3)):
        run(capsys, "--source", repositories, "--output", tmp_path / name, "--seed", seed)
        drawn.append((tmp_path / name / "ATTRIBUTION.csv").read_text())
    assert drawn[0] == drawn[1] and len(set(drawn)) > 1


def test_a_single_group_is_all_for_training(repositories, tmp_path, capsys):
    for number in ("0006", "0007", "0008", "0010", "0011"):
        (next((repositories / "asp-source" / "en").glob(f"{number}_*"))).unlink()
    shutil.rmtree(repositories / "bookdash-books" / "the-long-rain")
    printed = run(capsys, "--source", repositories, "--output", tmp_path / "out")
    assert "test: 0 stories, 0 pages; no file is written" in printed
    assert {row["split"] for row in rows_of(tmp_path / "out").values()} == {"train"}


def test_bad_input_is_refused_with_one_line(repositories, tmp_path):
    output = ["--output", tmp_path / "out"]
    source = ["--source", repositories]
    assert "got none in" in failure(*output, "--source", tmp_path / "nowhere")
    assert "max_side: got 3" in failure(*output, *source, "--max_side", 3)
    assert "validation_share and test_share" in failure(*output, *source, "--test_share", 1)
    assert "--download_dir with --source" in failure(*output, *source, "--download_dir", tmp_path)
    shutil.copytree(repositories / "asp-source", repositories / "asp-source-master")
    assert "got asp-source and asp-source-master" in failure(*output, *source)
    shutil.rmtree(repositories / "asp-source-master")
    shutil.rmtree(repositories / "asp-source" / "en")
    shutil.rmtree(repositories / "bookdash-books" / "the-long-rain")
    assert "got no story that can be kept" in failure(*output, *source)
    (repositories / "asp-imagebank" / "README.md").write_text("# Images")
    assert "got no table of stories" in failure(*output, *source)
    (repositories / "bookdash-books" / "_data" / "meta.yml").unlink()
    assert "got no file" in failure(*output, *source) and not (tmp_path / "out").exists()


def test_only_an_earlier_result_is_overwritten_and_only_if_asked(repositories, tmp_path, capsys):
    output, source = tmp_path / "out", ["--source", repositories]
    output.mkdir()
    run(capsys, "--output", output, *source)
    assert "--overwrite replaces it" in failure("--output", output, *source)
    assert max(max(frame.size) for row in rows_of(output).values() for frame in row["frames"]) == 256
    run(capsys, "--output", output, *source, "--overwrite", "--max_side", 64)  # and no cache brings the old one back
    assert max(max(frame.size) for row in rows_of(output).values() for frame in row["frames"]) == 64
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "repositories"]
    (output / "notes.txt").write_text("mine")
    assert "expected none or an empty one" in failure("--output", output, *source, "--overwrite")
    (output / "notes.txt").unlink()
    (output / "README.md").write_text("# Another data set")
    assert "expected none or an empty one" in failure("--output", output, *source, "--overwrite")


@pytest.mark.parametrize("place", ["writing", "renaming"])
def test_a_failure_leaves_everything_as_it_was(place, repositories, tmp_path, capsys, monkeypatch):
    output, source = tmp_path / "out", ["--source", repositories]
    run(capsys, "--output", output, *source)
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    rename = Path.rename

    def fail(*arguments):
        if place == "writing" or arguments[1] == output:  # the renaming of the new folder, not of the old one back
            monkeypatch.setattr(Path, "rename", rename)
            raise OSError("disk is full")
        return rename(*arguments)

    monkeypatch.setattr(*((dataset_folder, "_write_attribution") if place == "writing" else (Path, "rename")), fail)
    assert "disk is full" in failure("--output", output, *source, "--overwrite", "--max_side", 64)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "repositories"]


def test_archives_are_downloaded_through_faults_and_kept(repositories, tmp_path, capsys, monkeypatch):
    branches = {"bookdash-books": "gh-pages", "asp-source": "master", "asp-imagebank": "master"}
    files = {}
    for name, branch in branches.items():
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as members:
            for path in sorted((repositories / name).rglob("*.*")):
                members.write(path, f"{name}-{branch}/{path.relative_to(repositories / name)}")
        files[name] = file.getvalue()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(downloads.time, "sleep", lambda _: None)
    flags = ["--download_dir", tmp_path / "cache", "--output"]
    with FaultyServer(files, ("drop", None, 500, "drop", "whole")) as server:
        monkeypatch.setattr(build, "ARCHIVES", {name: f"{server.url}/{name}" for name in branches})
        printed = run(capsys, *flags, tmp_path / "out")
        assert len(server.requests) == 6
        run(capsys, *flags, tmp_path / "again")
        assert len(server.requests) == 6
    for name in branches:
        assert f"{name}.zip: sha256 {sha256_of_file(tmp_path / 'cache' / f'{name}.zip')}" in printed
    run(capsys, "--source", repositories, "--output", tmp_path / "local")
    attribution = [(tmp_path / name / "ATTRIBUTION.csv").read_text() for name in ("out", "again", "local")]
    assert len(set(attribution)) == 1 and attribution[0].count("\n") == 8


def test_archives_come_from_the_published_branches():
    assert set(build.ARCHIVES.values()) == {
        "https://codeload.github.com/bookdash/bookdash-books/zip/refs/heads/gh-pages",
        "https://codeload.github.com/global-asp/asp-source/zip/refs/heads/master",
        "https://codeload.github.com/global-asp/asp-imagebank/zip/refs/heads/master",
    }


@pytest.mark.shared
@pytest.mark.skipif(not SOURCES.is_dir(), reason="the sources of the picture books are not beside this checkout")
def test_the_sample_of_the_repositories(tmp_path, capsys):
    printed = run(capsys, "--source", SOURCES, "--output", tmp_path / "out")
    left_out = [line.split(":")[0] for line in printed.splitlines() if line.startswith("left out ")]
    assert left_out == ["left out asp/0002", "left out page 2 of asp/0204"]
    rows = rows_of(tmp_path / "out")
    images = {  # the file of each page, in order
        "bookdash/a-fish-and-a-gift": [f"bookdash-books/a-fish-and-a-gift/en/images/{n:02}.jpg" for n in range(1, 13)],
        "bookdash/a-house-for-mouse": [f"bookdash-books/a-house-for-mouse/en/images/{n:02}.jpg" for n in range(1, 13)],
        "asp/0005": [f"asp-imagebank/medium/0005/{n:02}.jpg" for n in range(2, 12)],
        "asp/0014": [f"asp-imagebank/medium/0014/{n:02}.jpg" for n in range(2, 10)],
        "asp/0204": [f"asp-imagebank/medium/0204/{n:02}.jpg" for n in (2, *range(4, 16))],
    }
    assert {name: len(row["captions"]) for name, row in rows.items()} == {n: len(f) for n, f in images.items()}
    assert {row["split"] for row in rows.values()} == {"train", "validation", "test"}
    for name, files in images.items():
        for frame, file in zip(rows[name]["frames"], files):
            with PILImage.open(SOURCES / file) as original:
                difference = np.asarray(frame, float) - np.asarray(original.convert("RGB").resize(frame.size), float)
            assert np.abs(difference).mean() < 6, (name, file)
    captions = rows["asp/0204"]["captions"]  # of the pages 1 and 3 to 14
    assert captions[5 - 1].endswith("it began to rain hard.")
    assert captions[-1].endswith("most beautiful girl in the village.")
    mouse = rows["bookdash/a-house-for-mouse"]
    assert mouse["captions"][9] == mouse["descriptions"][9] == "Mouse perches on a couch in front of the fireplace."


@pytest.mark.shared
@pytest.mark.skipif(not BOOKS.is_dir(), reason="the picture books are not beside this checkout")
def test_the_sample_equals_the_picture_books(tmp_path, capsys):
    run(capsys, "--source", SOURCES, "--output", tmp_path / "out")
    rows, books = rows_of(tmp_path / "out"), load_dataset(str(BOOKS), split="train")
    assert books.features == load_dataset(str(tmp_path / "out"), split="train").features
    assert (tmp_path / "out" / "ATTRIBUTION.csv").open().readline() == (BOOKS / "ATTRIBUTION.csv").open().readline()
    numbers = {name: number for number, name in enumerate(books["story_id"]) if name in rows}
    assert set(numbers) == set(rows)
    for name, number in numbers.items():
        ours, theirs = rows[name], books[number]
        assert {key: ours[key] for key in theirs if key != "frames"} == {k: theirs[k] for k in theirs if k != "frames"}
        for frame, other in zip(ours["frames"], theirs["frames"]):
            assert frame.size == other.size
            assert np.abs(np.asarray(frame, float) - np.asarray(other.convert("RGB"), float)).mean() < 6
