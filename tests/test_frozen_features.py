"""The benchmark of frozen features."""

import importlib
import json
from pathlib import Path

import pytest
import torch
from conftest import draw_story
from datasets import Dataset, DatasetDict, Features, Image, List, Value
from pretrained_folders import save_text, save_vision


@pytest.fixture
def frozen(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module("frozen_features")


def test_pages_before_are_of_the_same_story(frozen):
    features = torch.tensor([[0.0], [3.0], [6.0], [9.0], [100.0], [200.0]])
    joined = frozen.with_previous(features, torch.tensor([0, 0, 0, 0, 1, 1]), 2)
    assert joined.flatten().tolist() == [0.0, 1.5, 3.0, 6.0, 100.0, 150.0]


def test_the_table_has_every_size_and_split(frozen, tmp_path, capsys):
    schema = {"frames": List(Image()), "captions": List(Value("string"))}
    stories = [{name: draw_story(seed, num_frames=4)[name] for name in schema} for seed in range(8)]
    splits = {"train": stories[:4], "validation": stories[4:6], "test": stories[6:]}
    data_sets = {name: Dataset.from_list(rows, features=Features(schema)) for name, rows in splits.items()}
    DatasetDict(data_sets).save_to_disk(tmp_path / "stories")
    parts = ["--vision", str(save_vision(tmp_path / "vision")), "--text", str(save_text(tmp_path / "text"))]
    output = tmp_path / "numbers.json"
    more = ["--sizes", "32", "--max_caption_length", "24", "--test_split", "test", "--output", str(output)]
    frozen.main(["--dataset", str(tmp_path / "stories"), *parts, *more])
    rows = json.loads(output.read_text())["rows"]
    assert [(row["size"], row["reads"], row["split"]) for row in rows] == [
        (32, reads, split) for reads in ("the page alone", "with the 4 before") for split in ("validation", "test")
    ]
    assert all(0 <= row["r10"] <= 1 for row in rows)
    assert "| 32 | the page alone | test |" in capsys.readouterr().out
