"""
Programs that are forked from a server which has loaded the libraries: in a fresh Python these take ten seconds.

The server is forked from the process that runs the tests before that one loads `storyattn`, so that what is forked from
the server imports the package, or does without it.
"""

import gc
import importlib
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = (
    "torch._dynamo",
    "torch.distributed.checkpoint",
    "torch.distributed.fsdp",
    "torchmetrics.functional.image",
    "transformers.generation",
    "transformers.modeling_utils",
    "transformers.optimization",
    "transformers.pipelines",
    "transformers.processing_utils",
    "transformers.trainer_pt_utils",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.processing_auto",
    "transformers.models.convnext.modeling_convnext",
    "transformers.models.distilbert.modeling_distilbert",
    "transformers.models.llama.modeling_llama",
    "accelerate",
    "datasets",
    "evaluate",
    "jinja2",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "nltk.translate.meteor_score",
    "peft",
    "psutil",
    "requests",
    "rouge_score.rouge_scorer",
    "sacrebleu",
    "safetensors.torch",
)
CONTEXT = multiprocessing.get_context("fork")
SERVER: Connection | None = None  # what the server is asked through


def start_server() -> None:
    """Load the libraries and fork the server."""
    global SERVER
    assert "storyattn" not in sys.modules
    for name in LIBRARIES:
        with suppress(ImportError):
            importlib.import_module(name)
    SERVER, there = multiprocessing.Pipe()
    if not os.fork():
        try:
            SERVER.close()
            _serve(there)
        finally:
            os._exit(0)
    there.close()


def _serve(requests: Connection) -> None:
    """Start programs and tell how they have ended, until the process that runs the tests is gone."""
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    programs = {}
    while True:
        try:
            request = requests.recv()
        except EOFError:
            return
        if isinstance(request, bytes):
            program = CONTEXT.Process(target=_begin, args=(request, requests))
            program.start()
            programs[program.pid] = program
            requests.send(program.pid)
        else:
            requests.send(programs[request].exitcode)


class Program:
    """A program in a session of its own, with the methods of `subprocess.Popen`."""

    def __init__(self, work: Callable[..., None], *arguments: object, out: Path, **options: object):
        """Start `work(*arguments)`, which prints to the file `out`; `options` are those of `_run`."""
        called = pickle.dumps((work, arguments, out, options))
        self.pid, self.returncode = _ask(pickle.dumps((sys.path, called))), None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = _ask(self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        until = time.monotonic() + (timeout or float("inf"))
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("a forked program", timeout)
            time.sleep(0.01)
        return self.returncode

    def kill(self) -> None:
        """Kill the program and what it has started."""
        for send in (os.killpg, os.kill):  # it may not have its session yet
            with suppress(ProcessLookupError):
                send(self.pid, signal.SIGKILL)
        self.wait()


def _ask(request: bytes | int) -> int | None:
    SERVER.send(request)
    return SERVER.recv()


def train_program(flags: dict, sharded: bool = False, results: bool = True) -> None:
    """Train with flags by name, with FSDP2 where the model is to be `sharded`; evaluate and export it for `results`."""
    sys.argv = ["train.py", *(f"--{name}={value}" for name, value in flags.items())]
    sys.orig_argv = [sys.executable, *sys.argv]
    if sharded:
        import sharded_training  # noqa: F401  # it changes what is built
    from training_runs import train_with

    train_with(flags, results=results)


@contextmanager
def fork_processes(
    number: int, work: Callable[..., None], *arguments: object, log: Path, **environment: str
) -> Iterator[list[Program]]:
    """Start `work` in several processes on the CPU, as a launcher does; kill them at the end of the context.

    Args:
        number: how many processes.
        work: a function of a module.
        arguments: its arguments.
        log: the file that all print to.
        environment: variables that are added.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(number)}
    group |= {"ACCELERATE_USE_CPU": "true", "LOCAL_WORLD_SIZE": str(number), **environment}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(number)]
    programs = [Program(work, *arguments, out=log, environment={**group, **rank}) for rank in ranks]
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


def run_stranger(code: str, cwd: Path, *arguments: str, modules: str) -> str:
    """Run a program in a process that cannot import `storyattn`; return what it prints.

    Args:
        code: the program.
        cwd: folder that it runs in, and that its output is written to.
        arguments: its command line.
        modules: name of the folder in `cwd` for remote code.
    """
    out, err = cwd / f"{modules}.out", cwd / f"{modules}.err"
    program = Program(_be_stranger, code, arguments, cwd / modules, out=out, err=err, cwd=cwd)
    try:
        status = program.wait(120)
    finally:
        program.kill()
    assert status == 0, err.read_text()[-3000:]
    return out.read_text()


def _be_stranger(code: str, arguments: tuple[str, ...], modules: Path) -> None:
    from transformers import dynamic_module_utils

    assert "storyattn" not in sys.modules
    # What the process that started this one has loaded of remote code is not the stranger's.
    sys.path[:] = [folder for folder in sys.path if not Path(folder, "transformers_modules").is_dir()]
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers_modules"]:
        del sys.modules[name]
    sys.modules["storyattn"] = None  # an import of it fails
    sys.argv = ["-c", *arguments]
    dynamic_module_utils.HF_MODULES_CACHE = str(modules)
    exec(compile(code, "<stranger>", "exec"), {"__name__": "__main__"})


def _begin(request: bytes, requests: Connection) -> None:
    """Do the work of a request in a process that is forked for it."""
    requests.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.enable()
    sys.path[:], called = pickle.loads(request)
    work, arguments, out, options = pickle.loads(called)  # imports what they are of
    _run(work, arguments, out, **options)


def _run(
    work: Callable[..., None],
    arguments: tuple,
    out: Path,
    err: Path | None = None,
    cwd: Path = ROOT,
    environment: dict[str, str] | None = None,
) -> None:
    """Do the work in a session and a folder of its own, its output in files, with variables that are added."""
    import torch

    os.setsid()
    for path, stream, descriptor in ((out, sys.stdout, 1), (err or out, sys.stderr, 2)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number in (descriptor, stream.fileno()):  # which pytest has made another
            os.dup2(opened, number)
        os.close(opened)
    os.chdir(cwd)
    os.environ.update(environment or {})
    torch.set_num_threads(1)
    work(*arguments)
