"""StoryWorld as a data set: it loads back, is evaluated as the built-in one, and goes to the Hub with its benchmark."""

import json
from pathlib import Path

import pytest
import yaml
from conftest import refused_line
from datasets import load_dataset
from hub_client import reachable_hub
from huggingface_hub import DatasetCard, EvalResultEntry, constants, parse_eval_result_entries
from sample_results import FACTS, METRICS, RESULTS
from storyattn.training.cli import main as command
from storyattn.training.cli.storyworld import main as storyworld_command
from storyattn.training.publishing.eval_results import eval_result_files
from storyattn.training.storyworld import generate_story

NUMBERS = {"train": 4, "validation": 2, "test": 3, "test_unseen": 2, "test_words": 2}
FLAGS = ["--num_stories", *map(str, NUMBERS.values()), "--image_size", "32", "48", "--num_frames", "3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A small StoryWorld; nothing may be written there."""
    output = tmp_path_factory.mktemp("storyworld") / "world"
    command(["data", "storyworld", "--output", str(output), *FLAGS])
    return output


def test_the_stories_load_back_as_they_are_drawn(folder):
    loaded = load_dataset(str(folder))
    assert {split: len(rows) for split, rows in loaded.items()} == NUMBERS
    row, drawn = loaded["test"][2], generate_story(2, "test", image_size=(32, 48), num_frames=3)
    assert [frame.tobytes() for frame in row["frames"]] == [frame.tobytes() for frame in drawn["frames"]]
    same = ("story_id", "captions", "boxes", "events", "states", "setting", "plot", "characters")
    assert {name: row[name] for name in same} == {name: drawn[name] for name in same}


def test_the_card_has_the_columns_and_shows_the_stories(folder):
    card = DatasetCard.load(folder / "README.md")
    features = yaml.safe_load((folder / "README.md").read_text().split("---")[1])["dataset_info"]["features"]
    assert card.data.license == "mit"
    assert "(storyworld.png)" in card.text and (folder / "storyworld.png").stat().st_size > 1000
    assert "| `test_unseen` | 2 |" in card.text and "@software{storyattn" in card.text and "{{T" in card.text
    loaded = load_dataset(str(folder), split="test")
    assert [feature["name"] for feature in features] == loaded.column_names


def test_every_result_of_a_model_has_its_task_in_the_benchmark(folder):
    benchmark = yaml.safe_load((folder / "eval.yaml").read_text())
    assert {"name", "description", "evaluation_framework", "tasks"} == set(benchmark)
    tasks = {task["id"]: task for task in benchmark["tasks"]}
    assert len(tasks) == len(benchmark["tasks"]) and {task["config"] for task in tasks.values()} == {"default"}
    facts = {**FACTS, "benchmark": "user/world", "data": {"revision": "2"}}
    files = eval_result_files({**RESULTS, "test_unseen": METRICS}, facts, "user/tale")
    assert set(files) == {".eval_results/world-test.yaml", ".eval_results/world-test_unseen.yaml"}
    for name, text in files.items():
        entries = parse_eval_result_entries(yaml.safe_load(text))
        splits = {tasks[entry.task_id]["split"] for entry in entries}
        assert splits == {name.removeprefix(".eval_results/world-").removesuffix(".yaml")}
        assert entries[0] == EvalResultEntry(
            dataset_id="user/world",
            task_id=f"{splits.pop()}_next_frame_l1",
            value=METRICS["next_frame"]["l1"],
            source_url=f"{constants.ENDPOINT}/user/tale/blob/main/results.json",
            source_name="results.json",
            source_user="user",
            notes="L1 of the next frame, lower is better; StoryWorld, version 2",
        )


def test_a_model_is_evaluated_on_the_folder(folder, small_model, small_processor, tmp_path):
    small_model.save_pretrained(tmp_path / "model")
    small_processor.save_pretrained(tmp_path / "model")
    output = tmp_path / "results.json"
    flags = ["--model", str(tmp_path / "model"), "--dataset", str(folder), "--split", "test", "--output", str(output)]
    command(["evaluate", *flags])
    results = json.loads(output.read_text())
    assert results["num_stories"] == 3 and {"attention", "next_frame"} <= set(results["metrics"])


def test_it_is_pushed_and_pushed_again_without_a_commit(tmp_path, capsys):
    flags = ["--output", str(tmp_path / "world"), *FLAGS, "--overwrite", "--push_to_hub", "user/world", "--private"]
    with reachable_hub() as hub:
        storyworld_command(flags)
        commit = hub.head("user/world")
        assert {"README.md", "eval.yaml", "storyworld.png", "test_unseen.parquet"} <= set(commit.files)
        assert hub.repositories["user/world"].private and commit.files["train.parquet"].is_lfs
        assert f"/datasets/user/world/commit/{commit.oid}" in capsys.readouterr().out
        assert 'load_dataset("user/world"' in commit.files["README.md"].content.decode()
        storyworld_command(flags)
        assert hub.head("user/world").oid == commit.oid


def test_mistakes_are_refused_before_anything_is_drawn(folder, tmp_path):
    def refused(*flags: str) -> str:
        return refused_line(storyworld_command, list(flags))

    output = ("--output", str(tmp_path / "world"))
    assert "earlier result" in refused("--output", str(folder))
    assert "private: got it without push_to_hub" in refused(*output, "--private")
    assert "push_to_hub: got 'world', expected user/name" in refused(*output, "--push_to_hub", "world")
    with reachable_hub():
        assert "expected a repository of user" in refused(*output, "--push_to_hub", "other/world")
    assert "num_stories: got 0" in refused(*output, "--num_stories", "0", "1", "1", "1", "1")
    assert not (tmp_path / "world").exists()
