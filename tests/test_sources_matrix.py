"""Every kind of data set, at hand and streamed: trained on, measured and continued by the commands."""

import io
import json
import math
import re
import shutil
from pathlib import Path

import pytest
import torch
from conftest import draw_story
from datasets import Dataset, DatasetDict, Features, Image, List, Value
from PIL import Image as PILImage
from safetensors.torch import load_file
from story_reasoning_rows import picture, row, write
from storyattn.training.cli import evaluate as evaluate_cli
from storyattn.training.cli import tell
from storyattn.training.data.splits import hash_position
from storyattn.training.storyworld import dataset as storyworld
from training_runs import train_with

# With batches of 12, two steps see each of 24 stories once.
NUM_TRAIN, NUM_OTHERS = 24, 3
ENCODED = List({"bytes": Value("binary"), "path": Value("string")})
OTHER_COLUMNS = {"frames_column": "pages", "captions_column": "texts"}


pytestmark = pytest.mark.usefixtures("one_thread")


# The data sets


def draw_stories(split: str) -> list[dict]:
    """Stories of three frames, as encoded pictures; each split has others."""
    first, count = {"train": (0, NUM_TRAIN), "validation": (100, NUM_OTHERS), "test": (200, NUM_OTHERS)}[split]
    stories = []
    for seed in range(first, first + count):
        story = draw_story(seed, 3)
        stories.append({**story, "frames": [{"bytes": to_png(frame), "path": None} for frame in story["frames"]]})
    return stories


def to_png(frame: PILImage.Image) -> bytes:
    file = io.BytesIO()
    frame.save(file, "PNG")
    return file.getvalue()


def dataset_of(stories: list[dict], names: tuple[str, str] = ("frames", "captions"), **features) -> Dataset:
    renamed = [{**story, names[0]: story["frames"], names[1]: story["captions"]} for story in stories]
    features = {**features, names[0]: ENCODED, names[1]: List(Value("string"))}
    rows = [{name: story[name] for name in features} for story in renamed]
    return Dataset.from_list(rows, features=Features(features)).cast_column(names[0], List(Image()))


def names_in(low: float, high: float, count: int) -> list[str]:
    """Ids of stories whose hash lies there, so that the split that they go to is known."""
    names = (f"story-{number}" for number in range(10_000))
    return [name for name, _ in zip((name for name in names if low <= hash_position(name) < high), range(count))]


def write_story_reasoning(folder: Path) -> dict:
    """`train` and `test` in the format of StoryReasoning, some rows of it irregular; validation has to be made."""
    irregular = [
        {"story": None, "chain_of_thought": None},
        {"story": "<gdi image3>C</gdi><gdi image1>A</gdi> <gdi image9>none</gdi>"},
        {"chain_of_thought": "## Image 2\n### Objects\n| Object ID | Bounding Box |\n| obj1 | 1,2,0 |"},
        {"frame_count": 9, "images": [picture() for _ in range(3)]},
    ]
    names = [*names_in(0, 0.05, 3), *names_in(0.1, 1, NUM_TRAIN)]
    rows = [row(name, **(irregular[index - 5] if 5 <= index < 9 else {})) for index, name in enumerate(names)]
    write(folder, "train", rows)
    return {"dataset": write(folder, "test", [row(f"other-{number}") for number in range(NUM_OTHERS)])}


def write_other_columns(folder: Path) -> dict:
    """Parquet whose columns have other names, and in which one of 24 stories is broken."""
    for split in ("train", "validation", "test"):
        stories = draw_stories(split)
        if split == "train":
            stories[7]["frames"][1] = {"bytes": b"no picture", "path": None}
        dataset = dataset_of(stories, ("pages", "texts"))
        dataset.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return {"dataset": folder, **OTHER_COLUMNS}


def write_saved(folder: Path) -> dict:
    """What `save_to_disk` writes."""
    splits = {split: dataset_of(draw_stories(split)) for split in ("train", "validation", "test")}
    DatasetDict(splits).save_to_disk(folder)
    return {"dataset": folder}


def write_frame_folder(folder: Path) -> dict:
    """Pictures with a line of `metadata.jsonl` a frame, some of them with a box."""
    for split in ("train", "validation", "test"):
        lines = [
            {"file_name": write_picture(folder / split, f"{number}-{index}", frame), "story": f"{split}-{number}"}
            | {"caption": story["captions"][index], "position": index}
            | {"boxes": [{"entity": "disc", "kind": "character", "box": [10, 20, 60, 44]}]}
            for number, story in enumerate(draw_stories(split))
            for index, frame in enumerate(story["frames"])
        ]
        write_lines(folder / split / "metadata.jsonl", lines)
    return {"dataset": folder}


def write_image_folder(folder: Path) -> dict:
    """The `imagefolder` of `datasets`: a line of `metadata.jsonl` names all pictures of a story."""
    for split in ("train", "validation", "test"):
        stories = enumerate(draw_stories(split))
        lines = [
            {
                "frames_file_names": [
                    write_picture(folder / split, f"{number}-{index}", frame)
                    for index, frame in enumerate(story["frames"])
                ],
                "captions": story["captions"],
            }
            for number, story in stories
        ]
        write_lines(folder / split / "metadata.jsonl", lines)
    return {"dataset": folder}


def write_json_lines(folder: Path) -> dict:
    """JSON lines that name pictures by their paths."""
    for split in ("train", "validation", "test"):
        lines = [
            {
                "frames": [
                    str(folder / "pages" / write_picture(folder / "pages", f"{split}-{number}-{index}", frame))
                    for index, frame in enumerate(story["frames"])
                ],
                "captions": story["captions"],
            }
            for number, story in enumerate(draw_stories(split))
        ]
        write_lines(folder / "stories" / f"{split}.jsonl", lines)
    return {"dataset": folder / "stories", "allow_local_paths": True}


def write_train_alone(folder: Path) -> dict:
    """A data set with a training split alone, in which 24 stories stay."""
    stories = [story for split in ("train", "validation", "test") for story in draw_stories(split)]
    names = [*names_in(0.1, 1, NUM_TRAIN), *names_in(0.05, 0.1, NUM_OTHERS), *names_in(0, 0.05, NUM_OTHERS)]
    named = [{**story, "story_id": name} for story, name in zip(stories, names)]
    dataset_of(named, story_id=Value("string")).to_parquet(folder / "train-00000-of-00001.parquet")
    return {"dataset": folder}


def write_picture(folder: Path, name: str, frame: dict) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.png").write_bytes(frame["bytes"])
    return f"{name}.png"


def write_lines(path: Path, lines: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


SOURCES = {
    "storyworld": lambda folder: {"dataset": "storyworld"},
    "story reasoning": write_story_reasoning,
    "other columns": write_other_columns,
    "saved": write_saved,
    "frame folder": write_frame_folder,
    "image folder": write_image_folder,
    "json lines": write_json_lines,
    "train alone": write_train_alone,
}
WITH_BOXES = ("storyworld", "story reasoning", "frame folder")


# The commands


@pytest.fixture(scope="module")
def flags_of(tmp_path_factory):
    """Writes a source once; gives the flags that name it."""
    written = {}

    def find(source: str) -> dict:
        if source not in written:
            written[source] = SOURCES[source](tmp_path_factory.mktemp("source"))
        return written[source]

    return find


@pytest.fixture
def launch(small_config_file):
    """Trains two steps into a folder, with flags by name."""

    def run(output_dir: Path, **flags) -> Path:
        quick = {"train_batch_size": 12, "eval_batch_size": 4, "max_eval_windows": 2, "max_test_windows": 4}
        steps = {"max_train_steps": 2, "warmup_steps": 1, "logging_steps": 1}
        train_with({"config": small_config_file, "output_dir": output_dir, **quick, **steps, **flags})
        return output_dir

    return run


def run_command(module, **flags) -> None:
    module.main([f"--{name}" if value is True else f"--{name}={value}" for name, value in flags.items()])


def expect_numbers(path: Path, source: str) -> None:
    metrics = json.loads(path.read_text())["metrics"]
    assert metrics["num_windows"] == (NUM_OTHERS if source == "story reasoning" else 4)  # stories of two frames there
    numbers = [metrics["next_frame"]["l1"], metrics["describe"]["loss"], metrics["next_caption"]["loss"]]
    numbers += [floor["l1"] for floor in metrics["next_frame"]["floors"].values()]
    numbers += [metrics["retrieval"]["text_to_image"]["r1"]]
    assert all(math.isfinite(number) for number in numbers)
    assert ("attention" in metrics) == (source in WITH_BOXES)
    if "attention" in metrics:
        assert math.isfinite(metrics["attention"]["mass_over_area"])


@pytest.mark.parametrize("streaming", [False, True], ids=["at hand", "streamed"])
@pytest.mark.parametrize("source", SOURCES)
def test_a_source(source, streaming, flags_of, launch, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(storyworld, "NUM_STORIES", {**dict.fromkeys(storyworld.SPLITS, NUM_OTHERS), "train": NUM_TRAIN})
    warnings = []
    monkeypatch.setattr("storyattn.training.data.loaders.logger.warning", warnings.append)
    monkeypatch.setattr("storyattn.training.data.prepared_stories.logger.warning", warnings.append)
    flags = flags_of(source)
    model = launch(tmp_path / "model", **flags, on_bad_story="skip", streaming=streaming)
    log = [json.loads(line) for line in (model / "metrics.jsonl").read_text().splitlines()]
    assert [math.isfinite(line["loss"]) for line in log if "loss" in line] == [True, True]
    expect_numbers(model / "results.json", source)
    # Once among the stories at hand, which a stream has a sample of, and once on its way out of the stream.
    skipped = [
        line
        for line in warnings
        if re.search("1 of (12|24) stories are bad and left out: .*frame 1: got no image", line)
    ]
    assert len(skipped) == (1 + streaming if source == "other columns" else 0)
    if streaming:
        return

    results = tmp_path / "measured.json"
    run_command(evaluate_cli, model=model, **flags, max_windows=4, output=results, on_bad_story="skip")
    expect_numbers(results, source)
    capsys.readouterr()
    shown = {"split": "test", "story": 1, "given": 2, "steps": 1, "max_new_tokens": 4}
    run_command(tell, model=model, **flags, **shown, output=tmp_path / "story.png")
    lines = capsys.readouterr().out.splitlines()
    assert [line[:2] for line in lines[:-1]] == ["1.", "2.", "3."] and lines[2].startswith("3. (written)")
    with PILImage.open(tmp_path / "story.png") as strip:
        assert min(strip.size) >= 32


# Resuming a stream


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_stream_equals_one_that_was_not_interrupted(workers, launch, stories_folder, tmp_path, training_only):
    flags = {"dataset": stories_folder, "streaming": True, "shuffle_buffer": 6, "dataloader_num_workers": workers}
    # 24 stories in batches of 7: the run stops within an epoch and ends in the next.
    flags |= {"train_batch_size": 7, "max_train_steps": 4, "save_steps": 2}
    whole = launch(tmp_path / "whole", **flags)
    state = json.loads((whole / "checkpoints" / "step-2" / "state.json").read_text())
    assert state["run"]["stream"] == [6, workers, 7, 1, 1]
    shutil.copytree(whole / "checkpoints" / "step-2", tmp_path / "resumed" / "checkpoints" / "step-2")
    resumed = launch(tmp_path / "resumed", **flags, resume_from_checkpoint="latest")
    for name in ("model", "optimizer", "average"):
        one, other = (
            load_file(folder / "checkpoints" / "step-4" / f"{name}.safetensors") for folder in (whole, resumed)
        )
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one), name
    losses = [json.loads(line)["loss"] for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert losses[2:] == [json.loads(line)["loss"] for line in (resumed / "metrics.jsonl").read_text().splitlines()]


def test_a_stream_goes_on_with_the_same_workers_alone(launch, stories_folder, tmp_path, training_only, capsys):
    flags = {"dataset": stories_folder, "streaming": True, "max_train_steps": 1}
    launch(tmp_path / "run", **flags)
    with pytest.raises(SystemExit):
        launch(tmp_path / "run", **flags, dataloader_num_workers=2, resume_from_checkpoint="latest")
    assert "another run: stream: got [100, 0, 12, 1, 1], expected [100, 2, 12, 1, 1]" in capsys.readouterr().err
