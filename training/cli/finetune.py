"""`storyattn finetune`: go on with a trained model on stories of one's own, and show what that changed."""

import sys
from dataclasses import fields
from importlib.resources import files
from pathlib import Path

from ..arguments import add_training_flags, read_recipe, training_arguments
from ..common.command_line import CommandParser
from ..common.errors import one_line

COMMAND = "storyattn finetune"
RECIPE = str(files("storyattn.configuration") / "recipes" / "finetune.yaml")
OWN_FLAGS = ("dataset", "model_name_or_path", "output_dir")  # of a training, which have other names or defaults here
DESCRIPTION = """Go on with a trained model on 5 to 200 stories of your own. The defaults are those of
configuration/recipes/finetune.yaml: at most 400 steps of 4 stories, a picture every 20 steps, and an early stop. At the
end a table and figures/before_after.png show, on stories that were held out, what that changed. Stories without splits
are divided by story."""


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        COMMAND,
        " ".join(DESCRIPTION.split()),
        f"{COMMAND} my_stories --model checkpoints/storyattn-tiny",
        f"{COMMAND} my_stories --model runs/tiny --max_train_steps 200 --output_dir runs/mine",
    )
    text = "a folder of pictures with captions, or a data set: a folder or a Hub id"
    parser.add_argument("stories", metavar="STORIES", help=text)
    add = parser.add_topic("model and output").add_argument
    add("--model", required=True, metavar="MODEL", help="folder or Hub id of the trained model")
    add("--output_dir", metavar="DIR", help="folder of the run; default: runs/finetuned-, then the name of the stories")
    add_training_flags(parser, without=OWN_FLAGS)
    recipe = {flag.removeprefix("--").partition("=")[0]: flag for flag in read_recipe(RECIPE)}
    names = [name for name in recipe if name not in OWN_FLAGS]
    values = vars(parser.parse_known_args([*(recipe[name] for name in names), "stories", "--model=model"])[0])
    parser.set_defaults(**{name: values[name] for name in names})
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command; a mistake in the arguments ends it with one line and exit status 2."""
    argv = sys.argv[1:] if argv is None else list(argv)
    with one_line(COMMAND):
        flags = training_flags(argv)
    from .. import train

    train.main(flags, command=["storyattn", "finetune", *argv])


def training_flags(argv: list[str]) -> list[str]:
    """Return the flags of the training that the arguments of this command stand for."""
    values = build_parser().parse_args(argv)
    values.dataset, values.model_name_or_path = values.stories, values.model
    values.output_dir = values.output_dir or f"runs/finetuned-{Path(values.stories).expanduser().name}"
    changed = [
        (item.name, getattr(values, item.name))
        for group in training_arguments(values)
        for item in fields(group)
        if getattr(values, item.name) != item.default
    ]
    return [f"--{name}={value}" for name, value in changed]
