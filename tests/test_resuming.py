"""A run that is resumed equals one that was not interrupted, and keeps what earlier runs have left."""

import copy
import json
import os
import shutil

import pytest
from safetensors.torch import load_file
from storyattn.training.engine import run_folder
from storyattn.training.engine.checkpoints import list_checkpoints, verify_checkpoint
from training_runs import RUN, TIMES, last_weights, read_log, same_tensors

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_resumed_run_equals_one_that_was_not_interrupted(finished_run, launch, tmp_path):
    folder = tmp_path / "resumed"
    shutil.copytree(finished_run / "checkpoints" / "step-4", folder / "checkpoints" / "step-4")
    log = (finished_run / "metrics.jsonl").read_text().splitlines(keepends=True)
    # As a run that was killed at step 6, after its checkpoint of step 4.
    lines = [line for line in log if json.loads(line)["step"] <= 6]
    (folder / "metrics.jsonl").write_text("".join([*lines, '{"step": 7, "lo']))
    launch(folder, **RUN, resume_from_checkpoint="latest")
    for name in (
        "model.safetensors",
        "checkpoints/step-8/model.safetensors",
        "checkpoints/step-8/average.safetensors",
        "checkpoints/step-8/optimizer.safetensors",
    ):
        assert same_tensors(load_file(folder / name), load_file(finished_run / name)), name
    timeless = [
        [{key: value for key, value in line.items() if key not in TIMES} for line in read_log(run)]
        for run in (folder, finished_run)
    ]
    assert timeless[0] == timeless[1]


def test_a_run_that_changes_its_windows_resumes_as_one_that_was_not_interrupted(launch, finished_run, tmp_path):
    flags = {**RUN, "augment_crop": 0.2, "augment_colour": 0.2, "augment_flip": "true", "caption_dropout": 0.3}
    launch(tmp_path / "whole", **flags)
    shutil.copytree(tmp_path / "whole" / "checkpoints" / "step-4", tmp_path / "part" / "checkpoints" / "step-4")
    launch(tmp_path / "part", **flags, resume_from_checkpoint="latest", dataloader_num_workers=1)
    for name in ("model", "average", "optimizer"):
        whole, part = (
            load_file(tmp_path / run / f"checkpoints/step-8/{name}.safetensors") for run in ("whole", "part")
        )
        assert same_tensors(whole, part), name
    assert not same_tensors(last_weights(tmp_path / "whole"), last_weights(finished_run))
    card = (tmp_path / "part" / "README.md").read_text()
    assert "| augmentation | crop 0.2, colour 0.2, flip True, caption_dropout 0.3 |" in card
    # Evaluations see the stories as they are.
    changed, plain = (json.loads((run / "results.json").read_text()) for run in (tmp_path / "whole", finished_run))
    for name in ("copy_last", "mean", "train_median"):
        errors = [results["metrics"]["next_frame"]["floors"][name]["l1"] for results in (changed, plain)]
        assert errors[0] == errors[1]


def test_a_run_resumes_between_epochs(train_only, tmp_path):
    flags = {"max_train_steps": 4, "gradient_accumulation_steps": 2, "save_steps": 3}
    whole = train_only("whole", **flags)
    shutil.copytree(whole / "checkpoints" / "step-3", tmp_path / "resumed" / "checkpoints" / "step-3")
    # Six batches of four: 24 stories, which is one epoch.
    assert json.loads((whole / "checkpoints" / "step-3" / "state.json").read_text())["step"] == 3
    resumed = train_only("resumed", **flags, resume_from_checkpoint="latest")
    assert same_tensors(last_weights(whole), last_weights(resumed))


def test_a_damaged_checkpoint_is_passed_over(finished_run, launch, tmp_path, caplog):
    folder = tmp_path / "resumed"
    shutil.copytree(finished_run / "checkpoints", folder / "checkpoints")
    os.truncate(folder / "checkpoints" / "step-8" / "average.safetensors", 100)
    launch(folder, **RUN, resume_from_checkpoint="latest")
    assert "step-8 is damaged: average.safetensors: got 100 bytes" in caplog.text
    assert same_tensors(load_file(folder / "model.safetensors"), load_file(finished_run / "model.safetensors"))
    assert verify_checkpoint(folder / "checkpoints" / "step-8") is None


@pytest.mark.usefixtures("without_results")
def test_a_checkpoint_from_before_a_value_existed_goes_on(finished_run, launch, tmp_path, monkeypatch, capsys):
    """What its configuration lacks is what is default now; another value than that is refused."""
    folder, read = shutil.copytree(finished_run, tmp_path / "old"), run_folder.read_state

    def read_old(checkpoint) -> dict:
        state = read(checkpoint)
        assert state["config"].pop("edge_window") == 1
        assert state["config"]["vision_config"].pop("drop_path_rate") == 0.0
        state["config"]["loss_weights"].pop("next_frame_lit")
        return state

    monkeypatch.setattr(run_folder, "read_state", read_old)
    flags = {**RUN, "max_train_steps": 9, "resume_from_checkpoint": "latest"}
    with pytest.raises(SystemExit):
        launch(folder, **flags, config_overrides="edge_window=2")
    assert "another configuration: edge_window: got 1, expected 2" in capsys.readouterr().err
    launch(folder, **flags)


def test_a_new_run_keeps_all_that_an_earlier_one_has_left(train_only, tmp_path):
    for seed in range(3):
        train_only("run", seed=seed, max_train_steps=3 - seed)
    folders = sorted(str(path.parent.relative_to(tmp_path / "run")) for path in tmp_path.rglob("state.json"))
    assert folders == ["checkpoints/step-1", "earlier-1/checkpoints/step-3", "earlier-2/checkpoints/step-2"]
    assert [len(read_log(tmp_path / "run" / name)) for name in ("earlier-1", "earlier-2", ".")] == [3, 2, 1]


def test_a_run_that_goes_on_from_an_earlier_step_leaves_the_later_ones(train_only, tmp_path):
    folder = train_only("run", max_train_steps=4, save_steps=1, save_total_limit=9)
    checkpoint = folder / "checkpoints" / "step-2"
    train_only("run", max_train_steps=3, save_steps=0, save_total_limit=9, resume_from_checkpoint=checkpoint)
    assert [path.name for path in list_checkpoints(folder)] == ["step-1", "step-2", "step-3"]
    assert [path.name for path in list_checkpoints(folder / "earlier-1")] == ["step-3", "step-4"]


def test_only_the_latest_checkpoints_remain(train_only):
    folder = train_only("run", max_train_steps=4, save_steps=1, save_total_limit=2)
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["step-3", "step-4"]


def test_a_tokenizer_stays_the_same_whatever_it_has_cut_last(small_processor):
    processor = copy.deepcopy(small_processor)
    before = run_folder._vocabularies(processor)
    processor.tokenizer(["The fox naps by the old bridge."], truncation=True, max_length=3, padding="max_length")
    assert run_folder._vocabularies(processor) == before
    processor.tokenizer.add_tokens(["quokka"])
    assert run_folder._vocabularies(processor) != before
