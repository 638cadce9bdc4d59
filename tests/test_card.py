"""The model card: its quick start runs, its numbers are those of the results, its metadata is whole."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from conftest import draw_story, refused_line
from datasets import Dataset, DatasetInfo, Image, List
from fresh_process import run_without_package
from huggingface_hub import ModelCard
from PIL import Image as PILImage
from sample_results import FACTS, METRICS, RESULTS, TEXTS
from storyattn.training.arguments import DataArguments, parse_arguments
from storyattn.training.cli import main as command
from storyattn.training.cli.card import main as card_command
from storyattn.training.evaluation.published_metrics import PUBLISHED_METRICS
from storyattn.training.evaluation.tables import main_results, value_at, worst_events
from storyattn.training.publishing.card_facts import (
    credit_lines,
    data_facts,
    published_facts,
    revision_of,
    write_example,
)
from storyattn.training.publishing.card_metadata import card_data
from storyattn.training.publishing.export import write_hub_folder
from storyattn.training.publishing.model_card import make_card, write_card
from storyattn.training.publishing.release_files import check_card, published_files

CHECKPOINTS = sorted(path.parent for path in (Path(__file__).parents[1] / "checkpoints").glob("*/results.json"))
FIELDS = ("language", "license", "library_name", "pipeline_tag", "tags", "datasets", "metrics", "model-index")
SHA = "0123456789abcdef0123456789abcdef01234567"
BOOKS = {
    "story_id": ["a", "b"],
    "title": ["A Fox", "An Owl"],
    "text_by": ["Ann", "Bea"],
    "images_by": ["Ann", "Cy"],
    "source": ["Book Dash", "African Storybook"],
    "license": ["CC BY 4.0", "CC BY 3.0"],
    "captions": [["The fox."], ["The owl."]],
}


def code_of(folder: Path) -> str:
    """All Python of a card, as one program."""
    return "\n".join(re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL))


def head_of(folder: Path) -> dict:
    return ModelCard.load(folder / "README.md").data.to_dict()


def text_of(folder: Path) -> str:
    return ModelCard.load(folder / "README.md").text


@pytest.fixture
def folder(small_model, small_processor, tmp_path) -> Path:
    """A published folder with an example."""
    story = draw_story(0)
    facts = {**FACTS, "example": write_example(story["frames"], story["captions"], tmp_path / "hub", 2)}
    return write_hub_folder(small_model, small_processor, tmp_path / "hub", RESULTS, facts)


def test_the_quick_start_runs_in_the_folder_and_by_the_id_on_the_hub(folder, tmp_path):
    """By the id from a cache that holds the model, as the client leaves it there."""
    assert len(list((folder / "figures").glob("example_*.png"))) == 2
    local = code_of(folder)
    command(["card", str(folder), "--repo_id", "someone/tales"])
    assert 'from_pretrained("someone/tales", trust_remote_code=True)' in code_of(folder)
    assert head_of(folder)["model-index"][0]["name"] == "tales"
    assert "https://huggingface.co/someone/tales" in text_of(folder)
    make_card(folder, "someone/tales", SHA).save(folder / "README.md")
    assert code_of(folder).count(f'revision="{SHA}", code_revision="{SHA}"') == 3, "model, processor and pipeline"
    assert len(re.search(r"```python\n(.*?)```", text_of(folder), re.DOTALL)[1].splitlines()) == 6
    cached = tmp_path / "cache" / "models--someone--tales"
    shutil.copytree(folder, cached / "snapshots" / SHA)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(SHA)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    program = f"{local}\nprint('on the Hub:')\nimport os\nos.chdir({str(elsewhere)!r})\n{code_of(folder)}"
    options = {"HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    printed = run_without_package(program, folder, **options)
    # Of each: four captions, the painted frames, a description, two lines of shapes, what the pipeline gave.
    assert [len(part.splitlines()) for part in printed.split("on the Hub:\n")] == [9, 9]
    for where in (folder, elsewhere):
        assert PILImage.open(where / "next.png").size == (48, 32)
        assert PILImage.open(where / "story.gif").n_frames == 4
        assert PILImage.open(where / "story.png").width > 4 * 48, "the six lines leave a strip"


def test_without_an_example_the_quick_start_has_plain_pictures(small_model, small_processor, tmp_path, monkeypatch):
    folder = write_hub_folder(small_model, small_processor, tmp_path, RESULTS, FACTS)
    monkeypatch.chdir(folder)
    exec(code_of(folder), {})
    assert PILImage.open(folder / "story.gif").n_frames == 4


def published(folder: Path) -> dict[str, float]:
    """The numbers of a card by the name of the metric; each has to stand in the results, by its path."""
    results, head = json.loads((folder / "results.json").read_text()), head_of(folder)
    (shown,) = head["model-index"][0]["results"]
    names = {metric.name: metric for metric in PUBLISHED_METRICS}
    for metric in shown["metrics"]:
        assert metric["value"] == value_at(results["metrics"], names[metric["name"]].path)
    assert shown["dataset"]["split"] == results["split"]
    return {names[metric["name"]].id: metric["value"] for metric in shown["metrics"]}


def evaluated(folder: Path) -> dict[str, float]:
    """The numbers of `.eval_results` by task."""
    entries = [yaml.safe_load(path.read_text()) for path in sorted((folder / ".eval_results").glob("*.yaml"))]
    return {entry["dataset"]["task_id"]: entry["value"] for file in entries for entry in file}


@pytest.mark.parametrize("folder", CHECKPOINTS, ids=lambda folder: folder.name)
def test_cards_of_published_models_are_whole(folder):
    results, head = json.loads((folder / "results.json").read_text()), head_of(folder)
    assert not [name for name in FIELDS if not head.get(name)]
    revision = results["facts"]["data"]["revision"]  # a folder has none
    assert all(result["dataset"].get("revision") == revision for result in head["model-index"][0]["results"])
    assert (revision is None) == (results["dataset"] != "storyworld")
    numbers, measured = {**published(folder), **evaluated(folder)}, results["metrics"]
    assert numbers["next_frame_l1"] == numbers["test_next_frame_l1"] == measured["next_frame"]["l1"]
    assert numbers["test_next_caption_loss"] == measured["next_caption"]["loss"]
    assert numbers["describe_chrf"] == measured["describe"]["chrf"]
    assert numbers["retrieval_r1"] == measured["retrieval"]["text_to_image"]["r1"]
    if "test_unseen" in results:
        assert numbers["test_unseen_next_frame_l1"] == results["test_unseen"]["next_frame"]["l1"]
    assert ("test_unseen" in results) == (results["dataset"] == "storyworld")
    assert (folder / "figures" / "example_1.png").is_file() and "{{ " not in text_of(folder)
    assert (folder / "figures" / "story_1.png").is_file() and (folder / "custom_generate" / "generate.py").is_file()
    assert len((folder / "README.md").read_text().split("\n---\n")[0].splitlines()) < 80


def test_metadata_names_pretrained_parts_and_the_revision_of_the_data(folder):
    facts = {
        **FACTS,
        "dataset": "someone/stories",
        "license": "apache-2.0",
        "pretrained": {"vision model": "google/eyes, frozen", "text encoder": "words, tuned"},
        "base_models": {"google/eyes": "apache-2.0", "words": None},
        "data": {"revision": SHA, "licences": {"cc-by-4.0": 3}, "sources": {}, "credits": []},
    }
    (folder / "results.json").write_text(json.dumps({**RESULTS, "facts": facts}))
    write_card(folder)
    head, text = head_of(folder), text_of(folder)
    assert not [name for name in FIELDS if not head.get(name)]
    assert head["license"] == "apache-2.0" and head["datasets"] == ["someone/stories"]
    assert head["base_model"] == ["google/eyes"] and head["base_model_relation"] == "finetune"
    assert {result["dataset"]["revision"] for result in head["model-index"][0]["results"]} == {SHA}
    assert "l1" in head["metrics"] and "pointing_game" not in head["metrics"]
    assert "google/eyes, frozen" in text and "words: license not stated" in text
    assert "cc-by-4.0 (3 stories)" in text and "published under `apache-2.0`" in text


def test_the_model_that_a_training_started_from_is_the_base_model(folder):
    """Of a model with pretrained parts that model alone: the parts are those of its base."""
    facts = {**FACTS, "fine_tuned_from": "someone/tales", "base_models": {"google/eyes": "mit", "someone/tales": "mit"}}
    head = card_data(RESULTS, facts).to_dict()
    assert head["base_model"] == ["someone/tales"] and head["base_model_relation"] == "finetune"
    head = card_data(RESULTS, {**facts, "fine_tuned_from": "tales", "base_models": {"tales": "mit"}}).to_dict()
    assert "base_model" not in head and "base_model_relation" not in head


def test_the_gallery_is_drawn_on_the_hub_and_plain_pictures_elsewhere(folder):
    strips = [f"figures/story_{number}.png" for number in (1, 2, 3)]
    sizes = {PILImage.open(folder / strip).size[0] for strip in strips}
    assert min(sizes) > 4 * 48 and "widget" not in head_of(folder) and "<Gallery />" not in text_of(folder)
    assert [strip in text_of(folder).split("## Quick start")[0] for strip in strips] == [True] * 3
    command(["card", str(folder), "--repo_id", "someone/tales", "--new_version", "someone/tales-2"])
    assert [item["output"]["url"] for item in head_of(folder)["widget"]] == strips
    assert "<Gallery />" in text_of(folder).split("## Quick start")[0] and strips[0] not in text_of(folder)
    assert head_of(folder)["new_version"] == "someone/tales-2" and "is a newer version" in text_of(folder)
    files, _ = published_files(folder)
    check_card(files)
    with pytest.raises(ValueError, match="got the picture 'figures/story_2.png', expected one that is published"):
        check_card({name: path for name, path in files.items() if name != strips[1]})


def test_an_older_folder_gets_strips_once(folder):
    results = json.loads((folder / "results.json").read_text())
    del results["facts"]["strips"]
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "figures" / "story_1.png").unlink()
    write_card(folder)
    written = json.loads((folder / "results.json").read_text())["facts"]["strips"]
    assert len(written) == 3 and {len(captions) for captions in written} == {3}
    before = (folder / "figures" / "story_1.png").stat().st_mtime_ns
    write_card(folder)
    assert (folder / "figures" / "story_1.png").stat().st_mtime_ns == before


def test_ablations_are_shown_where_they_lie_in_the_folder(folder):
    assert "## Ablations" not in text_of(folder)
    rows = [{"variant": "no fusion", "l1": [0.5, 0.25]}]
    (folder / "ablations.json").write_text(json.dumps({"steps": 70, "seeds": [0, 1], "max_windows": 9, "rows": rows}))
    write_card(folder)
    assert "| no fusion | 0.5000 ± 0.2500 |" in text_of(folder) and "70 steps each, seeds 0, 1" in text_of(folder)
    (folder / "ablations.md").write_text("| Variant | l1 |\n| --- | ---: |\n| no fusion | **0.5** |\n")
    write_card(folder)
    assert "| no fusion | **0.5** |" in text_of(folder) and "0.5000 ±" not in text_of(folder)


def test_an_older_folder_keeps_its_facts(folder):
    results = {**RESULTS, "dataset": "storyworld", "split": "test", "command": "train.py --x 1"}
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "README.md").write_text("# Old\n\n| Fact | Value |\n| --- | --- |\n| steps | 7 |\n| seed | 0 |\n\nmore\n")
    (folder / "recipe.yaml").write_text("pretrained_vision: google/eyes\nvision_tuning: frozen\nlicense: cc-by-4.0\n")
    for example in (folder / "figures").glob("example_*.png"):
        example.unlink()
    command(["card", str(folder)])
    first, updated = (folder / "README.md").read_text(), json.loads((folder / "results.json").read_text())
    assert updated["facts"]["training"] == {"steps": "7", "seed": "0"} and "| steps | 7 |" in first
    assert {name: updated[name] for name in results} == results
    assert "train.py --x 1" in first and "vision model: google/eyes, frozen" in first
    assert head_of(folder)["license"] == "cc-by-4.0" and head_of(folder)["base_model"] == ["google/eyes"]
    assert PILImage.open(folder / "figures" / "example_2.png").size == (48, 32)
    assert "version 2" in first
    command(["card", str(folder)])
    assert (folder / "README.md").read_text() == first
    command(["card", str(folder), "--license", "mit"])
    command(["card", str(folder)])
    assert head_of(folder)["license"] == "mit"


def test_refusals_are_one_line(folder, tmp_path):
    def refused(*argv: str) -> str:
        return refused_line(card_command, [*argv])

    assert f"folder: got '{tmp_path / 'nothing'}' without config.json, expected" in refused(str(tmp_path / "nothing"))
    assert "repo_id: got 'tales', expected user/name" in refused(str(folder), "--repo_id", "tales")
    assert "license: got 'My own', expected a name" in refused(str(folder), "--license", "My own")
    (folder / "results.json").write_text("[]")
    assert "without metrics, expected" in refused(str(folder))
    (folder / "results.json").unlink()
    assert "without results.json, expected" in refused(str(folder))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    assert "got model_type 'llama'" in refused(str(folder))
    with pytest.raises(ValueError, match="license: got MIT!, expected a name"):
        parse_arguments(["--license", "MIT!"])


def test_picture_books_are_credited(folder, tmp_path):
    frames = [[PILImage.new("RGB", (8, 8))]] * 2
    rows = Dataset.from_dict({**BOOKS, "frames": frames}).cast_column("frames", List(Image()))
    (tmp_path / "books").mkdir()
    rows.to_parquet(tmp_path / "books" / "train.parquet")
    facts_of_books = data_facts(str(tmp_path / "books"))
    assert facts_of_books == {
        "revision": None,
        "licences": {"CC BY 4.0": 1, "CC BY 3.0": 1},
        "sources": {"Book Dash": 1, "African Storybook": 1},
        "credits": [
            "A Fox, by Ann (Book Dash, CC BY 4.0)",
            "An Owl, text by Bea, pictures by Cy (African Storybook, CC BY 3.0)",
        ],
    }
    facts = {**FACTS, "dataset": str(tmp_path / "books"), "data": facts_of_books}
    (folder / "results.json").write_text(json.dumps({**RESULTS, "facts": facts}))
    write_card(folder)
    assert "- An Owl, text by Bea, pictures by Cy" in text_of(folder) and "CC BY 4.0 (1 stories)" in text_of(folder)
    assert "StoryWorld" not in text_of(folder) and str(tmp_path) not in text_of(folder)
    assert credit_lines(rows.remove_columns("text_by")) == []


def test_the_revision_of_a_data_set_is_that_of_its_files():
    loaded = Dataset.from_dict({"a": [1]}, info=DatasetInfo(download_checksums={f"hf://datasets/a/b@{SHA}/x": {}}))
    assert revision_of({"train": loaded}) == SHA
    assert revision_of({"train": Dataset.from_dict({"a": [1]})}) is None
    assert data_facts("storyworld")["revision"] == "3"


def test_a_part_from_a_folder_states_its_license(tmp_path):
    (tmp_path / "eyes").mkdir()
    (tmp_path / "eyes" / "README.md").write_text("---\nlicense: cc0-1.0\n---\n# Eyes\n")
    tuned = SimpleNamespace(vision_tuning="tuned", pretrained_vision=str(tmp_path / "eyes"), license="mit")
    facts = published_facts(tuned_only(tuned), DataArguments())
    assert facts["base_models"] == {"eyes": "cc0-1.0"} and facts["pretrained"] == {"vision model": "eyes, tuned"}


def test_a_second_stage_names_the_parts_of_the_first(tmp_path):
    (tmp_path / "first").mkdir()
    earlier = {"pretrained": {"text encoder": "someone/words, frozen"}, "base_models": {"someone/words": "apache-2.0"}}
    (tmp_path / "first" / "results.json").write_text(json.dumps({"facts": earlier}))
    tunings = {"vision_tuning": "tuned", "text_tuning": "frozen", "decoder_tuning": "tuned"}
    start = {"model_name_or_path": str(tmp_path / "first"), "license": "mit"}
    parts = dict.fromkeys(("pretrained_vision", "pretrained_text", "pretrained_decoder"))
    facts = published_facts(SimpleNamespace(**start, **tunings, **parts), DataArguments())
    assert facts["pretrained"]["text encoder"] == "first, frozen, there someone/words, frozen"
    assert facts["base_models"] == {"someone/words": "apache-2.0", "first": None}


def tuned_only(args: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(model_name_or_path=None, pretrained_text=None, pretrained_decoder=None, **vars(args))


def test_what_does_not_beat_its_floor_is_named(folder):
    frames = {**METRICS["next_frame"], "l1": 0.5, "ssim": 0.1}
    frames["floors"] = {"copy_last": {"l1": 0.4, "ssim": 0.3}, "mean": {"l1": 0.45}, "oracle_input": {"l1": 0.01}}
    frames["by_event"] = {
        kind: {"l1_changed": error, "copy_last_l1_changed": 0.2, "placement": None, "count": count}
        for kind, error, count in (("walk", 0.1, 9), ("give", 0.3, 9), ("travel", 0.9, 1), ("wait", None, 9))
    }
    captions = {**TEXTS, "floors": {"last_caption": {"chrf": 0.1}}}
    captions["examples"] = [{"target": "A | b", "generated": "C"}]
    metrics = {**METRICS, "next_frame": frames, "next_caption": captions}
    rows = {row["name"]: row for row in main_results(metrics)}
    assert rows["next frame, caption given: L1"]["floor"] == 0.4 and not rows["next frame, caption given: L1"]["beaten"]
    assert rows["next caption: chrF"]["beaten"] and rows["next caption: CIDEr"]["beaten"] is None
    assert [row["kind"] for row in worst_events(metrics)] == ["give", "walk"]
    (folder / "results.json").write_text(json.dumps({**RESULTS, "metrics": metrics, "facts": FACTS}))
    write_card(folder)
    text = text_of(folder)
    assert "next frame, caption given: L1 (`test`: 0.5000, copy last 0.4000)" in text
    assert "next frame, caption given: SSIM (`test`: 0.1000, copy last 0.3000)" in text
    assert "chrF (`test`" not in text and "give (L1 0.3000" in text and "| A \\| b | C |" in text


def test_training_leaves_the_facts_of_its_card(launch, tmp_path):
    run = tmp_path / "run"
    launch(run, license="cc-by-4.0", max_train_steps=1, train_batch_size=2, eval_steps=0, max_test_windows=2)
    facts = json.loads((run / "results.json").read_text())["facts"]
    assert facts["license"] == "cc-by-4.0" and facts["training"]["steps"] == 1 and facts["base_models"] == {}
    assert len(facts["example"]["captions"]) == 2 and (run / "figures" / "example_2.png").is_file()
    assert head_of(run)["license"] == "cc-by-4.0" and "No part was pretrained." in text_of(run)
    assert published(run)
