"""Pretrained parts in training: frozen, tuned or with adapters, resumed, and in several processes."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from conftest import refused_line
from pretrained_folders import build_model, close, outputs, read_stories, save_parts, tuning
from safetensors.torch import load_file
from storyattn import StoryAttnForConditionalGeneration, StoryAttnProcessor
from storyattn.training.models.finetune import tune_parts
from test_processes import read_losses, run
from training_runs import checkpoint_tensors, same_tensors
from transformers import AutoModel, AutoProcessor

pytestmark = pytest.mark.usefixtures("one_thread")

FLAGS = {"max_train_steps": 2, "save_steps": 1, "train_batch_size": 4, "eval_batch_size": 4, "warmup_steps": 0}
FLAGS |= {"max_eval_windows": 2, "max_test_windows": 2, "eval_steps": 0, "learning_rate": 0.01, "lora_rank": 2}
FLAGS |= {"config_overrides": "decoder_context_captions=1"}


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, str]:
    return save_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture
def model(sources):
    return build_model(sources)


@pytest.fixture
def processor(model, sources):
    return StoryAttnProcessor.from_pretrained_parts(model.config, sources["text"], sources["decoder"])


def test_frozen_parts_stand_still_in_training_mode(model, processor):
    tune_parts(model, tuning(vision="frozen", text="frozen", decoder="frozen"))
    inputs, before = read_stories(processor), {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    first, second = (model(**inputs, return_loss=True, next_caption_mask=torch.ones(2, 3)) for _ in range(2))
    assert torch.equal(first.text_embeds, second.text_embeds) and torch.equal(first.image_embeds, second.image_embeds)
    second.loss.backward()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(weight.grad is None for part in model.parts.values() for weight in part.parameters())
    assert model.prefix.weight.grad.abs().sum() > 0, "what lies before a frozen decoder learns through it"


def test_the_statistics_of_a_tuned_vision_model_stay(model, processor):
    inputs, vision = read_stories(processor), model.parts["vision"]
    before = {name: value.clone() for name, value in vision.named_buffers()}
    model.train()
    model(**inputs, return_loss=True).loss.backward()
    assert vision.training and all(torch.equal(value, before[name]) for name, value in vision.named_buffers())
    assert sum(weight.grad is not None for weight in vision.parameters()) > 20


def test_merged_adapters_compute_what_they_did(model, processor, tmp_path):
    inputs, plain = read_stories(processor), outputs(model, read_stories(processor))
    names = set(model.state_dict())
    tune_parts(model, tuning(vision="lora", text="lora", decoder="lora"))
    assert close(plain, outputs(model, inputs)), "new adapters change nothing"
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    adapted = outputs(model, inputs)
    assert not any(torch.allclose(plain[name], adapted[name], atol=1e-3) for name in ("describe_logits", "text_embeds"))
    model.save_pretrained(tmp_path)
    assert any("lora_A" in name for name in model.state_dict()), "the model itself keeps its adapters"
    assert not any("lora" in name or "base_layer" in name for name in load_file(tmp_path / "model.safetensors"))
    back = StoryAttnForConditionalGeneration.from_pretrained(tmp_path)
    assert close(adapted, outputs(back, inputs), atol=1e-4)
    assert set(model.merge_adapters().state_dict()) == names and close(adapted, outputs(model, inputs), atol=1e-4)


@pytest.fixture(scope="module")
def train_parts(launch, sources):
    """Train two steps with flags by name, all parts pretrained; returns the folder of the run."""

    def run(output_dir: Path, **flags) -> Path:
        launch(output_dir, **{**FLAGS, **{f"pretrained_{part}": source for part, source in sources.items()}, **flags})
        return output_dir

    return run


@pytest.fixture(scope="module", params=["tuned", "frozen", "lora"])
def trained(request, train_parts, tmp_path_factory) -> tuple[str, Path, dict]:
    flags = {f"{part}_tuning": request.param for part in ("vision", "text", "decoder")}
    return request.param, train_parts(tmp_path_factory.mktemp(request.param) / "run", **flags), flags


PREFIXES = {"vision": "model.vision_encoder.backbone.", "text": "model.text_encoder.", "decoder": "text_decoder."}


def test_training_moves_what_it_should(trained, model):
    """Of the published weights: all of a tuned part, none of a frozen one, layers alone by adapters."""
    how, folder, _ = trained
    published = load_file(folder / "model.safetensors")
    moved = {}
    for part, prefix in PREFIXES.items():
        before = {f"{prefix}{name}": value for name, value in model.parts[part].state_dict().items()}
        assert sum(name.startswith(prefix) for name in published) >= len(before) - 1  # one may be tied
        moved[part] = [n for n, value in before.items() if n in published and not torch.equal(value, published[n])]
        assert bool(moved[part]) == (how != "frozen"), part
    assert not [name for name in moved["vision"] if "running" in name or "bn" in name]
    if how == "lora":
        assert all(name.endswith(".weight") and "embed" not in name for name in moved["text"] + moved["decoder"])
        assert not any("lora" in name for name in published)
    average = checkpoint_tensors(folder, 2, "average")
    averaged = [name for name in average if name.startswith(tuple(PREFIXES.values()))]
    assert bool(averaged) == (how != "frozen") and (how != "lora" or all("lora" in name for name in averaged))
    assert "| pretrained vision model | vision, " in (folder / "README.md").read_text()


@pytest.mark.usefixtures("without_results")
def test_a_resumed_training_equals_one_that_was_not_interrupted(trained, train_parts, tmp_path):
    _, folder, flags = trained
    shutil.copytree(folder / "checkpoints" / "step-1", tmp_path / "checkpoints" / "step-1")
    train_parts(tmp_path, **flags, resume_from_checkpoint="latest")
    for name in ("model", "average", "optimizer"):
        assert same_tensors(checkpoint_tensors(tmp_path, 2, name), checkpoint_tensors(folder, 2, name)), name


def test_resuming_with_another_part_or_tuning_is_refused(trained, train_parts, sources, tmp_path, capsys):
    how, folder, flags = trained
    checkpoint = folder / "checkpoints" / "step-1"
    shutil.copytree(sources["vision"], tmp_path / "moved")
    other = {"resume_from_checkpoint": checkpoint, **flags}
    torch.manual_seed(9)
    changed = AutoModel.from_pretrained(sources["vision"])
    torch.nn.init.normal_(next(changed.parameters()))
    changed.save_pretrained(tmp_path / "moved")

    def refused(**changes) -> str:
        with pytest.raises(SystemExit):
            train_parts(tmp_path / "run", **{**other, **changes})
        return capsys.readouterr().err

    assert "another run: parts.vision.sha256: got" in refused(pretrained_vision=tmp_path / "moved")
    new = "frozen" if how == "tuned" else "tuned"
    assert f"parts.text.tuning: got '{how}', expected '{new}'" in refused(text_tuning=new)
    if how == "lora":
        assert "parts.text.lora_rank: got 2, expected 4" in refused(lora_rank=4)


def test_a_training_with_a_fresh_decoder_has_a_tokenizer_trained_for_it(train_parts, tmp_path):
    """As the preset `small` is meant."""
    train_parts(tmp_path, pretrained_decoder=None, text_tuning="frozen", max_train_steps=1, streaming="true")
    processor = AutoProcessor.from_pretrained(tmp_path)
    assert processor.decoder_tokenizer.decode(processor.decoder_tokenizer("The Fox")["input_ids"]) == "The Fox"
    assert processor.tokenizer.bos_token == "[CLS]"
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["decoder_tokenizer"] and config["decoder_config"]["vocab_size"] == len(processor.decoder_tokenizer)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["FSDP2"])
def test_two_processes_train_parts_as_one(kind, train_parts, stories_folder, small_config_file, sources, tmp_path):
    """A frozen, a tuned and an adapted part, none of them with dropout."""
    names = ("text_config.hidden_dropout_prob", "text_config.attention_probs_dropout_prob")
    names += tuple(f"decoder_config.{name}_pdrop" for name in ("resid", "embd", "attn"))
    flags = {"config_overrides": ",".join(f"{name}=0" for name in names), "logging_steps": 1, "learning_rate": 1e-3}
    flags |= {"vision_tuning": "frozen", "decoder_tuning": "lora", "max_train_steps": 3, "save_steps": 3}
    alone = train_parts(tmp_path / "alone", **flags)
    flags = {**FLAGS, **flags, **{f"pretrained_{part}": source for part, source in sources.items()}}
    flags |= {"config": small_config_file, "dataset": stories_folder, "train_batch_size": 2}
    run(kind, tmp_path / "together", flags)
    losses = [[line["loss"] for line in read_losses(folder)] for folder in (tmp_path / "together", alone)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for name in ("model", "average"):
        shared, single = (checkpoint_tensors(folder, 3, name) for folder in (tmp_path / "together", alone))
        assert shared.keys() == single.keys()
        assert all(torch.allclose(shared[key].float(), single[key].float(), rtol=0, atol=1e-4) for key in single)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"pretrained_text": "./nowhere"}, "text: got './nowhere', expected a text encoder"),
        ({"pretrained_vision": None, "vision_tuning": "frozen"}, "vision_tuning: got frozen, expected a pretrained"),
        ({"tokenizer_name": "./mine"}, "tokenizer_name: got './mine' with --pretrained_text and"),
        ({"lora_rank": 0}, "lora_rank: got 0, expected above 0"),
        ({"text_tuning": "half"}, "text_tuning"),
    ],
)
def test_mistakes_are_one_line(train_parts, flags, expected, tmp_path):
    assert expected in refused_line(lambda flags: train_parts(tmp_path, **flags), flags)


def test_without_peft_lora_says_what_is_missing(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match=r"decoder_tuning: got 'lora' without PEFT.*pip install peft"):
        tune_parts(model, tuning(decoder="lora"))
