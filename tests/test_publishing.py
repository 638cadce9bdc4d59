"""What a published folder holds, and that a process without the package can use it."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from storyattn.training.evaluation.tables import result_tables
from storyattn.training.models import weights
from storyattn.training.models.weights import round_weights, store_weights
from storyattn.training.publishing import model_card as card
from storyattn.training.publishing.export import write_hub_folder
from storyattn.training.publishing.model_card import card_data, find_template

FRAMES = {"l1": 0.1234567890123, "l1_changed": 0.3, "psnr": 20.0, "ssim": 0.6, "perceptual": 0.2, "edge_ratio": 0.9}
TEXTS = {"loss": 2.5, "loss_shuffled_frames": 2.75, "bleu4": 0.1, "rouge_l": 0.4, "chrf": 0.3, "distinct2": 0.5}
TEXTS |= {"bits_per_byte": 1.5, "bits_per_byte_shuffled_frames": 1.75, "cider": 0.625}
RECALL = {f"{prefix}{name}": 0.25 for prefix in ("", "chance_") for name in ("r1", "r5", "r10", "within_story_r1")}
METRICS = {
    "next_frame": {**FRAMES, "floors": {"copy_last": {**FRAMES, "l1": 0.98765}}, "shuffled_caption": {"l1": 0.2}},
    "next_frame_alone": FRAMES,
    "reconstruction": FRAMES,
    "next_caption": {**TEXTS, "floors": {"last_caption": {"bleu4": 0.05}}},
    "describe": {**TEXTS, "floors": {}},
    "retrieval": {"text_to_image": RECALL, "image_to_text": RECALL},
}
RESULTS = {"metrics": METRICS, "num_windows": 9, "num_stories": 3}
FACTS = {"dataset": "storyworld", "split": "test", "command": "train.py --x", "training": {"steps": 7, "seed": 0}}

# What a stranger does: no storyattn to import, only the folder.
STRANGER = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "storyattn":
            raise ModuleNotFoundError("not installed here", name=name)
sys.meta_path.insert(0, Block())
import torch
from PIL import Image
from transformers import AutoModelForMultimodalLM, AutoProcessor
folder = sys.argv[1]
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForMultimodalLM.from_pretrained(folder, trust_remote_code=True).eval()
inputs = processor(frames=[[Image.new("RGB", (50, 40), "red")] * 2], captions=[["A fox walks.", None]])
with torch.no_grad():
    print(float(model.predict_next_frame(**inputs).double().sum()))
"""


def read_card(folder) -> tuple[dict, str]:
    _, head, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(head), text


def test_folder_holds_all_and_loads_in_a_fresh_process(small_model, small_processor, tmp_path):
    write_hub_folder(small_model, small_processor, tmp_path / "hub", RESULTS, FACTS)
    names = {path.name for path in (tmp_path / "hub").iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    assert {"modeling_storyattn.py", "processing_storyattn.py", "results.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]

    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules"), "PYTHONPATH": ""}
    command = [sys.executable, "-c", STRANGER, str(tmp_path / "hub")]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr

    from PIL import Image

    inputs = small_processor(frames=[[Image.new("RGB", (50, 40), "red")] * 2], captions=[["A fox walks.", None]])
    expected = float(small_model.predict_next_frame(**inputs).detach().double().sum())
    assert float(ran.stdout.split()[-1]) == pytest.approx(expected, rel=1e-5)


def test_card_has_metadata_tables_and_facts(small_model, small_processor, tmp_path):
    figures = tmp_path / "figures"
    figures.mkdir()
    (figures / "evaluation.png").write_bytes(b"")
    write_hub_folder(small_model, small_processor, tmp_path, RESULTS, FACTS)
    head, text = read_card(tmp_path)
    assert head["license"] == "mit" and head["library_name"] == "transformers" and head["language"] == "en"
    assert head["pipeline_tag"] == "image-text-to-text" and head["datasets"] == ["storyworld"]
    assert "| copy_last | 0.9877 |" in text and "| steps | 7 |" in text and "train.py --x" in text
    assert "(figures/evaluation.png)" in text and "loss_curves.png" not in text
    assert "All numbers on test_unseen" not in text and "{{ " not in text and "{%" not in text
    assert json.loads((tmp_path / "results.json").read_text()) == {**RESULTS, "facts": FACTS}


def test_unseen_combinations_have_tables_of_their_own(small_model, small_processor, tmp_path):
    unseen = {**METRICS, "next_frame": {**METRICS["next_frame"], "l1": 0.4321}}
    write_hub_folder(small_model, small_processor, tmp_path, {**RESULTS, "test_unseen": unseen}, FACTS)
    _, text = read_card(tmp_path)
    assert "| **model, next caption given** | 0.4321 |" in text.split("All numbers on test_unseen")[1]


def test_model_index_has_the_exact_numbers_and_leaves_out_what_was_not_measured():
    metrics = {**METRICS, "next_caption": {**TEXTS, "loss": None, "floors": {}}}
    head = card_data({**RESULTS, "metrics": metrics}, {**FACTS, "dataset": "someone/stories"}).to_dict()
    assert head["datasets"] == ["someone/stories"]
    found = {}
    for result in head["model-index"][0]["results"]:
        assert result["dataset"] == {"name": "someone/stories", "type": "someone/stories", "split": "test"}
        found.update({(result["task"]["name"], metric["type"]): metric["value"] for metric in result["metrics"]})
    assert found == {
        ("Next frame", "l1"): 0.1234567890123,
        ("Next frame", "l1_changed"): 0.3,
        ("Next frame", "psnr"): 20.0,
        ("Next frame", "ssim"): 0.6,
        ("Next caption", "bits_per_byte"): 1.5,
        ("Next caption", "chrf"): 0.3,
        ("Next caption", "cider"): 0.625,
        ("Description", "bits_per_byte"): 1.5,
        ("Description", "chrf"): 0.3,
        ("Description", "cider"): 0.625,
        ("Retrieval", "r1"): 0.25,
        ("Retrieval", "r10"): 0.25,
    }


def test_tables_show_attention_beside_chance_only_where_it_was_measured():
    assert "Spatial attention" not in result_tables(METRICS)
    measured = {f"{prefix}{name}": 0.5 for prefix in ("", "chance_") for name in ("pointing_game", "mass_over_area")}
    assert "| chance | 0.5000 | 0.5000 |" in result_tables({**METRICS, "attention": measured})


def test_what_captions_name_is_shown_only_on_storyworld(small_model, small_processor, tmp_path):
    assert "event" not in result_tables(METRICS)
    assert "| model, shuffled frames | 2.7500 | 1.7500 | - |" in result_tables(METRICS)
    event = {"character": 0.75, "action": 0.5, "place": 0.5, "all": 0.25, "floor": {"character": 0.625}}
    names = {"precision": 1.0, "recall": 0.5, "f1": 0.6667, "floors": {"last_caption": {"f1": 0.125}}}
    told = {**TEXTS, "floors": {}, "event": event, "named_characters": names}
    tables = result_tables({**METRICS, "next_caption": told})
    assert "| next_caption, event | character | action | place | all |" in tables
    assert "| **model** | 0.7500 | 0.5000 | 0.5000 | 0.2500 |" in tables and "| floor | 0.6250 | - |" in tables
    assert "| last_caption | - | - | 0.1250 |" in tables
    for number, metrics in enumerate((METRICS, {**METRICS, "next_caption": told})):
        write_hub_folder(small_model, small_processor, tmp_path, {**RESULTS, "metrics": metrics}, FACTS)
        assert read_card(tmp_path)[1].count("`event` is the share of captions") == number


def test_template_is_found_in_an_installation_and_its_absence_told(monkeypatch, tmp_path):
    monkeypatch.setattr(
        card, "__file__", str(tmp_path / "site-packages" / "storyattn" / "training" / "publishing" / "card.py")
    )
    installed = tmp_path / "share" / "model_card.md"
    installed.parent.mkdir()
    installed.write_text("card")

    class Entry:
        name = "model_card.md"

        def locate(self):
            return installed

    monkeypatch.setattr(card, "files", lambda name: [Entry()])
    assert find_template() == installed
    monkeypatch.setattr(card, "files", lambda name: [])
    with pytest.raises(FileNotFoundError, match=r"model_card\.md"):
        find_template()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_in_half_the_space_load_as_they_were_measured(small_model, tmp_path, dtype):
    model = copy.deepcopy(small_model)
    round_weights(model, dtype)
    assert not torch.equal(model.prefix.weight, small_model.prefix.weight)
    sizes = {}
    for name, shard in (("whole", "5GB"), ("sharded", "40KB")):
        model.save_pretrained(tmp_path / name, max_shard_size=shard)
        before = sum(path.stat().st_size for path in (tmp_path / name).glob("*.safetensors"))
        store_weights(tmp_path / name, dtype)
        sizes[name] = sum(path.stat().st_size for path in (tmp_path / name).glob("*.safetensors"))
        assert sizes[name] < 0.6 * before
        loaded = type(model).from_pretrained(tmp_path / name)
        assert loaded.dtype == torch.float32
        expected = model.state_dict()
        assert all(torch.equal(weight, expected[key]) for key, weight in loaded.state_dict().items())
    index = json.loads((tmp_path / "sharded" / "model.safetensors.index.json").read_text())
    assert 0.5 * sizes["sharded"] < index["metadata"]["total_size"] <= sizes["sharded"]


def test_weights_survive_a_disk_that_is_full_while_they_are_stored(small_model, tmp_path, monkeypatch):
    small_model.save_pretrained(tmp_path)

    def half_written(tensors, path, metadata=None):
        Path(path).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(weights, "save_file", half_written)
    with pytest.raises(OSError, match="No space left"):
        store_weights(tmp_path, "float16")
    loaded, expected = type(small_model).from_pretrained(tmp_path).state_dict(), small_model.state_dict()
    assert all(torch.equal(weight, expected[key]) for key, weight in loaded.items())


def test_weights_beyond_half_precision_are_refused(small_model):
    model = copy.deepcopy(small_model)
    model.prefix.weight.data[0, 0] = 70000.0
    with pytest.raises(
        ValueError, match="save_dtype: found weights of up to 7e.04 in prefix.weight, expected what float"
    ):
        round_weights(model, "float16")
    round_weights(model, "bfloat16")
