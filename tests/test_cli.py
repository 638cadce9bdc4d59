"""The commands: `storyattn`, `python train.py`, `python -m storyattn.training.train`, `accelerate launch`."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from storyattn.training import cli
from storyattn.training.cli import card as card_cli
from storyattn.training.cli import checkpoints as checkpoints_cli
from storyattn.training.cli import data as data_cli
from storyattn.training.cli import evaluate as evaluate_cli
from storyattn.training.cli import mean as mean_cli
from storyattn.training.cli import picture_books as picture_books_cli
from storyattn.training.cli import publish as publish_cli
from storyattn.training.cli import serve as serve_cli
from storyattn.training.cli import tell as tell_cli
from storyattn.training.cli import train as train_cli
from training_runs import QUICK

TOP = Path(__file__).resolve().parent.parent


def test_help_names_every_command(capsys):
    cli.main(["--help"])
    text = capsys.readouterr().out
    for argv in ([], ["help"]):
        cli.main(argv)
        assert text == capsys.readouterr().out
    assert all(f"storyattn {command} " in text for command in cli.COMMANDS)


def test_version_is_the_packages(capsys):
    cli.main(["--version"])
    version = re.search(r'^version = "(.+)"$', (TOP / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert capsys.readouterr().out == f"storyattn {version}\n"


MODULES = {
    "train": train_cli,
    "evaluate": evaluate_cli,
    "tell": tell_cli,
    "serve": serve_cli,
    "checkpoints": checkpoints_cli,
    "data": data_cli,
    "card": card_cli,
    "mean": mean_cli,
    "publish": publish_cli,
}


@pytest.mark.parametrize(("command", "module"), MODULES.items(), ids=MODULES)
def test_commands_get_the_rest_of_the_arguments(command, module, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "main", seen.append)
    cli.main([command, "--model", "x y"])
    assert seen == [["--model", "x y"]]


def test_an_unknown_command_is_one_line_and_status_2(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["trian"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    expected = f"one of {', '.join(cli.COMMANDS)}; did you mean storyattn train?"
    assert line == f"storyattn: got the command 'trian', expected {expected}"


def test_data_help_names_every_command(capsys):
    cli.main(["data", "--help"])
    text = capsys.readouterr().out
    cli.main(["data"])
    assert text == capsys.readouterr().out
    assert all(f"storyattn data {command} " in text for command in data_cli.COMMANDS)


def test_data_commands_get_the_rest_of_the_arguments(monkeypatch):
    seen = []
    monkeypatch.setattr(picture_books_cli, "main", seen.append)
    cli.main(["data", "picture-books", "--output", "x y"])
    assert seen == [["--output", "x y"]]


def test_an_unknown_data_command_is_one_line_and_status_2(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["data", "picture-boks"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "storyattn data" in line and "'picture-boks'" in line and "picture-books, " in line and ", check" in line


def test_train_py_shows_its_flags(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(TOP / "train.py"), run_name="__main__")
    assert ended.value.code == 0 and "--max_train_steps" in capsys.readouterr().out


def test_the_module_runs_as_a_program(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["train", "--preset=giant", f"--output_dir={tmp_path / 'x'}"])
    monkeypatch.delitem(sys.modules, "storyattn.training.train")  # as in a fresh process
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("storyattn.training.train", run_name="__main__")
    assert ended.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "'giant'" in line and "tiny" in line


def test_accelerate_launches_train_py_which_ends_with_its_workers(stories_folder, small_config_file, tmp_path):
    """Workers that outlive the loop must not keep the process from ending."""
    launch = ["--config_file", str(TOP / "configuration" / "accelerate" / "cpu.yaml"), str(TOP / "train.py")]
    flags = {"config": small_config_file, "dataset": stories_folder, "output_dir": tmp_path / "run", **QUICK}
    argv = [f"--{name}={value}" for name, value in {**flags, "max_train_steps": 2, "dataloader_num_workers": 2}.items()]
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", *launch, *argv]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert ran.returncode == 0, ran.stderr
    first, second, *_ = ran.stdout.splitlines()
    assert first.startswith("run: 1 process on cpu, ") and second.startswith("run: trains ")
    assert (tmp_path / "run" / "results.json").is_file()
