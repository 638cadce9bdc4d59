"""`storyattn finetune`: go on with a trained model on stories of one's own, and show what that changed.

Examples:
    storyattn finetune my_stories --model checkpoints/storyattn-tiny
    storyattn finetune my_stories --model runs/tiny --max_train_steps 200 --output_dir runs/mine
"""

import argparse
import sys
from importlib.resources import files
from pathlib import Path

from .. import train

RECIPE = files("storyattn.configuration") / "recipes" / "finetune.yaml"
DESCRIPTION = """Go on with a trained model on 5 to 200 stories of your own. The defaults are those of
configuration/recipes/finetune.yaml: at most 400 steps of 4 stories, a picture every 20 steps, and an early stop. At the
end a table and figures/before_after.png show, on stories that were held out, what that changed. Stories without splits
are divided by story. All flags of `storyattn train` override the defaults."""


def main(argv: list[str] | None = None) -> None:
    """Run the command; a mistake in the arguments ends it with one line and exit status 2."""
    argv = sys.argv[1:] if argv is None else list(argv)
    train.main(training_flags(argv), command=["storyattn", "finetune", *argv])


def training_flags(argv: list[str]) -> list[str]:
    """Return the arguments of the training that the arguments of this command stand for."""
    parser = argparse.ArgumentParser(
        prog="storyattn finetune",
        usage="%(prog)s STORIES --model MODEL [--output_dir DIR] [flags of storyattn train]",
        description=DESCRIPTION,
        epilog="example: storyattn finetune my_stories --model checkpoints/storyattn-tiny",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("stories", help="a folder of pictures with captions, or a data set: a folder or a Hub id")
    parser.add_argument("--model", required=True, help="the trained model: a folder or a Hub id")
    parser.add_argument(
        "--output_dir", help="folder of the run; default: runs/finetuned-, then the name of the stories"
    )
    arguments, flags = parser.parse_known_args(argv)
    name = Path(arguments.stories).expanduser().name
    named = {
        "dataset": arguments.stories,
        "model_name_or_path": arguments.model,
        "output_dir": arguments.output_dir or f"runs/finetuned-{name}",
    }
    return [str(RECIPE), *(f"--{flag}={value}" for flag, value in named.items()), *flags]
