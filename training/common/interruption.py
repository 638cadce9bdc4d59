"""Signals that ask a run to end: it finishes its step, saves, and says how to go on."""

import os
import shlex
import signal
import sys
import threading
import time

import psutil

SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]
LAUNCHERS = ("accelerate", "accelerate-launch", "torchrun", "accelerate.commands.launch", "torch.distributed.run")
ECHO = 3.0  # seconds in which a launcher may pass on a signal that its processes have had themselves


class Interrupted(Exception):
    """A run that ended early because signal `number` asked it to; its message says where it stands."""

    def __init__(self, number: int, message: str):
        super().__init__(message)
        self.number = number


class Interruption:
    """
    While it is entered, the first SIGTERM, SIGINT or SIGHUP is noted and nothing else happens; a later one does what it
    does elsewhere. After `finished` a signal raises `Interrupted` with the message given there.

    `number` is that of the signal, 0 before one came; a launcher that is gone counts as SIGTERM, for one that is killed
    leaves what it launched to itself. `command` is the command line that goes on with the run.
    """

    def __init__(self):
        self.noted, self.noted_at, self.message = 0, 0.0, None
        launcher = _launcher_command()
        self.parent = os.getppid() if launcher else None
        self.command = command_to_go_on(launcher or sys.orig_argv)

    @property
    def number(self) -> int:
        if not self.noted and self.parent not in (None, os.getppid()):
            self.noted, self.noted_at = signal.SIGTERM, time.monotonic()
        return self.noted

    def __enter__(self):
        own = threading.current_thread() is threading.main_thread()  # no other may have handlers
        heard = [number for number in SIGNALS if own and signal.getsignal(number) != signal.SIG_IGN]  # not with nohup
        self.before = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(self, *error):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def finished(self, message: str) -> None:
        """From now on a signal ends the run at once; raises `Interrupted` where one came before."""
        self.message = message
        if self.number:
            raise Interrupted(self.number, message)

    def _note(self, number: int, frame) -> None:
        if self.noted and time.monotonic() - self.noted_at < ECHO:
            return
        if self.noted:
            signal.signal(number, self.before[number])
            signal.raise_signal(number)
        self.noted, self.noted_at = number, time.monotonic()
        if self.message is not None:
            raise Interrupted(number, self.message)


def leave_signals_to_parent(worker: int) -> None:
    """
    Lets a loader's worker go on at control-C, which its whole process group has: its parent still finishes a step. By
    SIGTERM the parent ends it.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)


def command_to_go_on(words: list[str]) -> str:
    """A command line with `--resume_from_checkpoint latest` in place of what it may have there."""
    kept, skip = [], False
    for word in words:
        if skip or word == "--resume_from_checkpoint":
            skip = not skip
        elif not word.startswith("--resume_from_checkpoint="):
            kept.append(word)
    return shlex.join([*kept, "--resume_from_checkpoint", "latest"])


def _launcher_command() -> list[str] | None:
    """The command line of the launcher that started this process, if one did."""
    try:
        python, *words = psutil.Process().parent().cmdline()
    except (psutil.Error, AttributeError, ValueError):
        return None
    if words[:1] == ["-m"] and words[1:2] and words[1] in LAUNCHERS:
        return [os.path.basename(python), *words]
    if words and os.path.basename(words[0]) in LAUNCHERS:
        return [os.path.basename(words[0]), *words[1:]]
    return None
