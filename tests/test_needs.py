"""What a run needs to end well is tried before its first step, and so is where a command writes its results."""

import contextlib
from pathlib import Path
from types import SimpleNamespace

import datasets
import evaluate as evaluate_library
import pytest
from conftest import draw_story, refused_line, write_data_set
from storyattn import story_drawing
from storyattn.training import needs
from storyattn.training.cli import data_check, evaluate, mean
from storyattn.training.common.excerpts import quoted
from storyattn.training.common.files import check_file, check_folder
from storyattn.training.data.dataset_cache import use_writable_cache
from storyattn.training.evaluation.caption_metrics import load_text_metric, text_scores

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def unwritable(tmp_path) -> Path:
    """A path below a file, where nobody can write, not even root."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "below"


def test_a_place_for_a_file_is_tried(tmp_path, unwritable):
    check_file("output", tmp_path / "new" / "results.json")
    (tmp_path / "old.json").write_text("old")
    check_file("output", tmp_path / "old.json")
    assert (tmp_path / "old.json").read_text() == "old" and not (tmp_path / "new").exists()
    with pytest.raises(ValueError, match="^output: got the folder '.*, expected the name of a file"):
        check_file("output", tmp_path)
    for path in (unwritable, tmp_path / ("x" * 300)):
        with pytest.raises(ValueError, match="^output: got '.*, expected a file that can be written"):
            check_file("output", path)
    with pytest.raises(ValueError, match="^cache_dir: got '.*below', expected a folder that can be written"):
        check_folder("cache_dir", unwritable)
    with pytest.raises(ValueError, match="^cache_dir: got the file"):
        check_folder("cache_dir", tmp_path / "old.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "old.json"]


COMMANDS = {
    "evaluate": (evaluate, ["--model=none", "--dataset=none", "--output"]),
    "data check": (data_check, ["storyworld", "--output"]),
    "mean": (mean, ["none", "none", "--output_dir"]),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_try_their_output_first(command, unwritable):
    module, argv = COMMANDS[command]
    line = refused_line(module.main, [*argv, str(unwritable / "results.json")])
    assert line.startswith(f"storyattn {command}: output") and "can be written (Not a directory)" in line


def test_text_metrics_need_no_home(unwritable, monkeypatch):
    """It may be read-only."""
    monkeypatch.setattr(evaluate_library.config, "HF_METRICS_CACHE", str(unwritable))
    load_text_metric.cache_clear()
    assert text_scores(["A fox naps."], ["A fox naps."])["chrf"] == 100


def test_datasets_writes_beside_the_frames_where_its_own_folder_cannot_be(unwritable, tmp_path, monkeypatch, caplog):
    config = datasets.config
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", unwritable)
    use_writable_cache(None)
    assert unwritable == config.HF_DATASETS_CACHE
    use_writable_cache(str(tmp_path / "frames"))
    assert tmp_path / "frames" / "datasets" == config.HF_DATASETS_CACHE and quoted(unwritable) in caplog.text
    use_writable_cache(str(tmp_path / "other"))  # the one in use can be written
    assert tmp_path / "frames" / "datasets" == config.HF_DATASETS_CACHE


# Before a training


@pytest.mark.parametrize("name", ["figures", "checkpoints"])
def test_files_in_place_of_folders_are_refused(name, refused, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text("")
    line = refused(output_dir=tmp_path / "run")
    assert line.startswith("error: output_dir: got the file") and f"run/{name}'" in line


@pytest.mark.parametrize("name", ["metrics.jsonl", "results.json", "model.safetensors"])
def test_folders_in_place_of_files_are_refused(name, refused, tmp_path):
    (tmp_path / "run" / name).mkdir(parents=True)
    line = refused(output_dir=tmp_path / "run")
    assert line.startswith("error: output_dir: got a folder at") and f"run/{name}'" in line


def refuse(*arguments, dir=None, **options):
    """Fail; but let folders be tried."""
    if dir is not None:
        return contextlib.nullcontext()
    raise FileNotFoundError("it is not here")


NEEDS = {
    "text metrics": (needs, "text_scores"),
    "fonts": (story_drawing.ImageFont, "truetype"),
    "temporary folder": (needs.tempfile, "TemporaryFile"),
    "it is not here": (needs, "find_template"),
}


@pytest.mark.parametrize("need", NEEDS)
def test_what_is_used_at_the_end_alone_is_tried_first(need, refused, monkeypatch):
    story_drawing.load_font.cache_clear()
    monkeypatch.setattr(*NEEDS[need], refuse)
    line = refused()
    assert line.startswith(f"error: {need}") and "it is not here" in line


def test_splits_without_a_transition_are_refused(refused, tmp_path):
    stories = {split: [draw_story(0)] for split in ("train", "validation")}
    folder = write_data_set(tmp_path / "single", {**stories, "test": [draw_story(1, 1)]})
    assert "test split: got no story with two frames among 1" in refused(dataset=folder)


def test_too_little_room_for_the_checkpoints_is_refused(refused, monkeypatch):
    monkeypatch.setattr(needs.shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    line = refused(max_train_steps=9, save_steps=2)
    assert "output_dir: got 1 MB free" in line and "for 3 more checkpoints and the model; --save_total_limit 1" in line
