"""Data sets of SCONE's stories: from a folder, an archive and a server, and what is refused."""

import json
from hashlib import sha256

import numpy as np
import pytest
from conftest import refused_line
from datasets import load_dataset
from faulty_server import FaultyServer
from scone_files import LATE, NUMBERS, archive_of, late_sequence, scene, sequence, write, write_source
from storyattn.training.cli import scone as scone_cli
from storyattn.training.common import downloads
from storyattn.training.data.prepared_stories import prepare_stories
from storyattn.training.data.sources import read_stories
from storyattn.training.data.stream_source import first_stories, open_stream
from storyattn.training.scone import DOMAINS, build, read_state
from storyattn.training.scone.late_instructions import runs_behind
from storyattn.training.scone.sequences import file_name, parse_sequences

CLOTHES = {"r": "red", "o": "orange", "y": "yellow", "g": "green", "b": "blue", "p": "purple"}
BEAKER_COLOURS = {**CLOTHES, "b": "brown"}


@pytest.fixture
def source(tmp_path):
    return write_source(tmp_path / "source")


def run(capsys, *flags) -> str:
    scone_cli.main([str(flag) for flag in flags])
    return capsys.readouterr().out


def failure(*flags) -> str:
    """The one line with which the command ends."""
    message = refused_line(scone_cli.main, [str(flag) for flag in flags])
    assert message.startswith("storyattn data scone: ")
    return message


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_story_has_the_picture_of_every_state_and_the_instruction_to_it(domain, source, tmp_path, capsys):
    printed = run(capsys, "--domain", domain, "--source", source, "--output", tmp_path / "out")
    assert "train: 4 stories" in printed and f"note: {domain}/train_sequences.json is not the file" in printed
    dataset = load_dataset(str(tmp_path / "out"))
    assert {split: len(rows) for split, rows in dataset.items()} == NUMBERS
    row, written = dataset["validation"][1], sequence(domain, "dev-1")
    assert row["story_id"] == f"{domain}-dev-1" and row["domain"] == domain
    assert row["states"] == [written["initial_env"], *(step["after_env"] for step in written["utterances"])]
    assert row["captions"] == [None, *(step["instruction"] for step in written["utterances"])]
    for picture, state, boxes in zip(row["frames"], row["states"], row["boxes"]):
        assert (picture.size, picture.mode, picture.format) == ((96, 64), "RGB", "PNG")
        assert str(read_state(picture, domain).state) == state
        slots = [slot.split(":")[1].strip("_") for slot in state.split()]
        assert [box["entity"] for box in boxes] == [
            name for place, slot in enumerate(slots, 1) for name in names_of(domain, slot, place)
        ]
        assert all(0 <= x1 < x2 <= 96 and 0 <= y1 < y2 <= 64 for x1, y1, x2, y2 in (box["box"] for box in boxes))


def names_of(domain: str, slot: str, place: int) -> list[str]:
    """Return the entities of a slot."""
    if domain == "alchemy":
        units = [BEAKER_COLOURS[unit] for unit in slot]
        return [f"{colour} unit {number} in beaker {place}" for number, colour in enumerate(units, 1)]
    if domain == "tangrams":
        return [f"figure {figure} in place {place}" for figure in slot]
    return [f"{CLOTHES[part]} {kind} in place {place}" for kind, part in zip(("person", "hat"), slot)]


def test_several_domains_make_one_data_set(source, tmp_path, capsys):
    run(capsys, "--domain", "scene", "tangrams", "--source", source, "--output", tmp_path / "out", "--num_variants", 1)
    dataset = load_dataset(str(tmp_path / "out"))
    assert {split: len(rows) for split, rows in dataset.items()} == {
        split: number * (4 if split == "train" else 2) for split, number in NUMBERS.items()
    }
    for rows in dataset.values():
        assert set(rows["domain"]) == {"scene", "tangrams"} and len(set(rows["story_id"])) == len(rows)
    assert "SCONE, scene, tangrams" in (tmp_path / "out" / "README.md").read_text()


def test_the_folder_says_where_it_comes_from_and_is_read_for_training(source, tmp_path, capsys, small_processor):
    output = tmp_path / "out"
    flags = ["--domain", "tangrams", "--source", source, "--image_size", 96, 120]
    run(capsys, *flags, "--output", output)
    names = ["ATTRIBUTION.txt", "README.md", "test.parquet", "train.parquet", "validation.parquet"]
    assert sorted(path.name for path in output.iterdir()) == names
    for name in names[:2]:
        text = (output / name).read_text()
        assert build.COMMIT in text and "No license is stated: use, do not redistribute." in text
        assert "Long, Panupong Pasupat and Percy Liang" in text
    stories = read_stories(str(output), "train")
    assert stories[0]["frames"][0].size == (120, 96) and stories[0]["captions"][0] is None
    prepared = prepare_stories(stories, small_processor.image_processor, "stories")
    assert prepared["states"] == stories["states"][:] and {"domain", "states"} <= set(prepared.column_names)
    streamed = first_stories(open_stream(str(output), "train"), 3, "stories")
    assert streamed["states"][:] == stories["states"][:3] and streamed["domain"][:] == ["tangrams"] * 3


def test_columns_of_these_names_and_another_type_are_something_else(tmp_path, stories_folder):
    stories = load_dataset(str(stories_folder), split="train")
    stories = stories.add_column("states", list(range(len(stories)))).add_column("domain", ["x"] * len(stories))
    stories.to_parquet(tmp_path / "train.parquet")
    assert not {"states", "domain"} & set(read_stories(str(tmp_path), "train").column_names)


def test_folder_data_folder_and_archive_are_the_same(source, tmp_path, capsys):
    places = [source, source / "data", archive_of(source, tmp_path / "scone.zip")]
    drawn = []
    for number, place in enumerate(places):
        run(capsys, "--domain", "alchemy", "--source", place, "--output", tmp_path / str(number))
        drawn.append((tmp_path / str(number) / "test.parquet").read_bytes())
    assert drawn[0] == drawn[1] == drawn[2]


def test_the_archive_is_downloaded_through_faults_checked_and_kept(source, tmp_path, capsys, monkeypatch):
    content = archive_of(source, tmp_path / "scone.zip").read_bytes()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(downloads.time, "sleep", lambda _: None)
    flags = ["--domain", "scene", "--download_dir", tmp_path / "cache", "--output"]
    with FaultyServer({"scone": content}, ("drop", 500, None)) as server:
        monkeypatch.setattr(build, "ARCHIVE", f"{server.url}/scone")
        message = failure(*flags, tmp_path / "out")
        assert "got another scene/train_sequences.json than the published one" in message
        sums = {f"scene/{split}_sequences.json": None for split in ("train", "dev", "test")}
        sums = {name: sha256((source / "data" / name).read_bytes()).hexdigest() for name in sums}
        monkeypatch.setattr(build, "SHA256", sums)
        printed = run(capsys, *flags, tmp_path / "out")
        assert len(server.requests) == 3 and "note" not in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "out", "scone.zip", "source"]


def test_the_archive_is_that_of_the_published_commit():
    assert f"https://codeload.github.com/lil-lab/scone/zip/{build.COMMIT}" == build.ARCHIVE
    assert set(build.SHA256) == {file_name(domain, split) for domain in DOMAINS for split in NUMBERS}


def test_stories_that_run_behind_are_left_out_of_train_alone(source, tmp_path, capsys):
    for split in ("train", "validation", "test"):
        rows = [sequence("scene", "train-0"), late_sequence(f"{split}-late")]
        write(source, "scene", split, rows)
    printed = run(capsys, "--domain", "scene", "--source", source, "--output", tmp_path / "out")
    behind = "left out of train: 1 stories whose instructions run one step behind: train-late"
    assert behind in printed and "kept in test: 1 such stories" in printed
    counts = {split: len(rows) for split, rows in load_dataset(str(tmp_path / "out")).items()}
    assert counts == {"train": 1, "validation": 2, "test": 2}
    assert "1 stories are left out of `train`" in (tmp_path / "out" / "README.md").read_text()


def test_the_rule_asks_whether_words_fit_the_changes_before_them_better():
    late = late_sequence("late")
    in_step = json.loads(json.dumps(late))
    for step, text in zip(in_step["utterances"], [*LATE[1:], "the man in red moves to the right"]):
        step["instruction"] = text
    rows = parse_sequences(json.dumps([late, {**in_step, "identifier": "in step"}]).encode(), "file", "scene")
    assert [runs_behind(row) for row in rows] == [True, False]


def damaged(change) -> bytes:
    rows = [sequence("scene", "train-0"), sequence("scene", "train-1")]
    change(rows)
    return json.dumps(rows).encode()


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda rows: rows.clear(), "f.json: got list of no sequence"),
        (lambda rows: rows[1].pop("identifier"), "f.json: sequence 1.identifier: got None, expected a str"),
        (lambda rows: rows[1].update(identifier="train-0"), "'train-0': got this identifier twice"),
        (lambda rows: rows[1]["utterances"].pop(), "sequence 1, 'train-1', utterances: got 4, expected 5"),
        (lambda rows: rows[0].update(initial_env=scene("3:_r")), "'train-0'.initial_env: slot 3: got '_r'"),
        (
            lambda rows: rows[0]["utterances"][2].update(after_env=None),
            r"'train-0', utterances\[2\].after_env: got None, expected a str",
        ),
        (
            lambda rows: rows[0]["utterances"][3].update(instruction="  "),
            r"'train-0', utterances\[3\].instruction: got no word",
        ),
    ],
)
def test_what_is_wrong_is_named_with_file_sequence_and_field(change, reason):
    with pytest.raises(ValueError, match=reason):
        parse_sequences(damaged(change), "f.json", "scene")


def test_mistakes_are_one_line(source, tmp_path):
    flags = ["--domain", "scene", "--output", tmp_path / "out"]
    assert "domain: got 'chess'" in failure("--domain", "chess", "--output", tmp_path / "out")
    assert "expected a folder or a ZIP archive" in failure(*flags, "--source", tmp_path / "nowhere")
    assert "expected a folder or a ZIP archive" in failure(*flags, "--source", source / "data/scene/dev_sequences.json")
    assert "got no file" in failure(*flags, "--source", tmp_path)
    assert "expected height and width of at least" in failure(*flags, "--source", source, "--image_size", 8, 8)
    assert "--download_dir with --source" in failure(*flags, "--source", source, "--download_dir", tmp_path)
    (source / "data" / "scene" / "dev_sequences.json").write_text("{")
    assert "scene/dev_sequences.json: got no JSON" in failure(*flags, "--source", source)
    assert not (tmp_path / "out").exists()


def test_only_an_earlier_result_is_overwritten_and_only_if_asked(source, tmp_path, capsys):
    flags = ["--domain", "tangrams", "--source", source, "--output", tmp_path / "out"]
    run(capsys, *flags)
    assert "--overwrite replaces it" in failure(*flags)
    run(capsys, *flags, "--overwrite", "--image_size", 32, 48)
    row = load_dataset(str(tmp_path / "out"))["train"][0]
    assert np.asarray(row["frames"][0]).shape == (32, 48, 3)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert "expected none or an empty one" in failure(*flags, "--overwrite")
