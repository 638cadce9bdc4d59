"""`storyattn estimate`: what a training costs, counted and held against what is known."""

import re

import pytest
from conftest import refused_line, small_config
from storyattn import StoryAttnForConditionalGeneration
from storyattn.training import estimation
from storyattn.training.cli import estimate
from storyattn.training.common.defaults import TABLED_DEVICES
from storyattn.training.engine.step_cost import count_step, stories_of_noise


def read(printed: str, row: str) -> list[str]:
    """Return the cells of the first row of the tables with a title, without it."""
    line = next(line for line in printed.splitlines() if line.startswith(row))
    return re.split(r" {2,}", line.removeprefix(row).strip())


@pytest.fixture
def printed(small_config_file, capsys):
    def run(*flags: str) -> str:
        estimate.main([f"--config={small_config_file}", "--max_train_steps=100", *flags])
        return capsys.readouterr().out

    return run


def test_a_longer_story_costs_more_and_a_batch_as_many_calls():
    config = small_config()
    model = StoryAttnForConditionalGeneration(config)
    short, long = (count_step(model, frames, 8) for frames in (2, 4))
    assert 1.5 < long.flops / short.flops < 4 and long.activation_bytes > 1.3 * short.activation_bytes
    assert short.calls > 500
    batch = stories_of_noise(config, 2, 3, 8, "cpu")
    assert batch["pixel_values"].shape == (2, 3, 3, *config.image_size) and batch["input_ids"].shape == (2, 3, 8)


def test_a_frozen_part_needs_no_gradient_and_less_memory():
    model = StoryAttnForConditionalGeneration(small_config())
    whole = count_step(model, 3, 8)
    model.parts["vision"].requires_grad_(False)
    frozen = count_step(model, 3, 8)
    assert frozen.flops < whole.flops and frozen.activation_bytes < whole.activation_bytes
    assert all(weight.grad is None for weight in model.parameters())


def test_memory_is_the_sum_of_what_is_kept(printed):
    text = printed("--device=h100", "--use_ema=false")
    parameters = int(read(text, "all")[0].replace(",", ""))
    rows = {name: float(read(text, name)[0]) for name in ("weights", "moments of AdamW", "moving average")}
    assert rows == {
        "weights": pytest.approx(4 * parameters / 1e9, rel=0.01),
        "moments of AdamW": pytest.approx(8 * parameters / 1e9, rel=0.01),
        "moving average": 0,
    }


def test_the_table_of_devices_counts_steps_and_says_what_fits(printed):
    text = printed()
    rows = {name: read(text, f"1 x {name}") for name in TABLED_DEVICES}
    assert tuple(estimation.DEVICES) == TABLED_DEVICES
    assert all(row[1] == "yes" for row in rows.values())
    assert float(rows["t4"][2]) > 0.001  # every call takes its time
    assert read(printed("--train_batch_size=1000000"), "1 x t4")[1] == "no"
    more = printed("--device=a100", "--num_devices=4", "--gradient_accumulation_steps=3", "--mixed_precision=bf16")
    assert float(read(more, "4 x a100")[2]) == pytest.approx(3 * float(rows["a100"][2]), rel=0.05)
    assert "a step: 192 stories" in more


def test_steps_are_run_on_this_machine(printed):
    text = printed("--device=cpu", "--train_batch_size=2")
    seconds, hours = re.search(r"cpu here: ([\d.]+) s a step, ([\d.]+) h of 100 steps", text).groups()
    assert float(seconds) > 0 and float(hours) == pytest.approx(float(seconds) / 36, abs=0.01)


def test_epochs_are_counted_in_stories(small_config_file, capsys):
    estimate.main([f"--config={small_config_file}", "--num_train_epochs=2", "--device=t4"])
    assert "h of 438 steps" in capsys.readouterr().out  # 2 x 3500 stories of StoryWorld in batches of 16
    line = refused_line(estimate.main, [f"--config={small_config_file}", "--dataset=mine", "--num_train_epochs=2"])
    assert "num_stories: got none" in line
    flags = [f"--config={small_config_file}", "--dataset=mine", "--num_train_epochs=2", "--num_stories=64"]
    estimate.main([*flags, "--device=t4"])
    assert "h of 8 steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--num_devices=0", "num_devices: got 0"),
        ("--utilization=1.5", "utilization: got 1.5"),
        ("--baseline=notebook", "baseline: got 'notebook'"),
        ("--lerning_rate=1", "did you mean --learning_rate?"),
    ],
)
def test_mistakes_are_one_line(flag, expected):
    assert expected in refused_line(estimate.main, [flag])
