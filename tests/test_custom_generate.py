"""`generate` with `custom_generate`: a published folder tells a story where trust is given, and nothing without."""

import json
from pathlib import Path

import pytest
import torch
from conftest import draw_story
from forked_programs import run_stranger
from sample_results import FACTS, RESULTS
from storyattn import Story, StoryAttnForConditionalGeneration
from storyattn.training.publishing.export import write_hub_folder

ELSEWHERE = "def generate(model, **kwargs):\n    return sorted(kwargs), type(model).__name__\n"
PROGRAM = """
import json, sys
from transformers import AutoModelForMultimodalLM, AutoProcessor

model = AutoModelForMultimodalLM.from_pretrained(".", trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained(".", trust_remote_code=True)
pictures, options = ["one.png", "two.png"], {"do_sample": False, "max_new_tokens": 4}
source = {"custom_generate": ".", "trust_remote_code": True}
inputs = processor(frames=[pictures], return_tensors="pt")
story = model.generate(frames=pictures, captions=["A fox.", None], num_steps=2, **options)
by_name = model.generate(frames=pictures, captions=["A fox.", None], **source, **options)
ids = model.generate(**inputs, **options)
assert ids.tolist() == type(model).generate(model, **inputs, **options).tolist()
assert ids.tolist() == model.generate(inputs["pixel_values"], inputs["frame_mask"], **options).tolist()
print(json.dumps([len(story), len(by_name), str(story).splitlines()[:3] == str(by_name).splitlines()]))
"""


@pytest.fixture
def folder(small_model, small_processor, tmp_path) -> Path:
    """A published folder."""
    return write_hub_folder(small_model, small_processor, tmp_path / "tale", RESULTS, FACTS)


def test_a_stranger_tells_a_story_by_generate(folder):
    """In a process without the package; without `frames`, `generate` is that of the model."""
    for name, picture in zip(("one.png", "two.png"), draw_story(3)["frames"]):
        picture.save(folder / name)
    printed = run_stranger(PROGRAM, folder, modules="modules")
    assert json.loads(printed.splitlines()[-1]) == [4, 3, True]


def test_a_model_in_memory_runs_the_function_of_a_folder(folder, small_processor):
    model = StoryAttnForConditionalGeneration.from_pretrained(folder)
    assert "generate" not in vars(model), "no trust was given"
    story = {"frames": draw_story(1)["frames"][:2], "processor": small_processor, "max_new_tokens": 4}
    told = model.generate(**story, custom_generate=str(folder), trust_remote_code=True)
    assert isinstance(told, Story) and len(told) == 3


def test_without_trust_the_function_does_not_run(folder, small_model, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda prompt: "n")
    for trust in ({}, {"trust_remote_code": False}):
        with pytest.raises(ValueError, match="trust_remote_code=True"):
            small_model.generate(frames=[], custom_generate=str(folder), **trust)


def test_another_repository_gets_all_arguments(folder, small_model, tmp_path):
    """Also from a model whose `generate` is the function of its own folder."""
    (tmp_path / "other" / "custom_generate").mkdir(parents=True)
    (tmp_path / "other" / "custom_generate" / "generate.py").write_text(ELSEWHERE)
    other = {"custom_generate": str(tmp_path / "other"), "trust_remote_code": True}
    names = (["frames", "top_k"], "StoryAttnForConditionalGeneration")
    assert small_model.generate(frames=[], top_k=3, **other) == names
    trusting = StoryAttnForConditionalGeneration.from_pretrained(folder, trust_remote_code=True)
    assert "generate" in vars(trusting) and trusting.generate(frames=[], top_k=3, **other) == names
    with pytest.raises(ValueError, match="with 1 argument without a name, expected none"):
        small_model.generate(torch.zeros(1), **other)
