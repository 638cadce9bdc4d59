"""A whole evaluation of a model whose behaviour is known, the short one during training, and the results file."""

import json
import math

import pytest
import torch
from conftest import draw_story
from datasets import Dataset, Features, Image, List, Value
from level_model import HEIGHT, WIDTH, LevelModel, LevelProcessor, level_stories
from storyattn.training.common.files import write_results
from storyattn.training.evaluation.evaluate import evaluate_model
from storyattn.training.evaluation.quick import quick_metrics
from storyattn.training.evaluation.results import results_document
from storyattn.training.evaluation.terminal import format_metrics
from storyattn.training.evaluation.windows import exchange
from torch.testing import assert_close


def test_exchange_gives_everyone_something_of_another_group():
    groups = [0] * 5 + [1] * 3 + [2] * 4
    donors = exchange(groups, seed=3)
    assert sorted(donors) == list(range(12))
    assert all(groups[donor] != group for donor, group in zip(donors, groups))
    assert donors == exchange(groups, seed=3) != exchange(groups, seed=4)
    crowded = [0] * 5 + [1]
    assert all(crowded[donor] != group for donor, group in zip(exchange(crowded, 0), crowded))
    assert exchange([0, 0], 0) == [None, None]


@pytest.fixture(scope="module")
def metrics() -> dict:
    """An evaluation of six transitions, with boxes, events and training stories."""
    stories = level_stories([[0, 2, 5], [1, 4], [3, 6, 8, 9], [7]], boxes=True)
    train = level_stories([[5, 5], [1, 9]])
    model = LevelModel()
    model.part.eval()
    metrics = evaluate_model(model, LevelProcessor(), stories, train_stories=train, batch_size=3, progress=False)
    assert model.training and not model.part.training, "every module has its mode back"
    return metrics


def test_windows_are_counted_and_shown(metrics):
    assert (metrics["num_windows"], metrics["num_windows_left_out"], metrics["num_stories"]) == (6, 1, 3)
    assert "control: caption of another story" in format_metrics(metrics) and "brightens" in format_metrics(metrics)


def test_frames_that_the_caption_names_are_right_and_floors_are_not(metrics):
    frames, tolerance = metrics["next_frame"], {"atol": 2e-3, "rtol": 0}  # grey levels are rounded to 8 bits
    steps = [0.2, 0.3, 0.3, 0.3, 0.2, 0.1]  # from the last input to the target: 0 2 5, 1 4, and 3 6 8 9
    assert_close(frames["l1"], 0.0, **tolerance)
    assert_close(metrics["next_frame_alone"]["l1"], sum(steps) / 6, **tolerance)
    assert_close(frames["floors"]["copy_last"]["l1_changed"], sum(steps) / 6, **tolerance)
    assert_close(frames["floors"]["oracle_input"]["l1"], sum(steps) / 6, **tolerance)
    assert_close(frames["floors"]["mean"]["l1"], (0.2 + 0.4 + 0.3 + 0.3 + 0.35 + 0.2) / 6, **tolerance)
    assert_close(frames["floors"]["train_median"]["l1"], (0.3 + 0.0 + 0.1 + 0.1 + 0.3 + 0.4) / 6, **tolerance)
    assert_close(metrics["reconstruction"]["l1"], 0.1, **tolerance)
    assert frames["shuffled_caption"]["l1"] > 0.1


def test_every_transition_is_measured_by_event_and_by_position(metrics):
    frames = metrics["next_frame"]
    assert frames["by_event"]["brightens"]["count"] == 6
    counts = {position: row["count"] for position, row in frames["by_position"].items()}
    assert counts == {"1": 3, "2": 2, "3": 1}
    copied = [row["copy_last_l1_changed_per_frame"] for row in frames["by_position"].values()]
    assert_close(copied, [(0.2 + 0.3 + 0.3) / 3, (0.3 + 0.2) / 2, 0.1], atol=2e-3, rtol=0)


def test_describing_is_right_and_continuing_once_in_six(metrics):
    """To continue, the model writes the last level plus one."""
    assert metrics["describe"]["rouge_l"] == 100.0
    assert_close(metrics["next_caption"]["rouge_l"], 100 / 6)
    assert metrics["describe"]["examples"][1] == {"target": "5", "generated": "5"}
    assert metrics["describe"]["floors"]["last_caption"]["rouge_l"] == 0.0
    assert set(metrics["describe"]["floors"]) == {"last_caption", "random_train_caption", "unigram"}
    assert "event" not in metrics["describe"]  # no captions of StoryWorld


def test_caption_losses_are_those_of_the_logits(metrics):
    sure, unsure = math.log(math.exp(5) + 31) - 5, math.log(math.exp(5) + 31)
    assert_close(metrics["describe"]["loss"], (sure + unsure) / 2)  # sure of the level, unsure of the end
    assert_close(metrics["describe"]["loss_shuffled_frames"], unsure)
    # captions of one byte and two tokens
    assert_close(metrics["describe"]["bits_per_byte"], (sure + unsure) / math.log(2))
    assert_close(metrics["next_caption"]["bits_per_byte_shuffled_frames"], 2 * unsure / math.log(2))
    # training has 5 twice, 1, 9, and four ends; each of 32 tokens counts once more; the targets are 2 5 4 6 8 9
    counts = (0, 2, 0, 0, 0, 1, *[4] * 6)
    bits = -sum(math.log2((count + 1) / (8 + 32)) for count in counts) / 6
    assert_close(metrics["describe"]["floors"]["unigram"]["bits_per_byte"], bits)


def test_retrieval_and_attention_are_measured_on_whole_stories(metrics):
    for direction in ("text_to_image", "image_to_text"):
        assert (metrics["retrieval"][direction]["r1"], metrics["retrieval"][direction]["within_story_r1"]) == (1.0, 1.0)
    assert metrics["retrieval"]["num_frames"] == 9
    assert metrics["attention"]["pointing_game"] == 1.0  # the first cell lies in the box of 8 x 8 pixels
    assert_close(metrics["attention"]["mass_over_area"], HEIGHT * WIDTH / 64)


def test_evaluation_without_boxes_events_training_stories_and_some_captions():
    stories = level_stories([[0, 2, 5], [1, 4], [3, 6]], [["0", None, "5"], ["1", "4"], ["3", None]])
    metrics = evaluate_model(LevelModel(), LevelProcessor(), stories, progress=False)
    assert "attention" not in metrics and "by_event" not in metrics["next_frame"]
    assert set(metrics["next_frame"]["floors"]) == {"copy_last", "mean", "oracle_input"}
    assert (
        metrics["next_caption"]["num_captions"] == 2
        and "state" not in metrics
        and metrics["retrieval"]["num_frames"] == 5
    )
    assert any("no caption" in note for note in metrics["notes"]) and any(
        "training" in note for note in metrics["notes"]
    )
    assert "-" in format_metrics(metrics)
    alone = evaluate_model(LevelModel(), LevelProcessor(), level_stories([[1, 2, 3, 4]]), progress=False)
    assert alone["next_frame"]["shuffled_caption"]["l1"] is None and alone["describe"]["loss_shuffled_frames"] is None


def test_evaluation_repeats_itself_and_takes_the_windows_asked_for():
    stories = level_stories([[0, 2, 5, 6, 7], [1, 4, 2], [3, 6, 8, 9]])
    first, second = (
        evaluate_model(LevelModel(), LevelProcessor(), stories, max_windows=4, seed=5, progress=False) for _ in range(2)
    )
    assert first == second and first["num_windows"] == 4


def test_stories_without_a_transition_are_refused():
    with pytest.raises(ValueError, match="no story with two frames among 2"):
        evaluate_model(LevelModel(), LevelProcessor(), level_stories([[1], [2]]), progress=False)


def test_a_caption_that_is_cut_counts_the_bytes_that_are_left(small_model, small_processor):
    """Its loss is that of the tokens that are left: all bytes would make longer captions look easier."""
    stories = [draw_story(seed, num_frames=2) for seed in (0, 1)]
    captions = ["The red fox walks.", "The red fox walks to the left. " * 30]
    for story, caption in zip(stories, captions):
        story["captions"] = ["A fox.", caption]
    columns = {name: [story[name] for story in stories] for name in ("frames", "captions")}
    features = Features({"frames": List(Image()), "captions": List(Value("string")), "story_id": Value("string")})
    dataset = Dataset.from_dict({**columns, "story_id": ["a", "b"]}, features=features)
    metrics = evaluate_model(small_model, small_processor, dataset, progress=False)["describe"]
    ids = small_processor.encode_captions(captions)
    num_bytes = [len(text.encode()) for text in small_processor.batch_decode(ids, skip_special_tokens=True)]
    assert num_bytes[0] == len(captions[0]) and num_bytes[1] < len(captions[1]) / 4
    tokens = sum(len(caption) - 1 for caption in ids)
    assert_close(metrics["bits_per_byte"], metrics["loss"] * tokens / math.log(2) / sum(num_bytes))


def test_quick_metrics_are_flat_numbers():
    stories = level_stories([[0, 2, 5], [1, 4]])
    numbers = quick_metrics(LevelModel(), LevelProcessor(), stories, max_windows=2, batch_size=1)
    expected = {"loss": 2.0, "loss_parts/l1": 0.5, "next_frame/l1": 0.0, "next_frame/l1_changed": 0.0}
    expected |= {"next_frame/l1_changed_per_frame": 0.0, "copy_last/l1_changed_per_frame": 0.25}
    expected |= {"copy_last/l1": 0.25, "copy_last/l1_changed": 0.25}
    assert_close(numbers, expected, atol=2e-3, rtol=0)


def test_results_are_written_whole_and_without_nan(tmp_path):
    metrics = {"num_stories": 1, "num_windows": 2, "describe": {"loss": float("nan"), "heads": [float("inf"), 1.0]}}
    document = results_document(metrics, dataset="d", split="test", model="m", seed=0, command="storyattn evaluate")
    path = tmp_path / "deep" / "results.json"
    write_results(document, path)
    read = json.loads(path.read_text())
    assert read["metrics"]["describe"] == {"loss": None, "heads": [None, 1.0]}
    assert read["versions"]["torch"] == torch.__version__ and read["num_windows"] == 2
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]
