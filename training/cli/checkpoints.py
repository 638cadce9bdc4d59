"""`storyattn checkpoints`: list the checkpoints of a run, verify every byte, and print how to resume from the latest.

Examples:
    storyattn checkpoints runs/tiny
"""

import argparse
import sys
from datetime import datetime
from pathlib import Path

from ..common.atomic_folder import read_manifest
from ..common.errors import one_line
from ..common.tables import LEFT, format_number, text_table
from ..engine.checkpoints import BEST, FOLDER, read_state, step_folders, verify_checkpoint

COLUMNS = ("checkpoint", "written", "MB", "minutes", "eval loss", "best", "whole")


def main(argv: list[str] | None = None) -> None:
    """Print the table; end with exit status 1 where a checkpoint is damaged, 2 where there is none."""
    parser = argparse.ArgumentParser(prog="storyattn checkpoints", description="List and verify checkpoints.")
    parser.add_argument("folder", help="the output_dir of a run")
    arguments = parser.parse_args(sys.argv[1:] if argv is None else list(argv))
    with one_line("storyattn checkpoints"):
        checkpoints = _find_checkpoints(Path(arguments.folder).expanduser())
    problems = {path: verify_checkpoint(path) for path in checkpoints}
    print(format_checkpoints(problems))
    whole = [path for path, problem in problems.items() if problem is None and path.name != BEST]
    command = read_state(whole[-1]).get("command") if whole else None
    if command:
        print(f"\nto go on from {whole[-1].name}:\n{command}")
    if any(problems.values()):
        raise SystemExit(1)


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


def _find_checkpoints(folder: Path) -> list[Path]:
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
