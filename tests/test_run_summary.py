"""The first lines of a run say what it is, and package metadata are not needed for what it writes."""

import importlib.metadata
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from storyattn.training.common import versions
from storyattn.training.engine import run_summary
from storyattn.training.engine.run_summary import is_emulated, print_processes, print_training
from storyattn.training.evaluation.results import LIBRARIES, results_document

ROOT = Path(__file__).resolve().parent.parent


def accelerator(num_processes: int, mixed_precision: str) -> SimpleNamespace:
    """Return what the lines take from an accelerator on the CPU."""
    return SimpleNamespace(
        num_processes=num_processes,
        device=torch.device("cpu"),
        distributed_type=SimpleNamespace(value="MULTI_CPU"),
        mixed_precision=mixed_precision,
        print=print,
    )


PROCESSES = {
    "run: 1 process on cpu, 1 thread, precision fp32, seed 7, output_dir runs/x": (1, "no", 1),
    "run: 2 processes (MULTI_CPU) on cpu, 4 threads each, precision bf16, seed 7, output_dir runs/x": (2, "bf16", 4),
}


@pytest.mark.parametrize("line", PROCESSES)
def test_the_first_line_says_where_and_how_a_run_computes(line, capsys, monkeypatch):
    num_processes, precision, threads = PROCESSES[line]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(run_summary, "is_emulated", lambda precision: False)
    print_processes(accelerator(num_processes, precision), SimpleNamespace(seed=7, output_dir="runs/x"))
    assert capsys.readouterr().out == f"{line}\n"


def test_a_precision_without_instructions_is_named(tmp_path, capsys, monkeypatch):
    info = tmp_path / "cpuinfo"
    info.write_text("flags : fpu avx2 avx512_fp16\n")
    assert is_emulated("bf16", info) and not is_emulated("fp16", info) and not is_emulated("fp32", info)
    assert not is_emulated("bf16", tmp_path / "nowhere")
    monkeypatch.setattr(run_summary, "is_emulated", lambda precision: precision == "bf16")
    print_processes(accelerator(1, "bf16"), SimpleNamespace(seed=7, output_dir="runs/x"))
    assert (
        "precision bf16 (this CPU has no instructions for it: --mixed_precision no is faster)"
        in capsys.readouterr().out
    )


def test_the_second_line_says_what_is_trained_and_how_long(capsys):
    model = torch.nn.Sequential(torch.nn.Linear(1000, 10), torch.nn.Linear(10, 1))
    model[1].requires_grad_(False)
    args = SimpleNamespace(gradient_accumulation_steps=3, train_batch_size=4)
    loop = SimpleNamespace(unwrapped_model=model, args=args, accelerator=accelerator(2, "no"), num_steps=50, step=10)
    print_training(loop)
    line = (
        "run: trains 10,010 of 10,021 parameters, 50 steps of 24 stories (processes x batches x stories: 2 x 3 x 4), "
    )
    assert capsys.readouterr().out == f"{line}resumed after step 10\n"


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
