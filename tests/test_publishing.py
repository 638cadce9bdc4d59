"""What training leaves to publish: the files of the folder, the card's numbers, and weights in half precision."""

import copy
import json
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import parse_eval_result_entries
from sample_results import FACTS, METRICS, RESULTS, TEXTS
from storyattn.training.evaluation.tables import result_tables
from storyattn.training.models import weights
from storyattn.training.models.weights import round_weights, store_weights
from storyattn.training.publishing import model_card
from storyattn.training.publishing.card_metadata import card_data
from storyattn.training.publishing.export import write_hub_folder
from storyattn.training.publishing.model_card import find_template


def read_card(folder) -> tuple[dict, str]:
    _, head, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(head), text


def test_the_folder_holds_weights_code_processor_and_card(small_model, small_processor, tmp_path):
    """That it loads without the package is the test of the card's quick start."""
    write_hub_folder(small_model, small_processor, tmp_path / "hub", RESULTS, FACTS)
    names = {path.name for path in (tmp_path / "hub").iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    assert {"modeling_storyattn.py", "processing_storyattn.py", "results.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]


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


def test_unseen_combinations_have_a_table(small_model, small_processor, tmp_path):
    unseen = {**METRICS, "next_frame": {**METRICS["next_frame"], "l1": 0.4321}}
    results = {**RESULTS, "test_unseen": unseen, "date": "2026-01-02"}
    write_hub_folder(small_model, small_processor, tmp_path, results, FACTS)
    _, text = read_card(tmp_path)
    files = {path.name: path.read_text() for path in (tmp_path / ".eval_results").iterdir()}
    assert set(files) == {"storyworld-test.yaml", "storyworld-test_unseen.yaml"}
    entries = {
        entry.task_id: entry
        for entry in parse_eval_result_entries(yaml.safe_load(files["storyworld-test_unseen.yaml"]))
    }
    assert entries["test_unseen_next_frame_l1"].value == 0.4321 and len(entries) == 13
    assert {(entry.dataset_id, entry.date) for entry in entries.values()} == {("storyworld", "2026-01-02")}
    assert "| **model, next caption given** | 0.4321 |" in text.split("All numbers on test_unseen")[1]


def test_model_index_has_the_exact_numbers_and_leaves_out_what_was_not_measured():
    metrics = {**METRICS, "next_caption": {**TEXTS, "loss": None, "floors": {}}}
    head = card_data({**RESULTS, "metrics": metrics}, {**FACTS, "dataset": "someone/stories"}).to_dict()
    assert head["datasets"] == ["someone/stories"]
    (result,) = head["model-index"][0]["results"]
    assert result["task"] == {"type": "image-text-to-text", "name": "Story continuation"}
    assert result["dataset"] == {"name": "someone/stories", "type": "someone/stories", "split": "test"}
    assert [(metric["name"], metric["type"], metric["value"]) for metric in result["metrics"]] == [
        ("L1 of the next frame, lower is better", "l1", 0.1234567890123),
        ("L1 on its changed pixels, lower is better", "l1_changed", 0.3),
        ("Bits per byte of the next caption, lower is better", "bits_per_byte", 1.5),
        ("chrF of the next caption", "chrf", 0.3),
        ("chrF of a description", "chrf", 0.3),
        ("Text-to-image recall at 1", "r1", 0.25),
    ]


def test_tables_show_attention_beside_chance_only_where_it_was_measured():
    assert "Spatial attention" not in result_tables(METRICS)
    measured = {f"{prefix}{name}": 0.5 for prefix in ("", "chance_") for name in ("pointing_game", "mass_over_area")}
    assert "| chance | 0.5000 | 0.5000 |" in result_tables({**METRICS, "attention": measured})


def test_what_captions_name_is_shown_only_on_storyworld(small_model, small_processor, tmp_path):
    assert "event" not in result_tables(METRICS)
    assert "| control: pictures of other stories | 2.7500 | 1.7500 | - |" in result_tables(METRICS)
    event = {"character": 0.75, "action": 0.5, "place": 0.5, "all": 0.25, "floor": {"character": 0.625}}
    names = {"precision": 1.0, "recall": 0.5, "f1": 0.6667, "floors": {"last_caption": {"f1": 0.125}}}
    metrics = {**METRICS, "next_caption": {**TEXTS, "floors": {}, "event": event, "named_characters": names}}
    tables = result_tables(metrics)
    assert "| next_caption, event | character | action | place | all |" in tables
    assert (
        "| **model** | 0.7500 | 0.5000 | 0.5000 | 0.2500 |" in tables
        and "| best of simple guesses | 0.6250 | - |" in tables
    )
    assert "| last_caption | - | - | 0.1250 |" in tables
    for number, measured in enumerate((METRICS, metrics)):
        write_hub_folder(small_model, small_processor, tmp_path, {**RESULTS, "metrics": measured}, FACTS)
        assert read_card(tmp_path)[1].count("`event` is the share of captions") == number


def test_the_template_is_found_in_an_installation_and_its_absence_is_an_error(monkeypatch, tmp_path):
    module = tmp_path / "site-packages" / "storyattn" / "training" / "publishing" / "model_card.py"
    monkeypatch.setattr(model_card, "__file__", str(module))
    installed = tmp_path / "share" / "model_card.md"
    installed.parent.mkdir()
    installed.write_text("card")

    class Entry:
        name = "model_card.md"

        def locate(self):
            return installed

    monkeypatch.setattr(model_card, "files", lambda name: [Entry()])
    assert find_template() == installed
    monkeypatch.setattr(model_card, "files", lambda name: [])
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
    expected = "save_dtype: got weights of up to 7e.04 in prefix.weight, expected what float16"
    with pytest.raises(ValueError, match=expected):
        round_weights(model, "float16")
    round_weights(model, "bfloat16")
