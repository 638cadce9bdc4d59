"""The script of all GPU checks: what it finds without a GPU, and how it judges and bounds its checks."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def gpu_check(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("gpu_check")


@pytest.fixture
def check(gpu_check):
    """Return a function that makes a check of a line of Python."""

    def make(code: str, limit: float = 60.0, judge=lambda printed: {"length": len(printed)}):
        return gpu_check.Check("a check", [sys.executable, "-c", code], limit, judge)

    return make


def write_log(folder: Path, losses: dict[int, float]) -> Path:
    """Write what a run leaves: the losses of its steps, and a model."""
    folder.mkdir()
    lines = [json.dumps({"step": step, "loss": loss, "stories_per_second": 2.0}) for step, loss in losses.items()]
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    (folder / "model.safetensors").write_text("")
    return folder


def test_without_a_gpu_it_says_so_in_one_line():
    environment = {**os.environ, "PYTHON": "false"}  # an interpreter that finds none
    done = subprocess.run([ROOT / "benchmarks" / "gpu_check.sh"], capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("gpu_check: got no GPU that torch can use")


def test_every_kind_of_check_is_made_for_both_devices(gpu_check, tmp_path, monkeypatch):
    card = type("Card", (), {"total_memory": 24 * 2**30})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: card)
    checks = {device: gpu_check.all_checks(device, tmp_path) for device in ("cuda", "cpu")}
    names = [check.name for check in checks["cuda"]]
    assert names[:4] == ["tests of test_gpu.py", "training in bf16", "resuming in bf16", "training in fp16"]
    assert names[4:7] == [
        "speed of tiny in bf16, 64 stories a step",
        "speed of small in bf16, 17 stories a step",
        "speed of base in bf16, 1 stories a step",
    ]
    assert names[7:] == ["training with --compile"]
    assert "--compile=true" in checks["cuda"][-1].command
    assert [check.name for check in checks["cpu"]][-1] == "speed of tiny in fp32, 1 stories a step"


def test_checks_pass_fail_or_are_left_out(gpu_check, check, tmp_path):
    soon = time.monotonic() + 60
    passed = gpu_check.run_check(check("print('x' * 9)"), soon, tmp_path)
    assert (passed.result, passed.numbers, passed.detail) == ("passed", {"length": 10}, "length 10")
    failed = gpu_check.run_check(check("raise ValueError('no | kernel')"), soon, tmp_path)
    assert failed.result == "failed" and failed.detail == "exit status 1: ValueError: no | kernel"
    unread = gpu_check.run_check(check("", judge=lambda printed: json.loads("{")), soon, tmp_path)
    assert unread.result == "failed" and "Expecting" in unread.detail
    late = gpu_check.run_check(check("print()"), time.monotonic() + 1, tmp_path)
    assert late.result == "left out"
    lines = gpu_check.format_outcomes([passed, failed, late]).splitlines()
    assert len(lines) == 5 and len({line.count("|") for line in lines}) == 1


def test_a_check_ends_at_its_limit_with_all_it_has_started(gpu_check, check, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check, "LEAST_SECONDS", 0.0)
    code = "import subprocess; child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True); child.wait()"
    outcome = gpu_check.run_check(check(code, limit=1.0), time.monotonic() + 60, tmp_path)
    assert outcome.result == "failed" and outcome.detail == "not done after 1 s" and outcome.seconds < 10
    child = Path("/proc") / (tmp_path / "a-check.log").read_text().strip()
    until = time.monotonic() + 10
    while child.exists() and ") Z " not in (child / "stat").read_text():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_losses_must_fall_and_go_on_after_resuming(gpu_check, tmp_path):
    falling = write_log(tmp_path / "falling", {step: 5.0 - step / 10 for step in range(1, 13)})
    assert gpu_check.judge_losses(falling)["last loss"] == pytest.approx(3.85)
    for losses in ({1: 1.0, 2: 2.0}, {1: 1.0, 2: float("nan")}):
        rising = write_log(tmp_path / f"rising-{losses[2]}", losses)
        with pytest.raises(ValueError, match="^loss: got .* expected less"):
            gpu_check.judge_losses(rising)
    resumed = write_log(tmp_path / "resumed", {step: (5.0 - step / 10) * 1.01 for step in range(7, 13)})
    assert gpu_check.judge_resumed(falling, resumed) == {"steps": 6, "losses apart": pytest.approx(0.01)}
    with pytest.raises(ValueError, match="^losses: got .* apart"):
        gpu_check.judge_resumed(falling, write_log(tmp_path / "other", {11: 3.9, 12: 5.0}))
    with pytest.raises(ValueError, match="^steps: "):
        gpu_check.judge_resumed(falling, falling)


def test_tests_are_counted(gpu_check):
    assert gpu_check.judge_tests("...\n4 skipped in 1.2s\n") == {"passed": 0, "skipped": 4}
    assert gpu_check.judge_tests("3 passed, 1 skipped in 1.2s") == {"passed": 3, "skipped": 1}
