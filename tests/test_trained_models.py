"""Training that starts from a trained model: its weights, its tokenizers, and another text decoder."""

import json

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_trained_model_is_gone_on_from(finished_run, launch, tmp_path):
    """`--model_name_or_path` starts from its weights and tokenizer, whatever the captions at hand would give."""
    flags = {
        "config": None,
        "model_name_or_path": finished_run,
        "max_train_steps": 2,
        "learning_rate": 1e-5,
        "use_ema": False,
    }
    launch(tmp_path / "on", **flags, vision_tuning="frozen")
    before, after = (load_file(folder / "model.safetensors") for folder in (finished_run, tmp_path / "on"))
    assert before.keys() == after.keys()
    for name in before:
        torch.testing.assert_close(after[name], before[name], atol=2e-5, rtol=0)
    assert any((before[name] != after[name]).any() for name in before), "something was trained"
    assert all(torch.equal(before[name], after[name]) for name in before if ".vision_encoder.backbone" in name)
    tokenizers = [(folder / "tokenizer.json").read_text(encoding="utf-8") for folder in (finished_run, tmp_path / "on")]
    assert tokenizers[0] == tokenizers[1]


@pytest.mark.parametrize("width, of_the_model", [(32, True), (48, True), (32, False)])
def test_a_trained_model_gets_a_decoder_trained_on_text_alone(launch, finished_run, tmp_path, width, of_the_model):
    """Its weights are those of the baseline, the others as they were; the way into it is new where widths differ."""
    of_text = {"baseline": "text_only", "max_train_steps": 3, "learning_rate": 1e-2, "use_ema": False}
    of_text["config_overrides"] = f"decoder_config.hidden_size={width}"
    launch(tmp_path / "text", **of_text, tokenizer_name=finished_run if of_the_model else None, max_train_stories=12)
    decoder = load_file(tmp_path / "text" / "decoder" / "model.safetensors")
    joined = {"config": None, "model_name_or_path": finished_run, "pretrained_decoder": tmp_path / "text" / "decoder"}
    launch(tmp_path / "joined", **joined, max_train_steps=1, learning_rate=1e-6, use_ema=False)
    before, after = (load_file(folder / "model.safetensors") for folder in (finished_run, tmp_path / "joined"))
    for name, weight in after.items():
        if name.startswith("text_decoder."):
            torch.testing.assert_close(weight, decoder[name.removeprefix("text_decoder.")], atol=1e-5, rtol=0)
        elif name.startswith("prefix.") and width != 32:
            assert len(weight) == width
        else:
            torch.testing.assert_close(weight, before[name], atol=1e-5, rtol=0)
    assert (tmp_path / "joined" / "decoder_tokenizer").is_dir() is not of_the_model
    facts = json.loads((tmp_path / "joined" / "results.json").read_text(encoding="utf-8"))["facts"]
    assert facts["pretrained"] == {"all": "finished, trained before", "causal language model": "decoder, tuned"}
    earlier = json.loads((finished_run / "results.json").read_text())["facts"]["training"]
    assert facts["training"]["time of the trainings before it"] == earlier["time of training and its evaluations"]


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"model_name_or_path": "no_such_folder", "config": None}, "got 'no_such_folder', expected a folder"),
        ({"model_name_or_path": "x/y"}, "expected none with --model_name_or_path"),
        ({"model_name_or_path": "x/y", "config": None, "tokenizer_name": "a/b"}, "tokenizer_name: got a/b, expected"),
        (
            {"model_name_or_path": "x/y", "config": None, "pretrained_text": "a/b"},
            "pretrained_text: got a/b, expected",
        ),
    ],
)
def test_what_does_not_go_with_a_trained_model_is_refused(refused, flags, message):
    assert message in refused(**flags)
