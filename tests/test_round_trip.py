"""A saved model is loaded by someone who has transformers alone, in a process of its own, and is what it was."""

import json

import pytest
import torch
from conftest import draw_story
from forked_programs import run_stranger
from safetensors import safe_open
from safetensors.torch import save_file
from storyattn import StoryAttnForConditionalGeneration, StoryAttnModel, StoryAttnProcessor
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoModelForMultimodalLM, AutoProcessor

STRANGER = """
import sys
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoModelForMultimodalLM, AutoProcessor

folder, again, results = sys.argv[1:]
config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
inputs = load_file(f"{folder}/../inputs.safetensors")
found = {}
with torch.no_grad():
    encoder = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
    found["last_hidden_state"] = encoder(**inputs).last_hidden_state
    for name, auto in (("lm", AutoModelForMultimodalLM), ("itt", AutoModelForImageTextToText)):
        model = auto.from_pretrained(folder, trust_remote_code=True).eval()
        output = model(**inputs, return_loss=True)
        found |= {f"{name}.loss": output.loss, f"{name}.frames": output.predicted_frames}
        found[f"{name}.ids"] = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    half = AutoModelForMultimodalLM.from_pretrained(folder, trust_remote_code=True, dtype=torch.bfloat16).eval()
    inputs["pixel_values"] = inputs["pixel_values"].bfloat16()
    found["half"] = half.predict_next_frame(**inputs).float()
model.save_pretrained(again)
processor.save_pretrained(again)
save_file({name: value.contiguous() for name, value in found.items()}, results)
print(type(encoder).__name__, type(model).__name__, type(processor).__name__, type(config).__name__)
"""


@pytest.fixture
def inputs(small_processor) -> dict:
    stories = [draw_story(1, 3), draw_story(2, 2)]
    frames, captions = ([story[name] for story in stories] for name in ("frames", "captions"))
    return dict(small_processor(frames=frames, captions=captions, return_tensors="pt"))


@pytest.fixture
def folder(small_model, small_processor, tmp_path):
    """A published folder of a small model."""
    small_model.save_pretrained(tmp_path / "model")
    small_processor.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def visit(folder, tmp_path, again: str = "again") -> tuple[str, dict]:
    """Runs the stranger on a folder; what it printed and what it found."""
    results = tmp_path / f"{again}.safetensors"
    arguments = str(folder), str(tmp_path / again), str(results)
    printed = run_stranger(STRANGER, tmp_path, *arguments, modules=f"modules-{again}")
    with safe_open(results, "pt") as file:
        return printed, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def test_a_stranger_finds_the_same_model(small_model, folder, inputs, tmp_path):
    save_file(inputs, tmp_path / "inputs.safetensors")
    printed, loaded = visit(folder, tmp_path)
    assert printed.split() == [
        "StoryAttnModel",
        "StoryAttnForConditionalGeneration",
        "StoryAttnProcessor",
        "StoryAttnConfig",
    ]
    with torch.no_grad():
        output = small_model(**inputs, return_loss=True)
    for name in ("lm", "itt"):
        assert torch.allclose(loaded[f"{name}.loss"], output.loss, atol=1e-6)
        assert torch.allclose(loaded[f"{name}.frames"], output.predicted_frames, atol=1e-6)
        assert torch.equal(loaded[f"{name}.ids"], small_model.generate(**inputs, max_new_tokens=8, do_sample=False))
    assert torch.allclose(loaded["last_hidden_state"], output.last_hidden_state, atol=1e-6)
    assert torch.allclose(loaded["half"], small_model.predict_next_frame(**inputs), atol=0.05)
    # What the stranger saved is complete in turn: code, processor, weights.
    _, once_more = visit(tmp_path / "again", tmp_path, "once-more")
    assert all(torch.equal(loaded[name], once_more[name]) for name in loaded)


def test_what_is_in_the_folder(small_model, folder):
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl", ".ckpt"))]
    code = {name for name in names if name.endswith(".py")}
    assert {"configuration_storyattn.py", "modeling_storyattn.py", "processing_storyattn.py"} <= code
    auto_map = json.loads((folder / "config.json").read_text())["auto_map"]
    assert set(auto_map) >= {"AutoConfig", "AutoModel", "AutoModelForMultimodalLM", "AutoModelForImageTextToText"}
    assert all(f"{target.split('.')[0]}.py" in code for target in auto_map.values())
    with safe_open(folder / "model.safetensors", "pt") as weights:
        stored = set(weights.keys())
    assert stored <= set(small_model.state_dict())
    assert stored | {"text_decoder.lm_head.weight"} == set(small_model.state_dict())


def test_auto_classes_with_the_package_installed(small_model, folder, inputs):
    """Without `trust_remote_code`: the classes are registered."""
    assert AutoConfig.from_pretrained(folder).to_diff_dict() == small_model.config.to_diff_dict()
    assert isinstance(AutoModel.from_pretrained(folder), StoryAttnModel)
    for auto in (AutoModelForMultimodalLM, AutoModelForImageTextToText):
        model = auto.from_pretrained(folder).eval()
        assert isinstance(model, StoryAttnForConditionalGeneration)
        with torch.no_grad():
            assert torch.equal(model(**inputs).predicted_frames, small_model(**inputs).predicted_frames)


def test_processor_round_trip(small_processor, folder):
    loaded = AutoProcessor.from_pretrained(folder)
    story = draw_story(3, 3)
    assert isinstance(loaded, StoryAttnProcessor)
    before, after = (
        processor(frames=[story["frames"]], captions=[["Fünf Füchse ☂.", None, " "]], return_tensors="pt")
        for processor in (small_processor, loaded)
    )
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert loaded.max_caption_length == small_processor.max_caption_length


def test_nothing_random_is_left_by_loading(folder):
    """Two loads are equal: no buffer and no parameter keeps what memory held."""
    first, second = (StoryAttnForConditionalGeneration.from_pretrained(folder) for _ in range(2))
    for (name, a), (_, b) in zip(first.state_dict().items(), second.state_dict().items()):
        assert torch.equal(a, b), name
    for (name, a), (_, b) in zip(first.named_buffers(), second.named_buffers()):
        assert torch.equal(a, b), name
