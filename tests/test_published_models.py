"""The models in checkpoints/: they load by the code in their folders, and do what their results say."""

import json
from pathlib import Path

import pytest
import torch
from storyattn.training.codraw.detector import load_detector
from storyattn.training.data.prepared_stories import prepare_stories
from storyattn.training.data.sources import read_stories
from storyattn.training.evaluation.evaluate import evaluate_model
from transformers.dynamic_module_utils import get_class_from_dynamic_module

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"
DETECTOR = CHECKPOINTS / "codraw-detector"
FOLDERS = sorted(path.parent for path in CHECKPOINTS.glob("*/config.json") if path.parent != DETECTOR)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_published_model_has_all_that_its_card_shows(folder):
    names = {path.name for path in folder.iterdir()}
    assert {"README.md", "recipe.yaml", "results.json", "metrics.jsonl", "model.safetensors", "figures"} <= names
    assert sum(path.stat().st_size for path in folder.rglob("*")) < 95e6
    results, card = json.loads((folder / "results.json").read_text()), (folder / "README.md").read_text()
    assert f"value: {results['metrics']['next_frame']['l1']}" in card


def test_the_tiny_model_paints_what_the_caption_says(tmp_path):
    """On a window of each of eight test stories, by the code in its folder, about as well as on all."""
    folder = next(folder for folder in FOLDERS if folder.name == "storyattn-tiny")
    names = ("modeling_storyattn.StoryAttnForConditionalGeneration", "processing_storyattn.StoryAttnProcessor")
    model, processor = (get_class_from_dynamic_module(name, folder).from_pretrained(folder) for name in names)
    stories = read_stories("storyworld", "test", max_stories=8)
    stories = prepare_stories(stories, processor.image_processor, "test", cache_dir=str(tmp_path / "cache"))
    metrics = evaluate_model(model, processor, stories, max_windows=8, progress=False)
    expected = json.loads((folder / "results.json").read_text())["metrics"]
    assert metrics["next_frame"]["l1_changed"] < 2 * expected["next_frame"]["l1_changed"]
    assert metrics["next_frame"]["l1_changed"] < 0.3 * metrics["next_frame"]["floors"]["copy_last"]["l1_changed"]
    assert metrics["describe"]["loss"] < 2 * expected["describe"]["loss"]


def test_the_detector_loads_and_sees_nothing_in_an_empty_canvas():
    detector = load_detector(DETECTOR)
    canvas = torch.zeros(1, 3, 96, 120)
    canvas[:, :, :44] = torch.tensor([0.3, 0.9, 0.95])[:, None, None]
    canvas[:, :, 44:] = torch.tensor([0.35, 0.65, 0.33])[:, None, None]
    assert detector.detect(canvas) == [[]]
    accuracy = json.loads((DETECTOR / "config.json").read_text())["accuracy"]
    assert accuracy["test"]["f1"] > accuracy["test"]["floor"]["f1"] + 0.5
