"""The baselines by the commands of the model: trained, measured and resumed."""

import json
import math
from pathlib import Path

import pytest
from baseline_encoders import save_encoders
from conftest import refused_line
from storyattn.training.cli import evaluate as evaluate_cli
from storyattn.training.engine.checkpoints import list_checkpoints
from storyattn.training.models.baselines import BASELINES
from training_runs import last_weights, read_log, same_tensors

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def encoders(tmp_path_factory, small_processor) -> dict[str, str]:
    return save_encoders(tmp_path_factory.mktemp("encoders"), small_processor.tokenizer)


@pytest.fixture(scope="module")
def train_baseline(launch, encoders):
    """Train a baseline by the command, with flags by name."""

    def run(name: str, output_dir: Path, **flags) -> None:
        if name == "projection":
            flags |= {f"baseline_{part}": source for part, source in encoders.items()}
        launch(output_dir, baseline=name, **flags)

    return run


@pytest.fixture(scope="module", params=BASELINES)
def finished(request, train_baseline, tmp_path_factory) -> tuple[str, Path]:
    """A baseline and the folder of its run of four steps; nothing may be written there."""
    folder = tmp_path_factory.mktemp("runs") / request.param
    train_baseline(request.param, folder, max_train_steps=4, eval_steps=2, save_steps=2, logging_steps=1)
    return request.param, folder


# What each baseline can be measured on.
GIVEN = {
    "notebook": {"next_frame", "next_caption"},
    "no_context": {"next_frame", "reconstruction", "next_caption", "describe", "retrieval", "attention"},
    "text_only": {"next_caption"},
    "projection": {"retrieval"},
}


def check_measures(name: str, metrics: dict) -> None:
    """What the baseline has is a number, all else `None`, and the notes say what is missing."""
    numbers = {measure: metrics[measure]["l1"] for measure in ("next_frame", "reconstruction")}
    numbers |= {measure: metrics[measure]["loss"] for measure in ("next_caption", "describe")}
    numbers["retrieval"] = metrics["retrieval"]["text_to_image"]["r1"]
    for measure, number in numbers.items():
        assert (number is not None and math.isfinite(number)) == (measure in GIVEN[name]), measure
        missing = [note for note in metrics["notes"] if "does not give" in note]
        assert any(measure in note for note in missing) == (measure not in GIVEN[name]), measure
    assert metrics["next_frame"]["floors"]["copy_last"]["l1"] > 0
    assert (metrics["next_caption"]["bleu4"] is not None) == ("next_caption" in GIVEN[name])


def test_a_run_leaves_a_folder_with_the_models_measures(finished):
    name, folder = finished
    assert {"config.json", "model.safetensors", "tokenizer.json", "metrics.jsonl"} <= {p.name for p in folder.iterdir()}
    assert not (folder / "README.md").exists()
    assert len(list_checkpoints(folder)) == 2 and (folder / "figures" / "evaluation.png").is_file()
    log = read_log(folder)
    assert [line["step"] for line in log if "loss" in line] == [1, 2, 3, 4]
    assert [line["step"] for line in log if "eval" in line] == [2, 4]
    results = json.loads((folder / "results.json").read_text())
    assert results["num_windows"] == 4
    check_measures(name, results["metrics"])


def test_the_common_command_measures_it_on_storyworld(finished, tmp_path, capsys):
    name, folder = finished
    output = tmp_path / "results.json"
    flags = ("--split=test", "--train_split=", "--max_windows=4", "--batch_size=4", f"--output={output}")
    evaluate_cli.main([f"--model={folder}", "--dataset=storyworld", *flags])
    results = json.loads(output.read_text())
    check_measures(name, results["metrics"])
    assert ("by_event" in results["metrics"]["next_frame"]) == ("next_frame" in GIVEN[name])
    assert "copy_last" in capsys.readouterr().out


def test_a_resumed_baseline_ends_with_the_same_weights(train_baseline, tmp_path):
    flags = {"max_train_steps": 4, "eval_steps": 0, "save_steps": 2}
    train_baseline("notebook", tmp_path / "run", **flags)
    checkpoint = tmp_path / "run" / "checkpoints" / "step-2"
    train_baseline("notebook", tmp_path / "resumed", resume_from_checkpoint=checkpoint, **flags)
    assert same_tensors(last_weights(tmp_path / "resumed"), last_weights(tmp_path / "run"))
    line = refused_line(
        lambda argv: train_baseline("text_only", tmp_path / "other", resume_from_checkpoint=checkpoint, **flags), []
    )
    assert "baseline: got 'notebook', expected 'text_only'" in line
