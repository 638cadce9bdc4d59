"""`storyattn mean`: write the mean of the weights of two models (Wortsman et al. 2022), one trained on from the other.

Examples:
    storyattn mean runs/first runs/second --share 0.6 --output_dir runs/mean
"""

import argparse
from pathlib import Path

from storyattn import StoryAttnForConditionalGeneration

from ..common.errors import one_line
from ..common.files import check_folder
from ..models.load import load_model
from ..models.weights import mean_of_weights


def main(argv: list[str] | None = None) -> None:
    """Run the command; a mistake in the arguments ends it with one line and exit status 2."""
    parser = argparse.ArgumentParser(
        prog="storyattn mean",
        description="Write the mean of the weights of two models, one trained on from the other.",
    )
    parser.add_argument("first", help="folder or Hub id of a model")
    parser.add_argument("second", help="that of the other, whose configuration and processor are taken")
    parser.add_argument("--share", type=float, default=0.5, help="share of the second's weights, in [0, 1]")
    parser.add_argument("--output_dir", required=True, help="folder for model and processor, new or empty")
    arguments = parser.parse_args(argv)
    output_dir = Path(arguments.output_dir)
    with one_line("storyattn mean"):
        write_mean(arguments.first, arguments.second, arguments.share, output_dir)
    print(f"written to {output_dir}")


def write_mean(first: str, second: str, share: float, output_dir: Path) -> None:
    """Write a model with the mean of the weights of two, and the processor of the second.

    Args:
        first: folder or Hub id of a model.
        second: folder or Hub id of the other, whose configuration is taken.
        share: share of the weights of the second, in [0, 1].
        output_dir: folder to write to, new or empty.

    Raises:
        FileNotFoundError: where there is no such model.
        ValueError: for a share out of range, a folder that is not empty, and models that do not fit each other.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share: got {share}, expected a number in [0, 1]")
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise ValueError(f"output_dir: got {str(output_dir)!r}, which exists, expected a new or an empty folder")
    check_folder("output_dir", output_dir)
    (first_model, _), (second_model, processor) = (load_model(name, "cpu") for name in (first, second))
    for name, model in ((first, first_model), (second, second_model)):
        if not isinstance(model, StoryAttnForConditionalGeneration):
            raise ValueError(f"model: got the baseline {type(model).__name__} in {name!r}, expected the model")
    mean_of_weights(first_model, second_model, share).save_pretrained(output_dir)
    processor.save_pretrained(output_dir)
