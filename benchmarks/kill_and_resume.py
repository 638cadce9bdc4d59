"""
Kill a training again and again, resume it each time, and compare its result with that of a training left alone.

    python benchmarks/kill_and_resume.py --kills 20 --output kill_and_resume.json

Every kill is a SIGKILL of all processes of the training, at a moment drawn at random: as it starts, as it trains, or
while a checkpoint is being written. Weights, their average, the optimizer and the random states of the last checkpoint
must be the same to the last bit, and no checkpoint may be damaged at any time; otherwise the exit status is 1.
"""

import argparse
import json
import math
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from measuring import new_parser, write_json
from safetensors import safe_open
from storyattn.training.data.sources import read_stories
from storyattn.training.engine.checkpoints import (
    FOLDER,
    find_checkpoint,
    list_checkpoints,
    step_folders,
    verify_checkpoint,
)
from storyattn.training.engine.run_log import METRICS
from tqdm.auto import tqdm

STORIES = {"train": 24, "validation": 4, "test": 4}
COMPARED = ("model.safetensors", "average.safetensors", "optimizer.safetensors", "random-states-0.json")
SAVING, STARTING, TRAINING = "saving", "starting", "training"
SHARE_SAVING = 1 / 4  # of all kills must come while a checkpoint is being written
POLL = 0.0005  # seconds between two looks at the folder
ROW = "{kill:>4}  {aim:<9} {step:>5}  {during_save:<13} {resumed_from}"


@dataclass
class Pace:
    """Seconds that a training takes to start, from one checkpoint to the next, and to write one."""

    starting: float
    interval: float
    saving: float


def main() -> None:
    """Print a row for each kill and the outcome; write both as JSON."""
    parser = new_parser(__doc__)
    parser.add_argument("--kills", type=int, default=20, help="kills in all")
    parser.add_argument("--steps", type=int, default=120, help="steps of the training")
    parser.add_argument("--save_steps", type=int, default=5, help="steps between checkpoints")
    parser.add_argument("--workers", type=int, default=2, help="processes that load data")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch; the same in all runs")
    parser.add_argument("--seed", type=int, default=0, help="draws the moments of the kills")
    parser.add_argument("--output", default="kill_and_resume.json", help="file for the outcome")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        launch = Launcher(story_flags(Path(folder), arguments), Path(folder, "log.txt"), arguments.threads)
        alone, killed = Path(folder, "alone"), Path(folder, "killed")
        print("training without interruption ...", flush=True)
        pace = run_alone(launch, alone)
        rng = random.Random(arguments.seed)
        rows = list(tqdm(kill_repeatedly(launch, killed, arguments.kills, pace, rng), "kills", arguments.kills))
        print("training to the end ...", flush=True)
        finish(launch, killed)
        problems = judge(rows, arguments.kills) + differences(alone, killed)
    outcome = "; ".join(problems) if problems else "the same to the last bit"
    print(f"\n{summary(rows)}\n{outcome}")
    document = {"arguments": vars(arguments), "seconds": asdict(pace), "kills": rows, "outcome": outcome}
    write_json(document, arguments.output)
    print(f"written to {arguments.output}")
    if problems:
        raise SystemExit(1)


def story_flags(folder: Path, arguments: argparse.Namespace) -> dict:
    """Draw a few stories of StoryWorld into `folder`; return the flags of a training of `tiny` on them."""
    (folder / "stories").mkdir()
    for split, number in STORIES.items():
        stories = read_stories("storyworld", split, max_stories=number)
        stories.to_parquet(folder / "stories" / f"{split}-00000-of-00001.parquet")
    flags = {"preset": "tiny", "dataset": folder / "stories", "cache_dir": folder / "frames", "train_batch_size": 2}
    flags.update(max_train_steps=arguments.steps, save_steps=arguments.save_steps, eval_steps=0, logging_steps=1)
    flags.update(max_eval_windows=2, max_test_windows=2, dataloader_num_workers=arguments.workers)
    return flags


class Launcher:
    """Start trainings with the same `flags`, each in a new session; their output goes to the file `log`."""

    def __init__(self, flags: dict, log: Path, threads: int):
        self.flags, self.log, self.threads = flags, log, threads

    @contextmanager
    def __call__(self, output_dir: Path) -> Iterator[subprocess.Popen]:
        """Train, from the latest checkpoint of `output_dir` where it has one; kill it where the context ends."""
        flags = {**self.flags, "output_dir": output_dir}
        if latest(output_dir):
            flags["resume_from_checkpoint"] = "latest"
        command = [sys.executable, "-m", "storyattn.training.train", *(f"--{k}={v}" for k, v in flags.items())]
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads)}
        with self.log.open("a", encoding="utf-8") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def check(self, process: subprocess.Popen) -> None:
        """Raise `RuntimeError` with the end of the log for a training that has failed."""
        if process.poll():
            output = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RuntimeError(f"the training ended with status {process.returncode}:\n{output}")


class Watch:
    """Observe what a training that starts from now on does in `output_dir`."""

    def __init__(self, output_dir: Path):
        self.output_dir = output_dir
        self.log_before, self.partials_before = self._log(), self._partials()

    def started(self) -> bool:
        """Return whether its log was begun."""
        return self._log() != self.log_before

    def saving(self) -> bool:
        """Return whether it is writing a checkpoint, or was when it was killed."""
        return bool(self._partials() - self.partials_before)

    def _log(self) -> tuple | None:
        return _identity(self.output_dir / METRICS)

    def _partials(self) -> set[tuple]:
        partials = {path.name: _identity(path) for path in (self.output_dir / FOLDER).glob(".*.partial")}
        return {item for item in partials.items() if item[1] is not None}


def run_alone(launch: Launcher, output_dir: Path) -> Pace:
    """Train without interruption and measure the pace."""
    watch, begun = Watch(output_dir), time.perf_counter()
    intervals, savings = [], []
    with launch(output_dir) as process:
        _wait(launch, process, watch.started)
        started = last = time.perf_counter()
        while _wait(launch, process, watch.saving):
            saving = time.perf_counter()
            _wait(launch, process, lambda: not watch.saving())
            intervals.append(saving - last)
            last = time.perf_counter()
            savings.append(last - saving)
    return Pace(started - begun, statistics.median(intervals), statistics.median(savings))


def kill_repeatedly(
    launch: Launcher, output_dir: Path, kills: int, pace: Pace, rng: random.Random
) -> Iterator[dict[str, str | int | bool]]:
    """
    Start and kill a training again and again.

    Args:
        launch: starts the training.
        output_dir: its folder.
        kills: how many kills; fewer where the training ends before.
        pace: that of a training left alone.
        rng: draws the moments of the kills.

    Yields:
        Of each kill the `aim`, the last `step` in the log, `during_save`, the checkpoint it is `resumed_from`, and the
        `damaged` checkpoints.
    """
    tqdm.write(
        ROW.format(kill="kill", aim="aimed at", step="step", during_save="during a save", resumed_from="resumed")
    )
    for kill, aim in enumerate(draw_aims(kills, rng), 1):
        watch = Watch(output_dir)
        with launch(output_dir) as process:
            _wait_for(aim, launch, process, watch, pace, rng)
            launch.check(process)
            if process.returncode is not None:
                return
        row = {
            "kill": kill,
            "aim": aim,
            "step": last_step(output_dir),
            "during_save": watch.saving(),
            "resumed_from": latest(output_dir) or "the beginning",
            "damaged": [
                f"{path.name}: {problem}" for path in step_folders(output_dir) if (problem := verify_checkpoint(path))
            ],
        }
        tqdm.write(ROW.format(**{**row, "during_save": "yes" if row["during_save"] else "no"}))
        yield row


def draw_aims(kills: int, rng: random.Random) -> list[str]:
    """Return what each kill is aimed at: two in five at a save, one in ten at the start, in any order."""
    saving, starting = math.ceil(kills * 2 / 5), kills // 10
    aims = [SAVING] * saving + [STARTING] * starting + [TRAINING] * (kills - saving - starting)
    rng.shuffle(aims)
    return aims


def finish(launch: Launcher, output_dir: Path) -> None:
    """Train to the end."""
    with launch(output_dir) as process:
        process.wait()
        launch.check(process)


def latest(output_dir: Path) -> str | None:
    """Return the name of the checkpoint that `latest` means; `None` where there is none."""
    try:
        return find_checkpoint("latest", output_dir).name
    except FileNotFoundError:
        return None


def last_step(output_dir: Path) -> int:
    """Return the last step in the log; 0 where there is none."""
    path = output_dir / METRICS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return json.loads(lines[-1])["step"] if lines else 0


def differences(one: Path, other: Path) -> list[str]:
    """Say in what the last checkpoints and the published weights of two runs differ."""
    first, second = (list_checkpoints(folder)[-1] for folder in (one, other))
    if first.name != second.name:
        return [f"the last checkpoints are {first.name} and {second.name}"]
    pairs = [(first / name, second / name) for name in COMPARED]
    pairs.append((one / "model.safetensors", other / "model.safetensors"))
    return [f"{a.relative_to(one)} differs{_tensors(a, b)}" for a, b in pairs if a.read_bytes() != b.read_bytes()]


def judge(rows: list[dict], kills: int) -> list[str]:
    """Say what went wrong with the kills themselves."""
    problems = [f"kill {row['kill']} left {damage}" for row in rows for damage in row["damaged"]]
    during = sum(row["during_save"] for row in rows)
    if len(rows) < kills:
        problems.append(f"got an end after {len(rows)} kills, expected {kills}; more --steps help")
    if during < SHARE_SAVING * kills:
        problems.append(f"got {during} kills during a save, expected at least {math.ceil(SHARE_SAVING * kills)}")
    return problems


def summary(rows: list[dict]) -> str:
    """Return one line: how many kills there were, and when."""
    during, aims = sum(row["during_save"] for row in rows), Counter(row["aim"] for row in rows)
    aimed = ", ".join(f"{number} at {aim}" for aim, number in sorted(aims.items()))
    return f"{len(rows)} kills ({aimed}), {during} of them while a checkpoint was being written"


def _wait_for(
    aim: str, launch: Launcher, process: subprocess.Popen, watch: Watch, pace: Pace, rng: random.Random
) -> None:
    """Wait for a moment of the kind, which is drawn at random."""
    if aim == STARTING:
        time.sleep(rng.uniform(0, pace.starting))
    elif aim == TRAINING:
        _wait(launch, process, watch.started)
        time.sleep(rng.uniform(0, 2 * pace.interval))
    else:
        if rng.random() < 0.5:  # else the first save
            _wait(launch, process, watch.saving)
            _wait(launch, process, lambda: not watch.saving())
        while _wait(launch, process, watch.saving):
            time.sleep(rng.uniform(0, 0.8 * pace.saving))
            if watch.saving():
                break


def _wait(launch: Launcher, process: subprocess.Popen, condition: Callable[[], bool]) -> bool:
    """Wait until the condition holds; return `False` where the training has ended before."""
    while not condition():
        if process.poll() is not None:
            launch.check(process)
            return False
        time.sleep(POLL)
    return True


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def _tensors(one: Path, other: Path) -> str:
    if one.suffix != ".safetensors":
        return ""
    with safe_open(one, "pt") as first, safe_open(other, "pt") as second:
        names = sorted(set(first.keys()) ^ set(second.keys()))
        names += [n for n in first.keys() if n in second.keys() and not first.get_tensor(n).equal(second.get_tensor(n))]  # noqa: SIM118
    return f" ({len(names)} tensors, as {names[0]})" if names else ""


if __name__ == "__main__":
    main()
