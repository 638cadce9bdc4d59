"""What `storyattn evaluate` measures with: a feature network, a CLIP model and a baseline that reads no picture."""

import json
from pathlib import Path

import pytest
import torch
from clip_folder import save_clip
from conftest import refused_line, small_config
from pretrained_folders import save_vision
from storyattn.training.cli import evaluate as evaluate_cli
from storyattn.training.evaluation.tables import main_results
from storyattn.training.models.baselines import build_baseline, story_config
from torch.testing import assert_close


@pytest.fixture
def folders(small_model, small_processor, tmp_path) -> dict[str, Path]:
    """The small model and a text_only baseline of it, both with fresh weights, a vision model and a CLIP."""
    config = small_config()
    config.adapt_to_tokenizer(small_processor.tokenizer)
    torch.manual_seed(1)
    models = {"model": small_model, "text_only": build_baseline("text_only", story_config("text_only", config))}
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
        small_processor.save_pretrained(tmp_path / name)
    networks = {
        "feature_network": save_vision(tmp_path / "vision", "convnext"),
        "clip_model": save_clip(tmp_path / "clip"),
    }
    return {**{name: tmp_path / name for name in models}, **networks}


@pytest.fixture
def evaluated(folders, stories_folder, tmp_path):
    """Run the command on drawn stories; returns the metrics that it writes."""

    def run(*names: str, **changes) -> dict:
        flags = {name: folders[name] for name in ("model", *names)} | changes
        flags |= {"dataset": stories_folder, "max_windows": 6, "batch_size": 3, "output": tmp_path / "results.json"}
        evaluate_cli.main([f"--{name}={value}" for name, value in flags.items()])
        return json.loads((tmp_path / "results.json").read_text())["metrics"]

    return run


def test_a_trained_baseline_is_the_floor_of_both_captions(evaluated, folders, capsys):
    metrics = evaluated("text_only")
    alone = evaluated(model=folders["text_only"])["next_caption"]
    for task in ("next_caption", "describe"):
        floor = metrics[task]["floors"]["text_only"]
        for name in ("loss", "bits_per_byte", "bleu4", "meteor", "chrf", "cider"):
            assert_close(floor[name], alone[name], msg=name)
    rows = {row["name"]: row for row in main_results(metrics)}
    assert "text_only" in {row["floor_name"] for row in rows.values()} | {"text_only"}
    printed = capsys.readouterr().out
    assert "text_only" in printed and "control: pictures of other stories" in printed
    assert not any("no text_only baseline" in note for note in metrics["notes"])


def test_networks_that_are_given_are_named_beside_their_measures(evaluated, folders, capsys):
    metrics = evaluated("feature_network", "clip_model")
    assert metrics["feature_network"] == str(folders["feature_network"])
    assert metrics["next_frame"]["perceptual"] > 0 and metrics["next_frame"]["floors"]["copy_last"]["fid"] > 0
    score = metrics["next_frame"]["clip_score"]
    assert set(score) == {"caption_given", "no_caption", "true_frames", "last_frame", "count", "clip_model"}
    assert score["clip_model"] == str(folders["clip_model"]) and 0 < score["count"] <= 6
    assert f"in features of {folders['feature_network']}" in capsys.readouterr().out


def test_something_else_is_refused_in_one_line(folders, stories_folder):
    flags = [f"--model={folders['model']}", f"--dataset={stories_folder}"]
    for flag, message in (
        (f"--text_only={folders['model']}", "of type storyattn, expected storyattn_text_only"),
        ("--text_only=./nowhere", "got './nowhere'"),
        ("--feature_network=./nowhere", "feature_network: got './nowhere'"),
        (f"--clip_model={folders['feature_network']}", "expected a CLIP model"),
    ):
        assert message in refused_line(evaluate_cli.main, [*flags, flag])
