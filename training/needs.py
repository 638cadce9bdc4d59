"""
What a run needs to end well, tried before its first step.

- `check_needs`, before the data are read: what is written into the output folder, a temporary folder, fonts, text
  metrics, the detector of CoDraw where one is given, the template of the model card, and for `push_to_hub` the token
  and the repository.
- `check_measurable`, once they are: stories on which evaluations can measure something.
- `check_space`, once the model is built: room for the checkpoints and the model.

Trackers start before the first step as well (`engine/trackers.py`), and the frame cache checks its own folder and space
(`data/frame_cache.py`).
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator
from PIL import Image
from storyattn import Story

from .arguments import DataArguments, ModelArguments, TrainingArguments
from .codraw.detector import open_detector
from .common.files import check_folder
from .common.loading import one_line_reason
from .data.prepared_stories import PreparedStories
from .engine.checkpoints import FOLDER, SLACK_BYTES, list_checkpoints, model_tensors
from .engine.distributed import decided_by_main_process
from .engine.loop import TrainingLoop
from .engine.run_log import METRICS
from .evaluation.caption_metrics import text_scores
from .publishing.card_facts import RECIPE_FILE
from .publishing.model_card import find_template
from .publishing.publish import hub_repository
from .publishing.release_files import CARD, CONFIG, RESULTS, WEIGHTS

FOLDERS = (FOLDER, "figures")
FILES = (METRICS, RECIPE_FILE, RESULTS, CARD, CONFIG, WEIGHTS, "generation_config.json", "processor_config.json")
FILES += ("tokenizer.json", "tokenizer_config.json")


def check_needs(
    accelerator: Accelerator, model_args: ModelArguments, data_args: DataArguments, args: TrainingArguments
) -> str | None:
    """
    Try what a run needs to end well, in its main process.

    Args:
        accelerator: that of the run.
        model_args: what is trained.
        data_args: what it is measured with.
        args: how it is trained, and where the run writes and publishes.

    Returns:
        The repository that the run publishes its model in; `None` where it does not publish.

    Raises:
        ValueError, OSError: in every process, for the first thing that is missing.
    """
    return decided_by_main_process(accelerator, _try_all, model_args, data_args, args)


def check_measurable(splits: dict[str, PreparedStories]) -> None:
    """Raise `ValueError` for a split that evaluations measure, by its key, where no story has a transition."""
    for name in sorted(splits.keys() - {"train"}):
        captions = splits[name]["captions"]
        if not any(len(story) > 1 for story in captions):
            raise ValueError(f"{name} split: got no story with two frames among {len(captions)}, expected at least one")


def check_space(loop: TrainingLoop) -> None:
    """Raise `ValueError`, in every process, where the disk has no room for the checkpoints and the model of a run."""
    decided_by_main_process(loop.accelerator, _expect_room, loop)


def _try_all(model_args: ModelArguments, data_args: DataArguments, args: TrainingArguments) -> str | None:
    _try_output_dir(Path(args.output_dir))
    with _expecting("temporary folder", "one that can be written; TMPDIR names it"), tempfile.TemporaryFile() as file:
        file.write(b"0")
    with _expecting("fonts", "those that come with matplotlib"):
        Story([Image.new("RGB", (16, 16))], ["A fox naps."]).strip()
    with _expecting("text metrics", "those that evaluations compute"):
        text_scores(["A fox naps."], ["A fox naps."])
    open_detector(data_args.codraw_detector)
    find_template()
    return hub_repository(model_args, args)


def _try_output_dir(output_dir: Path) -> None:
    """Refuse an output folder in which something that the run writes cannot be written."""
    for name in FOLDERS:
        check_folder("output_dir", output_dir / name)
    for path in [output_dir / name for name in FILES]:
        if path.is_dir():
            raise ValueError(f"output_dir: got a folder at {str(path)!r}, expected a file or nothing")
        if path.exists():
            with _expecting("output_dir", f"{str(path)!r} to be a file that can be written"), path.open("ab"):
                pass


@contextmanager
def _expecting(field: str, expected: str) -> Iterator[None]:
    """Turn any error into one line, "field: got reason, expected ..."."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{field}: got {one_line_reason(error)}, expected {expected}") from error


def _expect_room(loop: TrainingLoop) -> None:
    args, output_dir = loop.args, loop.output_dir
    weights = sum(tensor.nbytes for tensor in model_tensors(loop.unwrapped_model).values())
    moments = 2 * sum(weight.nbytes for weight in loop.unwrapped_model.parameters() if weight.requires_grad)
    averages = 0 if loop.ema is None else sum(average.nbytes for average in loop.ema.weights.values())
    count = _coming_checkpoints(loop)
    needed = count * (weights + moments + averages + SLACK_BYTES) + weights
    free = shutil.disk_usage(output_dir).free
    if free < needed:
        limit = "" if args.save_total_limit == 1 else "; --save_total_limit 1 keeps the fewest"
        raise ValueError(
            f"output_dir: got {free / 1e6:.0f} MB free at {str(output_dir)!r}, expected {needed / 1e6:.0f} MB for "
            f"{count} more checkpoints and the model{limit}"
        )


def _coming_checkpoints(loop: TrainingLoop) -> int:
    """Return how many checkpoints the run adds to those of its folder; the oldest goes when the next is written."""
    args, steps_left = loop.args, loop.num_steps - loop.step
    saves = min(steps_left, steps_left // args.save_steps + 1) if args.save_steps else min(steps_left, 1)
    if args.save_total_limit is None:
        return saves
    existing = len(list_checkpoints(loop.output_dir)) if loop.step else 0
    return max(min(saves, args.save_total_limit + 1 - existing), min(saves, 1))
