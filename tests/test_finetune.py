"""`storyattn finetune`: from a trained model and a folder of pictures to a model that is better on them."""

import json
from pathlib import Path

import pytest
from clip_art_stories import write_stories
from conftest import refused_line
from PIL import Image
from storyattn.training.arguments import parse_arguments
from storyattn.training.cli import finetune
from storyattn.training.evaluation.comparison import BEFORE, comparison_rows

MODEL = str(Path(__file__).parent.parent / "checkpoints" / "storyattn-tiny")


@pytest.fixture(scope="module")
def stories(tmp_path_factory) -> Path:
    return write_stories(tmp_path_factory.mktemp("finetune") / "my stories")


@pytest.fixture(scope="module")
def run(stories, tmp_path_factory) -> Path:
    """The folder of a short fine-tuning."""
    folder = tmp_path_factory.mktemp("run") / "tuned"
    flags = ["--max_train_steps=10", "--eval_steps=5", "--warmup_steps=2", "--max_eval_windows=1"]
    finetune.main([str(stories), "--model", MODEL, "--output_dir", str(folder), *flags])
    return folder


@pytest.mark.slow
def test_held_out_stories_are_painted_and_written_better_than_before(run):
    results = json.loads((run / "results.json").read_text())
    before, after = results[BEFORE], results["metrics"]
    assert before["num_windows"] == after["num_windows"] == 4, "the transitions of one story that was held out"
    for part, measure, share in (
        ("next_frame", "l1_changed", 0.99),
        ("next_caption", "bits_per_byte", 0.95),
        ("describe", "bits_per_byte", 0.95),
    ):
        assert after[part][measure] < share * before[part][measure], part


@pytest.mark.slow
def test_the_run_shows_what_it_changed(run):
    with Image.open(run / "figures" / "before_after.png") as picture:
        assert picture.width > 900 and picture.height > 800  # four columns, and a row for each transition
    assert {"step-000005.png", "step-000010.png"} <= {path.name for path in (run / "figures").iterdir()}
    card = (run / "README.md").read_text()
    assert "was fine-tuned from storyattn-tiny on my stories" in card
    assert "figures/before_after.png" in card and "| On held-out stories | before | after |" in card
    results = json.loads((run / "results.json").read_text())
    assert results["facts"]["command"].startswith("storyattn finetune ")


def test_a_row_has_the_number_before_and_after_beside_the_floor():
    def metrics(value: float) -> dict:
        return {"next_frame": {"l1": value, "floors": {"copy_last": {"l1": 0.2}, "mean": {"l1": 0.4}}}}

    rows = comparison_rows(metrics(0.5), metrics(0.1))
    assert rows == [["next frame, caption given: L1", "0.5000", "0.1000", "0.2000", "copy last"]]
    assert comparison_rows({}, metrics(0.1))[0][1] == "-"


def test_flags_of_the_training_override_the_recipe():
    argv = ["data/my stories", "--model", "m", "--max_train_steps", "9", "--compare_with_start", "no"]
    flags = finetune.training_flags(argv)
    named = {"--dataset=data/my stories", "--model_name_or_path=m", "--output_dir=runs/finetuned-my stories"}
    assert named | {"--max_train_steps=9", "--train_batch_size=4", "--load_best_model_at_end=True"} <= set(flags)
    assert not any("compare_with_start" in flag for flag in flags)
    recipe = parse_arguments([finetune.RECIPE, "--model_name_or_path=m"])
    for group, name in ((0, "text_tuning"), (2, "augment_crop")):
        assert getattr(parse_arguments(flags)[group], name) == getattr(recipe[group], name)


def test_mistakes_are_one_line(stories, capsys):
    assert "nowhere/at/all" in refused_line(finetune.main, [str(stories), "--model", "nowhere/at/all"])
    with pytest.raises(SystemExit):
        finetune.main([str(stories)])
    assert "--model" in capsys.readouterr().err
