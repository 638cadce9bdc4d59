"""Write the mean of the weights of two models (Wortsman et al. 2022)."""

from pathlib import Path

from storyattn import StoryAttnForConditionalGeneration

from ..common.files import check_new_folder
from .load import load_model
from .weights import mean_of_weights


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
    check_new_folder("output_dir", output_dir)
    (first_model, _), (second_model, processor) = (load_model(name, "cpu") for name in (first, second))
    for name, model in ((first, first_model), (second, second_model)):
        if not isinstance(model, StoryAttnForConditionalGeneration):
            raise ValueError(f"model: got the baseline {type(model).__name__} in {name!r}, expected the model")
    mean_of_weights(first_model, second_model, share).save_pretrained(output_dir)
    processor.save_pretrained(output_dir)
