"""StoryAttn reads a picture story and carries it on: it writes the next caption and paints the next frame.

Commands:
    storyattn train [recipe.yaml] [--flags]    train a model (as train.py; through accelerate launch on several GPUs)
    storyattn finetune DIR --model DIR         go on with a trained model on your own stories
    storyattn estimate recipe.yaml ...         say what a training needs: parameters, memory, hours
    storyattn evaluate --model DIR ...         measure a model beside floors
    storyattn tell --model DIR ...             continue a story and save it
    storyattn serve DIR ...                    serve a model over HTTP, in batches
    storyattn export DIR --output DIR          write a model as ONNX files, and a page that runs it in a browser
    storyattn checkpoints DIR                  list and verify the checkpoints of a run
    storyattn data COMMAND ...                 make a data set (picture books, SCONE), or check one before training
    storyattn card DIR                         write the model card of a published folder again
    storyattn mean DIR DIR --output_dir DIR    write the mean of the weights of two models
    storyattn publish DIR --repo_id USER/NAME  publish a trained model on the Hub
    storyattn COMMAND --help                   list the arguments of a command
    storyattn --version                        print the version
"""

import importlib
import sys

from ..common.command_line import nearest
from ..common.versions import package_version

COMMANDS = {
    "train": ".train",
    "finetune": ".finetune",
    "estimate": ".estimate",
    "evaluate": ".evaluate",
    "tell": ".tell",
    "serve": ".serve",
    "export": ".export",
    "checkpoints": ".checkpoints",
    "data": ".data",
    "card": ".card",
    "mean": ".mean",
    "publish": ".publish",
}
HELP = ("--help", "-h", "help")


def main(argv: list[str] | None = None) -> None:
    """Run a command with the rest of the arguments; an unknown one ends the program with exit status 2."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["--version"]:
        print(f"storyattn {package_version('storyattn')}")
    else:
        run_command("storyattn", COMMANDS, __doc__, argv)


def run_command(program: str, commands: dict[str, str], text: str, argv: list[str]) -> None:
    """Run the command that the first argument names.

    Args:
        program: name of the program, for error messages.
        commands: module of each command, relative to this package.
        text: help, printed for `--help` and where there is no argument.
        argv: name of the command and its arguments. An unknown command ends the program with exit status 2.
    """
    if not argv or argv[0] in HELP:
        print(text.strip())
    elif argv[0] not in commands:
        close = nearest(argv[0], (*commands, *HELP))
        advice = f"; did you mean {program} {close}?" if close else ""
        print(f"{program}: got the command {argv[0]!r}, expected one of {', '.join(commands)}{advice}", file=sys.stderr)
        raise SystemExit(2)
    else:
        importlib.import_module(commands[argv[0]], __package__).main(argv[1:])
