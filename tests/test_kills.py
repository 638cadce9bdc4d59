"""A training that is killed and resumed ends as one that was left alone; `benchmarks/kill_and_resume.py` kills more."""

import importlib
import random
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from forked_programs import Program, train_program
from training_runs import train_with

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
SEED = 1  # the first kill comes at the second save, so that there is a checkpoint from then on


@pytest.fixture
def kill_and_resume(monkeypatch, tmp_path) -> ModuleType:
    """The benchmark, whose trainings are forked."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parent.parent / "benchmarks")
    module = importlib.import_module("kill_and_resume")

    def start(command: list[str], **options) -> Program:
        assert command[1:3] == ["-m", "storyattn.training.train"] and options["start_new_session"]
        flags = dict(flag.removeprefix("--").split("=", 1) for flag in command[3:])
        return Program(train_program, flags, out=tmp_path / "log.txt")

    monkeypatch.setattr(module, "subprocess", SimpleNamespace(Popen=start))
    return module


@pytest.fixture
def flags(stories_folder, small_config_file, tmp_path) -> dict:
    return {
        "config": small_config_file,
        "dataset": stories_folder,
        "cache_dir": tmp_path / "frames",
        "max_train_steps": 20,
        "save_steps": 2,
        "eval_steps": 0,
        "logging_steps": 1,
        "train_batch_size": 4,
        "max_eval_windows": 4,
        "max_test_windows": 4,
        "dataloader_num_workers": 1,
    }


def test_kills_change_nothing(kill_and_resume, flags, tmp_path, monkeypatch):
    train_with({**flags, "output_dir": tmp_path / "alone"})
    aims = [kill_and_resume.SAVING, kill_and_resume.TRAINING, kill_and_resume.SAVING]
    monkeypatch.setattr(kill_and_resume, "draw_aims", lambda kills, rng: aims)
    launch = kill_and_resume.Launcher(flags, tmp_path / "log.txt", threads=1)
    pace = kill_and_resume.Pace(starting=0, interval=0.15, saving=0.02)
    rng = random.Random(SEED)
    kills = list(kill_and_resume.kill_repeatedly(launch, tmp_path / "killed", len(aims), pace, rng))
    assert not kill_and_resume.judge(kills, len(aims)), kills
    assert all(kill["resumed_from"].startswith("step-") for kill in kills), kills
    assert kills[-1]["resumed_from"] != "step-20"
    train_with({**flags, "output_dir": tmp_path / "killed", "resume_from_checkpoint": "latest"})
    assert kill_and_resume.differences(tmp_path / "alone", tmp_path / "killed") == []
