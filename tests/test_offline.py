"""Nothing calls the network: no import, no training on drawn stories, no evaluation of local files."""

import json
import os
import subprocess
import sys

import pytest

# Python runs it before anything else. Sockets within the machine, by which processes talk to each other, still work.
BLOCKED = """
import os, socket

def refuse(name):
    def call(*arguments, **options):
        with open(os.environ["CALLS"], "a") as log:
            print(name, arguments[:2], file=log)
        raise OSError(f"{name}: a call to the network")
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
    """Return a function that runs Python without a network and with empty caches.

    It returns the printed text and the calls to the network.
    """
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCKED)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"PYTHONPATH": str(tmp_path / "site"), "CALLS": str(tmp_path / "calls"), "HF_HOME": str(tmp_path)}
    environment |= {"OMP_NUM_THREADS": "1"}

    def run(*arguments: str) -> tuple[str, str]:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-2000:]
        calls = tmp_path / "calls"
        return done.stdout, calls.read_text() if calls.exists() else ""

    return run


def test_a_call_to_the_network_is_noticed(offline):
    """Otherwise the test below would prove nothing."""
    code = "import huggingface_hub\ntry: huggingface_hub.whoami(token='x')\nexcept Exception: print('refused')"
    printed, calls = offline("-c", code)
    assert "refused" in printed and calls


COMMANDS = """
import json, sys
import storyattn
from storyattn.training import cli, train
from storyattn.training.cli import data, evaluate, publish, tell
from storyattn.training.storyworld import dataset

dataset.NUM_STORIES = dict.fromkeys(dataset.SPLITS, 3)
training, evaluation = map(json.loads, sys.argv[1:])
train.main(training)
cli.main(["evaluate", *evaluation])
"""


@pytest.mark.slow
def test_importing_training_and_evaluating_make_no_call(offline, small_config_file, stories_folder, tmp_path):
    training = ["--config", small_config_file, "--max_train_stories", 8, "--max_train_steps", 2]
    training += ["--train_batch_size", 2, "--max_eval_windows", 2, "--max_test_windows", 2]
    training += ["--output_dir", tmp_path / "run"]
    evaluation = ["--model", tmp_path / "run", "--dataset", stories_folder, "--max_windows", 2]
    evaluation += ["--output", tmp_path / "numbers.json"]
    _, calls = offline("-c", COMMANDS, *(json.dumps(list(map(str, argv))) for argv in (training, evaluation)))
    assert calls == "" and (tmp_path / "numbers.json").is_file()
