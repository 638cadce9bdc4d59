"""
Writes the mean of the weights of two models (Wortsman et al. 2022), of which the second was trained on from the first:

    storyattn mean runs/first runs/second --share 0.6 --output_dir runs/mean
"""

import argparse
from pathlib import Path

from storyattn import StoryAttnForConditionalGeneration

from ..common.errors import one_line
from ..models.load import load_model
from ..models.weights import mean_of_weights


def main(argv: list[str] | None = None) -> None:
    """Runs the command; a mistake in what it was given ends it with one line and exit status 2."""
    parser = argparse.ArgumentParser(
        prog="storyattn mean",
        description="Writes the mean of the weights of two models, one trained on from the other.",
    )
    parser.add_argument("first", help="folder or Hub id of a model")
    parser.add_argument("second", help="that of the other, whose configuration and processor are taken")
    parser.add_argument("--share", type=float, default=0.5, help="share of the second's weights, in [0, 1]")
    parser.add_argument("--output_dir", required=True, help="folder for model and processor, new or empty")
    arguments = parser.parse_args(argv)
    with one_line("storyattn mean"):
        if not 0 <= arguments.share <= 1:
            raise ValueError(f"share: found {arguments.share}, expected a number in [0, 1]")
        output_dir = Path(arguments.output_dir)
        if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
            raise ValueError(f"output_dir: found {arguments.output_dir!r}, which is there, expected a new folder")
        (first, _), (second, processor) = (load_model(name, "cpu") for name in (arguments.first, arguments.second))
        for name, model in ((arguments.first, first), (arguments.second, second)):
            if not isinstance(model, StoryAttnForConditionalGeneration):
                raise ValueError(f"model: found the baseline {type(model).__name__} in {name!r}, expected the model")
        mean_of_weights(first, second, arguments.share).save_pretrained(output_dir)
        processor.save_pretrained(output_dir)
    print(f"written to {output_dir}")
