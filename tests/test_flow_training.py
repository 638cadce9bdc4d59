"""Training a generative frame decoder: alone, from a trained model, and resumed."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from storyattn import StoryAttnConfig
from storyattn.training import earlier_trainings
from storyattn.training.arguments import parse_arguments
from storyattn.training.model_kinds import model_kind
from storyattn.training.models.finetune import freeze_others
from training_runs import last_weights, same_tensors

RECIPE = Path(__file__).parents[1] / "configuration" / "recipes" / "storyattn_tiny_flow.yaml"
FLOW = "frame_decoder_type=flow,story_dropout=0.3,context_noise=0.1,next_caption_dropout=0.3"


def test_only_the_named_parts_are_trained(small_model):
    freeze_others(small_model, ["frame_decoder"])
    trained = {name for name, parameter in small_model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in small_model.named_parameters() if name.startswith("frame_decoder.")}
    small_model.requires_grad_(True)
    small_model.text_decoder.requires_grad_(False)
    freeze_others(small_model, ["story_transformer", "text_decoder"])
    trained = {name for name, parameter in small_model.named_parameters() if parameter.requires_grad}
    assert trained and all(name.startswith("model.story_transformer.") for name in trained), "what is frozen stays so"
    with pytest.raises(ValueError, match="trained_parts: got 'decoder', expected names among .*frame_decoder.*fusion"):
        freeze_others(small_model, ["frame_decoder", "decoder"])


def test_a_baseline_has_no_trained_parts():
    with pytest.raises(ValueError, match="trained_parts: got frame_decoder, expected none with --baseline"):
        parse_arguments(["--baseline", "no_context", "--trained_parts", "frame_decoder"])


@pytest.mark.usefixtures("one_thread")
def test_a_flow_decoder_is_trained_alone_from_a_trained_model_and_resumes(
    finished_run, launch, training_only, tmp_path
):
    flags = {"model_name_or_path": finished_run, "trained_parts": "frame_decoder", "config_overrides": FLOW}
    flags |= {"config": None, "max_train_steps": 4, "save_steps": 2, "logging_steps": 1}
    launch(tmp_path / "whole", **flags)
    shutil.copytree(tmp_path / "whole" / "checkpoints" / "step-2", tmp_path / "part" / "checkpoints" / "step-2")
    launch(tmp_path / "part", **flags, resume_from_checkpoint="latest")
    whole = last_weights(tmp_path / "whole")
    assert same_tensors(whole, last_weights(tmp_path / "part"))
    start = load_file(finished_run / "model.safetensors")
    changed = {name for name, value in start.items() if not torch.equal(whole[name], value)}
    assert changed and all(name.startswith("frame_decoder.") for name in changed)
    assert any(name.startswith("frame_decoder.noise_reader.") and whole[name].any() for name in whole)


def test_the_recipe_starts_from_the_checkpoint_of_the_repository(monkeypatch):
    monkeypatch.chdir(RECIPE.parents[2])
    model_args, data_args, args = parse_arguments([str(RECIPE), "--model_name_or_path", "checkpoints/storyattn-tiny"])
    assert (args.train_batch_size, args.max_train_steps) == (4, 12000) and data_args.dataset == "storyworld"
    config = model_kind(model_args).config()
    assert config.samples_frames and config.story_dropout > 0 and model_args.trained_parts == "frame_decoder"
    assert StoryAttnConfig.from_pretrained(model_args.model_name_or_path).frame_decoder_type == "regression"


def test_the_recipe_makes_the_model_from_nothing(monkeypatch):
    monkeypatch.chdir(RECIPE.parents[2])
    monkeypatch.setattr(earlier_trainings, "_has_model", lambda folder: False)
    before = earlier_trainings.earlier_trainings(parse_arguments([str(RECIPE)]))
    assert [Path(recipe).stem for recipe in before] == ["storyattn_tiny_1", "storyattn_tiny"]
    assert [model_args.model_name_or_path for model_args, *_ in before.values()] == [None, "runs/storyattn-tiny-1"]
