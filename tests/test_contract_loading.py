"""What users of transformers do to load and save models, on StoryAttn; docs/transformers.md has the list."""

import copy
import json
import os
import pickle
import subprocess
import sys

import pytest
import torch
from conftest import draw_story, small_config
from safetensors import safe_open
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration, StoryAttnModel
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMultimodalLM,
    AutoProcessor,
    BitsAndBytesConfig,
    set_seed,
)
from transformers.utils import is_bitsandbytes_available, is_flash_attn_2_available

load = StoryAttnForConditionalGeneration.from_pretrained


@pytest.fixture
def folder(small_model, tmp_path):
    small_model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(scope="module")
def inputs(small_processor) -> dict:
    stories = [draw_story(1, 3), draw_story(2, 2)]
    return dict(small_processor(*([story[name] for story in stories] for name in ("frames", "captions"))))


def same_weights(one, other) -> bool:
    others = other.state_dict()
    return all(torch.equal(weight, others[name]) for name, weight in one.state_dict().items())


def frames_of(model, inputs) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**inputs).predicted_frames


def test_shards(small_model, inputs, tmp_path):
    small_model.save_pretrained(tmp_path, max_shard_size="100KB")
    shards = sorted(tmp_path.glob("model-*-of-*.safetensors"))
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert len(shards) > 2 and set(index["weight_map"].values()) == {shard.name for shard in shards}
    assert same_weights(small_model, load(tmp_path))
    assert AutoModel.from_pretrained(tmp_path).story_transformer.slots.equal(small_model.model.story_transformer.slots)


def test_weights_are_safetensors_alone_with_every_tied_weight_once(small_model, folder):
    assert not [path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".pkl", ".ckpt")]
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata()["format"] == "pt"
        assert "text_decoder.lm_head.weight" not in file.keys()  # noqa: SIM118
    embedding, output = (load(folder).text_decoder.get_submodule(name) for name in ("model.embed_tokens", "lm_head"))
    assert embedding.weight.shape == output.weight.shape
    tied = load(folder)
    assert tied.get_input_embeddings().weight is tied.get_output_embeddings().weight
    assert tied.all_tied_weights_keys == {"text_decoder.lm_head.weight": "text_decoder.model.embed_tokens.weight"}
    torch.save(small_model.state_dict(), folder / "weights.pt")
    (folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match="model.safetensors"):
        load(folder, use_safetensors=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_loaded_saved_and_found_again(small_model, folder, inputs, tmp_path, dtype):
    half = load(folder, dtype=dtype)
    assert {weight.dtype for weight in half.parameters()} == {dtype} and half.config.text_config.dtype == dtype
    expected = frames_of(small_model, inputs)
    for pixels in (inputs["pixel_values"], inputs["pixel_values"].to(dtype)):
        assert torch.allclose(frames_of(half, {**inputs, "pixel_values": pixels}).float(), expected, atol=0.05)
        with torch.no_grad():
            assert torch.isfinite(half(**{**inputs, "pixel_values": pixels}, return_loss=True).loss)
    half.save_pretrained(tmp_path / "half")
    assert load(tmp_path / "half").dtype == dtype, "dtype='auto' is the default of the library"
    assert load(tmp_path / "half", dtype=torch.float32).dtype == torch.float32
    assert {w.dtype for w in AutoModelForMultimodalLM.from_config(half.config, dtype=dtype).parameters()} == {dtype}


@pytest.mark.parametrize("device_map", ["auto", "cpu", {"": "cpu"}])
def test_device_maps(small_model, folder, device_map):
    loaded = load(folder, device_map=device_map)
    assert same_weights(small_model.to(loaded.device), loaded)


def test_what_does_not_fit_in_memory_is_read_from_disk(small_model, folder, inputs, tmp_path):
    """With less memory than the model takes; blocks with a residual are left whole."""
    limits = {"cpu": 350_000, **dict.fromkeys(range(torch.cuda.device_count()), 0)}
    loaded = load(folder, device_map="auto", max_memory=limits, offload_folder=tmp_path / "offloaded")
    places = loaded.hf_device_map
    assert {"cpu", "disk"} == set(places.values()) and places["frame_decoder"] == places["text_decoder"] == "disk"
    assert "model.fusion.layers.0" in places and "model.story_transformer" in places
    assert torch.allclose(frames_of(loaded, inputs), frames_of(small_model, inputs), atol=1e-6)
    assert torch.allclose(loaded.predict_next_frame(**inputs), small_model.predict_next_frame(**inputs), atol=1e-6)
    ids = [model.generate(**inputs, do_sample=False, max_new_tokens=4) for model in (loaded, small_model)]
    assert torch.equal(*ids)


def test_the_meta_device(small_model, folder):
    for cls in (StoryAttnModel, StoryAttnForConditionalGeneration):
        with torch.device("meta"):
            empty = cls(small_model.config)
        assert all(tensor.is_meta for tensor in (*empty.parameters(), *empty.buffers()))
    assert {weight.device.type for weight in load(folder, device_map="meta").parameters()} == {"meta"}


def loaded_with_info(cls, folder) -> tuple:
    model, loading_info = cls.from_pretrained(folder, output_loading_info=True)
    return model, {name: set(keys) for name, keys in loading_info.items() if keys}


def test_the_base_model_of_a_whole_one_and_back(small_model, folder, inputs, tmp_path, monkeypatch):
    """Neither way a key is missing or unexpected that should not be; the decoders alone are fresh in a whole one."""
    monkeypatch.setattr("transformers.modeling_utils.logger.warning", pytest.fail)
    base, loading_info = loaded_with_info(AutoModel, folder)
    assert not loading_info and isinstance(base, StoryAttnModel)
    with torch.no_grad():
        expected = small_model(**inputs).last_hidden_state
        assert torch.equal(base.eval()(**inputs).last_hidden_state, expected)
    assert loaded_with_info(AutoModelForMultimodalLM, folder)[1] == {}
    base.save_pretrained(tmp_path / "base")
    assert loaded_with_info(AutoModel, tmp_path / "base")[1] == {}
    monkeypatch.undo()
    whole, loading_info = loaded_with_info(AutoModelForMultimodalLM, tmp_path / "base")
    lacking = ("frame_decoder.", "text_decoder.", "prefix")
    assert set(loading_info) == {"missing_keys"} and all(
        name.startswith(lacking) for name in loading_info["missing_keys"]
    )
    assert same_weights(whole.model, small_model.model)
    assert all(torch.isfinite(weight).all() for weight in whole.parameters())


def test_other_sizes_are_refused_or_drawn_anew(folder, inputs):
    with pytest.raises((RuntimeError, ValueError), match="ignore_mismatched_sizes"):
        load(folder, projection_dim=8)
    loaded, loading_info = load(folder, projection_dim=8, ignore_mismatched_sizes=True, output_loading_info=True)
    assert {name.rsplit(".", 1)[0] for name, *_ in loading_info["mismatched_keys"]} == {
        "model.image_projection",
        "model.text_projection",
    }
    with torch.no_grad():
        assert loaded(**inputs).image_embeds.shape[-1] == 8


@pytest.mark.parametrize("cls", [StoryAttnModel, StoryAttnForConditionalGeneration])
def test_initialisation(small_model, cls):
    """A seed gives the same weights again, and those that a checkpoint lacks are drawn from the same distributions."""
    drawn = []
    for _ in range(2):
        set_seed(5)
        drawn.append(cls(small_model.config))
    assert same_weights(*drawn)
    set_seed(6)
    assert not same_weights(drawn[0], cls(small_model.config))
    lacking = cls.from_pretrained(None, config=copy.deepcopy(small_model.config), state_dict={}).state_dict()
    for name, weight in drawn[0].state_dict().items():
        initialized = lacking[name].float()
        assert torch.isfinite(initialized).all(), name
        room = 5 * weight.std(unbiased=False) * (2 / weight.numel()) ** 0.5  # five standard errors of a difference
        assert (initialized.mean() - weight.mean()).abs() <= room, name
        assert (initialized.std(unbiased=False) - weight.std(unbiased=False)).abs() <= room, name


DOWNLOADED = """
import os, shutil, sys
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForImageTextToText, AutoModelForMultimodalLM, AutoProcessor

sys.modules["storyattn"] = None  # whoever downloads has no such package
work, first, second = sys.argv[1:]
inputs = load_file(f"{work}/inputs.safetensors")
pinned = AutoModelForMultimodalLM.from_pretrained("user/story", revision=first, trust_remote_code=True)
model = AutoModelForImageTextToText.from_pretrained("user/story", trust_remote_code=True)
assert not torch.equal(pinned.prefix_kind, model.prefix_kind), "of another revision"
processor = AutoProcessor.from_pretrained("user/story", trust_remote_code=True)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model.train()(**inputs, return_loss=True).loss.backward()
optimizer.step()
model.save_pretrained(f"{work}/tuned")
processor.save_pretrained(f"{work}/tuned")
AutoModel.from_pretrained("user/story", trust_remote_code=True).save_pretrained(f"{work}/base")
shutil.rmtree(os.environ["HF_HOME"])  # what was downloaded is gone
AutoModel.from_pretrained(f"{work}/base", trust_remote_code=True)
for auto in (AutoModelForMultimodalLM, AutoModelForImageTextToText):
    again = auto.from_pretrained(f"{work}/tuned", trust_remote_code=True)
    assert torch.equal(again.prefix_kind, model.prefix_kind)
AutoProcessor.from_pretrained(f"{work}/tuned", trust_remote_code=True)
print("as it was")
"""


def test_a_downloaded_model_is_tuned_and_saved_with_its_code(small_model, small_processor, inputs, tmp_path):
    """From two revisions in the cache of the Hub's client; what is saved needs the Hub no more."""
    from safetensors.torch import save_file

    save_file(inputs, tmp_path / "inputs.safetensors")
    repository = tmp_path / "home" / "hub" / "models--user--story"
    first, second = "1" * 40, "2" * 40
    for revision in (first, second):
        small_model.save_pretrained(repository / "snapshots" / revision)
        small_processor.save_pretrained(repository / "snapshots" / revision)
        torch.nn.init.normal_(small_model.prefix_kind)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(second)
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_MODULES_CACHE": str(tmp_path / "modules")}
    script = tmp_path / "downloaded.py"
    script.write_text(DOWNLOADED)
    run = [sys.executable, str(script), str(tmp_path), first, second]
    done = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.stdout.strip() == "as it was", done.stderr[-3000:]
    entries = json.loads((tmp_path / "tuned" / "config.json").read_text())["auto_map"]
    assert set(entries) == set(small_model.config.auto_map) and not any("--" in name for name in entries.values())
    assert {path.name for path in (tmp_path / "tuned").glob("*.py")} >= {"modeling_storyattn.py", "fusion.py"}


# Configuration and processor


def test_configurations(small_model, tmp_path):
    options = {"output_hidden_states": True, "return_dict": False}
    config = StoryAttnConfig(**{**small_config().to_dict(), **options}, own_field=3)
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert json.loads(loaded.to_json_string()) == json.loads(config.to_json_string())
    assert loaded.output_hidden_states and not loaded.return_dict and loaded.own_field == 3
    assert AutoConfig.from_pretrained(tmp_path, hidden_size=64).hidden_size == 64
    assert AutoConfig.from_pretrained(tmp_path, return_unused_kwargs=True, nothing=1)[1] == {"nothing": 1}
    for name in ("vision_config", "text_config", "decoder_config"):
        part = getattr(config, name)
        alone = type(part).from_pretrained(tmp_path)
        assert json.loads(alone.to_json_string()) == json.loads(getattr(loaded, name).to_json_string())
    assert StoryAttnConfig().to_dict() == StoryAttnConfig(**StoryAttnConfig().to_dict()).to_dict()


def test_pickled_and_copied_configurations_and_processors(small_model, small_processor, inputs):
    for duplicate in (copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))):
        assert duplicate(small_model.config).to_dict() == small_model.config.to_dict()
        processor, story = duplicate(small_processor), draw_story(1, 3)
        read = [one([story["frames"]], [story["captions"]]) for one in (processor, small_processor)]
        assert all(torch.equal(value, read[1][name]) for name, value in read[0].items())


def test_processor_habits(small_processor, tmp_path):
    small_processor.save_pretrained(tmp_path)
    assert list(tmp_path.glob("*.json")) and not list(tmp_path.glob("*.pkl"))
    changed = AutoProcessor.from_pretrained(tmp_path, max_caption_length=5, image_mean=[0.0, 0.0, 0.0])
    story = draw_story(2, 2)
    inputs = changed([story["frames"]], [["A long caption that is cut to its length"] * 2])
    assert inputs["input_ids"].shape[-1] == 5 and list(changed.image_processor.image_mean) == [0.0, 0.0, 0.0]
    plain = small_processor([story["frames"]], [story["captions"]])
    assert list(plain) == small_processor.model_input_names
    moved = plain.to("cpu", torch.bfloat16)
    assert moved["pixel_values"].dtype == torch.bfloat16 and moved["input_ids"].dtype == torch.long
    with pytest.raises(TypeError, match="do_normalise"):
        small_processor([story["frames"]], do_normalise=False)


# Attention and quantisation


def test_eager_and_sdpa_are_the_same(folder, inputs):
    outputs = {}
    for name in ("eager", "sdpa"):
        model = load(folder, attn_implementation=name).eval()
        parts = model.parts
        assert [parts[part].config._attn_implementation for part in ("text", "decoder")] == [name, name]
        assert parts["vision"].config._attn_implementation == "eager", "a ConvNeXt has no other"
        with torch.no_grad():
            outputs[name] = model(**inputs, return_loss=True)
    for name in ("loss", "describe_logits", "predicted_frames", "text_embeds"):
        assert torch.allclose(outputs["eager"][name], outputs["sdpa"][name], atol=1e-5), name
    model.set_attn_implementation("eager")
    assert model.text_decoder.config._attn_implementation == "eager"
    one = load(folder, attn_implementation={"decoder_config": "eager"})
    assert [one.parts[part].config._attn_implementation for part in ("text", "decoder")] == ["sdpa", "eager"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_flash_attention_of_the_text_decoder(small_model, folder, inputs):
    if not is_flash_attn_2_available():
        pytest.skip("flash-attn is not installed")
    options = {"dtype": torch.bfloat16, "device_map": "cuda"}
    flash, plain = (
        load(folder, attn_implementation={"decoder_config": name}, **options) for name in ("flash_attention_2", "eager")
    )
    given = {name: value.cuda() for name, value in inputs.items()}
    assert torch.allclose(*(model.eval()(**given).describe_logits for model in (flash, plain)), atol=0.05)


def test_flash_attention_in_all_blocks_is_refused_by_name(folder):
    with pytest.raises(ValueError, match="StoryAttnForConditionalGeneration does not support Flash Attention 2"):
        load(folder, attn_implementation="flash_attention_2")


@pytest.mark.gpu
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_8_and_4_bits(folder, inputs, small_model, bits):
    if not is_bitsandbytes_available():
        pytest.skip("bitsandbytes is not installed")
    options = {"load_in_8bit": True} if bits == 8 else {"load_in_4bit": True}
    quantized = load(folder, quantization_config=BitsAndBytesConfig(**options), device_map="cuda")
    given = {name: value.cuda() for name, value in inputs.items()}
    expected = frames_of(small_model, inputs)
    assert quantized.get_memory_footprint() < small_model.get_memory_footprint()
    assert torch.allclose(frames_of(quantized, given).float().cpu(), expected, atol=0.1)
    assert len(quantized.generate(**given, max_new_tokens=3)) == 2
