"""Training from the command line on a small model: what it leaves, resumes, refuses and repeats."""

import json
import math
import os
import shutil

import pytest
import torch
from conftest import draw_story
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage
from safetensors.torch import load_file
from storyattn.configuration_storyattn import DEFAULT_LOSS_WEIGHTS
from storyattn.training import train as train_module
from storyattn.training.cli import evaluate as evaluate_cli
from storyattn.training.engine import loop as loop_module
from storyattn.training.engine.checkpoints import list_checkpoints, verify_checkpoint
from storyattn.training.engine.optimizer import PARTS
from storyattn.training.evaluation.quick import quick_metrics
from transformers import AutoModelForMultimodalLM, AutoProcessor

QUICK = {"train_batch_size": 4, "eval_batch_size": 4, "warmup_steps": 2, "max_eval_windows": 4, "max_test_windows": 4}
# 24 stories in batches of 4, two to a step: three steps an epoch, so that steps 4 and 8 lie within epochs.
RUN = {"max_train_steps": 8, "gradient_accumulation_steps": 2, "eval_steps": 4, "save_steps": 4, "logging_steps": 1}
TIMES = ("stories_per_second", "waiting_share", "memory_gib")  # what differs between runs that are the same


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def launch(stories_folder, small_config_file):
    """Runs the command with flags by name; `None` leaves a flag out."""

    def run(output_dir, **flags) -> None:
        flags = {"config": small_config_file, "dataset": stories_folder, "output_dir": output_dir, **QUICK, **flags}
        train_module.main([f"--{name}={value}" for name, value in flags.items() if value is not None])

    return run


@pytest.fixture(scope="module")
def finished(launch, tmp_path_factory):
    """The folder of a run of eight steps; nothing may be written there."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    launch(folder, **RUN)
    return folder


@pytest.fixture
def train_only(launch, tmp_path, monkeypatch):
    """Runs two steps without any evaluation; gives the folder of the run."""
    monkeypatch.setattr(train_module.TrainingLoop, "_evaluate", lambda loop: None)
    monkeypatch.setattr(train_module, "finish", lambda *arguments: {})

    def run(name: str, **flags):
        launch(tmp_path / name, **{"max_train_steps": 2, "logging_steps": 1, **flags})
        return tmp_path / name

    return run


@pytest.fixture
def refused(launch, tmp_path, capsys):
    """Runs what must be refused before training; gives the one line of the error."""

    def run(**flags) -> str:
        output_dir = flags.pop("output_dir", tmp_path / "refused")
        before = sorted(output_dir.rglob("*")) if output_dir.is_dir() else []
        with pytest.raises(SystemExit) as ended:
            launch(output_dir, **flags)
        assert ended.value.code == 2
        text = capsys.readouterr().err
        assert "Traceback" not in text and "training:" not in text
        assert (sorted(output_dir.rglob("*")) if output_dir.is_dir() else []) == before
        (line,) = [line for line in text.splitlines() if line.startswith("error: ")]
        assert text.endswith(f"{line}\n")
        return line

    return run


def read_log(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def last_weights(folder) -> dict[str, torch.Tensor]:
    return load_file(list_checkpoints(folder)[-1] / "model.safetensors")


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def write_stories(folder, frames, captions, names=("frames", "captions")):
    """A data set with the same single story in every split."""
    folder.mkdir()
    features = Features({names[0]: List(Image()), names[1]: List(Value("string"))})
    stories = Dataset.from_list([{names[0]: frames, names[1]: captions}], features=features)
    for split in ("train", "validation", "test"):
        stories.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


# What a run leaves


def test_a_run_leaves_a_folder_ready_for_the_hub(finished):
    names = {path.name for path in finished.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "modeling_storyattn.py"} <= names
    figures = {path.name for path in (finished / "figures").iterdir()}
    examples = {"example_1.png", "example_2.png"}  # pictures of the model's size, for the card
    assert examples < figures
    figures -= examples
    assert figures == {"evaluation.png", "loss_curves.png", "step-000004.png", "step-000008.png"}
    for name in figures:
        with PILImage.open(finished / "figures" / name) as picture:
            assert min(picture.size) >= 100
    card = (finished / "README.md").read_text()
    assert "model-index:" in card and "--max_train_steps=8" in card and "| stories per step | 8 |" in card

    results = json.loads((finished / "results.json").read_text())
    assert math.isfinite(results["metrics"]["next_frame"]["l1"]) and results["split"] == "test"
    model = AutoModelForMultimodalLM.from_pretrained(finished, trust_remote_code=True)
    processor = AutoProcessor.from_pretrained(finished, trust_remote_code=True)
    frames = [[PILImage.new("RGB", (40, 40), "red")]]
    told = model.continue_story(processor, frames, [["A fox."]], 1)
    assert len(told.frames[0]) == len(told.captions[0]) == 1


def test_what_is_stored_in_half_precision_is_what_was_measured(launch, stories_folder, tmp_path):
    launch(tmp_path / "run", **{**RUN, "max_train_steps": 2, "max_test_windows": None, "save_dtype": "float16"})
    stored = load_file(tmp_path / "run" / "model.safetensors")
    assert {weight.dtype for weight in stored.values() if weight.is_floating_point()} == {torch.float16}
    again = [
        "--model",
        str(tmp_path / "run"),
        "--dataset",
        str(stories_folder),
        "--output",
        str(tmp_path / "again.json"),
    ]
    evaluate_cli.main(again)
    known, measured = (json.loads((tmp_path / name).read_text()) for name in ("run/results.json", "again.json"))
    for part, name in (("next_frame", "l1"), ("next_caption", "loss")):
        assert measured["metrics"][part][name] == pytest.approx(known["metrics"][part][name], rel=1e-6)


def test_the_log_has_a_line_for_every_step_and_evaluation(finished):
    log = read_log(finished)
    steps = [line for line in log if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 9))
    for line in steps:
        assert set(line) == {"step", "loss", "loss_parts", "lr", "grad_norm", "bad_steps", *TIMES}
        assert 0.05 < line["memory_gib"] < 20 and line["bad_steps"] == 0
        assert line["grad_norm"] > 0 and line["stories_per_second"] > 0 and 0 <= line["waiting_share"] < 1
    rates = [line["lr"] for line in steps]
    assert rates[1] == max(rates) == 1e-3 and rates[0] < rates[1] and rates[-1] < 1e-6
    evaluations = [line for line in log if "eval" in line]
    assert [line["step"] for line in evaluations] == [4, 8]
    assert all(math.isfinite(line["eval"]["next_frame/l1"]) for line in evaluations)


def test_a_trained_model_is_gone_on_from(finished, launch, tmp_path):
    """`--model_name_or_path` starts from its weights and tokenizer, whatever the captions at hand would give."""
    flags = {
        "config": None,
        "model_name_or_path": finished,
        "max_train_steps": 2,
        "learning_rate": 1e-5,
        "use_ema": False,
    }
    launch(tmp_path / "on", **flags, vision_tuning="frozen")
    before, after = (load_file(folder / "model.safetensors") for folder in (finished, tmp_path / "on"))
    assert before.keys() == after.keys()
    for name in before:
        torch.testing.assert_close(after[name], before[name], atol=2e-5, rtol=0)
    assert any((before[name] != after[name]).any() for name in before), "something was trained"
    assert all(torch.equal(before[name], after[name]) for name in before if ".vision_encoder.backbone" in name)
    tokenizers = [(folder / "tokenizer.json").read_text(encoding="utf-8") for folder in (finished, tmp_path / "on")]
    assert tokenizers[0] == tokenizers[1]


@pytest.mark.parametrize("width, of_the_model", [(32, True), (48, True), (32, False)])
def test_a_trained_model_gets_a_decoder_that_learned_from_text_alone(launch, finished, tmp_path, width, of_the_model):
    """Its words are those of the baseline, all else is as it was; the way into it begins anew where it has to."""
    of_text = {"baseline": "text_only", "max_train_steps": 3, "learning_rate": 1e-2, "use_ema": False}
    of_text["config_overrides"] = f"decoder_config.hidden_size={width}"
    launch(tmp_path / "text", **of_text, tokenizer_name=finished if of_the_model else None, max_train_stories=12)
    decoder = load_file(tmp_path / "text" / "decoder" / "model.safetensors")
    joined = {"config": None, "model_name_or_path": finished, "pretrained_decoder": tmp_path / "text" / "decoder"}
    launch(tmp_path / "joined", **joined, max_train_steps=1, learning_rate=1e-6, use_ema=False)
    before, after = (load_file(folder / "model.safetensors") for folder in (finished, tmp_path / "joined"))
    for name, weight in after.items():
        if name.startswith("text_decoder."):
            torch.testing.assert_close(weight, decoder[name.removeprefix("text_decoder.")], atol=1e-5, rtol=0)
        elif name.startswith("prefix.") and width != 32:
            assert len(weight) == width
        else:
            torch.testing.assert_close(weight, before[name], atol=1e-5, rtol=0)
    assert (tmp_path / "joined" / "decoder_tokenizer").is_dir() is not of_the_model
    facts = json.loads((tmp_path / "joined" / "results.json").read_text(encoding="utf-8"))["facts"]
    assert facts["pretrained"] == {"all": "finished, trained before", "causal language model": "decoder, tuned"}


@pytest.mark.parametrize(
    "flags, told",
    [
        ({"model_name_or_path": "no_such_folder", "config": None}, "got 'no_such_folder', expected a folder"),
        ({"model_name_or_path": "x/y"}, "expected none with --model_name_or_path"),
        ({"model_name_or_path": "x/y", "config": None, "tokenizer_name": "a/b"}, "tokenizer_name: found a/b, expected"),
        (
            {"model_name_or_path": "x/y", "config": None, "pretrained_text": "a/b"},
            "pretrained_text: found a/b, expected",
        ),
    ],
)
def test_what_does_not_go_with_a_trained_model_is_refused(refused, flags, told):
    assert told in refused(**flags)


def test_a_checkpoint_from_before_a_value_was_there_goes_on(finished, launch, tmp_path, monkeypatch, capsys):
    """What its configuration lacks is what is default now; another value than that is refused."""
    folder, read = shutil.copytree(finished, tmp_path / "old"), train_module.read_state

    def read_old(checkpoint) -> dict:
        state = read(checkpoint)
        assert state["config"].pop("edge_window") == 1
        assert state["config"]["vision_config"].pop("drop_path_rate") == 0.0
        state["config"]["loss_weights"].pop("next_frame_lit")
        return state

    monkeypatch.setattr(train_module, "read_state", read_old)
    flags = {**RUN, "max_train_steps": 9, "resume_from_checkpoint": "latest"}
    with pytest.raises(SystemExit):
        launch(folder, **flags, config_overrides="edge_window=2")
    assert "another configuration: edge_window: found 1, expected 2" in capsys.readouterr().err
    launch(folder, **flags)


def test_the_moving_average_is_published_unless_it_is_off(finished, launch, tmp_path):
    checkpoint = finished / "checkpoints" / "step-8"
    published, last = load_file(finished / "model.safetensors"), load_file(checkpoint / "model.safetensors")
    average = load_file(checkpoint / "average.safetensors")
    # A tied weight is stored once, under either of its names.
    shared = [name for name in published if name in last]
    assert len(shared) >= len(published) - 1
    assert all(torch.equal(published[name], average[name]) for name in shared)
    assert not any(torch.equal(published[name], last[name]) for name in shared if "frame_decoder" in name)

    launch(tmp_path / "raw", max_train_steps=1, use_ema="false")
    assert not list((tmp_path / "raw").rglob("average.safetensors"))
    published, last = load_file(tmp_path / "raw" / "model.safetensors"), last_weights(tmp_path / "raw")
    assert all(torch.equal(published[name], last[name]) for name in shared)


def test_losses_fall(train_only):
    folder = train_only("long", max_train_steps=40, learning_rate=3e-3, lr_scheduler_type="constant")
    log = read_log(folder)
    for name in ("next_frame_l1", "reconstruction_l1", "describe", "next_caption"):
        values = [line["loss_parts"][name] for line in log]
        assert sum(values[-5:]) < 0.8 * sum(values[:5]), name


# Repetition and resuming


def test_a_resumed_run_equals_one_that_was_not_interrupted(finished, launch, tmp_path):
    folder = tmp_path / "resumed"
    shutil.copytree(finished / "checkpoints" / "step-4", folder / "checkpoints" / "step-4")
    log = (finished / "metrics.jsonl").read_text().splitlines(keepends=True)
    # As a run that was killed at step 6, after its checkpoint of step 4.
    told = "".join(line for line in log if json.loads(line)["step"] <= 6)
    (folder / "metrics.jsonl").write_text(told + '{"step": 7, "lo')
    launch(folder, **RUN, resume_from_checkpoint="latest")
    for name in (
        "model.safetensors",
        "checkpoints/step-8/model.safetensors",
        "checkpoints/step-8/average.safetensors",
        "checkpoints/step-8/optimizer.safetensors",
    ):
        assert same(load_file(folder / name), load_file(finished / name)), name
    timeless = [
        [{key: value for key, value in line.items() if key not in TIMES} for line in read_log(run)]
        for run in (folder, finished)
    ]
    assert timeless[0] == timeless[1]


def test_a_run_that_changes_its_windows_resumes_as_one_that_was_not_interrupted(launch, finished, tmp_path):
    flags = {**RUN, "augment_crop": 0.2, "augment_colour": 0.2, "augment_flip": "true", "caption_dropout": 0.3}
    launch(tmp_path / "whole", **flags)
    shutil.copytree(tmp_path / "whole" / "checkpoints" / "step-4", tmp_path / "part" / "checkpoints" / "step-4")
    launch(tmp_path / "part", **flags, resume_from_checkpoint="latest", dataloader_num_workers=1)
    for name in ("model", "average", "optimizer"):
        whole, part = (
            load_file(tmp_path / run / f"checkpoints/step-8/{name}.safetensors") for run in ("whole", "part")
        )
        assert same(whole, part), name
    assert not same(last_weights(tmp_path / "whole"), last_weights(finished))
    card = (tmp_path / "part" / "README.md").read_text()
    assert "| augmentation | crop 0.2, colour 0.2, flip True, caption_dropout 0.3 |" in card
    # Evaluations see the stories as they are.
    changed, plain = (json.loads((run / "results.json").read_text()) for run in (tmp_path / "whole", finished))
    for name in ("copy_last", "mean", "train_median"):
        errors = [results["metrics"]["next_frame"]["floors"][name]["l1"] for results in (changed, plain)]
        assert errors[0] == errors[1]


def test_a_damaged_checkpoint_is_passed_over(finished, launch, tmp_path, caplog):
    folder = tmp_path / "resumed"
    shutil.copytree(finished / "checkpoints", folder / "checkpoints")
    os.truncate(folder / "checkpoints" / "step-8" / "average.safetensors", 100)
    launch(folder, **RUN, resume_from_checkpoint="latest")
    assert "step-8 is damaged: average.safetensors: found 100 bytes" in caplog.text
    assert same(load_file(folder / "model.safetensors"), load_file(finished / "model.safetensors"))
    assert verify_checkpoint(folder / "checkpoints" / "step-8") is None


def test_the_seed_alone_decides_the_weights(train_only):
    first, again, other = (last_weights(train_only(name, seed=seed)) for name, seed in (("a", 5), ("b", 5), ("c", 6)))
    assert same(first, again) and not same(first, other)


def test_workers_change_nothing(train_only):
    alone, helped = (last_weights(train_only(name, dataloader_num_workers=n)) for name, n in (("a", 0), ("b", 1)))
    assert same(alone, helped)


def test_accumulated_batches_equal_one_large_batch(train_only, tmp_path):
    """Stories of unequal length, captions missing; the alignment alone has the pairs of one batch for negatives."""
    stories = [draw_story(seed, num_frames=1 + seed % 4) for seed in range(24)]
    stories[3]["captions"] = [None] * 4
    features = Features({"frames": List(Image()), "captions": List(Value("string"))})
    for split in ("train", "validation", "test"):
        Dataset.from_list(stories, features=features).to_parquet(tmp_path / f"{split}-00000-of-00001.parquet")
    changes = "loss_weights.alignment=0,num_reconstructed_frames=2"
    changes = f"{changes},text_config.dropout=0,text_config.attention_dropout=0"
    logs, weights = [], []
    for batch, accumulated in ((8, 1), (2, 4)):
        flags = {"train_batch_size": batch, "gradient_accumulation_steps": accumulated, "config_overrides": changes}
        folder = train_only(f"batch-{batch}", dataset=tmp_path, max_train_steps=4, warmup_steps=0, **flags)
        logs.append(read_log(folder))
        weights.append(last_weights(folder))
    assert len(logs[0]) == len(logs[1]) == 4
    for whole, accumulated in zip(*logs):
        assert accumulated["loss"] == pytest.approx(whole["loss"], rel=1e-5)
        assert accumulated["grad_norm"] == pytest.approx(whole["grad_norm"], rel=1e-5)
        names = DEFAULT_LOSS_WEIGHTS.keys() - {"alignment"}
        assert accumulated["loss_parts"].keys() == whole["loss_parts"].keys() == names
        for name, part in whole["loss_parts"].items():
            assert accumulated["loss_parts"][name] == pytest.approx(part, rel=1e-5), name
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-4) for name in weights[0])


def test_gradient_checkpointing_changes_no_weight(train_only):
    plain, checkpointed = (
        last_weights(train_only(name, gradient_checkpointing=on))
        for name, on in (("plain", "false"), ("checkpointed", "true"))
    )
    assert all(torch.allclose(plain[name], checkpointed[name], atol=1e-5) for name in plain)


def test_epochs_decide_the_steps_where_no_number_is_given(train_only):
    folder = train_only("epochs", max_train_steps=None, num_train_epochs=0.5)
    assert [line["step"] for line in read_log(folder)] == [1, 2, 3]


def test_a_new_run_keeps_all_that_an_earlier_one_has_left(train_only, tmp_path):
    for seed in range(3):
        train_only("run", seed=seed, max_train_steps=3 - seed)
    kept = sorted(str(path.parent.relative_to(tmp_path / "run")) for path in tmp_path.rglob("state.json"))
    assert kept == ["checkpoints/step-1", "earlier-1/checkpoints/step-3", "earlier-2/checkpoints/step-2"]
    assert [len(read_log(tmp_path / "run" / name)) for name in ("earlier-1", "earlier-2", ".")] == [3, 2, 1]


def test_a_run_that_goes_on_from_an_earlier_step_leaves_the_later_ones(train_only, tmp_path):
    folder = train_only("run", max_train_steps=4, save_steps=1, save_total_limit=9)
    checkpoint = folder / "checkpoints" / "step-2"
    train_only("run", max_train_steps=3, save_steps=0, save_total_limit=9, resume_from_checkpoint=checkpoint)
    assert [path.name for path in list_checkpoints(folder)] == ["step-1", "step-2", "step-3"]
    assert [path.name for path in list_checkpoints(folder / "earlier-1")] == ["step-3", "step-4"]


def test_only_the_latest_checkpoints_are_kept(train_only):
    folder = train_only("run", max_train_steps=4, save_steps=1, save_total_limit=2)
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["step-3", "step-4"]


def test_the_best_model_is_kept_and_published(launch, tmp_path, monkeypatch):
    """By a metric that is best in the middle: the second evaluation of three."""
    values, measure = iter([3.0, 1.0, 2.0]), loop_module.quick_metrics
    monkeypatch.setattr(
        loop_module, "quick_metrics", lambda *a, **k: {**measure(*a, **k), "next_frame/l1": next(values)}
    )
    flags = {**RUN, "max_train_steps": 6, "eval_steps": 2, "save_steps": 0, "save_total_limit": 1}
    launch(tmp_path, **flags, metric_for_best_model="next_frame/l1", load_best_model_at_end="true")
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"best", "step-6"}
    best = json.loads((tmp_path / "checkpoints" / "best" / "state.json").read_text())
    assert best["step"] == 4 and best["best"] == {"step": 4, "metric": "next_frame/l1", "value": 1.0}
    assert best["eval"]["next_frame/l1"] == 1.0
    published = load_file(tmp_path / "model.safetensors")
    average = load_file(tmp_path / "checkpoints" / "best" / "average.safetensors")
    last = load_file(tmp_path / "checkpoints" / "step-6" / "average.safetensors")
    assert all(torch.equal(published[name], average[name]) for name in published if name in average)
    assert not same(average, last)
    assert "the best by next_frame/l1, of step 4" in (tmp_path / "README.md").read_text()


@pytest.fixture
def stalling(launch, tmp_path, monkeypatch):
    """Runs with given numbers for its evaluations, one a step, and a patience of two; gives the folder."""

    def run(name: str, values: list[float], **flags):
        numbers, measure = iter(values), quick_metrics
        monkeypatch.setattr(loop_module, "evaluation_picture", lambda *arguments: None)
        monkeypatch.setattr(
            loop_module, "quick_metrics", lambda *a, **k: {**measure(*a, **k), "next_frame/l1": next(numbers)}
        )
        given = {
            "max_train_steps": 8,
            "eval_steps": 1,
            "save_steps": 3,
            "early_stopping_patience": 2,
            "logging_steps": 1,
        }
        launch(tmp_path / name, **{**given, "metric_for_best_model": "next_frame/l1", **flags})
        return tmp_path / name

    return run


def test_a_run_stops_early_where_it_gets_no_better(stalling, caplog):
    folder = stalling("run", [3.0, 4.0, 1.0, 2.0, 1.0], load_best_model_at_end="true")
    told = "after step 5 of 8: 2 evaluations in a row without a lower next_frame/l1 than 1 of step 3"
    assert f"stopped early, {told}" in caplog.text
    assert [path.name for path in list_checkpoints(folder)] == ["step-3", "step-5"]
    assert max(line["step"] for line in read_log(folder)) == 5 and (folder / "results.json").exists()
    card = (folder / "README.md").read_text()
    assert f"| early stopping | {told} |" in card and "| steps | 5 |" in card and "of step 3 |" in card
    caplog.clear()
    again = stalling("run", [], resume_from_checkpoint="latest", load_best_model_at_end="true")
    assert f"stopped early, {told}" in caplog.text and max(line["step"] for line in read_log(again)) == 5
    caplog.clear()
    # With more patience it goes on from there; where that ends with the last step, nothing is stopped early.
    more = {"early_stopping_patience": 3, "max_train_steps": 9}
    stalling("run", [0.9, 1.0, 1.0, 1.0], resume_from_checkpoint="latest", **more)
    assert [path.name for path in list_checkpoints(folder)][-1] == "step-9"
    assert "| early stopping | none |" in (folder / "README.md").read_text() and "stopped early" not in caplog.text


def test_a_resumed_run_stops_early_where_one_that_was_not_interrupted_does(stalling, tmp_path):
    whole = stalling("whole", [1.0, 0.5, 2.0, 2.0])
    assert [path.name for path in list_checkpoints(whole)] == ["step-3", "step-4"]
    shutil.copytree(whole / "checkpoints" / "step-3", tmp_path / "part" / "checkpoints" / "step-3")
    shutil.copytree(whole / "checkpoints" / "best", tmp_path / "part" / "checkpoints" / "best")
    part = stalling("part", [2.0], resume_from_checkpoint="latest")
    assert [path.name for path in list_checkpoints(part)] == ["step-3", "step-4"]
    assert same(last_weights(part), last_weights(whole))


def test_the_best_model_is_sought_anew_where_it_is_gone(launch, tmp_path, caplog):
    flags = {**RUN, "max_train_steps": 4, "eval_steps": 2, "save_steps": 2, "logging_steps": 2}
    launch(tmp_path / "run", **flags)
    best = json.loads((tmp_path / "run" / "checkpoints" / "best" / "state.json").read_text())["step"]
    shutil.copytree(tmp_path / "run" / "checkpoints" / "step-4", tmp_path / "other" / "checkpoints" / "step-4")
    launch(tmp_path / "other", **flags, resume_from_checkpoint="latest", load_best_model_at_end="true")
    assert (tmp_path / "other" / "results.json").exists()
    assert best == 4 or "the best is sought anew" in caplog.text
    assert (tmp_path / "other" / "checkpoints" / "best").is_dir() == (best == 4)


def test_an_evaluation_that_fails_or_is_not_finite_costs_no_step(launch, tmp_path, monkeypatch, capsys):
    measure = loop_module.quick_metrics
    monkeypatch.setattr(loop_module, "quick_metrics", lambda *a, **k: {**measure(*a, **k), "loss": math.nan})
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
    assert "metric_for_best_model: found 'accuracy', expected one of loss, next_frame/l1" in line


def test_parts_have_learning_rates_of_their_own(train_only):
    """A rate next to nothing leaves a part as it was; the others learn as they did."""
    flags = {"max_train_steps": 1, "warmup_steps": 0, "lr_scheduler_type": "constant", "weight_decay": 0}
    plain = last_weights(train_only("plain", **flags))
    start = last_weights(train_only("start", **flags, learning_rate=1e-12))
    for flag, prefix in PARTS.items():
        made = last_weights(train_only(flag, **flags, **{flag: 1e-12}))
        part = {name for name in made if name.startswith(prefix)}
        assert part and all(torch.allclose(made[name], start[name], atol=1e-9) for name in part), flag
        assert not any(torch.equal(made[name], start[name]) for name in set(made) - part if made[name].ndim > 1), flag
        assert all(torch.equal(made[name], plain[name]) for name in set(made) - part), flag


def test_a_run_resumes_between_epochs(train_only, tmp_path):
    flags = {"max_train_steps": 4, "gradient_accumulation_steps": 2, "save_steps": 3}
    whole = train_only("whole", **flags)
    shutil.copytree(whole / "checkpoints" / "step-3", tmp_path / "resumed" / "checkpoints" / "step-3")
    # Six batches of four: 24 stories, which is one epoch.
    assert json.loads((whole / "checkpoints" / "step-3" / "state.json").read_text())["step"] == 3
    assert same(last_weights(whole), last_weights(train_only("resumed", **flags, resume_from_checkpoint="latest")))


def test_stories_of_one_frame_and_without_captions_are_trained_on(launch, tmp_path):
    stories = [draw_story(seed) for seed in range(6)]
    stories += [draw_story(6, num_frames=1), {**draw_story(7), "captions": [None] * 4}]
    features = Features({"frames": List(Image()), "captions": List(Value("string"))})
    (tmp_path / "set").mkdir()
    for split in ("train", "validation", "test"):
        dataset = Dataset.from_list(stories, features=features)
        dataset.to_parquet(tmp_path / "set" / f"{split}-00000-of-00001.parquet")
    for batch_size in (1, 8):
        launch(
            tmp_path / str(batch_size),
            dataset=tmp_path / "set",
            **{**QUICK, "train_batch_size": batch_size},
            max_train_steps=8,
            logging_steps=1,
        )
        losses = [line["loss"] for line in read_log(tmp_path / str(batch_size)) if "loss" in line]
        assert len(losses) == 8 and all(math.isfinite(loss) for loss in losses)


# Bad input: one line that names what was found and what was expected, before training


def test_unknown_names_are_refused(refused, small_config_file):
    line = refused(config=None, preset="giant")
    assert "'giant'" in line and "tiny" in line
    line = refused(dataset="storyworl")
    assert "'storyworl'" in line and "storyworld" in line
    line = refused(train_split="training")
    assert "'training'" in line and "train, " in line
    line = refused(tokenizer_name="./nowhere")
    assert "'./nowhere'" in line
    line = refused(config_overrides="perceptual_model=./nowhere")
    assert "perceptual_model: got './nowhere', expected a vision model" in line
    line = refused(config_overrides="hiden_size=3")
    assert "'hiden_size'" in line and "hidden_size" in line
    line = refused(report_to="paper")
    assert "paper" in line


def test_a_data_set_without_the_columns_is_refused(refused, tmp_path):
    picture = PILImage.new("RGB", (8, 8))
    folder = write_stories(tmp_path / "other", [picture], ["A fox."], names=("pages", "texts"))
    line = refused(dataset=folder)
    assert "pages, texts" in line and "'frames'" in line
    line = refused(dataset=folder, frames_column="pages")
    assert "pages, texts" in line and "'captions'" in line


@pytest.mark.parametrize(
    ("frames", "captions", "expected"),
    [
        (2, 3, ["'train-0'", "2 frames and 3 captions"]),
        (0, 0, ["'train-0'", "frames is empty"]),
        (1, 1, ["'train-0'", "frame 0", "is no image"]),
    ],
    ids=["unequal", "empty", "no image"],
)
def test_stories_that_cannot_be_read_are_refused(frames, captions, expected, refused, tmp_path):
    picture = {"bytes": b"no picture", "path": None} if frames == 1 else PILImage.new("RGB", (8, 8))
    folder = write_stories(tmp_path / "bad", [picture] * frames, ["A fox."] * captions)
    line = refused(dataset=folder)
    assert all(part in line for part in expected), line


def test_a_checkpoint_that_is_not_there_is_refused(refused, tmp_path):
    line = refused(resume_from_checkpoint="latest")
    assert "no checkpoint" in line and "step-N" in line
    line = refused(resume_from_checkpoint=tmp_path / "step-3")
    assert "state.json" in line and "'latest'" in line


def test_a_checkpoint_of_another_run_is_refused(refused, finished, tmp_path):
    checkpoint = finished / "checkpoints" / "step-4"
    line = refused(**RUN, resume_from_checkpoint=checkpoint, config_overrides="projection_dim=8")
    assert "another configuration: projection_dim: found 16, expected 8" in line
    line = refused(**RUN, resume_from_checkpoint=checkpoint, seed=9)
    assert "another run: seed: found 0, expected 9" in line
    line = refused(**RUN, resume_from_checkpoint=checkpoint, learning_rate=0.5)
    assert "another run: learning_rate: found 0.001, expected 0.5" in line
    line = refused(**RUN, resume_from_checkpoint=checkpoint, augment_crop=0.2)
    assert "another run: augmentation.crop: found None, expected 0.2" in line
    line = refused(**{**RUN, "max_train_steps": 3}, resume_from_checkpoint=checkpoint)
    assert "step 4" in line and "max_train_steps" in line


def test_an_output_dir_that_is_a_file_is_refused(refused, tmp_path):
    (tmp_path / "file").write_text("")
    assert "expected a folder" in refused(output_dir=tmp_path / "file")
