"""The benchmark of futures: what it counts, by frames that are known to be right or wrong."""

import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration
from storyattn.training.models.load import load_model
from storyattn.training.storyworld import draw_counterfactual, generate_story
from storyattn.training.storyworld.stage import Stage, draw_stage
from storyattn.training.storyworld.states import PictureState

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import futures  # noqa: E402
from agreement import Agreement  # noqa: E402

CHECKPOINT = str(Path(__file__).parents[1] / "checkpoints" / "storyattn-tiny")


@pytest.fixture(scope="module")
def story() -> dict:
    return generate_story(3, "validation")


def as_frames(*pictures: Image.Image) -> torch.Tensor:
    return torch.stack([futures.as_tensor(picture) for picture in pictures])


def test_legal_and_distinct_futures_are_counted(story):
    others = [draw_counterfactual("validation-3", 2, number=number)["frame"] for number in range(2)]
    true, last = story["frames"][2], story["frames"][1]
    noise = Image.effect_noise(true.size, 90).convert("RGB")
    states = [PictureState.from_json(text) for text in story["states"][:3]]
    measured = futures.Futures()
    samples = as_frames(true, true, others[0], noise)
    measured.update(samples, as_frames(true), *as_frames(true, last), states)
    values = measured.compute()
    assert values["legal"] == values["readable"] == 0.75 and values["distinct_legal"] == 2
    assert values["best_l1_changed"] == 0 < values["mean_l1_changed"] and values["exact_captioned"] == 1
    assert values["distance"] > 0 and values["frechet"] is None
    copied = futures.Futures()
    copied.update(as_frames(*[last] * 4), as_frames(last), *as_frames(true, last), states)
    values = copied.compute()
    assert values["legal"] == 1 and values["distinct_legal"] == 1 and values["distance"] == 0
    assert values["legal_changes"] == 0 and values["exact_captioned"] == 0


def test_edges_are_those_of_the_pixels_that_changed(story):
    last, target = as_frames(*story["frames"][1:3])
    for painted, expected in ((target, 1), (torch.full_like(target, 0.5), 0)):
        edges = futures.Edges()
        edges.update("walk", painted, target, last)
        assert edges.compute() == {"all": pytest.approx(expected), "walk": pytest.approx(expected)}
    edges.update("wait", target, last, last)
    assert edges.compute()["wait"] is None


def test_a_rollout_of_true_frames_is_legal_and_two_selves_are_noticed(story):
    true = futures.rollout(story["frames"][2:], story)
    kinds = true.pop("kinds")
    assert true == {"legal": 1, "twice": 0, "legal_by_step": [True] * 4}
    assert all(event["kind"] in shown for event, shown in zip(story["events"][2:], kinds))
    frames = [story["frames"][2], generate_story(40, "validation")["frames"][0], *story["frames"][2:4]]
    broken = futures.rollout(frames, story)
    assert broken["legal_by_step"] == [True, False, False, True], "what follows is judged from what was painted"
    hero = story["characters"][0]
    stages = (Stage(story["setting"], "clear", "day", (hero, "nobody"), {hero: place}) for place in (0, 2))
    twin, right = (draw_stage(stage, (64, 96))[0] for stage in stages)
    twin.paste(right.crop((48, 0, 96, 64)), (48, 0))
    assert futures.rollout([twin], story)["twice"] == 1


def test_true_captions_fit_true_frames_and_themselves(story):
    given, written = story["captions"][: futures.GIVEN], story["captions"][futures.GIVEN :]
    shown = futures.rollout(story["frames"][futures.GIVEN :], story)["kinds"]
    right = Agreement()
    right.update(given, written, written, shown)
    values = right.compute()
    assert values["painted"] == values["described"] == 1
    assert values["painted_floor"] < 1 and values["described_floor"] < 1
    wrong = Agreement()
    wrong.update(given, written, ["", *written[1:]], [frozenset(), *shown[1:]])
    assert wrong.compute()["painted"] == wrong.compute()["described"] == 0.75


def test_a_regression_model_is_measured_alone(tmp_path, capsys, one_thread):
    output = tmp_path / "futures.json"
    flags = ["--num_stories", "2", "--num_rollouts", "1", "--num_steps", "1", "--num_drawn", "1", "--threads", "1"]
    futures.main([CHECKPOINT, *flags, "--device", "cpu", "--output", str(output)])
    (row,) = json.loads(output.read_text())["rows"]
    assert row["model"] == "regression" and row["distinct_legal"] <= 1 and row["best_over_regression"] == 1
    assert row["distance"] == 0 and row["time_over_one_step"] is None
    assert 0 <= row["told_painted"] <= 1 and 0 <= row["told_described"] <= 1
    assert Image.open(output.with_suffix(".png")).width > 3 * 96
    assert capsys.readouterr().out.count("| regression |") == 2


def test_a_flow_model_has_a_row_for_each_number_of_steps(story, one_thread):
    """With noise that is not read yet, each row is that of the regression model."""
    config = StoryAttnConfig.from_pretrained(CHECKPOINT)
    config.frame_decoder_type = "flow"
    flow = StoryAttnForConditionalGeneration.from_pretrained(CHECKPOINT, config=config).eval()
    regression, processor = load_model(CHECKPOINT, "cpu")
    flags = [CHECKPOINT, "--num_rollouts", "1", "--num_steps", "2", "--num_samples", "2", "--repeats", "1"]
    arguments = futures.parse([*flags, "--num_frame_steps", "1", "2", "--device", "cpu"])
    models = [futures.Model(flow, processor, 2), futures.Model(regression, processor)]
    first, second = (futures.measure(model, [story], arguments, None) for model in models)
    assert (first.pop("model"), second.pop("model")) == ("flow, 2 steps", "regression")
    told = [name for name in first if name.startswith("told")]  # whose captions are drawn after other noise
    assert {**first, **dict.fromkeys(told)} == {**second, **dict.fromkeys(told)}
    times = futures.time_steps(models[0], story, arguments)
    assert times[1] == 1 and times[2] > 0 and list(times) == [1, 2]
