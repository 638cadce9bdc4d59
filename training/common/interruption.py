"""Signals that ask a run to end: it finishes its step, saves, and prints the command that resumes it."""

import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import psutil

SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]
LAUNCHERS = ("accelerate", "accelerate-launch", "torchrun", "accelerate.commands.launch", "torch.distributed.run")
ECHO_SECONDS = 3.0  # in which a launcher may pass on a signal that its processes have received themselves


class Interrupted(Exception):
    """A run that ended early because of signal `number`; the message says at which step, and how to resume."""

    def __init__(self, number: int, message: str):
        super().__init__(message)
        self.number = number


class Interruption:
    """
    While entered, record the first SIGTERM, SIGINT or SIGHUP and do nothing else; let a second one act as usual.

    After `finished` a signal raises `Interrupted` with the message given there.

    `number` is that of the signal, 0 before one came. A launcher that is gone counts as SIGTERM: when a launcher is
    killed, its processes keep running. `command` is the command line that resumes the run.
    """

    def __init__(self):
        self.received, self.received_at, self.message = 0, 0.0, None
        launcher = _launcher_command()
        self.parent = os.getppid() if launcher else None
        self.command = resume_command(launcher or sys.orig_argv)

    @property
    def number(self) -> int:
        """The number of the signal that came, 0 before one did."""
        if not self.received and self.parent not in (None, os.getppid()):
            self.received, self.received_at = signal.SIGTERM, time.monotonic()
        return self.received

    def __enter__(self):
        in_main_thread = threading.current_thread() is threading.main_thread()  # no other may have handlers
        # Under nohup SIGHUP is ignored, and stays so.
        handled = [number for number in SIGNALS if in_main_thread and signal.getsignal(number) != signal.SIG_IGN]
        self.before = {number: signal.signal(number, self._receive) for number in handled}
        return self

    def __exit__(self, *error):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def finished(self, message: str) -> None:
        """Let a signal end the run at once from now on; raise `Interrupted` where one came before."""
        self.message = message
        if self.number:
            raise Interrupted(self.number, message)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received and time.monotonic() - self.received_at < ECHO_SECONDS:
            return
        if self.received:
            signal.signal(number, self.before[number])
            signal.raise_signal(number)
        self.received, self.received_at = number, time.monotonic()
        if self.message is not None:
            raise Interrupted(number, self.message)


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold back `SIGNALS` in this thread, and in the processes that it starts, until the end of the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS) if hasattr(signal, "pthread_sigmask") else set()
    try:
        yield
    finally:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_signals_to_parent(worker: int) -> None:
    """
    Make a worker of a loader ignore the signals that its whole process group receives: its parent finishes a step.

    Control-C in a terminal is such a signal, and the SIGTERM of `timeout`, systemd and Slurm. `load_batches` ends the
    worker, and so does the end of its parent.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def resume_command(words: list[str]) -> str:
    """Return a command line with `--resume_from_checkpoint latest` in place of any such flag in `words`."""
    remaining, skip = [], False
    for word in words:
        if skip or word == "--resume_from_checkpoint":
            skip = not skip
        elif not word.startswith("--resume_from_checkpoint="):
            remaining.append(word)
    return shlex.join([*remaining, "--resume_from_checkpoint", "latest"])


def _launcher_command() -> list[str] | None:
    """Return the command line of the launcher that started this process, `None` where none did."""
    try:
        python, *words = psutil.Process().parent().cmdline()
    except (psutil.Error, AttributeError, ValueError):
        return None
    if words[:1] == ["-m"] and words[1:2] and words[1] in LAUNCHERS:
        return [os.path.basename(python), *words]
    if words and os.path.basename(words[0]) in LAUNCHERS:
        return [os.path.basename(words[0]), *words[1:]]
    return None
