"""
Run the checks of `gpu_check.sh` one after the other, within a budget of seconds; print one table and write its numbers.

Each check is a command in a process of its own, and what it leaves is judged: the tests that need a GPU, trainings of
`tiny` on StoryWorld in bf16, in fp16 and with `--compile`, a run that resumes, and the speed of each preset as a share
of the fastest matrix product in the same process. What the budget has no time for is named as left out.
"""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import measuring
import torch

ROOT = Path(__file__).resolve().parent.parent
GIB_PER_STORY = {"tiny": 0.15, "small": 0.54, "base": 5.0}  # of a training step in fp32
LARGEST_BATCH = {"tiny": 256, "small": 64, "base": 16}
SLOWER = {"cuda": 1, "cpu": 4}  # how many times as long a check may take
LEAST_SECONDS = 10.0  # with less than that left no check is begun
RESUMED_TOLERANCE = 0.05  # of the losses after resuming, relative: kernels of a GPU may add in another order
MEMORY_SHARE = 0.4  # of the card, which other programs may use as well
FLAGS = {"preset": "tiny", "dataset": "storyworld", "logging_steps": 1, "eval_steps": 0, "max_eval_windows": 8}
FLAGS |= {"max_test_windows": 8, "eval_batch_size": 8, "warmup_steps": 5}
SIZES = {
    "cuda": {"max_train_steps": 60, "save_steps": 30, "train_batch_size": 32, "max_train_stories": 256},
    "cpu": {"max_train_steps": 8, "save_steps": 4, "train_batch_size": 2, "max_train_stories": 8},
}


@dataclass
class Check:
    """A command, the most seconds it may take, and `judge`, which returns what was found or raises `ValueError`."""

    name: str
    command: list[str]
    limit: float
    judge: Callable[[str], dict]  # of what the command has printed


@dataclass
class Outcome:
    """How a check ended: `passed`, `failed`, `left out` or `not here`, and the numbers that it found."""

    name: str
    result: str
    seconds: float = 0.0
    detail: str = ""
    numbers: dict = field(default_factory=dict)


def main(argv: list[str] | None = None) -> None:
    """Run all checks; end with exit status 1 where one has failed or was left out."""
    parser = measuring.new_parser(__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda", help="cpu tries the checks themselves")
    parser.add_argument("--budget", type=measuring.positive, default=480, help="seconds for all checks together")
    parser.add_argument("--work", type=Path, required=True, help="folder for what the checks write")
    parser.add_argument("--output", default="gpu_check.json", help="file for the numbers (JSON)")
    arguments = parser.parse_args(argv)
    until = time.monotonic() + arguments.budget
    hardware = measuring.hardware(arguments.device, torch.get_num_threads())
    document = {"hardware": hardware, "budget_seconds": arguments.budget, "checks": []}
    outcomes = []
    for check in all_checks(arguments.device, arguments.work):
        print(f"{check.name} ...", file=sys.stderr, flush=True)
        outcomes.append(run_check(check, until, arguments.work))
        document["checks"] = [asdict(outcome) for outcome in outcomes]
        measuring.write_json(document, arguments.output)  # after each: what was found stays
    print(f"{measuring.describe_hardware(hardware)}\n\n{format_outcomes(outcomes)}\n\nwritten to {arguments.output}")
    if any(outcome.result in ("failed", "left out") for outcome in outcomes):
        raise SystemExit(1)


def all_checks(device: str, work: Path) -> list[Check]:
    """Return the checks, those first that find most; on a CPU those that it can do, with less of everything."""
    on_gpu = device == "cuda"
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_gpu.py"]
    checks = [Check("tests of test_gpu.py", tests, 150 * SLOWER[device], judge_tests)]
    train = partial(training_check, device, work)
    bf16 = {"mixed_precision": "bf16"}
    checks.append(train("training in bf16", work / "bf16", bf16))
    middle = work / "bf16" / "checkpoints" / f"step-{SIZES[device]['save_steps']}"
    resumed = train("resuming in bf16", work / "resumed", {**bf16, "resume_from_checkpoint": middle})
    resumed.judge = lambda printed: judge_resumed(work / "bf16", work / "resumed")
    checks.append(resumed)
    if on_gpu:
        checks.append(train("training in fp16", work / "fp16", {"mixed_precision": "fp16"}))
    else:
        checks.append(train("training in fp32", work / "fp32", {"mixed_precision": "no"}))
    checks += [speed_check(device, work, preset) for preset in (GIB_PER_STORY if on_gpu else ["tiny"])]
    if on_gpu:
        checks.append(train("training with --compile", work / "compiled", {**bf16, "compile": "true"}, limit=150))
    return checks


def training_check(
    device: str, work: Path, name: str, output_dir: Path, changes: dict[str, object], limit: float = 90
) -> Check:
    """Return a training of `tiny`.

    Args:
        device: where it trains.
        work: folder of the frame cache that all trainings share.
        name: name of the check.
        output_dir: folder of the run.
        changes: further flags.
        limit: the most seconds.
    """
    flags = {**FLAGS, **SIZES[device], "cache_dir": work / "frames", "output_dir": output_dir, **changes}
    command = [sys.executable, str(ROOT / "train.py"), *(f"--{flag}={value}" for flag, value in flags.items())]
    return Check(name, command, limit * SLOWER[device], lambda printed: judge_losses(output_dir))


def speed_check(device: str, work: Path, preset: str) -> Check:
    """Return the check that measures the training step of a preset."""
    batch_size = 1
    if device == "cuda":
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        batch_size = max(1, min(LARGEST_BATCH[preset], int(MEMORY_SHARE * memory / GIB_PER_STORY[preset])))
    output = work / f"speed-{preset}.json"
    precision = "bf16" if device == "cuda" else "fp32"
    settings = ["--presets", preset, "--precisions", precision, "--batch_sizes", str(batch_size), "--device", device]
    settings += ["--repeats", "5" if device == "cuda" else "1", "--output", str(output)]
    command = [sys.executable, str(ROOT / "benchmarks" / "training.py"), *settings]
    name, limit = f"speed of {preset} in {precision}, {batch_size} stories a step", 90 * SLOWER[device]
    return Check(name, command, limit, lambda printed: judge_speed(output))


def run_check(check: Check, until: float, work: Path) -> Outcome:
    """Run a check, at most until the time `until` of the monotonic clock; end all its processes at its limit."""
    limit = min(check.limit, until - time.monotonic())
    if limit < LEAST_SECONDS:
        return Outcome(check.name, "left out", detail="the budget was used up")
    log = work / f"{re.sub(r'[^a-z0-9]+', '-', check.name.lower())}.log"
    started = time.monotonic()
    with log.open("w") as file:
        options = {"stdout": file, "stderr": subprocess.STDOUT, "cwd": ROOT}
        process = subprocess.Popen(check.command, start_new_session=True, **options)
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            end_group(process)
    seconds, printed = time.monotonic() - started, log.read_text(errors="replace")
    if status is None:
        return Outcome(check.name, "failed", seconds, f"not done after {limit:.0f} s")
    if status:
        return Outcome(check.name, "failed", seconds, f"exit status {status}: {last_line(printed)}")
    try:
        numbers = check.judge(printed)
    except (ValueError, OSError, KeyError) as error:
        return Outcome(check.name, "failed", seconds, " ".join(str(error).split()))
    detail = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
    nothing = check.judge is judge_tests and not numbers["passed"]
    return Outcome(check.name, "not here" if nothing else "passed", seconds, detail, numbers)


def end_group(process: subprocess.Popen) -> None:
    """End what a check has started and left running."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def judge_tests(printed: str) -> dict[str, int]:
    """Return how many tests passed and were skipped, by the last line that pytest has printed."""
    return {
        word: int(next(iter(re.findall(rf"(\d+) {word}", last_line(printed))), 0)) for word in ("passed", "skipped")
    }


def judge_losses(output_dir: Path) -> dict[str, float]:
    """Return the first and last losses of a run and its speed.

    Raises:
        ValueError: where the loss did not fall, or weights are not finite.
    """
    lines = [line for line in read_log(output_dir) if "loss" in line]
    part = max(1, len(lines) // 6)
    first, last = (sum(line["loss"] for line in some) / part for some in (lines[:part], lines[-part:]))
    if not last < first:
        raise ValueError(f"loss: got {last:.4g} at the end, expected less than the {first:.4g} of the start")
    if not (output_dir / "model.safetensors").is_file():
        raise ValueError("model: got no model.safetensors, expected one")
    speeds = sorted(line["stories_per_second"] for line in lines[part:])
    return {"first loss": first, "last loss": last, "stories/s": speeds[len(speeds) // 2]}


def judge_resumed(whole: Path, resumed: Path) -> dict[str, float]:
    """Return how far the losses of a resumed run are from those of the run that was not interrupted.

    Raises:
        ValueError: where they are further than `RESUMED_TOLERANCE`, or of other steps.
    """
    losses = [{line["step"]: line["loss"] for line in read_log(run) if "loss" in line} for run in (whole, resumed)]
    steps = sorted(losses[1])
    if not steps or steps[-1] != max(losses[0]) or steps[0] == 1:
        raise ValueError(f"steps: got {steps[:1]} to {steps[-1:]}, expected those after the checkpoint")
    apart = max(abs(losses[1][step] / losses[0][step] - 1) for step in steps)
    if not apart <= RESUMED_TOLERANCE:
        raise ValueError(f"losses: got {apart:.2g} apart after resuming, expected at most {RESUMED_TOLERANCE}")
    return {"steps": len(steps), "losses apart": apart}


def judge_speed(output: Path) -> dict[str, float]:
    """Return the speed that `training.py` has measured."""
    (row,) = json.loads(output.read_text())["rows"]
    names = {"share of the matmul peak": "share_of_matmul_peak", "stories/s": "stories_per_second"}
    numbers = {name: row[key] for name, key in names.items()}
    if not all(map(math.isfinite, numbers.values())):
        raise ValueError(f"speed: got {numbers}, expected finite numbers")
    return {**numbers, "TFLOP/s of the peak": row["matmul_flops_per_second"] / 1e12, "GB": row["peak_memory_mb"] / 1e3}


def read_log(output_dir: Path) -> list[dict]:
    """Return the lines of a run's `metrics.jsonl`."""
    return [json.loads(line) for line in (output_dir / "metrics.jsonl").read_text().splitlines()]


def last_line(printed: str) -> str:
    """Return the last line that is not empty."""
    return next((line.strip() for line in reversed(printed.splitlines()) if line.strip()), "nothing was printed")


def format_outcomes(outcomes: list[Outcome]) -> str:
    """Return the outcomes as a Markdown table."""
    columns = {
        "Check": lambda row: row["name"],
        "Result": lambda row: row["result"],
        "Seconds": lambda row: f"{row['seconds']:.0f}",
        "Found": lambda row: row["detail"].replace("|", "/"),
    }
    return measuring.results_table(columns, [asdict(outcome) for outcome in outcomes])


if __name__ == "__main__":
    main()
