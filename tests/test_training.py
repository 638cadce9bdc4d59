"""Training from the command line on a small model: what a run leaves, and what changes nothing."""

import json
import math

import pytest
import torch
from conftest import draw_story, write_data_set
from PIL import Image as PILImage
from safetensors.torch import load_file
from storyattn.configuration_storyattn import DEFAULT_LOSS_WEIGHTS
from storyattn.training.cli import evaluate as evaluate_cli
from storyattn.training.data.sources import read_stories
from storyattn.training.engine.optimizer import LEARNING_RATE_PARTS
from training_runs import RUN, TIMES, last_weights, read_log, same_tensors
from transformers import AutoModelForMultimodalLM, AutoProcessor

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_run_leaves_a_folder_ready_for_the_hub(finished_run):
    names = {path.name for path in finished_run.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "modeling_storyattn.py"} <= names
    figures = {path.name for path in (finished_run / "figures").iterdir()}
    examples = {"example_1.png", "example_2.png"}  # pictures of the model's size, for the card
    assert examples < figures
    figures -= examples
    steps = ("step-000004.png", "step-000008.png")
    assert figures == {"evaluation.png", "loss_curves.png", *steps, *(f"story_{number}.png" for number in (1, 2, 3))}
    for name in figures:
        with PILImage.open(finished_run / "figures" / name) as picture:
            assert min(picture.size) >= 100
    card = (finished_run / "README.md").read_text()
    assert "model-index:" in card and "--max_train_steps=8" in card and "| stories per step | 8 |" in card

    results = json.loads((finished_run / "results.json").read_text())
    assert math.isfinite(results["metrics"]["next_frame"]["l1"]) and results["split"] == "test"
    model = AutoModelForMultimodalLM.from_pretrained(finished_run, trust_remote_code=True)
    processor = AutoProcessor.from_pretrained(finished_run, trust_remote_code=True)
    frames = [PILImage.new("RGB", (40, 40), "red")]
    continuation = model.continue_story(processor, frames, ["A fox."], 1)
    assert len(continuation) == 2 and continuation.num_given == 1


def test_what_is_stored_in_half_precision_is_what_was_measured(launch, stories_folder, tmp_path):
    launch(tmp_path / "run", **{**RUN, "max_train_steps": 2, "max_test_windows": None, "save_dtype": "float16"})
    stored = load_file(tmp_path / "run" / "model.safetensors")
    assert {weight.dtype for weight in stored.values() if weight.is_floating_point()} == {torch.float16}
    again = {"model": tmp_path / "run", "dataset": stories_folder, "output": tmp_path / "again.json"}
    evaluate_cli.main([f"--{name}={value}" for name, value in again.items()])
    expected, measured = (json.loads((tmp_path / name).read_text()) for name in ("run/results.json", "again.json"))
    for part, name in (("next_frame", "l1"), ("next_caption", "loss")):
        assert measured["metrics"][part][name] == pytest.approx(expected["metrics"][part][name], rel=1e-6)


def test_the_log_has_a_line_for_every_step_and_evaluation(finished_run):
    log = read_log(finished_run)
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


@pytest.fixture(scope="module")
def raw_run(launch, tmp_path_factory):
    """The folder of a run without a moving average, which publishes nothing of its stories."""
    folder = tmp_path_factory.mktemp("runs") / "raw"
    launch(folder, max_train_steps=1, use_ema="false", publish_stories="false")
    return folder


def test_the_moving_average_is_published_unless_it_is_off(finished_run, raw_run):
    checkpoint = finished_run / "checkpoints" / "step-8"
    published, last = load_file(finished_run / "model.safetensors"), load_file(checkpoint / "model.safetensors")
    average = load_file(checkpoint / "average.safetensors")
    # A tied weight is stored once, under either of its names.
    shared = [name for name in published if name in last]
    assert len(shared) >= len(published) - 1
    assert all(torch.equal(published[name], average[name]) for name in shared)
    assert not any(torch.equal(published[name], last[name]) for name in shared if "frame_decoder" in name)

    assert not list(raw_run.rglob("average.safetensors"))
    published, last = load_file(raw_run / "model.safetensors"), last_weights(raw_run)
    assert all(torch.equal(published[name], last[name]) for name in shared)


def test_stories_can_be_left_out_of_what_is_published(finished_run, raw_run, stories_folder):
    captions = {text for text in read_stories(str(stories_folder), "test")["captions"][0] if text}
    shown = {folder: (folder / "README.md").read_text() for folder in (finished_run, raw_run)}
    shown = {folder: text + (folder / "results.json").read_text() for folder, text in shown.items()}
    assert any(text in shown[finished_run] for text in captions)
    assert not any(text in shown[raw_run] for text in captions)
    figures = {"evaluation.png", "example_1.png", *(f"story_{number}.png" for number in (1, 2, 3))}
    assert {path.name for path in (raw_run / "figures").iterdir()} == figures
    # The page that the quick start reads is the model's own.
    model = AutoModelForMultimodalLM.from_pretrained(raw_run, trust_remote_code=True).eval()
    processor = AutoProcessor.from_pretrained(raw_run, trust_remote_code=True)
    first = read_stories(str(stories_folder), "test")["frames"][0][0]
    with torch.no_grad():
        painted = model(**processor(frames=[[first]], captions=[[None]], return_tensors="pt")).reconstructed_frames
    with PILImage.open(raw_run / "figures" / "example_1.png") as example:
        assert example.tobytes() == processor.postprocess_frames(painted[0])[0].tobytes()
    assert "captions = [None]" in shown[raw_run]
    whole, paintings = (PILImage.open(folder / "figures" / "evaluation.png") for folder in (finished_run, raw_run))
    assert paintings.width < whole.width


def test_losses_fall(train_only):
    folder = train_only("long", max_train_steps=40, learning_rate=3e-3, lr_scheduler_type="constant")
    log = read_log(folder)
    for name in ("next_frame_l1", "reconstruction_l1", "describe", "next_caption"):
        values = [line["loss_parts"][name] for line in log]
        assert sum(values[-5:]) < 0.8 * sum(values[:5]), name


def test_the_seed_alone_decides_the_weights(train_only):
    first, again, other = (last_weights(train_only(name, seed=seed)) for name, seed in (("a", 5), ("b", 5), ("c", 6)))
    assert same_tensors(first, again) and not same_tensors(first, other)


def test_workers_change_nothing(train_only):
    alone, helped = (last_weights(train_only(name, dataloader_num_workers=n)) for name, n in (("a", 0), ("b", 1)))
    assert same_tensors(alone, helped)


def test_accumulated_batches_equal_one_large_batch(train_only, tmp_path):
    """Stories of unequal length, captions missing; the alignment alone has the pairs of one batch for negatives."""
    stories = [draw_story(seed, num_frames=1 + seed % 4) for seed in range(24)]
    stories[3]["captions"] = [None] * 4
    dataset = write_data_set(tmp_path / "set", dict.fromkeys(("train", "validation", "test"), stories))
    changes = "loss_weights.alignment=0,num_reconstructed_frames=2"
    changes = f"{changes},text_config.dropout=0,text_config.attention_dropout=0"
    logs, weights = [], []
    for batch, accumulated in ((8, 1), (2, 4)):
        flags = {"train_batch_size": batch, "gradient_accumulation_steps": accumulated, "config_overrides": changes}
        folder = train_only(f"batch-{batch}", dataset=dataset, max_train_steps=4, warmup_steps=0, **flags)
        logs.append(read_log(folder))
        weights.append(last_weights(folder))
    assert len(logs[0]) == len(logs[1]) == 4
    for whole, accumulated in zip(*logs):
        assert accumulated["loss"] == pytest.approx(whole["loss"], rel=1e-5)
        # Gradients are summed in another order: equal at the same weights; then the difference grows with each step.
        bound = 1e-6 if whole["step"] == 1 else 1e-3
        assert accumulated["grad_norm"] == pytest.approx(whole["grad_norm"], rel=bound)
        names = {name for name, weight in DEFAULT_LOSS_WEIGHTS.items() if weight} - {"alignment"}
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


def test_the_rate_decays_over_the_last_steps_alone(train_only):
    flags = {"lr_scheduler_type": "warmup_stable_decay", "decay_steps": 2, "warmup_steps": 1, "learning_rate": 1e-3}
    rates = [line["lr"] for line in read_log(train_only("decay", max_train_steps=5, logging_steps=1, **flags))]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 1e-3 * (1 - 0.5**0.5), 0])


def test_parts_have_learning_rates_of_their_own(train_only):
    """A rate next to nothing leaves a part as it was; the others learn as they did."""
    flags = {"max_train_steps": 1, "warmup_steps": 0, "lr_scheduler_type": "constant", "weight_decay": 0}
    plain = last_weights(train_only("plain", **flags))
    start = last_weights(train_only("start", **flags, learning_rate=1e-12))
    for flag, prefix in LEARNING_RATE_PARTS.items():
        trained = last_weights(train_only(flag, **flags, **{flag: 1e-12}))
        part = {name for name in trained if name.startswith(prefix)}
        assert part and all(torch.allclose(trained[name], start[name], atol=1e-9) for name in part), flag
        others = set(trained) - part
        assert not any(torch.equal(trained[name], start[name]) for name in others if trained[name].ndim > 1), flag
        assert all(torch.equal(trained[name], plain[name]) for name in others), flag


def test_stories_of_one_frame_and_without_captions_are_trained_on(launch, tmp_path):
    stories = [draw_story(seed) for seed in range(6)]
    stories += [draw_story(6, num_frames=1), {**draw_story(7), "captions": [None] * 4}]
    dataset = write_data_set(tmp_path / "set", dict.fromkeys(("train", "validation", "test"), stories))
    for batch_size, steps in ((1, 8), (8, 1)):  # every story once
        flags = {"train_batch_size": batch_size, "max_train_steps": steps, "logging_steps": 1}
        launch(tmp_path / str(batch_size), dataset=dataset, results=batch_size == 8, **flags)
        losses = [line["loss"] for line in read_log(tmp_path / str(batch_size)) if "loss" in line]
        assert len(losses) == steps and all(math.isfinite(loss) for loss in losses)
