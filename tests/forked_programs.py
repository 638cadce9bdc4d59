"""
Programs that are forked from a server which has loaded the libraries: in a fresh Python these take ten seconds.

The server has not loaded `storyattn`, so that what is forked from it imports the package, or does without it.
"""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONTEXT = multiprocessing.get_context("forkserver")
LIBRARIES = (
    "torch._dynamo",
    "torch.distributed.checkpoint",
    "torch.distributed.fsdp",
    "torchmetrics.functional.image",
    "transformers.generation",
    "transformers.modeling_utils",
    "transformers.pipelines",
    "transformers.processing_utils",
    "transformers.trainer_utils",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.processing_auto",
    "transformers.models.convnext.modeling_convnext",
    "transformers.models.distilbert.modeling_distilbert",
    "transformers.models.llama.modeling_llama",
    "accelerate",
    "datasets",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "peft",
    "psutil",
    "sacrebleu",
    "safetensors.torch",
)


class Program:
    """A forked program in a session of its own, with the methods of `subprocess.Popen`."""

    def __init__(self, work: Callable[..., None], *arguments: object, out: Path, **options: object):
        CONTEXT.set_forkserver_preload(list(LIBRARIES))
        options = {"err": out, "cwd": ROOT, "environment": dict(os.environ), **options}
        self.process = CONTEXT.Process(target=_work, args=(work, arguments, out), kwargs=options)
        self.process.start()
        self.pid = self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("a forked program", timeout)
        return self.process.exitcode

    def kill(self) -> None:
        """Kill the program and what it has started."""
        for send in (os.killpg, os.kill):  # it may not have its session yet
            with suppress(ProcessLookupError):
                send(self.pid, signal.SIGKILL)
        self.process.join()


def train_program(argv: list[str], sharded: bool = False) -> None:
    """Run `train.py`, or with FSDP2 `sharded_training.py`."""
    sys.argv = ["train.py", *argv]
    sys.orig_argv = [sys.executable, *sys.argv]
    if sharded:
        import sharded_training  # noqa: F401  # it changes what `train` builds
    from storyattn.training import train

    train.main(argv)


def fork_training(flags: dict, log: Path, *, sharded: bool = False, **environment: str) -> Program:
    """Start a training with flags by name, which prints to the file `log`, with variables that are added."""
    argv = [f"--{name}={value}" for name, value in flags.items()]
    variables = {**os.environ, "ACCELERATE_USE_CPU": "true", **environment}
    return Program(train_program, argv, sharded, out=log, environment=variables)


@contextmanager
def fork_processes(number: int, flags: dict, log: Path, **options: object) -> Iterator[list[Program]]:
    """Start a training in several processes, as a launcher does; kill them at the end of the context."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(number)}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(number)} for rank in range(number)]
    programs = [fork_training(flags, log, **{**group, **rank, **options}) for rank in ranks]
    try:
        yield programs
    finally:
        for program in programs:
            program.kill()


def wait_for_all(programs: list[Program], seconds: float = 120) -> list[int | None]:
    """Wait until all programs have ended or one has failed; return their statuses."""
    until = time.monotonic() + seconds
    while True:
        statuses = [program.poll() for program in programs]
        if None not in statuses or any(statuses) or time.monotonic() > until:
            return statuses
        time.sleep(0.05)


def _work(
    work: Callable[..., None], arguments: tuple, out: Path, err: Path, cwd: Path, environment: dict[str, str]
) -> None:
    os.setsid()
    for path, descriptor in ((out, 1), (err, 2)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    import torch

    torch.set_num_threads(1)
    work(*arguments)
