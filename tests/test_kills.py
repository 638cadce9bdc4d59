"""A training that is killed and resumed ends as one that was left alone. More kills: `benchmarks/torture.py`."""

import importlib.util
import random
from pathlib import Path

import pytest
from storyattn.training import train as train_module

SPEC = importlib.util.spec_from_file_location(
    "torture", Path(__file__).resolve().parent.parent / "benchmarks" / "torture.py"
)
torture = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(torture)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
AIMS = [torture.SAVING, torture.TRAINING, torture.SAVING]
SEED = 1  # the first kill comes at the second save, so that there is a checkpoint from then on


@pytest.fixture
def flags(stories_folder, small_config_file, tmp_path) -> dict:
    return {
        "config": small_config_file,
        "dataset": stories_folder,
        "cache_dir": tmp_path / "frames",
        "max_train_steps": 24,
        "save_steps": 2,
        "eval_steps": 0,
        "logging_steps": 1,
        "train_batch_size": 4,
        "max_eval_windows": 4,
        "max_test_windows": 4,
        "dataloader_num_workers": 1,
    }


def train_here(flags: dict, **more) -> None:
    train_module.main([f"--{name}={value}" for name, value in {**flags, **more}.items()])


def test_kills_change_nothing(flags, tmp_path, monkeypatch):
    train_here(flags, output_dir=tmp_path / "alone")
    monkeypatch.setattr(torture, "draw_aims", lambda kills, rng: AIMS)
    launch = torture.Launcher(flags, tmp_path / "log.txt", threads=1)
    pace = torture.Pace(starting=0, interval=0.15, saving=0.02)
    kills = list(torture.kill_repeatedly(launch, tmp_path / "killed", len(AIMS), pace, random.Random(SEED)))
    assert not torture.judge(kills, len(AIMS)), kills
    assert all(kill["resumed_from"].startswith("step-") for kill in kills), kills
    assert kills[-1]["resumed_from"] != "step-24"
    train_here(flags, output_dir=tmp_path / "killed", resume_from_checkpoint="latest")
    assert torture.differences(tmp_path / "alone", tmp_path / "killed") == []
