"""Find the checkpoints of a run, and list them in a table."""

from datetime import datetime
from pathlib import Path

from ..common.atomic_folder import read_manifest
from ..common.tables import LEFT, format_number, text_table
from .checkpoints import BEST, FOLDER, read_state, step_folders

COLUMNS = ("checkpoint", "written", "MB", "minutes", "eval loss", "best", "whole")


def format_checkpoints(problems: dict[Path, str | None]) -> str:
    """Return a table with a row for each checkpoint; `problems` has for each what is wrong with it, or `None`."""
    best = next((path for path in problems if path.name == BEST), None)
    best_step = None if best is None else _facts(best).get("step")
    rows = []
    for path, problem in problems.items():
        facts = _facts(path)
        is_best = best_step is not None and facts.get("step") == best_step
        loss, seconds = (facts.get("eval") or {}).get("loss"), facts.get("seconds")
        name = f"{BEST} (step {best_step})" if path == best else path.name
        rows.append(
            (
                name,
                _written(path),
                f"{sum(file.stat().st_size for file in path.iterdir() if file.is_file()) / 1e6:.1f}",
                "-" if seconds is None else f"{seconds / 60:.1f}",
                format_number(loss),
                "best" if is_best else "-",
                "yes" if problem is None else f"no: {problem}",
            )
        )
    return text_table(COLUMNS, rows, alignments=[LEFT] * len(COLUMNS))


def find_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a run, those of steps before the best; `FileNotFoundError` where there is none."""
    if not folder.is_dir():
        raise FileNotFoundError(f"folder: got {str(folder)!r}, expected the output_dir of a run")
    best = folder / FOLDER / BEST
    checkpoints = [*step_folders(folder), *([best] if best.is_dir() else [])]
    if not checkpoints:
        raise FileNotFoundError(f"folder: got no checkpoint in {str(folder / FOLDER)!r}, expected step-N folders")
    return checkpoints


def _facts(checkpoint: Path) -> dict:
    """Return the state of a checkpoint; empty where it cannot be read."""
    try:
        state = read_state(checkpoint)
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _written(checkpoint: Path) -> str:
    try:
        written = datetime.fromisoformat(read_manifest(checkpoint)["written"])
    except (OSError, ValueError):
        return "-"
    return f"{written:%Y-%m-%d %H:%M:%S}"
