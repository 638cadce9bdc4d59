"""`storyattn checkpoints`: list the checkpoints of a run, verify every byte, and print how to resume."""

from pathlib import Path

from ..common.command_line import CommandParser
from ..common.errors import one_line

COMMAND = "storyattn checkpoints"


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    text = "List the checkpoints of a run, verify every byte of them, and print how to resume from the latest."
    parser = CommandParser(COMMAND, text, f"{COMMAND} runs/tiny")
    parser.add_argument("folder", help="the output_dir of a run")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Print the table; end with exit status 1 where a checkpoint is damaged, 2 where there is none."""
    arguments = build_parser().parse_args(argv)
    from ..engine.checkpoint_table import find_checkpoints, format_checkpoints
    from ..engine.checkpoints import BEST, read_state, verify_checkpoint

    with one_line(COMMAND):
        checkpoints = find_checkpoints(Path(arguments.folder).expanduser())
    problems = {path: verify_checkpoint(path) for path in checkpoints}
    print(format_checkpoints(problems))
    whole = [path for path, problem in problems.items() if problem is None and path.name != BEST]
    command = read_state(whole[-1]).get("command") if whole else None
    if command:
        print(f"\nto go on from {whole[-1].name}:\n{command}")
    if any(problems.values()):
        raise SystemExit(1)
