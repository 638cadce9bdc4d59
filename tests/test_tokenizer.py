"""Tokenizers that are trained on captions, and tokenizers that are loaded; presets of the model."""

import json

import pytest
import torch
from conftest import SMALL_CONFIG
from storyattn import StoryAttnForConditionalGeneration
from storyattn.training.models.presets import load_preset, preset_names
from storyattn.training.models.tokenizer import load_tokenizer, train_tokenizer

CAPTIONS = ["The fox walks to the old oak.", "The owl finds a key by the old oak.", "It begins to rain on the fox."] * 3


def test_a_trained_tokenizer_writes_any_text():
    tokenizer = train_tokenizer(CAPTIONS, 300)
    assert len(tokenizer) <= 300
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    for text in (CAPTIONS[0], " two  spaces , and a comma", "Ünïcödé ☂🦊", "a\nb"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer("The fox walks")["input_ids"]) < len("The fox walks") / 2, "it has learned words"


def test_the_same_captions_give_the_same_tokenizer():
    first, second = (train_tokenizer(CAPTIONS, 290).backend_tokenizer.to_str() for _ in range(2))
    assert first == second


def test_what_cannot_be_trained_on():
    with pytest.raises(ValueError, match="no caption"):
        train_tokenizer(["", None, " "], 300)
    with pytest.raises(ValueError, match="vocab_size: got 258, expected at least 259"):
        train_tokenizer(CAPTIONS, 258)


def test_a_tokenizer_from_a_folder(tmp_path):
    trained = train_tokenizer(CAPTIONS, 300)
    trained.save_pretrained(tmp_path / "whole")
    loaded = load_tokenizer(str(tmp_path / "whole"))
    assert loaded(CAPTIONS[1])["input_ids"] == trained(CAPTIONS[1])["input_ids"]
    bare = type(trained)(tokenizer_object=trained.backend_tokenizer, eos_token="</s>")
    bare.save_pretrained(tmp_path / "bare")
    loaded = load_tokenizer(str(tmp_path / "bare"))
    assert loaded.eos_token_id == 2 and loaded.bos_token_id == 2 and loaded.pad_token_id is not None
    (tmp_path / "bare" / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="tokenizer_name: got '.*bare', expected a tokenizer"):
        load_tokenizer(str(tmp_path / "bare"))
    with pytest.raises(ValueError, match="tokenizer_name: got '.*nowhere', expected a tokenizer"):
        load_tokenizer(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_can_be_built(name):
    config = load_preset(name)
    with torch.device("meta"):
        model = StoryAttnForConditionalGeneration(config)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    low, high = {"tiny": (2e6, 6e6), "small": (8e6, 16e6), "base": (80e6, 250e6)}[name]
    assert low < parameters < high


def test_three_presets_come_along():
    assert preset_names() == ["base", "small", "tiny"]


def test_a_saved_configuration_comes_back(tmp_path):
    config = load_preset("tiny")
    config.save_pretrained(tmp_path)
    assert load_preset(str(tmp_path)).to_dict() == config.to_dict()


def test_a_configuration_from_a_file(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SMALL_CONFIG))
    for path in (tmp_path, tmp_path / "config.json"):
        assert load_preset(str(path)).hidden_size == 32


def test_what_is_no_configuration_is_named(tmp_path):
    with pytest.raises(ValueError, match="preset: got 'huge', expected base, small, tiny or a JSON file"):
        load_preset("huge")
    contents = {
        "text.json": ("hello", "expected a JSON file"),
        "list.json": ("[1]", "model_type None.*expected 'storyattn'"),
        "other.json": ('{"model_type": "bert"}', "model_type 'bert'.*expected 'storyattn'"),
        "name.json": (json.dumps({**SMALL_CONFIG, "hiden_size": 32}), "got 'hiden_size'.*perhaps 'hidden_size'"),
        "type.json": (json.dumps({**SMALL_CONFIG, "hidden_size": "wide"}), "'hidden_size' expected int, got str"),
        "value.json": (json.dumps({**SMALL_CONFIG, "max_frames": 0}), "max_frames: got 0, expected at least 2"),
    }
    for name, (text, message) in contents.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=message) as error:
            load_preset(str(tmp_path / name))
        assert "\n" not in str(error.value)
