"""Evaluations during training: the best model, early stopping, and evaluations that fail."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from storyattn.training.engine import loop as loop_module
from storyattn.training.engine.checkpoints import list_checkpoints
from storyattn.training.evaluation.quick import quick_metrics
from training_runs import RUN, last_weights, read_log, same_tensors

pytestmark = pytest.mark.usefixtures("one_thread")


BY_L1 = {"metric_for_best_model": "next_frame/l1"}


@pytest.fixture
def measure_as(monkeypatch) -> Callable[[list[float]], None]:
    """Let evaluations during training measure given numbers, one after the other, as the L1 of the next frame."""

    def set_values(values: list[float]) -> None:
        numbers = iter(values)
        monkeypatch.setattr(loop_module, "evaluation_picture", lambda *arguments: None)
        monkeypatch.setattr(loop_module, "quick_metrics", lambda *a, **options: {"next_frame/l1": next(numbers)})

    return set_values


def test_the_best_model_is_saved_and_published(launch, tmp_path, measure_as):
    """By a metric that is best in the middle: the second evaluation of three."""
    measure_as([3.0, 1.0, 2.0])
    flags = {**RUN, "max_train_steps": 6, "eval_steps": 2, "save_steps": 0, "save_total_limit": 1}
    launch(tmp_path, **flags, **BY_L1, load_best_model_at_end="true")
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"best", "step-6"}
    best = json.loads((tmp_path / "checkpoints" / "best" / "state.json").read_text())
    assert best["step"] == 4 and best["best"] == {"step": 4, "metric": "next_frame/l1", "value": 1.0}
    assert best["eval"]["next_frame/l1"] == 1.0
    published = load_file(tmp_path / "model.safetensors")
    average = load_file(tmp_path / "checkpoints" / "best" / "average.safetensors")
    last = load_file(tmp_path / "checkpoints" / "step-6" / "average.safetensors")
    assert all(torch.equal(published[name], average[name]) for name in published if name in average)
    assert not same_tensors(average, last)
    assert "the best by next_frame/l1, of step 4" in (tmp_path / "README.md").read_text()


@pytest.fixture
def stalling(launch, tmp_path, measure_as) -> Callable[..., Path]:
    """Train with given numbers for the evaluations, one a step, and a patience of two; returns the folder."""

    def run(name: str, values: list[float], **flags) -> Path:
        measure_as(values)
        defaults = {"max_train_steps": 8, "eval_steps": 1, "save_steps": 3, "logging_steps": 1}
        launch(tmp_path / name, **{**defaults, "early_stopping_patience": 2, **BY_L1, **flags})
        return tmp_path / name

    return run


def test_a_run_stops_early_where_it_gets_no_better(stalling, caplog):
    folder = stalling("run", [3.0, 4.0, 1.0, 2.0, 1.0], load_best_model_at_end="true")
    message = "after step 5 of 8: 2 evaluations in a row without a lower next_frame/l1 than 1 of step 3"
    assert f"stopped early, {message}" in caplog.text
    assert [path.name for path in list_checkpoints(folder)] == ["step-3", "step-5"]
    assert max(line["step"] for line in read_log(folder)) == 5 and (folder / "results.json").exists()
    card = (folder / "README.md").read_text()
    assert f"| early stopping | {message} |" in card and "| steps | 5 |" in card and "of step 3 |" in card
    caplog.clear()
    again = stalling("run", [], resume_from_checkpoint="latest", load_best_model_at_end="true")
    assert f"stopped early, {message}" in caplog.text and max(line["step"] for line in read_log(again)) == 5
    caplog.clear()
    # With more patience it goes on from there; where that ends with the last step, nothing is stopped early.
    more = {"early_stopping_patience": 3, "max_train_steps": 9}
    stalling("run", [0.9, 1.0, 1.0, 1.0], resume_from_checkpoint="latest", **more)
    assert [path.name for path in list_checkpoints(folder)][-1] == "step-9"
    assert "| early stopping | none |" in (folder / "README.md").read_text() and "stopped early" not in caplog.text


def test_a_resumed_run_stops_early_where_one_that_was_not_interrupted_does(stalling, without_results, tmp_path):
    whole = stalling("whole", [1.0, 0.5, 2.0, 2.0])
    assert [path.name for path in list_checkpoints(whole)] == ["step-3", "step-4"]
    shutil.copytree(whole / "checkpoints" / "step-3", tmp_path / "part" / "checkpoints" / "step-3")
    shutil.copytree(whole / "checkpoints" / "best", tmp_path / "part" / "checkpoints" / "best")
    part = stalling("part", [2.0], resume_from_checkpoint="latest")
    assert [path.name for path in list_checkpoints(part)] == ["step-3", "step-4"]
    assert same_tensors(last_weights(part), last_weights(whole))


def test_the_best_model_is_chosen_anew_where_it_is_gone(launch, measure_as, tmp_path, caplog):
    flags = {**RUN, **BY_L1, "max_train_steps": 4, "eval_steps": 2, "save_steps": 2, "logging_steps": 2}
    measure_as([1.0, 2.0])
    launch(tmp_path / "run", **flags)
    assert json.loads((tmp_path / "run" / "checkpoints" / "best" / "state.json").read_text())["step"] == 2
    shutil.copytree(tmp_path / "run" / "checkpoints" / "step-4", tmp_path / "other" / "checkpoints" / "step-4")
    launch(tmp_path / "other", **flags, resume_from_checkpoint="latest", load_best_model_at_end="true")
    assert "does not hold the best model so far, of step 2: it is chosen anew" in caplog.text
    assert (tmp_path / "other" / "results.json").exists()
    assert not (tmp_path / "other" / "checkpoints" / "best").exists()


def test_an_evaluation_that_fails_or_is_not_finite_costs_no_step(launch, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop_module, "quick_metrics", lambda *a, **k: {**quick_metrics(*a, **k), "loss": math.nan})
    launch(tmp_path / "nan", **RUN, load_best_model_at_end="true")
    (line,) = [line for line in read_log(tmp_path / "nan") if line["step"] == 4 and "eval" in line]
    assert line["eval"]["loss"] is None and not (tmp_path / "nan" / "checkpoints" / "best").exists()

    def fail(*arguments, **options):
        raise OSError("no room for figures")

    monkeypatch.setattr(loop_module, "quick_metrics", fail)
    with pytest.raises(SystemExit):
        launch(tmp_path / "failed", **{**RUN, "save_steps": 0})
    assert capsys.readouterr().err.endswith("error: no room for figures\n")
    assert [path.name for path in list_checkpoints(tmp_path / "failed")] == ["step-4"]


def test_an_unknown_metric_is_refused(refused):
    line = refused(metric_for_best_model="accuracy")
    assert "metric_for_best_model: got 'accuracy', expected one of loss, next_frame/l1" in line
