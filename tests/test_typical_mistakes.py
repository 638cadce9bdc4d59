"""Typical mistakes at the commands and in Python: each is one line that says what to do."""

import json

import pytest
import torch
from conftest import refused_line
from PIL import Image
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration
from storyattn.training import cli
from storyattn.training.common.loading import reason_for
from storyattn.training.models.load import load_model, move_model


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("tell --model", "storyattn tell: --model: got no value, expected one"),
        ("data check x --image_size 64", "--image_size: got another number of values, expected 2"),
        ("tell --model x --steps 2.5", "storyattn tell: --steps: got '2.5', expected a whole number"),
        ("tell x --frames a.png", "storyattn tell: missing --model; storyattn tell --help shows an example"),
        ("--halp", "did you mean storyattn --help?"),
        ("mean x", "storyattn mean: missing second, --output_dir; storyattn mean --help shows an example"),
        (
            "data codraw --output x --captions tellers",
            "--captions: got 'tellers', expected one of 'teller', 'dialogue'",
        ),
        ("checkpoints a b", "storyattn checkpoints: got 'b', expected nothing more; storyattn checkpoints --help"),
        ("train --mixed_precision fp61", "error: --mixed_precision: got 'fp61', expected one of "),
        ("train --use_ema perhaps", "error: --use_ema/--no_use_ema: got 'perhaps', expected yes or no"),
        ("train --no_use_ema no", "got 'no', expected no value"),
        ("publish x --repo_id a_b/-c", "repo_id: got 'a_b/-c', expected user/name of letters, digits"),
    ],
)
def test_wrong_arguments(command, message, tmp_path):
    (tmp_path / "x").mkdir()
    line = refused_line(cli.main, [str(tmp_path / "x") if word == "x" else word for word in command.split()])
    assert message.replace(" x ", f" {tmp_path / 'x'} ") in line


def test_a_model_of_another_type(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match=r"^model: got one of type 'bert' in '.*', expected 'storyattn' or a baseline"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there(device):
    with pytest.raises(ValueError, match=rf"^device: got '{device}', expected one that PyTorch can use here: cpu"):
        move_model(torch.nn.Linear(1, 1), device)


def test_a_model_without_pictures(small_model):
    for call in (small_model, small_model.generate, small_model.predict_next_frame, small_model.base_model):
        with pytest.raises(
            ValueError, match=r"^pixel_values: got none, expected frames .*, as the processor gives them$"
        ):
            call()


def test_a_story_without_the_processor(small_model, small_processor):
    frames = [[Image.new("RGB", (8, 8))]]
    for other in (small_processor.tokenizer, frames, None):
        with pytest.raises(ValueError, match=r"^processor: got .*, expected the StoryAttnProcessor of the model$"):
            small_model.continue_story(other, frames)
    with pytest.raises(ValueError, match=r"^frames: story 0, frame 0: got 'A fox.', expected a picture: there is no"):
        small_model.continue_story(small_processor, ["A fox."])


@pytest.mark.parametrize("loaded", [StoryAttnConfig, StoryAttnForConditionalGeneration])
def test_the_configuration_of_another_model(loaded, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match=r"^config: got model_type 'bert', expected 'storyattn'$"):
        loaded.from_pretrained(tmp_path)


def test_a_path_that_the_hub_takes_for_an_id():
    error = OSError("Repo id must use alphanumeric chars: './x'.")
    assert reason_for("./x", error) == "there is no such folder or file, and it is no id of the Hub either"
    assert reason_for(".", error) == str(error)


def test_flags_of_training_that_name_nothing(refused):
    assert "config: got 'nowhere.json', expected base, small, tiny or a JSON file" in refused(config="nowhere.json")
    assert "vision: got './x', expected a vision model, a folder or a Hub id: there is no such folder" in refused(
        pretrained_vision="./x"
    )
