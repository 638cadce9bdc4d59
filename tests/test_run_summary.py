"""The first lines of a run say what it is, and package metadata are not needed for what it writes."""

import importlib.metadata
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from storyattn.training.common import versions
from storyattn.training.engine.run_summary import print_processes
from storyattn.training.evaluation.results import LIBRARIES, results_document

ROOT = Path(__file__).resolve().parent.parent


def test_the_first_lines_say_what_the_run_is(train_only, capsys):
    folder = train_only("run", seed=7, gradient_accumulation_steps=2, train_batch_size=3)
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == f"run: 1 process on cpu, 1 thread, precision fp32, seed 7, output_dir {folder}"
    numbers = re.fullmatch(r"run: trains ([\d,]+) of \1 parameters, 2 steps of 6 stories \(.*: 1 x 2 x 3\)", second)
    assert int(numbers[1].replace(",", "")) > 10_000


def test_several_processes_are_counted(capsys, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    accelerator = SimpleNamespace(
        num_processes=2,
        device=torch.device("cpu"),
        distributed_type=SimpleNamespace(value="MULTI_CPU"),
        mixed_precision="bf16",
        print=print,
    )
    print_processes(accelerator, SimpleNamespace(seed=0, output_dir="runs/x"))
    line = "run: 2 processes (MULTI_CPU) on cpu, 4 threads each, precision bf16, seed 0, output_dir runs/x\n"
    assert capsys.readouterr().out == line


@pytest.fixture
def without_metadata(monkeypatch) -> None:
    """As where packages lie in a folder and pip knows nothing of them."""

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    for name in ("version", "distribution", "files"):
        monkeypatch.setattr(importlib.metadata, name, missing)
    monkeypatch.setattr(versions, "version", missing)


@pytest.mark.usefixtures("without_metadata")
def test_results_name_the_versions_that_are_known():
    metrics = {"num_stories": 1, "num_windows": 1}
    document = results_document(metrics, dataset="x", split="test", model="y", seed=0, command="z")
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert document["versions"].pop("storyattn") == version
    assert document["versions"].pop("python") and document["versions"] == dict.fromkeys(LIBRARIES[1:])
