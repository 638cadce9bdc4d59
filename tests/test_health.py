"""What training does when numbers stop being finite, and when a signal asks it to end."""

import math
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from storyattn.training import train as train_module
from storyattn.training.arguments import TrainingArguments
from storyattn.training.common import interruption
from storyattn.training.common.interruption import Interrupted, Interruption, resume_command
from storyattn.training.data import loaders
from storyattn.training.engine import loop as loop_module
from storyattn.training.engine.loop import TrainingLoop
from training_runs import QUICK, checkpoint_tensors, read_log, same_tensors, train_with

ROOT = Path(__file__).resolve().parent.parent
FLAGS = {**QUICK, "max_train_steps": 6, "eval_steps": 0, "save_steps": 1, "save_total_limit": 9, "logging_steps": 1}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def train(stories_folder, small_config_file, tmp_path) -> Callable[..., Path]:
    """Train with flags over those above; returns the folder of the run."""

    def run(name: str = "run", **flags) -> Path:
        data = {"config": small_config_file, "dataset": stories_folder, "output_dir": tmp_path / name}
        train_with({**data, **FLAGS, **flags})
        return tmp_path / name

    return run


@pytest.fixture
def plant(monkeypatch) -> Callable[..., None]:
    """Put a NaN into the first frame of the batches of the given numbers."""

    def run(*numbers: int) -> None:
        loader = loaders.training_loader

        def planted(*arguments, **options):
            for number, batch in enumerate(loader(*arguments, **options), start=options["first_batch"]):
                if number in numbers:
                    batch["pixel_values"][0, 0, 0, 0, 0] = torch.nan
                yield batch

        monkeypatch.setattr(loaders, "training_loader", planted)

    return run


# Numbers that are not finite


@pytest.mark.usefixtures("without_results")
@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_step_that_is_not_finite_is_left_out_with_a_warning(train, plant, caplog, accumulated):
    plant(2 * accumulated)
    folder = train(gradient_accumulation_steps=accumulated)
    for name in ("model", "average", "optimizer"):
        before, at, after = (checkpoint_tensors(folder, step, name) for step in (2, 3, 4))
        assert same_tensors(before, at) and not same_tensors(at, after), name
        assert all(value.isfinite().all() for value in after.values())
    lines = [line for line in read_log(folder) if "lr" in line]
    assert [line["bad_steps"] for line in lines] == [0, 0, 1, 1, 1, 1]
    assert ["loss" in line for line in lines] == [True, True, False, True, True, True]
    assert lines[2]["grad_norm"] is None and lines[-1]["lr"] < 1e-6
    assert "step 3: got a loss of nan" in caplog.text and "1 in a row" in caplog.text


@pytest.mark.usefixtures("without_results")
def test_too_many_such_steps_in_a_row_end_the_run(train, plant, capsys, tmp_path):
    plant(2, 3, 4)
    with pytest.raises(SystemExit) as ended:
        train(max_bad_steps=3, save_steps=2)
    assert ended.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: training: step 5: got a loss of nan") and "3 such steps in a row" in line
    assert f"the last good checkpoint is {tmp_path / 'run' / 'checkpoints' / 'step-4'}" in line
    assert train("other", max_bad_steps=4).is_dir()


@pytest.mark.usefixtures("without_results")
def test_bad_steps_are_counted_on_after_resuming(train, plant):
    plant(1, 4)
    folder = train()
    for step in (4, 5, 6):
        (folder / "checkpoints" / f"step-{step}").rename(folder / f"gone-{step}")
    train(resume_from_checkpoint="latest")
    assert [line["bad_steps"] for line in read_log(folder) if "lr" in line] == [0, 1, 1, 1, 2, 2]
    assert same_tensors(checkpoint_tensors(folder, 6), load_file(folder / "gone-6" / "model.safetensors"))


class Scaler:
    """Stand in for the one of fp16, which needs a GPU; the gradients of the steps in `overflows` are too large."""

    def __init__(self, scale: float, overflows: tuple[int, ...]):
        self.size, self.overflows, self.number, self.updates = scale, overflows, 0, 0

    def scale(self, loss):
        self.number += 1
        return loss * (math.inf if self.number in self.overflows else 1.0)

    def step(self, optimizer, closure=None):
        optimizer.step(closure)

    def update(self):
        self.updates += 1

    def get_scale(self) -> float:
        return self.size

    def state_dict(self) -> dict:
        return {"scale": self.size}


@pytest.mark.usefixtures("without_results")
@pytest.mark.parametrize(("scale", "bad_steps"), [(65536.0, 0), (1.0, 2)])
def test_overflows_of_fp16_are_no_fault_while_the_scale_can_fall(train, monkeypatch, caplog, scale, bad_steps):
    scaler, build = Scaler(scale, (2, 3)), train_module.build_accelerator

    def build_with_scaler(args: TrainingArguments) -> Accelerator:
        accelerator = build(args)
        accelerator.scaler = scaler
        return accelerator

    monkeypatch.setattr(train_module, "build_accelerator", build_with_scaler)
    folder = train()
    first, second, third, fourth = (checkpoint_tensors(folder, step) for step in (1, 2, 3, 4))
    assert same_tensors(first, second) and same_tensors(second, third) and not same_tensors(third, fourth)
    assert scaler.updates == 6, "it must learn of every step"
    assert [line["bad_steps"] for line in read_log(folder) if "lr" in line][-1] == bad_steps
    assert ("the step is left out" in caplog.text) == bool(bad_steps)


# Signals


@pytest.fixture
def signalled(train, monkeypatch, capsys) -> Callable[..., tuple[int, list[str]]]:
    """Train a run that gets a signal within its third step; returns its exit status and the last two lines."""

    def run(name: str, number: int, **flags) -> tuple[int, list[str]]:
        train_step = TrainingLoop._train_step

        def hit(loop: TrainingLoop, *arguments) -> None:
            if loop.step == 2:
                signal.raise_signal(number)
            train_step(loop, *arguments)

        with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(TrainingLoop, "_train_step", hit)
            train(name, save_steps=0, **flags)
        return ended.value.code, capsys.readouterr().err.splitlines()[-2:]

    return run


@pytest.fixture(scope="module")
def whole(launch, tmp_path_factory) -> Path:
    """A run that was not interrupted, without results."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    launch(folder, results=False, **FLAGS)
    return folder


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_that_can_go_on(signalled, train, whole, tmp_path, monkeypatch, number):
    monkeypatch.setattr(sys, "orig_argv", ["python", "train.py", "--seed", "0"])
    monkeypatch.setattr(interruption, "_launcher_command", lambda: None)
    before = signal.getsignal(number)
    status, (stopped, command) = signalled("run", number)
    assert status == 128 + number and signal.getsignal(number) == before
    saved = tmp_path / "run" / "checkpoints" / "step-3"
    assert stopped == f"stopped by {number.name} after step 3 of 6, saved as {saved}; to go on:"
    assert command == "python train.py --seed 0 --resume_from_checkpoint latest"
    assert not (tmp_path / "run" / "results.json").exists()
    resumed = train("run", save_steps=0, resume_from_checkpoint="latest")
    for step in (3, 6):
        assert same_tensors(checkpoint_tensors(resumed, step), checkpoint_tensors(whole, step))
    assert (tmp_path / "run" / "results.json").exists()


@pytest.mark.usefixtures("without_results")
def test_a_signal_during_an_evaluation_leaves_it_to_the_run_that_goes_on(train, monkeypatch, capsys, tmp_path):
    measure = loop_module.quick_metrics

    def hit(*arguments, **options):
        signal.raise_signal(signal.SIGTERM)
        return measure(*arguments, **options)

    flags = {"eval_steps": 3, "save_steps": 0}
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(loop_module, "quick_metrics", hit)
        train("run", **flags)
    assert "stopped by SIGTERM after step 3 of 6" in capsys.readouterr().err
    assert not [line for line in read_log(tmp_path / "run") if "eval" in line]
    resumed, whole = train("run", **flags, resume_from_checkpoint="latest"), train("whole", **flags)
    evaluations = [[line for line in read_log(run) if "eval" in line] for run in (resumed, whole)]
    assert evaluations[0] == evaluations[1] and [line["step"] for line in evaluations[0]] == [3, 6]
    assert same_tensors(checkpoint_tensors(resumed, 6), checkpoint_tensors(whole, 6))
    assert same_tensors(checkpoint_tensors(resumed, "best"), checkpoint_tensors(whole, "best"))


def test_a_second_signal_ends_it_at_once(monkeypatch):
    with Interruption() as interrupted:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # the launcher's echo of the first
        assert interrupted.number == signal.SIGINT
        monkeypatch.setattr(interruption, "ECHO_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_signal_after_training_ends_it_at_once():
    with pytest.raises(Interrupted, match="all is saved"), Interruption() as interrupted:
        interrupted.finished("all is saved")
        signal.raise_signal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="all is saved"), Interruption() as interrupted:
        signal.raise_signal(signal.SIGTERM)
        interrupted.finished("all is saved")


def test_the_command_that_resumes():
    for given in ([], ["--resume_from_checkpoint=a b"], ["--resume_from_checkpoint", "a"]):
        words = ["python", "train.py", *given, "--config_overrides", "dropout=0.1,x=a b"]
        expected = "python train.py --config_overrides 'dropout=0.1,x=a b' --resume_from_checkpoint latest"
        assert resume_command(words) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are forked")
@pytest.mark.usefixtures("without_results")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_workers_have_as_well_ends_a_run_with_a_save(number, train, monkeypatch, capsys):
    """As `timeout`, systemd, Slurm and a terminal send it, to the whole process group."""
    step, workers = TrainingLoop._train_step, []

    def hit(loop, *arguments):
        if loop.step == 2:
            workers.extend(multiprocessing.active_children())
            for process in [*(worker.pid for worker in workers), os.getpid()]:
                os.kill(process, number)
            time.sleep(0.3)  # in which the end of a worker would be noticed
        step(loop, *arguments)

    monkeypatch.setattr(TrainingLoop, "_train_step", hit)
    with pytest.raises(SystemExit) as ended:
        train(dataloader_num_workers=2, save_steps=0)
    text = capsys.readouterr().err
    assert ended.value.code == 128 + number and "Traceback" not in text
    assert f"stopped by {number.name} after step 3 of 6, saved as " in text
    assert len(workers) == 2 and not any(worker.is_alive() for worker in workers)


def test_workers_end_with_the_loop_whatever_ends_it(train, monkeypatch):
    """They ignore the signal by which a loader ends those that do not answer."""
    workers = []

    def fail(loop, *arguments):
        workers.extend(multiprocessing.active_children())
        raise MemoryError

    monkeypatch.setattr(TrainingLoop, "_train_step", fail)
    with pytest.raises(MemoryError):
        train(dataloader_num_workers=2)
    assert len(workers) == 2 and not any(worker.is_alive() for worker in workers)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
@pytest.mark.parametrize("to", ["all", "launcher"])
def test_signals_end_what_accelerate_has_launched(to, stories_folder, small_config_file, tmp_path):
    """Control-C in a terminal, which the launcher, the loop and its workers have; and one that ends the launcher."""
    flags = {**FLAGS, "config": small_config_file, "dataset": stories_folder, "output_dir": tmp_path / "run"}
    flags |= {"max_train_steps": 100000, "save_steps": 0, "dataloader_num_workers": 2}
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes=1", ROOT / "train.py"]
    command += [f"--{name}={value}" for name, value in flags.items()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    log, metrics = tmp_path / "log", tmp_path / "run" / "metrics.jsonl"
    with log.open("w") as file:
        options = {"stdout": file, "stderr": file, "env": environment, "cwd": ROOT, "start_new_session": True}
        process = subprocess.Popen(list(map(str, command)), **options)
    until = time.monotonic() + 120
    while not (metrics.exists() and len(metrics.read_text().splitlines()) > 3):
        assert process.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
        time.sleep(0.2)
    if to == "all":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    process.wait(60)
    while "--resume_from_checkpoint latest" not in log.read_text():  # the launcher does not wait for the other
        assert time.monotonic() < until, log.read_text()[-3000:]
        time.sleep(0.2)
    text = log.read_text()
    (step,) = re.findall(r"stopped by SIG(?:INT|TERM) after step (\d+) of 100000", text)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == [f"step-{step}"]
    assert "-m accelerate.commands.launch --cpu --num_processes=1" in text and "exited unexpectedly" not in text
