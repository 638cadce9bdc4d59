"""Signals that ask a run to end: it finishes its step, saves, and says how to go on."""

import shlex
import signal
import sys
import threading
import time

import psutil

SIGNALS = (signal.SIGTERM, signal.SIGINT)
LAUNCHERS = ("accelerate", "torchrun")
ECHO = 3.0  # seconds in which a launcher may pass on a signal that its processes have had themselves


class Interrupted(Exception):
    """A run that ended early because signal `number` asked it to; its message says where it stands."""

    def __init__(self, number: int, message: str):
        super().__init__(message)
        self.number = number


class Interruption:
    """
    While it is entered, the first SIGTERM or SIGINT is noted in `number` and nothing else happens; a later one does
    what it does elsewhere. After `finished` a signal raises `Interrupted` with the message given there.
    """

    def __init__(self):
        self.number, self.noted_at = 0, 0.0
        self.message = None

    def __enter__(self):
        own = threading.current_thread() is threading.main_thread()  # no other may have handlers
        self.before = {number: signal.signal(number, self._note) for number in SIGNALS if own}
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
        if self.number and time.monotonic() - self.noted_at < ECHO:
            return
        if self.number:
            signal.signal(number, self.before[number])
            signal.raise_signal(number)
        self.number, self.noted_at = number, time.monotonic()
        if self.message is not None:
            raise Interrupted(number, self.message)


def leave_signals_to_parent(worker: int) -> None:
    """Lets a loader's worker go on when its whole process group is signalled: its parent still finishes a step."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def command_to_go_on() -> str:
    """The command line of this run, the launcher's where there is one, with `--resume_from_checkpoint latest`."""
    command = _launcher_command() or sys.orig_argv
    words, skip = [], False
    for word in command:
        if skip or word == "--resume_from_checkpoint":
            skip = not skip
        elif not word.startswith("--resume_from_checkpoint="):
            words.append(word)
    return shlex.join([*words, "--resume_from_checkpoint", "latest"])


def _launcher_command() -> list[str] | None:
    """`accelerate launch ...` or `torchrun ...`, if one of them started this process."""
    try:
        started = psutil.Process().parent().cmdline()
    except (psutil.Error, AttributeError):
        return None
    for place, word in enumerate(started[:2]):
        name = word.rpartition("/")[2]
        if name in LAUNCHERS:
            return [name, *started[place + 1 :]]
    return None
