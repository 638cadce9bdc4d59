"""Trackers: what a run logs to them, and which are refused before training starts."""

from dataclasses import dataclass

import pytest
import yaml
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, TensorBoardTracker, get_available_trackers
from conftest import refused_line
from storyattn.training import train as train_module
from storyattn.training.engine.trackers import tracker_config, tracker_names
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_runs import read_log


@pytest.fixture
def tracked(small_config_file, stories_folder, tmp_path, without_results) -> list[str]:
    """The arguments of a run of four steps that logs to tensorboard, in `tmp_path / "run"`."""
    flags = {
        "config": small_config_file,
        "dataset": stories_folder,
        "output_dir": tmp_path / "run",
        "train_batch_size": 4,
        "max_train_steps": 4,
        "logging_steps": 2,
        "eval_steps": 4,
        "max_eval_windows": 4,
        "learning_rate": 0.002,
        "report_to": "tensorboard",
    }
    return [f"--{name}={value}" for name, value in flags.items()]


def test_tensorboard_has_what_the_log_has(tracked, tmp_path):
    train_module.main(tracked)
    logs = tmp_path / "run" / "logs" / "storyattn"
    events = EventAccumulator(str(logs)).Reload()
    scalars = {name: {event.step: event.value for event in events.Scalars(name)} for name in events.Tags()["scalars"]}
    expected = {}
    for line in read_log(tmp_path / "run"):
        measured = line.get("eval") or {**line, **line["loss_parts"]}
        prefix = "eval" if "eval" in line else "train"
        for name, value in measured.items():
            if name not in ("step", "loss_parts") and value is not None:
                expected.setdefault(f"{prefix}/{name}", {})[line["step"]] = pytest.approx(value, rel=1e-6)
    assert scalars == expected
    assert list(scalars["train/loss"]) == [2, 4] and list(scalars["eval/next_frame/l1"]) == [4]

    (flags,) = logs.rglob("hparams.yml")
    flags = yaml.safe_load(flags.read_text())
    assert flags["learning_rate"] == 0.002 and flags["preset"] == "tiny" and flags["use_ema"] is True
    assert "tokenizer_name" not in flags, "which was not given"


def test_several_trackers_are_named_with_commas():
    assert tracker_names("tensorboard") == tracker_names(" tensorboard, tensorboard") == ["tensorboard"]
    for nothing in (None, "", "none"):
        assert tracker_names(nothing) is None


def test_a_tracker_that_is_not_installed_is_refused(stories_folder, tmp_path):
    missing = sorted(set(LOGGER_TYPE_TO_CLASS) - {str(tracker) for tracker in get_available_trackers()})
    if not missing:
        pytest.skip("every tracker of accelerate is installed")
    argv = [f"--dataset={stories_folder}", f"--output_dir={tmp_path / 'run'}", f"--report_to=tensorboard,{missing[0]}"]
    line = refused_line(train_module.main, argv)
    assert line.startswith("error: report_to:") and line.endswith(f"pip install {missing[0]}")
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_cannot_start_is_one_line(tracked, monkeypatch):
    def start(tracker):
        raise RuntimeError("nobody is\nlogged in")

    monkeypatch.setattr(TensorBoardTracker, "start", start)
    line = refused_line(train_module.main, tracked)
    assert line == "error: report_to: got tensorboard, expected trackers that start: nobody is logged in"


@pytest.mark.parametrize("name", ["paper", "tensorboard,", "none,tensorboard"])
def test_an_unknown_tracker_is_refused(name):
    with pytest.raises(ValueError, match="report_to: got '(paper|none|)', expected .*tensorboard"):
        tracker_names(name)


def test_trackers_record_numbers_texts_and_booleans_alone():
    @dataclass
    class Flags:
        steps: int = 3
        rate: float = 0.1
        on: bool = False
        name: str = "fox"
        limit: int | None = None
        size: tuple = (1, 2)

    @dataclass
    class Others:
        seed: int = 0

    expected = {"steps": 3, "rate": 0.1, "on": False, "name": "fox", "seed": 0}
    assert tracker_config(Flags(), Others()) == expected
