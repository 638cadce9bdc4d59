"""Nothing asks the network: not an import, not a training on what is drawn, not an evaluation of local files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Python runs it before anything else; sockets within the machine, which processes use among themselves, stay.
BLOCKED = """
import os, socket

def refuse(name):
    def call(*arguments, **options):
        with open(os.environ["ASKED"], "a") as log:
            print(name, arguments[:2], file=log)
        raise OSError(f"{name}: the network was asked")
    return call

connect = socket.socket.connect
socket.getaddrinfo = refuse("getaddrinfo")
socket.gethostbyname = refuse("gethostbyname")
socket.socket.connect = lambda self, address: (connect if self.family == socket.AF_UNIX else refuse("connect"))(
    *((self, address) if self.family == socket.AF_UNIX else (address,))
)
"""


@pytest.fixture
def offline(tmp_path):
    """Runs Python without a network, with caches that are empty; gives what it printed and what it asked for."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCKED)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"PYTHONPATH": str(tmp_path / "site"), "ASKED": str(tmp_path / "asked"), "HF_HOME": str(tmp_path)}
    environment |= {"OMP_NUM_THREADS": "1"}

    def run(*command) -> tuple[str, str]:
        command = [sys.executable, *map(str, command)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-2000:]
        asked = tmp_path / "asked"
        return done.stdout, asked.read_text() if asked.exists() else ""

    return run


def test_the_network_is_missed_where_it_is_asked(offline):
    """So that silence below means something."""
    told = "import huggingface_hub\ntry: huggingface_hub.whoami(token='x')\nexcept Exception as error: print('refused')"
    printed, asked = offline("-c", told)
    assert "refused" in printed and asked


def test_importing_asks_for_nothing(offline):
    modules = ", ".join(f"storyattn.training.{name}" for name in ("train", "cli.evaluate", "cli.tell", "cli.publish"))
    assert offline("-c", f"import storyattn, {modules}, storyattn.training.cli.data")[1] == ""


@pytest.mark.slow
def test_training_and_evaluating_ask_for_nothing(offline, small_config_file, stories_folder, tmp_path):
    config = ["--config", small_config_file, "--max_train_stories", 8, "--max_train_steps", 2, "--train_batch_size", 2]
    sizes = ["--max_eval_windows", 2, "--max_test_windows", 2, "--output_dir", tmp_path / "run"]
    assert offline(ROOT / "train.py", *config, *sizes)[1] == ""
    command = ["-c", "from storyattn.training import cli; cli.main()", "evaluate", "--model", tmp_path / "run"]
    numbers = tmp_path / "numbers.json"
    assert offline(*command, "--dataset", stories_folder, "--max_windows", 2, "--output", numbers)[1] == ""
    assert numbers.is_file()
