"""The log of a run: `metrics.jsonl`, a line for each logged step and each evaluation, and the progress bar."""

import contextlib
import json
from pathlib import Path

from ..common.files import write_text

METRICS = "metrics.jsonl"
# The loss parts that fit on the progress bar, with their short names; the log has all of them.
PROGRESS_BAR_PARTS = {
    "next_frame_l1": "frame",
    "reconstruction_l1": "reconstructed",
    "describe": "describe",
    "next_caption": "caption",
    "alignment": "align",
}


def start_log(path: Path, step: int, evaluated: bool) -> None:
    """
    Start an empty log, or shorten that of a run which is resumed after `step`.

    Args:
        path: the log, `metrics.jsonl`.
        step: the step of the checkpoint that the run resumes from; 0 for a new run.
        evaluated: whether that checkpoint has its evaluation; if not, the run repeats it.

    Lines after the checkpoint are dropped, and a last line that was cut off.
    """
    remaining = []
    for text in path.read_text(encoding="utf-8").splitlines() if step and path.is_file() else []:
        with contextlib.suppress(json.JSONDecodeError):
            line = json.loads(text)
            if line["step"] < step or (line["step"] == step and (evaluated or "eval" not in line)):
                remaining.append(f"{text}\n")
    write_text("".join(remaining), path)


def append_to_log(path: Path, line: dict) -> None:
    """Append `line` to the log as JSON."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, allow_nan=False) + "\n")


def progress_postfix(line: dict, grad_norm: float) -> dict[str, str]:
    """Return what the progress bar shows of a training line of the log; `grad_norm` may be infinite."""
    parts = line.get("loss_parts", {})
    losses = {"loss": line.get("loss"), **{short: parts.get(name) for name, short in PROGRESS_BAR_PARTS.items()}}
    shown = {name: f"{value:.3f}" for name, value in losses.items() if value is not None}
    shown |= {"lr": f"{line['lr']:.1e}", "norm": f"{grad_norm:.2f}", "GiB": f"{line['memory_gib']:.1f}"}
    shown |= {"stories/s": f"{line['stories_per_second']:.1f}", "wait": f"{line['waiting_share']:.0%}"}
    return {**shown, **({"bad": line["bad_steps"]} if line["bad_steps"] else {})}


def tracked_numbers(line: dict) -> dict[str, float]:
    """Return the numbers of a training line of the log, loss parts among them, as trackers name them."""
    numbers = {**line, **line.get("loss_parts", {})}
    return {f"train/{name}": value for name, value in numbers.items() if isinstance(value, (int, float))}
